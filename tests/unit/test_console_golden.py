# SPDX-License-Identifier: GPL-2.0-only
"""Golden console logs: header lines `kind | title | whole or truncated`, a blank line, raw text.

UPDATE_GOLDEN=1 rewrites the headers; the diff is reviewed like code.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pynooks.vm.crash import Parser, Verdict, VerdictKind, normalise, parse, worst

GOLDEN = Path(__file__).parents[1] / "golden" / "console"
LOGS = sorted(GOLDEN.glob("*.log"))


def split(path: Path) -> tuple[str, str]:
    header, _, raw = path.read_text().partition("\n\n")
    if header.startswith(("[", "\n")) or not raw:  # no header yet
        return "", path.read_text().lstrip("\n")
    return header, raw


def header(verdicts: list[Verdict]) -> str:
    lines = [f"{v.kind} | {v.title} | {'truncated' if v.truncated else 'whole'}" for v in verdicts]
    return "\n".join(lines) or "nothing"


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_golden_logs(path: Path) -> None:
    expected, raw = split(path)
    found = header(parse(raw))
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(f"{found}\n\n{raw}")
        return
    assert found == expected


def test_the_set_has_every_sort_of_log() -> None:
    kinds = {v.kind for path in LOGS for v in parse(split(path)[1])}
    from_console = {kind for kind in VerdictKind if not kind.fatal} | {VerdictKind.PANIC}
    assert kinds >= from_console - {VerdictKind.HARD_LOCKUP}
    names = {path.stem.split("-")[0] for path in LOGS}
    assert {"negative", "truncated", "interleaved"} <= names


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_chunks_do_not_matter(path: Path, size: int) -> None:
    raw = split(path)[1]
    parser = Parser()
    for start in range(0, len(raw), size):
        parser.feed(raw[start : start + size])
    parser.close()
    assert parser.verdicts() == parse(raw)


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_the_rest_of_a_log_has_no_report_again(path: Path) -> None:
    raw = split(path)[1]
    all_of_it = parse(raw)
    lines = raw.splitlines(keepends=True)
    before = 0
    for i in range(len(lines) + 1):
        first, rest = parse("".join(lines[:i])), parse("".join(lines[i:]))
        # A cut makes no report appear out of nothing: what is seen before the cut never shrinks.
        assert len(first) >= before
        before = len(first)
        if first and not first[-1].truncated and first == all_of_it:
            assert rest == []


def test_a_panic_is_seen_as_soon_as_its_line_is() -> None:
    parser = Parser()
    parser.feed("[    1.000000] Kernel panic - not syncing: oh no\n")
    (found,) = parser.verdicts()
    assert found.fatal
    assert not found.truncated
    assert found.title == "panic: oh no"


def test_titles_lose_what_differs_between_runs() -> None:
    assert normalise("foo.isra.0+0x12/0x34") == "foo"
    assert normalise("Attempted to kill init! exitcode=0x0000000b").endswith("exitcode=ADDR")
    assert normalise("kworker/1:2") == "kworker/N:N"


DOUBTFUL = {
    "e1000-destination-101", "e1000-destination-6", "e1000-interface-10", "e1000-off-by-one-8",
    "e1000-pointer-100", "e1000-source-101", "interleaved", "truncated-first-line",
    "truncated-in-report",
}  # fmt: skip


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_doubtful_reports_say_why(path: Path) -> None:
    found = [v.corrupted for v in parse(split(path)[1])]
    assert any(found) == (path.stem in DOUBTFUL)


def test_a_crash_has_frames_and_other_titles() -> None:
    (found,) = parse(split(GOLDEN / "list.log")[1])
    assert found.frames[:2] == ("crasher_list [crasher]", "ci [crasher]")
    assert found.alternatives[0] == "kernel BUG at lib/list_debug.c in crasher_list [crasher]"
    assert found.signature == (found.title, *found.frames[:3])
    assert all("entry_SYSCALL" not in title for title in found.alternatives)


def test_two_reports_in_one_are_doubtful() -> None:
    raw = split(GOLDEN / "null.log")[1]
    twice = raw.replace("] RIP: 0010:", "] CPU: 0 PID: 7 Comm: x\n[    6.000000] RIP: 0010:", 1)
    (found,) = parse(twice)
    assert found.corrupted == "two reports ran into each other"


def test_worst_is_the_most_severe_and_the_first_of_equals() -> None:
    def verdict(kind: VerdictKind, title: str) -> Verdict:
        return Verdict(kind=kind, title=title, source="serial")

    warn = verdict(VerdictKind.WARN, "a")
    first, second = verdict(VerdictKind.OOPS, "b"), verdict(VerdictKind.OOPS, "c")
    assert worst([]) is None
    assert worst([warn, first, second]) is first


@pytest.mark.parametrize("kind", VerdictKind)
def test_only_a_dead_guest_is_fatal(kind: VerdictKind) -> None:
    alive = {"warn", "hung-task", "rcu-stall", "soft-lockup", "hard-lockup", "bug", "oops"}
    assert kind.fatal == (kind not in alive)
