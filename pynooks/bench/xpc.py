# SPDX-License-Identifier: GPL-2.0-only
"""What a crossing costs: an empty entry and an exit, beside CR3 loads in the same loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from pynooks.bench.lab import PARAMETERS, Lab
from pynooks.bench.report import table
from pynooks.errors import CheckError

SCHEMA = 1
ROUNDS = 7
CALLS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Nanoseconds, medians of ROUNDS times CALLS, on CPUs that did nothing else.

    entry: of nook_call() with an empty driver function; leaving: the same with one exit;
    cr3:   two loads of CR3 with the value that it has
    """

    calls: int
    entry: float
    leaving: float
    cr3: float


def measure(lab: Lab, rounds: int = ROUNDS, calls: int = CALLS) -> Cost:
    """CheckError if the gates cannot be called."""
    file, own = f"{PARAMETERS.format('victim')}/cost", PARAMETERS.format("bystander")
    line = (
        f"gates=$(printf '%x %x' $(cat {own}/empty {own}/leaving)) && "
        f"for i in $(seq {rounds}); do echo $gates {calls} >{file} && cat {file}; done"
    )
    status, out = lab.shell(line)
    if status:
        raise CheckError("the victim cannot call into the nook", hint="look at the console")
    found = [[int(word) for word in row.split()] for row in out.splitlines()]
    entry, leaving, cr3 = (median(row[i] / row[0] for row in found) for i in (1, 2, 3))
    return Cost(calls=rounds * calls, entry=entry, leaving=leaving, cr3=cr3)


def by_name(cost: Cost) -> dict[str, float]:
    """ns, in the order of the tables."""
    return {
        "two CR3 loads": cost.cr3,
        "entry, empty function": cost.entry,
        "entry with one exit": cost.leaving,
    }


def as_markdown(cost: Cost, machine: Mapping[str, str]) -> str:
    """A table of three rows; the machine is what figures depend on."""
    rows = [[name, f"{ns:.0f}", f"{ns / cost.cr3:.2f}"] for name, ns in by_name(cost).items()]
    where = ", ".join(f"{name} {value}" for name, value in machine.items())
    text = f"{where}; mean of {CALLS} calls in one loop, median of {cost.calls // CALLS} loops:"
    return "\n".join([text, "", *table(["", "ns", "in pairs of CR3 loads"], rows)])


def as_json(cost: Cost) -> dict[str, Any]:
    return {"schema": SCHEMA, **asdict(cost)}
