# SPDX-License-Identifier: GPL-2.0-only
"""Bring a driver into a nook on a target, and back."""

from __future__ import annotations

from pynooks.deploy.persist import disable, enable, follow_policy, plans
from pynooks.deploy.pipeline import Deployed, deploy, release
from pynooks.deploy.suitable import Check, suitable

__all__ = [
    "Check",
    "Deployed",
    "deploy",
    "disable",
    "enable",
    "follow_policy",
    "plans",
    "release",
    "suitable",
]
