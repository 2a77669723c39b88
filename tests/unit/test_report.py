# SPDX-License-Identifier: GPL-2.0-only
"""What a report says is what the journal has."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from campaignmake import PLAN, case, mutation, result

from pynooks.campaign import Mode, Outcome, Result
from pynooks.campaign.compare import compare
from pynooks.campaign.journal import Journal
from pynooks.campaign.minimize import minimize
from pynooks.errors import RefusedError
from pynooks.inject.mutate import FaultClass, Mutation
from pynooks.report import document, render_html, render_junit, write_report
from pynooks.report.plot import histogram
from pynooks.report.stats import applications, revived, rows, saved, spread, titles, wilson

N, I = Mode.NATIVE, Mode.ISOLATED  # noqa: E741
CRASH = Outcome.KERNEL_CRASH
FOUND = [
    result(case(7, N), CRASH, "page fault in f [e1000]", frames=("g", "h"), alternatives=("x",)),
    result(case(7, I), Outcome.RECOVERED, "#PF in f"),
    result(case(8, N), CRASH, "page fault in f [e1000]", corrupted="no end", frames=("k",)),
    result(case(8, I), Outcome.RECOVERED_HURT, "#PF in f"),
    result(case(9, N), Outcome.KERNEL_HANG, "soft lockup in f [e1000]"),
    result(case(9, I), CRASH, "page fault in nooks_f [nooks]", log="x.log"),
    result(case(10, N), Outcome.NO_EFFECT),
    result(case(10, I), Outcome.LOST, "QEMU <ended> & died", attempts=3),
    result(case(7, I, FaultClass.TEXT), Outcome.NOT_ACTIVATED, activated={}),
]


# ---- figures


@pytest.mark.parametrize(
    ("good", "total", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634),
     (313, 317, 0.968, 0.9951)],
)  # fmt: skip
def test_wilson(good: int, total: int, low: float, high: float) -> None:
    assert wilson(good, total) == pytest.approx((low, high), abs=5e-5)


def test_saved_counts_pairs_whose_native_kernel_failed() -> None:
    assert (saved(FOUND).good, saved(FOUND).total) == (2, 3)
    assert (applications(FOUND).good, applications(FOUND).total) == (1, 3)
    assert str(saved([])) == "none"


def test_revived_counts_pairs_whose_native_driver_hung() -> None:
    hung = [result(case(seed, N), Outcome.DRIVER_HANG) for seed in (7, 9, 10)]
    found = [r for r in FOUND if r.case.mode is I] + hung
    assert (revived(found).good, revived(found).total) == (1, 2), "a lost trial tells nothing"
    assert revived(FOUND).total == 0


def test_rows_follow_the_classes() -> None:
    text, nop = rows(FOUND)
    assert (text.cls, nop.cls) == (FaultClass.TEXT, FaultClass.NOP)
    assert nop.isolated[Outcome.LOST] == 1
    assert (nop.activated.good, nop.activated.total) == (7, 7), "a lost trial tells nothing"
    assert text.activated.good == 0


def test_our_own_crashes_are_the_first_titles() -> None:
    found = titles(FOUND)
    assert found[0].title == "page fault in nooks_f [nooks]"
    assert {t.title: (t.native, t.isolated) for t in found}["#PF in f"] == (0, 2)
    assert {t.title: t.stacks for t in found}["page fault in f [e1000]"] == 2


def test_spread() -> None:
    assert str(spread([])) == "none"
    found = spread([float(n) for n in range(1, 101)])
    assert (found.median, found.p99, found.count) == (50.5, 99.0, 100)


@pytest.mark.parametrize("values", [[0.0], [1.5], [0.1, 0.2, 30.0], [n / 7 for n in range(500)]])
def test_a_histogram_has_every_value(values: list[float]) -> None:
    svg = histogram(values, label="a < b")
    bars = [int(n) for n in re.findall(r": (\d+)</title>", svg)]
    assert sum(bars) == len(values)
    assert ET.fromstring(svg).tag == "svg"
    assert "No values" in histogram([], label="x")


# ---- forms


class Page(HTMLParser):
    """Fails on a tag that is not closed; collects what would be loaded from elsewhere."""

    VOID = ("meta", "br", "rect", "line")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.outside += [v for k, v in attrs if k in ("src", "href") and v]
        assert tag != "script"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        assert self.open.pop() == tag


def test_the_page_tells_of_hung_drivers_if_there_were_any(tmp_path: Path) -> None:
    hung = [result(case(seed, N), Outcome.DRIVER_HANG) for seed in (7, 9)]
    found = [r for r in FOUND if r.case.mode is I] + hung
    assert "native driver hung" in render_html(PLAN, found, tmp_path)
    assert "native driver hung" not in render_html(PLAN, FOUND, tmp_path)


def test_the_page_is_whole_and_stands_alone(tmp_path: Path) -> None:
    text = render_html(PLAN, FOUND, tmp_path)
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.outside == []
    assert "QEMU &lt;ended&gt; &amp; died" in text
    assert "2 of 3 (67 %, 21-94 %)" in text
    for r in FOUND:
        assert f"pynooks campaign repro {tmp_path} {r.case.key}" in text
    assert render_html(PLAN, [], tmp_path)


def test_junit_fails_what_harmed_the_kernel(tmp_path: Path) -> None:
    suites = ET.fromstring(render_junit(PLAN, FOUND, tmp_path))
    nop = next(s for s in suites if s.get("name") == "e1000.nop")
    assert (nop.get("tests"), nop.get("failures"), nop.get("errors")) == ("4", "1", "1")
    seeds = [p.get("value") for p in nop.iter("property") if p.get("name") == "seed"]
    assert seeds == ["7", "8", "9", "10"]
    (failure,) = nop.iter("failure")
    assert f"pynooks campaign repro {tmp_path} e1000/nop/9/isolated" in (failure.text or "")


def test_a_report_is_three_files(tmp_path: Path) -> None:
    with Journal(tmp_path, PLAN) as journal:
        for r in FOUND:
            journal.add(r)
    paths = write_report(tmp_path, tmp_path / "out")
    assert [p.name for p in paths] == ["report.html", "junit.xml", "trials.jsonl"]
    lines = (tmp_path / "out/trials.jsonl").read_text().splitlines()
    assert [Result.of(json.loads(line)) for line in lines] == FOUND


def test_figures_have_their_place_in_a_document(tmp_path: Path) -> None:
    with Journal(tmp_path, PLAN) as journal:
        for r in FOUND:
            journal.add(r)
    path = tmp_path / "evaluation.md"
    path.write_text(f"a\n<!-- campaign {PLAN.name} -->\nold\n<!-- /campaign {PLAN.name} -->\nz\n")
    document(tmp_path, path)
    text = path.read_text()
    assert text.startswith("a\n")
    assert text.endswith("z\n")
    assert "old" not in text
    # trials, native: fails, no effect, other; isolated: fails, recovered, no effect, other
    assert "| nop | 4 | 3 | 1 | 0 | 1 | 2 | 0 | 1 |" in text
    assert "crashed, hung or were damaged: 1 of 4" in text
    assert "2 of 3 (67 %, 21-94 %) drivers recovered" in text
    assert "| kernel crash | 2 | 1 |" in text

    path.write_text("no place")
    with pytest.raises(RefusedError, match="has not one"):
        document(tmp_path, path)


# ---- comparing, minimizing


def test_only_a_worse_isolated_trial_is_a_regression() -> None:
    new = [
        result(case(7, N), Outcome.NO_EFFECT),
        result(case(7, I), Outcome.KERNEL_DAMAGED),
        result(case(8, N), Outcome.KERNEL_HANG),
        result(case(8, I), Outcome.RECOVERED),
        result(case(9, I), Outcome.LOST),
        result(case(99, I), CRASH),
    ]
    found = compare(FOUND, new)
    assert [(c.case.seed, c.regression) for c in found.changes] == [
        (7, False), (7, True), (8, False), (8, False),
    ]  # fmt: skip
    assert compare(FOUND, FOUND).changes == []


def test_other_faults_are_told() -> None:
    old = [result(case(n, N), CRASH, mutations=(mutation(1),)) for n in (1, 2)]
    new = [result(case(1, N), CRASH, mutations=(mutation(2),)),
           result(case(2, N), Outcome.NO_EFFECT, mutations=(mutation(1),)),
           result(case(3, N), CRASH)]  # fmt: skip
    found = compare(old, new)
    assert (found.both, found.same_faults) == (2, 1)
    assert [(c.case.seed, c.mark) for c in found.changes] == [(2, "")]
    (change,) = compare(old[:1], [replace(new[0], outcome=Outcome.NO_EFFECT)]).changes
    assert change.mark == "  (other faults)"


def test_minimize_keeps_what_it_takes() -> None:
    mutations = tuple(mutation(at) for at in range(5))
    before = result(case(), CRASH, "t", mutations=mutations, activated={1: 0.1, 3: 0.1, 4: 0.2})
    runs = []

    def again(now: tuple[Mutation, ...]) -> Result:
        runs.append(now)
        good = {mutations[1], mutations[4]} <= set(now)
        return result(case(), CRASH if good else Outcome.NO_EFFECT, "t" if good else "")

    assert minimize(before, again, progress=lambda _: None) == (mutations[1], mutations[4])
    assert runs[0] == (mutations[1], mutations[3], mutations[4])
    assert len(runs) <= 1 + 3
