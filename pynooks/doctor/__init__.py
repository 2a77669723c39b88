# SPDX-License-Identifier: GPL-2.0-only
"""Can this host build, run guests and deploy? Can a target take a driver? With remedies."""

from __future__ import annotations

from pynooks.doctor.host import host_checks
from pynooks.doctor.target import target_checks

__all__ = ["host_checks", "target_checks"]
