# SPDX-License-Identifier: GPL-2.0-only
"""Type information of the target's kernel."""

from __future__ import annotations

from pynooks.btf.parse import Btf, BtfError, BtfKind, Member, Param, Type, load_btf
from pynooks.btf.query import (
    Field,
    Proto,
    c_type,
    field_at,
    function,
    ops_members,
    proto_of,
    struct_field,
    struct_type,
)

__all__ = [
    "Btf",
    "BtfError",
    "BtfKind",
    "Field",
    "Member",
    "Param",
    "Proto",
    "Type",
    "c_type",
    "field_at",
    "function",
    "load_btf",
    "ops_members",
    "proto_of",
    "struct_field",
    "struct_type",
]
