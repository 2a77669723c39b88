# SPDX-License-Identifier: GPL-2.0-only
"""Figures of a campaign. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pynooks.campaign.journal import Result
from pynooks.campaign.outcome import Outcome
from pynooks.campaign.plan import EVERY, AnyClass, Mode

Z = 1.959964  # 95 %


def wilson(good: int, total: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson, JASA 22, 1927); (0, 1) if nothing was counted."""
    if not total:
        return 0.0, 1.0
    p = good / total
    centre = p + Z * Z / (2 * total)
    spread = Z * math.sqrt(p * (1 - p) / total + Z * Z / (4 * total * total))
    scale = 1 + Z * Z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def percent(share: float) -> str:
    """Whole per cent, but 99.6 is not 100, nor 0.4 nothing."""
    text = f"{100 * share:.0f}"
    return f"{100 * share:.1f}" if text in ("0", "100") and share not in (0, 1) else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """good of total, with its interval."""

    good: int
    total: int

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.good, self.total)

    def __str__(self) -> str:
        if not self.total:
            return "none"
        low, high = self.interval
        share = percent(self.good / self.total)
        return f"{self.good} of {self.total} ({share} %, {percent(low)}-{percent(high)} %)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One driver and class. counts: outcomes by mode."""

    driver: str
    cls: AnyClass
    native: Counter[Outcome]
    isolated: Counter[Outcome]
    activated: Share
    saved: Share


def rows(found: Iterable[Result]) -> list[Row]:
    """By driver and class, in the order of EVERY."""
    have = list(found)
    keys = sorted(
        {(r.case.driver, r.case.cls) for r in have},
        key=lambda k: (k[0], EVERY.index(k[1])),
    )
    out = []
    for driver, cls in keys:
        mine = [r for r in have if (r.case.driver, r.case.cls) == (driver, cls)]
        by_mode = {m: [r for r in mine if r.case.mode is m] for m in Mode}
        real = [r for r in mine if r.outcome is not Outcome.LOST]
        out.append(
            Row(
                driver=driver,
                cls=cls,
                native=Counter(r.outcome for r in by_mode[Mode.NATIVE]),
                isolated=Counter(r.outcome for r in by_mode[Mode.ISOLATED]),
                activated=Share(good=sum(bool(r.activated) for r in real), total=len(real)),
                saved=saved(mine),
            )
        )
    return out


SURVIVED = frozenset(Outcome) - {
    Outcome.KERNEL_CRASH, Outcome.KERNEL_HANG, Outcome.KERNEL_DAMAGED, Outcome.NOT_RECOVERED,
    Outcome.LOST,
}  # fmt: skip


def _pairs(found: Iterable[Result]) -> list[tuple[Result, Result]]:
    """Native and isolated with the same faults, both judged."""
    by_case = {r.case: r for r in found if r.outcome is not Outcome.LOST}
    out = []
    for case, native in by_case.items():
        if case.mode is Mode.NATIVE:
            twin = type(case)(driver=case.driver, cls=case.cls, seed=case.seed, mode=Mode.ISOLATED)
            if isolated := by_case.get(twin):
                out.append((native, isolated))
    return out


def harmed(found: Iterable[Result]) -> Share:
    """Trials after which the kernel was not well."""
    real = [r for r in found if r.outcome is not Outcome.LOST]
    return Share(good=sum(r.outcome.is_kernel_failure for r in real), total=len(real))


NOTHING = frozenset({Outcome.NOT_ACTIVATED, Outcome.NO_EFFECT})
RECOVERED = frozenset({Outcome.RECOVERED, Outcome.RECOVERED_HURT})


FAILED = frozenset(o for o in Outcome if o.is_kernel_failure)


def _where_native(
    was: frozenset[Outcome], found: Iterable[Result], good: frozenset[Outcome]
) -> Share:
    """Of the trials that ended so with the native driver: how they did with the isolated one."""
    ends = [i.outcome for n, i in _pairs(found) if n.outcome in was]
    return Share(good=sum(end in good for end in ends), total=len(ends))


def saved(found: Iterable[Result]) -> Share:
    """Of the trials that the native kernel did not survive: the isolated one did."""
    return _where_native(FAILED, found, SURVIVED)


def recovered(found: Iterable[Result]) -> Share:
    """Of the same trials: the driver runs again, or nothing happened to it."""
    return _where_native(FAILED, found, NOTHING | RECOVERED)


def applications(found: Iterable[Result]) -> Share:
    """Of the same trials: applications did not even notice."""
    return _where_native(FAILED, found, NOTHING | {Outcome.RECOVERED})


def revived(found: Iterable[Result]) -> Share:
    """Of the trials that the native driver hung in: the isolated one works."""
    return _where_native(frozenset({Outcome.DRIVER_HANG}), found, NOTHING | RECOVERED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median, 99th percentile and count of some seconds."""

    median: float
    p99: float
    count: int

    def __str__(self) -> str:
        if not self.count:
            return "none"
        return f"median {self.median:.2f} s, p99 {self.p99:.2f} s, n = {self.count}"


def spread(values: Sequence[float]) -> Spread:
    if not values:
        return Spread(median=0.0, p99=0.0, count=0)
    ordered = sorted(values)
    return Spread(
        median=statistics.median(ordered),
        p99=ordered[math.ceil(0.99 * len(ordered)) - 1],
        count=len(ordered),
    )


def cost(found: Iterable[Result]) -> Spread:
    """Of a trial. A lost one has none."""
    return spread([r.cost_s for r in found if r.outcome is not Outcome.LOST])


@dataclass(frozen=True, slots=True, kw_only=True)
class Title:
    """A crash title with how often it came, and the first trial that shows it.

    stacks: different call traces with that title
    """

    title: str
    stacks: int
    native: int
    isolated: int
    first: Result


def titles(found: Iterable[Result]) -> list[Title]:
    """Titles, most frequent first; what isolated kernels said before the rest."""
    groups: dict[str, list[Result]] = {}
    for r in found:
        if r.title:
            groups.setdefault(r.title, []).append(r)
    out = [
        Title(
            title=title,
            stacks=len({r.frames for r in rs if r.frames}),
            native=sum(r.case.mode is Mode.NATIVE for r in rs),
            isolated=sum(r.case.mode is Mode.ISOLATED for r in rs),
            first=next((r for r in rs if r.case.mode is Mode.ISOLATED), rs[0]),
        )
        for title, rs in groups.items()
    ]
    return sorted(
        out,
        key=lambda t: (
            not (t.first.outcome.is_kernel_failure and t.isolated),
            -(t.native + t.isolated),
            t.title,
        ),
    )
