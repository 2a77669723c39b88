# SPDX-License-Identifier: GPL-2.0-only
"""A crash record (pynooks.control.records.Crash) for people and for programs. Pure."""

from __future__ import annotations

from pynooks.dump.disassemble import Instruction, disassemble
from pynooks.dump.render import as_json, render

__all__ = ["Instruction", "as_json", "disassemble", "render"]
