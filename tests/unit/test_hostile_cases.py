# SPDX-License-Identifier: GPL-2.0-only
"""The table of the hostile suite and its C sources agree; what is told of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pynooks.bench import hostile
from pynooks.bench.cases import VALUES, Case, Class, Expect, choose, hostile_dir, load_cases
from pynooks.bench.hostile import Outcome, Trial
from pynooks.bench.lab import CANARIES, REFUSED, SYMBOLS, THINGS
from pynooks.errors import RefusedError, UsageError

CASES = load_cases()
SOURCES = "\n".join(p.read_text() for p in hostile_dir().glob("*.c"))
ATTACKS = set(re.findall(r"ATTACK\((\w+)\)", SOURCES))
# Used by tests that need more than a row of the table.
ELSEWHERE = {"ping", "netdev_held", "waits", "tasklet", "cli_later", "netdev_drop_kept"}
BUGS = {
    "out of bounds", "use after free", "double free", "NULL", "leak", "reference count",
    "race on teardown", "missing check of device input",
}  # fmt: skip


def test_there_are_enough_cases_of_each_class() -> None:
    assert len(CASES) >= 60
    for cls in Class:
        assert sum(case.cls is cls for case in CASES) >= 10
    assert {case.kind for case in CASES if case.cls is Class.BUG} >= BUGS


def test_every_attack_is_a_case_and_every_case_has_its_attack() -> None:
    used = {case.attack.split()[0] for case in CASES if case.module == "hostile"}
    assert used <= ATTACKS
    assert ATTACKS - used <= ELSEWHERE
    assert {case.module for case in CASES} == {"hostile", *REFUSED}


def test_every_function_that_is_blamed_exists() -> None:
    blamed = {case.at for case in CASES if case.at.startswith("hostile_")}
    assert not {name for name in blamed if not re.search(rf"\b{name}\(", SOURCES)}


def test_addresses_are_known() -> None:
    known = {*THINGS, *SYMBOLS, *VALUES, "heap", "bystander"}
    assert not {place for case in CASES for place in case.places} - known
    assert set(CANARIES) < {*THINGS, "bystander"}


def test_a_command_has_addresses_in_place_of_names() -> None:
    case = Case(name="x", cls=Class.BUG, kind="k", attack="store {slab} {junk}", vec="#PF")
    assert case.command({"slab": 0xABC}) == f"store abc {VALUES['junk']:x}"


@pytest.mark.parametrize(
    "text",
    [
        '[bug]\nx = { kind = "k", attack = "a" }',
        '[bug]\nx = { kind = "k", attack = "a", vec = "#XX" }',
        '[bug]\nx = { kind = "k", attack = "a", vec = "#PF", frob = 1 }',
        '[bug]\nx = { kind = "k", attack = "a", expect = "ignored", at = "f" }',
        '[bug]\nx = { kind = "k", attack = "a", expect = "refused" }',
        '[bug]\nx = { kind = "k", attack = "a", vec = "#PF", limits = { frob = 1 } }',
        '[bug]\nx = { kind = "k", attack = "a", vec = "#PF" }\n'
        '[code]\nx = { kind = "k", attack = "a", vec = "#PF" }',
    ],
)
def test_a_wrong_row_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "cases.toml"
    file.write_text(text)
    with pytest.raises(RefusedError):
        load_cases(file)


def test_cases_are_chosen_by_name_or_class() -> None:
    assert choose(CASES, None) == list(CASES)
    assert {case.cls for case in choose(CASES, ["code"])} == {Class.CODE}
    assert [case.name for case in choose(CASES, ["ud2"])] == ["ud2"]
    with pytest.raises(UsageError, match="frob"):
        choose(CASES, ["frob"])


def test_the_table_tells_both_sides() -> None:
    case = Case(name="x", cls=Class.BUG, kind="k", attack="a", expect=Expect.IGNORED)
    hole = Case(name="y", cls=Class.BUG, kind="k", attack="a", vec="#PF", hole="because")
    text = hostile.as_markdown(
        [
            Trial(case=case, native=True, outcome=Outcome.OOPS, detail="page fault | in f"),
            Trial(case=case, native=False, outcome=Outcome.IGNORED, detail=""),
            Trial(case=hole, native=False, outcome=Outcome.IGNORED, detail="", wrong="0 faults"),
        ]
    )
    assert "| `x` | k | oops: page fault / in f | ignored |  |" in text
    assert "| `y` | k | not run | ignored (hole) | because (0 faults) |" in text
    assert "isolated, 2 cases: 2 ignored; not as expected: 1" in text
