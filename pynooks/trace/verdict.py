# SPDX-License-Identifier: GPL-2.0-only
"""What the witness's events and checksums mean. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pynooks.trace.tracer import ALARMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """changed: canaries that differ; bad: oops, panic and WARN events; netdevs: what they did.

    lost: events that found no room; with any lost the testimony is not good.
    """

    checked: int
    changed: tuple[str, ...]
    bad: tuple[str, ...]
    netdevs: tuple[str, ...]
    modules: tuple[str, ...]
    lost: int

    @property
    def good(self) -> bool:
        return not self.changed and not self.bad and not self.lost and self.checked > 0


def judge(
    before: Mapping[str, str], after: Mapping[str, str], events: Iterable[Mapping[str, Any]]
) -> Testimony:
    """before, after: checksums by name; events: of the witness, with its last {"event": "lost"}."""
    seen = list(events)
    lost = [event["count"] for event in seen if event["event"] == "lost"]
    return Testimony(
        checked=len(before),
        changed=tuple(sorted(name for name, value in before.items() if after.get(name) != value)),
        bad=tuple(
            " ".join(filter(None, (e["event"], e.get("name"), e.get("ip"))))
            for e in seen
            if e["event"] in ALARMS
        ),
        netdevs=_names(seen, "netdev "),
        modules=_names(seen, "module "),
        lost=sum(lost) if lost else 1,  # it did not end well: something is missing
    )


def _names(events: list[Mapping[str, Any]], kind: str) -> tuple[str, ...]:
    return tuple(
        f"{e['name']} {e['event'].removeprefix(kind)}"
        for e in events
        if e["event"].startswith(kind)
    )
