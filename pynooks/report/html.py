# SPDX-License-Identifier: GPL-2.0-only
"""The report that people read: one file, without scripts and without anything from elsewhere."""

from __future__ import annotations

from pathlib import Path

import jinja2

from pynooks.campaign.journal import Result
from pynooks.campaign.outcome import Outcome
from pynooks.campaign.plan import Mode, Plan
from pynooks.report import stats
from pynooks.report.plot import histogram

# Colours that people with any colour vision tell apart by lightness, too.
COLOURS = {
    Outcome.NOT_ACTIVATED: "#e8e8e8",
    Outcome.NO_EFFECT: "#c9d7e8",
    Outcome.WRONG_RESULT: "#f0d98c",
    Outcome.DRIVER_ERROR: "#f3e6b3",
    Outcome.DRIVER_HANG: "#e0b040",
    Outcome.RECOVERED: "#7fb38a",
    Outcome.RECOVERED_HURT: "#4f8a5c",
    Outcome.NOT_RECOVERED: "#b56a3a",
    Outcome.KERNEL_HANG: "#8c2d2d",
    Outcome.KERNEL_CRASH: "#5c0f0f",
    Outcome.KERNEL_DAMAGED: "#b03a3a",
    Outcome.LOST: "#9a9a9a",
}


def render_html(plan: Plan, found: list[Result], root: Path) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pynooks.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    isolated = [r for r in found if r.case.mode is Mode.ISOLATED]
    times = [r.recovery_s for r in isolated if r.recovery_s is not None]
    return environment.get_template("report.html.j2").render(
        plan=plan,
        root=root,
        found=found,
        total=len(list(plan.cases())),
        modes=list(Mode),
        outcomes=[o for o in Outcome if any(r.outcome is o for r in found)],
        colours=COLOURS,
        counts={m: {o: _count(found, m, o) for o in Outcome} for m in Mode},
        totals={m: sum(r.case.mode is m for r in found) for m in Mode},
        rows=stats.rows(found),
        harmed=stats.harmed(isolated),
        shares=(
            ("native kernel failed: isolated kernel lived", stats.saved(found)),
            ("… isolated driver recovered", stats.recovered(found)),
            ("… and applications went on", stats.applications(found)),
            ("native driver hung: isolated driver works", stats.revived(found)),
        ),
        titles=stats.titles(found),
        recovery=stats.spread(times),
        recovery_plot=histogram(times, label="seconds from fault to running driver"),
        cost=stats.cost(found),
    )


def _count(found: list[Result], mode: Mode, outcome: Outcome) -> int:
    return sum(r.case.mode is mode and r.outcome is outcome for r in found)
