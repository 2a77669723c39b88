# SPDX-License-Identifier: GPL-2.0-only
"""Where drivers run: a local VM or a host behind SSH, by one interface."""

from __future__ import annotations

from pynooks.remote.host import SshHost
from pynooks.remote.target import Target
from pynooks.remote.vm import LocalVm

__all__ = ["LocalVm", "SshHost", "Target"]
