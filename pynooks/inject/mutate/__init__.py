# SPDX-License-Identifier: GPL-2.0-only
"""Faults that programmers make, put into a driver's machine code. Pure; docs/fault-classes.md."""

from __future__ import annotations

from pynooks.inject.mutate.choose import Mutation, Reach, choose
from pynooks.inject.mutate.classes import FaultClass
from pynooks.inject.mutate.code import Routine, Text

__all__ = ["FaultClass", "Mutation", "Reach", "Routine", "Text", "choose"]
