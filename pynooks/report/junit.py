# SPDX-License-Identifier: GPL-2.0-only
"""JUnit XML: a suite per driver and class, a case per isolated trial, its seed as a property.

A trial fails if it harmed the kernel or the driver did not come back; a lost one is an error. What
the native kernel did is in its output: it is the yardstick, not the test.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from pynooks.campaign.journal import Result
from pynooks.campaign.outcome import Outcome
from pynooks.campaign.plan import Mode, Plan
from pynooks.report.stats import rows


def render_junit(plan: Plan, found: list[Result], root: Path) -> str:
    """The whole file."""
    suites = ET.Element("testsuites", name=plan.name)
    for row in rows(found):
        mine = [r for r in found if (r.case.driver, r.case.cls) == (row.driver, row.cls)]
        natives = {r.case.seed: r for r in mine if r.case.mode is Mode.NATIVE}
        isolated = [r for r in mine if r.case.mode is Mode.ISOLATED]
        if not isolated:
            continue
        suite = ET.SubElement(
            suites,
            "testsuite",
            name=f"{row.driver}.{row.cls}",
            tests=str(len(isolated)),
            failures=str(sum(_failed(r) for r in isolated)),
            errors=str(sum(r.outcome is Outcome.LOST for r in isolated)),
            time=f"{sum(r.cost_s for r in isolated):.2f}",
        )
        for r in isolated:
            _case(suite, r, natives.get(r.case.seed), root)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _failed(r: Result) -> bool:
    return r.outcome.is_kernel_failure or r.outcome is Outcome.NOT_RECOVERED


def _case(suite: ET.Element, r: Result, native: Result | None, root: Path) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"{r.case.driver}.{r.case.cls}",
        name=f"seed {r.case.seed}",
        time=f"{r.cost_s:.2f}",
    )
    properties = ET.SubElement(case, "properties")
    for name, value in (
        ("seed", r.case.seed),
        ("trial", r.case.key),
        ("outcome", r.outcome),
        ("native", native.outcome if native else "not run"),
    ):
        ET.SubElement(properties, "property", name=name, value=str(value))
    repro = f"pynooks campaign repro {root} {r.case.key}"
    if r.outcome is Outcome.LOST:
        error = ET.SubElement(case, "error", message=_clean(r.title))
        error.text = repro
    elif _failed(r):
        failure = ET.SubElement(case, "failure", message=_clean(f"{r.outcome}: {r.title}"))
        failure.text = "\n".join([repro, *(_clean(str(m)) for m in r.mutations)])


def _clean(text: str) -> str:
    """XML 1.0 has no control characters."""
    return "".join(c if c >= " " or c in "\n\t" else "?" for c in text)
