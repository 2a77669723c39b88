# SPDX-License-Identifier: GPL-2.0-only
"""Name the fields that a driver wrote, with the kernel's types. Pure.

A proposal is no permission: somebody reads the instruction, sees why the driver does that, and
moves the line into a policy file with a comment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pynooks.btf import Btf, BtfError, field_at
from pynooks.control.records import Learned
from pynooks.policy import WriteRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One field that was written without a rule. field: empty if no type explains the store.

    by: the instructions that did, as symbol+offset; count: stores
    """

    object: str
    field: str
    offset: int
    size: int
    count: int
    by: tuple[str, ...]
    symbol: str


def propose(log: Iterable[Learned], btf: Btf, rules: Iterable[WriteRule] = ()) -> list[Proposal]:
    """Join the lines of one field. rules: what is allowed already, and left out."""
    known = list(rules)
    found: dict[tuple[str, str, str], Proposal] = {}
    for line in log:
        field = _field(line, btf)
        if any(_covers(rule, line) for rule in known):
            continue
        # Stores that no type explains stay apart, by where they hit.
        key = (line.object, field or f"+{line.offset}", line.symbol)
        old = found.get(key)
        found[key] = Proposal(
            object=line.object,
            field=field,
            offset=min(line.offset, old.offset) if old else line.offset,
            size=max(line.size, old.size) if old else line.size,
            count=line.count + (old.count if old else 0),
            by=tuple(sorted({line.ip, *(old.by if old else ())})),
            symbol=line.symbol,
        )
    return sorted(found.values(), key=lambda p: (p.object, p.offset, p.symbol))


def _field(line: Learned, btf: Btf) -> str:
    try:
        return field_at(btf, line.object, line.offset, line.size) if line.object else ""
    except BtfError:
        return ""


def _covers(rule: WriteRule, line: Learned) -> bool:
    if rule.object != line.object:
        return False
    if rule.field == "*":
        return True
    return rule.offset <= line.offset and line.offset + line.size <= rule.offset + rule.size


def toml_lines(proposals: Iterable[Proposal]) -> list[str]:
    """The [write] table to review; what cannot be a rule is a comment."""
    lines = ["[write]"]
    groups: dict[str, list[Proposal]] = {}
    for p in proposals:
        if p.object and p.field:
            groups.setdefault(p.object, []).append(p)
        else:
            where = f"{p.object}+{p.offset}" if p.object else p.symbol
            lines.append(f"# no rule can name {where}: {p.count} stores by {', '.join(p.by)}")
    for name, fields in groups.items():
        lines.append(f"{name} = [")
        lines += [f'  "{p.field}", # {p.count} stores by {", ".join(p.by)}' for p in fields]
        lines.append("]")
    return lines
