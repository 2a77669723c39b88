# SPDX-License-Identifier: GPL-2.0-only
"""Make a stock driver's .ko into one that lives in a nook: bytes in, bytes out."""

from __future__ import annotations

from pynooks.relink.core import EscapedFunction, RelinkReport, analyse, relink
from pynooks.relink.elf import ElfModule
from pynooks.relink.escape import GateKind
from pynooks.relink.fuse import depends, fuse
from pynooks.relink.plan import (
    Export,
    ImportUse,
    RelinkPlan,
    find_symvers,
    load_plan,
    load_symvers,
    parse_symvers,
)

__all__ = [
    "ElfModule",
    "EscapedFunction",
    "Export",
    "GateKind",
    "ImportUse",
    "RelinkPlan",
    "RelinkReport",
    "analyse",
    "depends",
    "find_symvers",
    "fuse",
    "load_plan",
    "load_symvers",
    "parse_symvers",
    "relink",
]
