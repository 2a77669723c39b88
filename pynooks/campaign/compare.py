# SPDX-License-Identifier: GPL-2.0-only
"""Two campaigns side by side: which trials ended otherwise, and which had other faults. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pynooks.campaign.journal import Result
from pynooks.campaign.outcome import Outcome
from pynooks.campaign.plan import Case, Mode

# For an isolated driver, from what it should do to what it must not.
_RANK = {
    Outcome.NOT_ACTIVATED: 0,
    Outcome.NO_EFFECT: 0,
    Outcome.RECOVERED: 0,
    Outcome.DRIVER_ERROR: 1,
    Outcome.RECOVERED_HURT: 1,
    Outcome.WRONG_RESULT: 2,
    Outcome.DRIVER_HANG: 2,
    Outcome.NOT_RECOVERED: 3,
    Outcome.KERNEL_DAMAGED: 4,
    Outcome.KERNEL_HANG: 5,
    Outcome.KERNEL_CRASH: 5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One trial that both have, with different outcomes. LOST is never a change.

    same_faults: else the driver, the workload or its golden runs are not the same
    """

    case: Case
    old: Outcome
    new: Outcome
    same_faults: bool

    @property
    def regression(self) -> bool:
        return self.case.mode is Mode.ISOLATED and _RANK[self.new] > _RANK[self.old]

    @property
    def mark(self) -> str:
        worse = "  WORSE" if self.regression else ""
        return worse if self.same_faults else f"{worse}  (other faults)"

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "trial": self.case.key,
            "old": self.old,
            "new": self.new,
            "regression": self.regression,
            "same_faults": self.same_faults,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """both: trials that ended in both campaigns; same_faults: those of them that had the same."""

    changes: list[Change]
    both: int
    same_faults: int


def compare(old: Iterable[Result], new: Iterable[Result]) -> Comparison:
    """Changes in the order of the new campaign."""
    before = {r.case: r for r in old}
    pairs = [
        (before[r.case], r)
        for r in new
        if r.case in before and Outcome.LOST not in (before[r.case].outcome, r.outcome)
    ]
    return Comparison(
        changes=[
            Change(
                case=b.case, old=a.outcome, new=b.outcome, same_faults=a.mutations == b.mutations
            )
            for a, b in pairs
            if a.outcome is not b.outcome
        ],
        both=len(pairs),
        same_faults=sum(a.mutations == b.mutations for a, b in pairs),
    )
