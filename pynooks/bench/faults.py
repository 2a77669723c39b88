# SPDX-License-Identifier: GPL-2.0-only
"""What each kind of fault does to the kernel, native and isolated: pairs of trials."""

from __future__ import annotations

import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pynooks.bench.report import table
from pynooks.control.client import Agent
from pynooks.demo.net import SPACES, ping, wire
from pynooks.deploy import deploy, release
from pynooks.errors import GuestError, InfraError, NooksError
from pynooks.inject import Injection, Kind, inject_kind
from pynooks.remote import LocalVm
from pynooks.trace import canaries
from pynooks.vm.machine import Snapshot, VerdictKind, Vm, VmSpec

DRIVER = "e1000"
WATCH_S = 40  # the soft lockup detector speaks after about 22 s
RECOVERY_S = 40
_VERDICT_S = 20
SCHEMA = 1
Progress = Callable[[str], None]
_TRAFFIC = (
    f"while :; do ip netns exec {SPACES[0]} ping -q -c 1000 -i 0.02 192.0.2.2 || sleep 0.1; done"
)


class Outcome(StrEnum):
    """What became of the guest; a closed list, worst first. LOST says nothing about it."""

    PANIC = "panic"
    HANG = "hang"
    OOPS = "oops"
    SILENT = "silent damage"
    DEAD = "network dead"
    UNHARMED = "no effect"
    RECOVERED = "recovered"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One fault. site: symbol+offset; detail: the console's title, or the nook's fault record."""

    kind: str
    seed: int
    native: bool
    site: str
    outcome: Outcome
    detail: str


def native_base(workdir: Path, progress: Progress = lambda _: None) -> Snapshot:
    """A frozen guest with the native driver, connected. nooks.ko is loaded: it injects."""
    with Vm.start(VmSpec(name="faults-native"), workdir, progress) as vm:
        target = LocalVm(vm, name=vm.spec.name)
        target.run(["modprobe", DRIVER])
        deploy(target, DRIVER, progress=progress)
        release(target, DRIVER, progress=progress)
        wire(target, DRIVER)
        return vm.freeze(workdir / "base.qcow2")


def isolated_base(workdir: Path, progress: Progress = lambda _: None) -> Snapshot:
    """The same, with the driver in its nook."""
    with Vm.start(VmSpec(name="faults-isolated"), workdir, progress) as vm:
        target = LocalVm(vm, name=vm.spec.name)
        deploy(target, DRIVER, progress=progress)
        wire(target, DRIVER)
        return vm.freeze(workdir / "base.qcow2")


def native_trial(
    base: Snapshot, workdir: Path, kind: Kind, *, seed: int, keep: Path | None = None
) -> Trial:
    """Inject into the native driver of a copy of `base`, and watch. keep: for its console."""
    site = ""
    try:
        with Vm.restore(base, workdir) as vm:
            target = LocalVm(vm, name=vm.spec.name)
            before = canaries(target)
            with target.open_stream(["sh", "-c", _TRAFFIC]):
                try:
                    done = inject_kind(target, DRIVER, kind, seed=seed, native=True)
                    site = _site(done)
                except NooksError as e:  # because the guest died of it, or its agent
                    if not vm.wait_verdict(_VERDICT_S):
                        raise
                    site = f"not told: {e}"
                outcome, detail = _watch(vm, target, before)
            if keep:
                keep.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(vm.console_log, keep)
    except InfraError as e:
        outcome, detail = Outcome.LOST, str(e)
    return Trial(kind=str(kind), seed=seed, native=True, site=site, outcome=outcome, detail=detail)


def _watch(vm: Vm, target: LocalVm, before: dict[str, str]) -> tuple[Outcome, str]:
    """What the outside sees; an oops may still become a panic."""
    if found := vm.wait_verdict(WATCH_S, fatal=True):
        if found.kind is VerdictKind.LOST:
            return Outcome.LOST, found.title
        dead = found.kind in (VerdictKind.HANG, VerdictKind.HARD_LOCKUP)
        return (Outcome.HANG if dead else Outcome.PANIC), found.title
    if found := vm.verdict():
        stuck = found.kind in (VerdictKind.SOFT_LOCKUP, VerdictKind.RCU_STALL)
        return (Outcome.HANG if stuck else Outcome.OOPS), found.title
    try:
        after = canaries(target)
        alive = ping(target, count=5).whole
    except GuestError as e:
        return Outcome.HANG, str(e)
    except NooksError as e:
        return Outcome.DEAD, str(e)
    if changed := sorted(name for name in before if after.get(name) != before[name]):
        return Outcome.SILENT, f"changed: {', '.join(changed)}"
    return (Outcome.UNHARMED, "") if alive else (Outcome.DEAD, "pings are lost")


def isolated_trials(
    base: Snapshot, workdir: Path, plan: Iterable[tuple[Kind, int]]
) -> Iterator[Trial]:
    """The same faults in the nook, one after the other in one guest, as long as it is well.

    Anything but RECOVERED is a failure of ours; the next trial then gets a fresh copy of `base`.
    """
    todo = deque(plan)
    while todo:
        with Vm.restore(base, workdir) as vm, ExitStack() as stack:
            target = LocalVm(vm, name=vm.spec.name)
            before = canaries(target)
            agent = stack.enter_context(Agent(target))
            stack.enter_context(target.open_stream(["sh", "-c", _TRAFFIC]))
            while todo:
                trial = _isolated(target, agent, before, *todo.popleft())
                yield trial
                if trial.outcome is not Outcome.RECOVERED:
                    break


def _isolated(
    target: LocalVm, agent: Agent, before: dict[str, str], kind: Kind, seed: int
) -> Trial:
    site = ""
    try:
        faults = agent.nook(DRIVER).stats["faults"]
        done = inject_kind(target, DRIVER, kind, seed=seed, native=False, agent=agent)
        site = _site(done)
        detail = _recovered(agent, faults)
        outcome = Outcome.RECOVERED if detail else Outcome.DEAD
        if detail:
            wire(target, DRIVER)
            if not ping(target, count=20).whole:
                outcome = Outcome.DEAD
        if found := target.vm.verdict():
            outcome, detail = Outcome.OOPS, found.title
        elif changed := [n for n, v in canaries(target).items() if before[n] != v]:
            outcome, detail = Outcome.SILENT, f"changed: {', '.join(changed)}"
    except GuestError as e:
        outcome, detail = _watch(target.vm, target, before)[0], str(e)
    except InfraError as e:
        outcome, detail = Outcome.LOST, str(e)
    except NooksError as e:
        outcome, detail = Outcome.DEAD, str(e)
    return Trial(kind=str(kind), seed=seed, native=False, site=site, outcome=outcome, detail=detail)


def _recovered(agent: Agent, faults: int) -> str:
    """The fault's record once the nook runs again, "" if it does not."""
    deadline = time.monotonic() + RECOVERY_S
    while time.monotonic() < deadline:
        nook = agent.nook(DRIVER)
        if nook.stats["faults"] > faults and nook.state == "RUNNING" and nook.fault:
            return f"{nook.fault.vector} at {nook.fault.symbol or hex(nook.fault.ip)}"
        time.sleep(0.2)
    return ""


def _site(done: Injection) -> str:
    where = f"{done.patch.symbol}+{done.patch.offset:#x}"
    return f"{where} -> {done.target}" if done.target else where


def _told(trial: Trial) -> str:
    """The outcome with its detail, which may begin with the same word."""
    detail = trial.detail.removeprefix(f"{trial.outcome}: ")
    return f"{trial.outcome}: {detail}" if detail else str(trial.outcome)


def _natively(trials: list[Trial]) -> str:
    """How often which outcome, worst first, with the commonest of its details."""
    if not trials:
        return "not run"
    told = []
    for outcome in Outcome:
        mine = Counter(_told(t) for t in trials if t.outcome is outcome)
        if mine:
            told.append(f"{mine.total()} {mine.most_common(1)[0][0]}")
    return "; ".join(told)


def as_json(trial: Trial) -> dict[str, Any]:
    return {"schema": SCHEMA, **asdict(trial)}


def as_markdown(trials: Iterable[Trial]) -> str:
    """One row per kind: what the native kernel did, and how many isolated ones recovered."""
    have = list(trials)
    rows = []
    for kind in Kind:
        mine = [t for t in have if t.kind == kind]
        native = [t for t in mine if t.native]
        isolated = [t for t in mine if not t.native]
        good = sum(t.outcome is Outcome.RECOVERED for t in isolated)
        rows.append(
            [
                f"`{kind}`",
                _natively(native),
                f"{good} of {len(isolated)} recovered",
                "; ".join(sorted({t.detail for t in isolated})[:3]),
            ]
        )
    return "\n".join(table(("fault", "native kernel", "isolated", "for example"), rows))
