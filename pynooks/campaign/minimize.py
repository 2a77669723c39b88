# SPDX-License-Identifier: GPL-2.0-only
"""The smallest set of a trial's faults that still does it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from pynooks.campaign.journal import Fault, Result

_log = logging.getLogger(__name__)
Progress = Callable[[str], None]
Again = Callable[[tuple[Fault, ...]], Result]


def minimize(before: Result, again: Again, *, progress: Progress = _log.info) -> tuple[Fault, ...]:
    """Faults that were not reached go first, all at once; then one by one.

    again: runs the trial with other faults. What does not bring outcome and title back is kept.
    """

    def same(mutations: tuple[Fault, ...]) -> bool:
        found = again(mutations)
        good = (found.outcome, found.title) == (before.outcome, before.title)
        progress(f"{len(mutations)} faults: {found.outcome} {found.title}")
        return good

    left = before.mutations
    reached = tuple(m for i, m in enumerate(left) if i in before.activated)
    if reached and len(reached) < len(left) and same(reached):
        left = reached
    for m in left:
        fewer = tuple(other for other in left if other is not m)
        if fewer and same(fewer):
            left = fewer
    return left
