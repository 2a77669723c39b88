# SPDX-License-Identifier: GPL-2.0-only
"""Mutations by seed: which faults of a class a trial plants into a driver."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pynooks.errors import RefusedError
from pynooks.inject.mutate.classes import FaultClass
from pynooks.inject.mutate.code import Text, disassembler
from pynooks.inject.mutate.edits import edit, sites

# What a workload runs: routine -> offsets of its instructions that ran, None: all of them.
Reach = Mapping[str, frozenset[int] | None]
MAX_BYTES = 64  # NOOKS_INJECT_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A fault: at `symbol`+`offset`, the start of an instruction, `new` stands for `old`."""

    cls: FaultClass
    symbol: str
    offset: int
    old: bytes
    new: bytes

    def __post_init__(self) -> None:
        if len(self.old) != len(self.new) or not 0 < len(self.old) <= MAX_BYTES:
            raise ValueError(f"{len(self.old)} bytes become {len(self.new)}")
        if self.old == self.new or self.offset < 0:
            raise ValueError("not a change")

    @property
    def end(self) -> int:
        return self.offset + len(self.old)

    def overlaps(self, other: Mutation) -> bool:
        return (
            self.symbol == other.symbol and self.offset < other.end and other.offset < self.end
        )

    def __str__(self) -> str:
        was, now = (_listing(code, self.offset) for code in (self.old, self.new))
        return f"{self.symbol}+{self.offset:#x}: {was} -> {now}"

    def as_json(self) -> dict[str, Any]:
        return {
            "class": str(self.cls),
            "symbol": self.symbol,
            "offset": self.offset,
            "old": self.old.hex(),
            "new": self.new.hex(),
        }

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            cls=FaultClass(raw["class"]),
            symbol=raw["symbol"],
            offset=raw["offset"],
            old=bytes.fromhex(raw["old"]),
            new=bytes.fromhex(raw["new"]),
        )


def _listing(code: bytes, at: int) -> str:
    found = [f"{name} {args}".strip() for _, _, name, args in disassembler().disasm_lite(code, at)]
    return "; ".join(name for name in found if not name.startswith("nop")) or "nothing"


def choose(
    text: Text, cls: FaultClass, *, seed: int, count: int, reach: Reach
) -> tuple[Mutation, ...]:
    """`count` faults of one class, none over another, in code that the workload runs.

    Equal arguments give equal faults. Each place has dice of its own, so that one which only one of
    two golden runs has seen changes no other fault. Fewer come back if the driver has not so many
    places; none at all is a RefusedError.
    """
    places = [
        (name, position)
        for name in sorted(set(reach) & set(text.routines))
        for position in sites(cls, text.routines[name])
        if _runs(reach[name], text.routines[name].insns[position].offset)
    ]
    dice = {
        (name, position): random.Random(f"{text.sha256}:{cls}:{seed}:{name}:{position}")
        for name, position in places
    }
    found: list[Mutation] = []
    for name, position in sorted(dice, key=lambda place: dice[place].random()):
        if len(found) == count:
            break
        routine = text.routines[name]
        done = edit(cls, routine, position, dice[name, position])
        if done is None or len(done.new) > MAX_BYTES:
            continue
        old = routine.code[done.offset : done.offset + len(done.new)]
        if old == done.new:
            continue
        new = Mutation(cls=cls, symbol=name, offset=done.offset, old=old, new=done.new)
        if not any(new.overlaps(other) for other in found):
            found.append(new)
    if not found:
        raise RefusedError(
            f"the workload runs no code that a fault of class {cls} could change",
            hint="choose another class, or a workload that runs more of the driver",
        )
    return tuple(found)


def _runs(ran: frozenset[int] | None, offset: int) -> bool:
    return ran is None or offset in ran
