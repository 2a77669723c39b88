# SPDX-License-Identifier: GPL-2.0-only
"""Plans, outcomes, the journal and the pool: all of a campaign that needs no guest."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from campaignmake import PLAN, Task, case, mutation, nothing, play, result

from pynooks.campaign import cluster, runner
from pynooks.campaign.cluster import Cluster
from pynooks.campaign.journal import NAME, Journal, Result, read_plan_of, results
from pynooks.campaign.outcome import Flow, Load, Nooked, Outcome, Seen, complaints, judge
from pynooks.campaign.plan import Case, Mode, Plan, read_plan
from pynooks.campaign.pool import Pool
from pynooks.campaign.trial import as_load, recovery_time
from pynooks.errors import InfraError, UsageError
from pynooks.inject.mutate import FaultClass
from pynooks.vm.crash import Verdict, VerdictKind

O = Outcome  # noqa: E741
V = VerdictKind


# ---- plan


def test_cases_come_in_pairs_with_equal_seeds() -> None:
    cases = list(PLAN.cases())
    assert len(cases) == len(set(cases)) == 5 * 2 * 2
    for native, isolated in zip(cases[::2], cases[1::2], strict=True):
        assert (native.mode, isolated.mode) == (Mode.NATIVE, Mode.ISOLATED)
        assert (native.cls, native.seed) == (isolated.cls, isolated.seed)
    assert {c.seed for c in cases} == set(range(7, 12))


def test_a_key_names_its_case() -> None:
    for one in PLAN.cases():
        assert Case.of(one.key) == one
    for bad in ("e1000/nop/1", "e1000/nope/1/native", "e1000/nop/x/native", "e1000/nop/1/both"):
        with pytest.raises(UsageError):
            Case.of(bad)


def test_a_plan_survives_its_journal() -> None:
    assert Plan.of(json.loads(json.dumps(PLAN.as_json()))) == PLAN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "campaign"),
        ("[campaign]\ntrials = 0", "trials is 0"),
        ("[campaign]\ncolour = 1", "no key colour"),
        ("[campaign]\nclasses = ['nope']", "nope"),
        ("[campaign]\nmodes = []", "modes: "),
        ("[campaign]\nseed = 1\nmodes = ['native', 'native']", "modes: "),
    ],
)
def test_plans_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_plan(path)


def test_a_seed_is_drawn_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text("[campaign]\nclasses = 'all'\n")
    plan = read_plan(path)
    assert plan.name == "small"
    assert plan.classes == tuple(FaultClass)
    assert read_plan(path).seed != plan.seed
    assert read_plan(path, seed=3, workers=2) == Plan.of(plan.as_json() | {"seed": 3, "workers": 2})


# ---- outcome


def flow(changed: int = 0, idle_s: float = 0.1) -> Flow:
    return Flow(name="udp a-b", sent=9, received=9, changed=changed, idle_s=idle_s)


def verdict(kind: VerdictKind, title: str = "t") -> Verdict:
    return Verdict(kind=kind, title=title, source="serial")


def seen(*verdicts: Verdict, **more: object) -> Seen:
    values: dict[str, object] = {
        "driver": "e1000", "activated": 1, "changed": (), "load": Load(flows=(flow(),)),
        "alive": True, "nook": None,
    }  # fmt: skip
    return Seen(verdicts=verdicts, **(values | more))  # type: ignore[arg-type]


def nooked(faults: int = 1, state: str = "RUNNING") -> Nooked:
    return Nooked(faults=faults, recoveries=faults, state=state, fault="#PF in f")


OWN_WARN = Verdict(
    kind=V.WARN,
    title="WARNING in e1000_f",
    source="serial",
    text="WARNING: CPU: 0 PID: 1 at drivers/x.c:9 e1000_f+0x1/0x2 [e1000]\nmore",
)
WRONG = Load(flows=(flow(changed=1),))


@pytest.mark.parametrize(
    ("what", "outcome", "title"),
    [
        (seen(), O.NO_EFFECT, ""),
        (seen(activated=0), O.NOT_ACTIVATED, ""),
        (seen(load=WRONG), O.WRONG_RESULT, "wrong data: udp a-b"),
        (seen(load=Load(flows=(flow(),), errors=("up: EIO",))), O.DRIVER_ERROR, "up: EIO"),
        (seen(complaints=("Detected Tx Unit Hang",)), O.DRIVER_ERROR, "Detected Tx Unit Hang"),
        (seen(alive=False), O.DRIVER_HANG, "no traffic"),
        (seen(alive=False, load=None), O.DRIVER_HANG, "the workload does not answer"),
        (
            seen(verdict(V.WARN, "WARNING in dev_watchdog"), alive=False),
            O.DRIVER_HANG,
            "transmit timeout",
        ),
        (seen(OWN_WARN), O.DRIVER_ERROR, "WARNING in e1000_f"),
        (seen(OWN_WARN, nook=nooked()), O.RECOVERED, "#PF in f"),
        (seen(nook=nooked(faults=0)), O.NO_EFFECT, ""),
        (seen(nook=nooked()), O.RECOVERED, "#PF in f"),
        (seen(nook=nooked(), activated=0), O.RECOVERED, "#PF in f"),
        (seen(nook=nooked(), alive=False), O.RECOVERED_HURT, "#PF in f"),
        (seen(nook=nooked(), load=WRONG), O.RECOVERED_HURT, "#PF in f"),
        (seen(nook=nooked(state="STOPPED")), O.NOT_RECOVERED, "#PF in f"),
        (seen(nook=nooked(), changed=("sys_call_table",)), O.KERNEL_DAMAGED,
         "changed: sys_call_table"),
        (seen(verdict(V.WARN), nook=nooked()), O.KERNEL_DAMAGED, "t"),
        (seen(verdict(V.SOFT_LOCKUP)), O.KERNEL_DAMAGED, "t"),
        (seen(verdict(V.OOPS)), O.KERNEL_CRASH, "t"),
        (seen(verdict(V.OOPS, "page fault"), verdict(V.PANIC)), O.KERNEL_CRASH, "page fault"),
        (seen(verdict(V.PANIC, "panic: x")), O.KERNEL_CRASH, "panic: x"),
        (seen(verdict(V.RESET, "reset")), O.KERNEL_CRASH, "reset"),
        (seen(verdict(V.HANG)), O.KERNEL_HANG, "t"),
        (seen(verdict(V.HANG), verdict(V.SOFT_LOCKUP, "stuck")), O.KERNEL_HANG, "stuck"),
        (seen(verdict(V.HANG), verdict(V.OOPS, "null")), O.KERNEL_CRASH, "null"),
        (seen(verdict(V.LOST)), O.LOST, "t"),
    ],
)  # fmt: skip
def test_judgement(what: Seen, outcome: Outcome, title: str) -> None:
    found = judge(what)
    assert (found.outcome, found.title) == (outcome, title)


def test_every_outcome_can_be_reached() -> None:
    table = next(m for m in test_judgement.pytestmark if m.name == "parametrize")  # type: ignore[attr-defined]
    assert {row[1] for row in table.args[1]} == set(Outcome)


def test_only_three_outcomes_are_bugs_of_ours() -> None:
    assert {o for o in Outcome if o.is_kernel_failure} == {
        O.KERNEL_CRASH, O.KERNEL_HANG, O.KERNEL_DAMAGED,
    }  # fmt: skip


def test_complaints_of_a_driver() -> None:
    console = """\
[    1.5] e1000 0000:00:03.0 eth0: Detected Tx Unit Hang
[    1.6] e1000 0000:00:03.0 eth0: Detected Tx Unit Hang
[    2.5] e1000 0000:00:04.0: probe failed with error -5
[    2.6] e1000: eth1 NIC Link is Up 1000 Mbps
[    2.7] e1000 0000:00:04.0 eth0: Intel(R) PRO/1000 Network Connection
[    2.8] e1000e 0000:00:05.0: error
"""
    assert complaints(console, "e1000") == ("Detected Tx Unit Hang", "probe failed with error -N")


def test_a_report_of_the_workload() -> None:
    raw = {"flows": [{"name": "tcp", "sent": 1, "received": 1, "changed": 0, "idle_s": 2.0,
                      "outage_s": 2.0}], "errors": ["up: EIO"], "wrong": [], "gap_s": 0.1,
           "closed": "", "rewired": 1, "unwired": ""}  # fmt: skip
    load = as_load(raw)
    assert load.errors == ("up: EIO",)
    assert load.alive(2.5)
    assert not load.alive(1.0)
    assert not as_load(raw | {"closed": "ECONNRESET"}).alive(2.5)


def test_recovery_is_from_the_first_fault_to_running() -> None:
    def state(name: str, t: float) -> dict[str, object]:
        return {"event": "state", "state": name, "t": t}

    def fault(t: float) -> dict[str, object]:
        return {"event": "fault", "t": t}

    events = [state("RUNNING", 1.0), fault(2.0), state("FAILED", 2.0), fault(2.5),
              state("RUNNING", 3.25), state("RUNNING", 9.0)]  # fmt: skip
    assert recovery_time(events) == 1.25
    assert recovery_time(events[:4]) is None


# ---- journal


def test_a_result_survives_its_journal() -> None:
    one = result(case(), O.RECOVERED, "#PF in f", others=("a",), log="x.log")
    assert Result.of(json.loads(json.dumps(one.as_json()))) == one


def test_a_journal_goes_on(tmp_path: Path) -> None:
    with Journal(tmp_path, PLAN) as journal:
        journal.add(result(case(7)))
        with pytest.raises(UsageError):
            journal.add(result(case(7)))
        with pytest.raises(InfraError, match="another runner"):
            Journal(tmp_path)
    with pytest.raises(UsageError, match="already"):
        Journal(tmp_path, PLAN)
    with Journal(tmp_path) as journal:
        assert journal.plan == PLAN
        assert journal.done == {case(7)}
        journal.add(result(case(8)))
    assert [r.case for r in results(tmp_path)] == [case(7), case(8)]


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    with Journal(tmp_path, PLAN) as journal:
        journal.add(result(case(7)))
        journal.add(result(case(8)))
    whole = (tmp_path / NAME).read_bytes()
    first = whole.index(b"\n", whole.index(b"\n") + 1) + 1
    for end in range(first, len(whole), 41):
        (tmp_path / NAME).write_bytes(whole[:end])
        with Journal(tmp_path) as journal:
            assert journal.done == {case(7)}
            journal.add(result(case(8)))
        assert (tmp_path / NAME).read_bytes() == whole


def test_a_full_disk_is_told_and_leaves_no_half_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with Journal(tmp_path, PLAN) as journal:
        before = (tmp_path / NAME).read_bytes()
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(InfraError, match="No space left"):
            journal.add(result(case(7)))
        assert (tmp_path / NAME).read_bytes() == before
        assert journal.done == set()


def test_a_damaged_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no campaign"):
        Journal(tmp_path)
    (tmp_path / NAME).write_text('{"trial": 1}\n')
    with pytest.raises(UsageError, match="plan"):
        read_plan_of(tmp_path / NAME)
    (tmp_path / NAME).write_text("{]\n")
    with pytest.raises(InfraError, match="line 1"):
        results(tmp_path)


# ---- pool


def finished(root: Path, tasks: list[Task], *, workers: int = 2, retries: int = 2) -> list[Result]:
    with Pool(workers, root, play, clean=nothing) as pool:
        return list(runner.finish(pool, tasks, retries=retries, progress=lambda _: None))  # type: ignore[arg-type]


def test_workers_share_the_jobs(tmp_path: Path) -> None:
    found = finished(tmp_path, [Task(c, "slow") for c in PLAN.cases()])
    assert sorted(r.case for r in found) == sorted(PLAN.cases())
    assert all((tmp_path / f"worker-{i}/seen").exists() for i in (0, 1))


def test_a_dead_worker_is_replaced_and_its_job_done(tmp_path: Path) -> None:
    words = {0: "die-once", 5: "die-once"}
    tasks = [Task(c, words.get(i, "good")) for i, c in enumerate(PLAN.cases())]
    found = finished(tmp_path, tasks)
    assert sorted(r.case for r in found) == sorted(PLAN.cases())
    assert [r.attempts for r in sorted(found, key=lambda r: r.attempts)][-2:] == [2, 2]
    assert all(r.outcome is O.NO_EFFECT for r in found)


@pytest.mark.parametrize(
    ("word", "said"), [("die", "status -9"), ("infra", "QEMU"), ("bug", "KeyErr")]
)
def test_machinery_that_fails_for_good_is_lost_and_counted(
    tmp_path: Path, word: str, said: str
) -> None:
    (found,) = finished(tmp_path, [Task(case(), word)], workers=1, retries=1)
    assert found.outcome is O.LOST
    assert found.attempts == 2
    assert said in found.title


RUNNER = """
import sys, time
sys.path[:0] = sys.argv[2:4]
from pathlib import Path
from campaignmake import PLAN, Task, nothing, play
from pynooks.campaign import cluster, runner
from pynooks.campaign.cluster import Cluster
from pynooks.campaign.journal import Journal, NAME
from pynooks.campaign.pool import Pool
if __name__ == "__main__":
    root = Path(sys.argv[1])
    plan = None if (root / NAME).exists() else PLAN
    with Journal(root, plan) as journal:
        todo = [Task(c, "slow") for c in journal.plan.cases() if c not in journal.done]
        with Pool(2, root / "workers", play, clean=nothing) as pool:
            for result in runner.finish(pool, todo, retries=1, progress=print):
                journal.add(result)
"""


def test_a_killed_runner_loses_and_repeats_nothing(tmp_path: Path) -> None:
    script = tmp_path / "runner.py"
    script.write_text(RUNNER)
    root = tmp_path / "campaign"
    here, package = Path(__file__).parent, Path(__file__).parents[2]
    argv = [sys.executable, str(script), str(root), str(here), str(package)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        if (root / NAME).exists() and len(results(root)) >= random.randrange(1, 15):
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(results(root)) < len(list(PLAN.cases()))
    subprocess.run(argv, check=True, timeout=60, stdout=subprocess.DEVNULL)
    found = [r.case for r in results(root)]
    assert sorted(found) == sorted(PLAN.cases())
    assert len(found) == len(set(found))
    assert mutation().overlaps(mutation())


# ---- cluster


def test_a_cluster_loses_nothing_with_a_worker(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="pip install 'pynooks[cluster]'")
    words = {0: "die-once", 5: "infra"}
    tasks = [Task(c, words.get(i, "slow")) for i, c in enumerate(PLAN.cases())]
    with Cluster("local", 2, tmp_path, play, clean=nothing) as pool:
        found = list(runner.finish(pool, tasks, retries=1, progress=lambda _: None))  # type: ignore[arg-type]
    assert sorted(r.case for r in found) == sorted(PLAN.cases())
    assert [r.outcome for r in found].count(O.LOST) == 1


def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="pip install 'pynooks[cluster]'")
    monkeypatch.setattr(cluster, "CONNECT_S", 1)
    with pytest.raises(InfraError, match="no scheduler"):
        Cluster("tcp://127.0.0.1:9", 1, Path(), play, clean=nothing)
