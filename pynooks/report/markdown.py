# SPDX-License-Identifier: GPL-2.0-only
"""A campaign's figures for a document. Pure."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable

from pynooks.bench.report import table
from pynooks.campaign.journal import Result
from pynooks.campaign.outcome import Outcome
from pynooks.campaign.plan import Mode, Plan
from pynooks.report import stats


def render_markdown(plan: Plan, found: list[Result]) -> str:
    """Outcomes, what became of the trials that the native kernel did not survive, costs."""
    by_mode = {m: [r for r in found if r.case.mode is m] for m in Mode}
    native, isolated = by_mode[Mode.NATIVE], by_mode[Mode.ISOLATED]
    recovery = stats.spread([r.recovery_s for r in isolated if r.recovery_s is not None])
    planted = sum(len(r.mutations) for r in found)
    items = [
        f"Isolated kernels that crashed, hung or were damaged: {stats.harmed(isolated)}.",
        f"Native kernels that did: {stats.harmed(native)}.{_saved(found)}",
        *_revived(found),
        f"Recovery, from the fault to the running driver: {recovery}.",
        f"Faults reached: {sum(len(r.activated) for r in found)} of {planted}; a crash keeps the "
        "rest from being reached.",
        f"Cost of a trial: native {stats.cost(native)}; isolated {stats.cost(isolated)}.",
    ]
    lines = [
        f"{len(found)} of {len(list(plan.cases()))} trials, seed {plan.seed}, {plan.faults} faults "
        f"each, {', '.join(plan.drivers)}:",
        "",
        *table(("outcome", "native", "isolated"), _outcomes(native, isolated)),
        "",
        *(line for item in items for line in _item(item)),
        "",
        *table(
            ("class", "trials", "native: kernel fails", "no effect", "other",
             "isolated: kernel fails", "recovered", "no effect", "other"),
            ([str(row.cls), *_side(row.native, row.isolated)] for row in stats.rows(found)),
        ),
    ]  # fmt: skip
    return "\n".join(lines)


def _saved(found: list[Result]) -> str:
    if not stats.saved(found).total:
        return ""
    return (
        f" With the same faults isolated, {stats.saved(found)} kernels lived, "
        f"{stats.recovered(found)} drivers recovered or had nothing to recover from, and in "
        f"{stats.applications(found)} applications went on."
    )


def _revived(found: list[Result]) -> list[str]:
    revived = stats.revived(found)
    if not revived.total:
        return []
    return [f"Where the native driver hung, the isolated one works in {revived}."]


def _item(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="- ", subsequent_indent="  ")


def _outcomes(native: Iterable[Result], isolated: Iterable[Result]) -> list[list[str]]:
    counts = [Counter(r.outcome for r in side) for side in (native, isolated)]
    rows = [[str(o), *(str(c[o]) for c in counts)] for o in Outcome if any(c[o] for c in counts)]
    return [*rows, ["trials", *(str(c.total()) for c in counts)]]


def _side(native: Counter[Outcome], isolated: Counter[Outcome]) -> list[str]:
    """By whether the kernel failed, or else whether anything was seen."""
    fails = [sum(n for o, n in c.items() if o.is_kernel_failure) for c in (native, isolated)]
    fine = [sum(c[o] for o in stats.NOTHING) for c in (native, isolated)]
    recovered = sum(isolated[o] for o in stats.RECOVERED)
    numbers = [
        native.total(), fails[0], fine[0], native.total() - fails[0] - fine[0],
        fails[1], recovered, fine[1], isolated.total() - fails[1] - recovered - fine[1],
    ]  # fmt: skip
    return list(map(str, numbers))
