# SPDX-License-Identifier: GPL-2.0-only
"""Resolve the [write] lines of a driver to bytes, with the target kernel's BTF."""

from __future__ import annotations

from pynooks.btf import Btf, BtfError, struct_field, struct_type
from pynooks.policy.model import DriverPolicy, PolicyError, WriteAllow, WriteRule

# Objects that are no struct: the field names what it is, the module knows where.
SPECIAL = {"percpu": 4, "buffer": 0, "skb_data": 0, "page_frag": 0}


def driver_rules(policy: DriverPolicy, btf: Btf) -> tuple[WriteRule, ...]:
    """The rules of NOOKS_CMD_POLICY_SET. PolicyError names the line that this kernel has not."""
    return tuple(_rule(line, btf) for line in policy.writes)


def _rule(line: WriteAllow, btf: Btf) -> WriteRule:
    offset = size = 0
    if line.object in SPECIAL:
        size = SPECIAL[line.object]
    else:
        try:
            if line.field == "*":
                size = struct_type(btf, line.object).size
            else:
                field = struct_field(btf, line.object, line.field)
                offset, size = field.offset, field.size
        except BtfError as e:
            raise PolicyError(f"{line.file}: write.{line.object}: {e}", hint=e.hint) from e
    return WriteRule(
        object=line.object, field=line.field, offset=offset, size=size, value=line.value
    )
