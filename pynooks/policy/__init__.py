# SPDX-License-Identifier: GPL-2.0-only
"""Policy: what drivers may call and write. Readable files, no code.

subsystem/*.toml  how imports are treated, which ops structs the kernel calls a driver through
class/*.toml      what drivers of a class may write in kernel memory
drivers/*.toml    one driver: its class, level, limits, and writes of its own
"""

from __future__ import annotations

from pynooks.policy.load import load_driver, load_policies, policy_dir
from pynooks.policy.model import (
    DriverPolicy,
    EntryPolicy,
    ImportPolicy,
    Kind,
    Level,
    Policies,
    PolicyError,
    Subsystem,
    Value,
    WriteAllow,
    WriteRule,
)
from pynooks.policy.rules import driver_rules

__all__ = [
    "DriverPolicy",
    "EntryPolicy",
    "ImportPolicy",
    "Kind",
    "Level",
    "Policies",
    "PolicyError",
    "Subsystem",
    "Value",
    "WriteAllow",
    "WriteRule",
    "driver_rules",
    "load_driver",
    "load_policies",
    "policy_dir",
]
