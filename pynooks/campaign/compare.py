# SPDX-License-Identifier: GPL-2.0-only
"""Two campaigns side by side: which trials ended otherwise. Pure."""

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
    """One trial that both have, with different outcomes. LOST is never a change."""

    case: Case
    old: Outcome
    new: Outcome

    @property
    def regression(self) -> bool:
        return self.case.mode is Mode.ISOLATED and _RANK[self.new] > _RANK[self.old]

    @property
    def mark(self) -> str:
        return "  WORSE" if self.regression else ""

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "trial": self.case.key,
            "old": self.old,
            "new": self.new,
            "regression": self.regression,
        }


def compare(old: Iterable[Result], new: Iterable[Result]) -> list[Change]:
    """Changes in the order of the new campaign."""
    before = {r.case: r.outcome for r in old}
    return [
        Change(case=r.case, old=before[r.case], new=r.outcome)
        for r in new
        if r.case in before
        and before[r.case] is not r.outcome
        and Outcome.LOST not in (before[r.case], r.outcome)
    ]
