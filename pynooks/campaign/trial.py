# SPDX-License-Identifier: GPL-2.0-only
"""One trial: restore, plant, let the workload run, look, judge."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynooks.campaign.base import ANSWER_S, Base, open_agent, open_workload
from pynooks.campaign.hardware import Hardware
from pynooks.campaign.journal import Fault, Result
from pynooks.campaign.outcome import Flow, Judged, Load, Nooked, Outcome, Seen, complaints, judge
from pynooks.campaign.plan import Case, Mode
from pynooks.campaign.pulse import Pulse, Time
from pynooks.control.client import Agent, Peer
from pynooks.errors import CheckError, GuestError, InfraError, NooksError
from pynooks.inject.mutate import Mutation
from pynooks.remote import LocalVm
from pynooks.trace.tracer import ALARMS
from pynooks.vm import stale
from pynooks.vm.crash import Verdict, VerdictKind
from pynooks.vm.machine import Vm
from pynooks.vm.registry import Identity

ALIVE_S = 1.0  # a flow that got nothing right for longer is not alive
SETTLE_S = 24.0  # for traffic to come back: three transmit timeouts of a driver, and a restart
BACKOFF_S = 16.0  # for TCP alone, at least: its retries are as far apart as the outage was long
REJOIN_S = 20.0  # after a recovery: new interfaces, their addresses and links, then TCP
RECOVERY_S = 30.0
REVIVAL_S = 20.0
SILENCE = (VerdictKind.HANG, VerdictKind.SOFT_LOCKUP, VerdictKind.RCU_STALL, VerdictKind.HUNG_TASK)
POLL_S = 0.25
LAST_WORDS_S = 1.0
COMPLAINTS = {"taint", *ALARMS}  # canaries that change when the kernel complains
BORING = (Outcome.NOT_ACTIVATED, Outcome.NO_EFFECT, Outcome.RECOVERED)


@dataclass(slots=True)
class _Notes:
    """What is known so far; the guest may die at any step."""

    planted: int = 0
    load: Load | None = None
    alive: bool = False
    missing: str = ""
    outage_s: float = 0.0
    nook: Nooked | None = None
    changed: tuple[str, ...] = ()
    recovery_s: float | None = None
    hits: Mapping[int, float] = field(default_factory=dict)
    detail: list[str] = field(default_factory=list)


def run_trial(
    case: Case,
    base: Base,
    faults: Sequence[Fault],
    workdir: Path,
    *,
    observe_s: float,
    keep: Path | None = None,
) -> Result:
    """Raises InfraError if the machinery failed: that is no result.

    keep: where the console log goes if the outcome is worth it
    """
    began = time.monotonic()
    notes = _Notes()
    cured = len(stale.cures)
    with Vm.restore(base.snapshot, workdir) as vm, ExitStack() as stack:
        (workdir / "qemu.pid").write_text(f"{vm.identity.pid} {vm.identity.start}")
        target = LocalVm(vm, name=case.key)
        pulse = stack.enter_context(Pulse(vm.identity.pid))
        try:
            _act(vm, target, case, base, faults, observe_s, notes)
        except GuestError as e:
            notes.detail.append(str(e))
        except CheckError as e:  # it answers, but not to this
            notes.detail.append(str(e))
        except InfraError as e:
            vm.wait_verdict(LAST_WORDS_S, fatal=True)
            if not vm.verdict():  # else a damaged kernel has ended what talks to us
                raise
            notes.detail.append(str(e))
        if vm.verdict():
            vm.console.wait_end(LAST_WORDS_S)  # a report may have more lines
        if any(v.kind in SILENCE for v in vm.verdicts()):
            notes.detail += _silence(vm, pulse.last())
        notes.detail += (*_blemishes(notes), *stale.cures[cured:])
        verdicts = tuple(vm.verdicts())
        console = vm.console.text
    judged = judge(_seen(case, notes, verdicts, console))
    if judged.outcome is Outcome.LOST:
        raise InfraError(judged.title, hint=f"see {workdir}")
    cause = next((v for v in verdicts if v.title == judged.title), None)
    return Result(
        case=case,
        outcome=judged.outcome,
        title=judged.title,
        corrupted=cause.corrupted if cause else "",
        others=tuple(dict.fromkeys(v.title for v in verdicts if v.title != judged.title)),
        mutations=tuple(faults),
        activated=dict(notes.hits),
        recovery_s=notes.recovery_s,
        outage_s=notes.outage_s,
        cost_s=round(time.monotonic() - began, 2),
        attempts=1,
        log=_keep_log(judged, console, keep),
        detail="; ".join(notes.detail)[:500],
        alternatives=cause.alternatives if cause else (),
        frames=cause.frames[:3] if cause else (),
    )


def _act(
    vm: Vm,
    target: LocalVm,
    case: Case,
    base: Base,
    faults: Sequence[Fault],
    observe_s: float,
    notes: _Notes,
) -> None:
    with ExitStack() as stack:
        agent = stack.enter_context(open_agent(target))
        load = stack.enter_context(open_workload(target))
        before = load.call("canaries", timeout=ANSWER_S)
        if case.mode is Mode.ISOLATED:
            agent.call("events", timeout=ANSWER_S)
        code = {i: f for i, f in enumerate(faults) if isinstance(f, Mutation)}
        places = {base.symbols[m.symbol] + m.offset: i for i, m in code.items()}
        reached = stack.enter_context(vm.reached())
        reached.watch(places)
        others = {i: f for i, f in enumerate(faults) if not isinstance(f, Mutation)}
        hardware = Hardware(reached, vm, target, base.symbols, others)
        reached.go()
        try:
            _plant(agent, case.driver, code.values(), notes)
            load.call("start", timeout=ANSWER_S)
            with hardware:
                _observe(vm, agent, load, hardware, case, observe_s, notes)
            after = load.call("canaries", timeout=ANSWER_S)
            changed = {k for k, v in before.items() if after.get(k) != v}
            if vm.verdict():  # what was told on the console is judged as such
                changed -= COMPLAINTS
            notes.changed = tuple(sorted(changed))
            load.call("slabs", timeout=ANSWER_S)
        finally:
            hits = {places[at]: round(s, 3) for at, s in reached.hits.items() if at in places}
            notes.hits = {**hits, **hardware.hits}
            notes.detail += filter(None, [hardware.said])


def _plant(agent: Agent, driver: str, mutations: Iterable[Mutation], notes: _Notes) -> None:
    """All of them, while the driver is idle. What stood there must be what the file says."""
    for m in mutations:
        patch = agent.inject(driver, m.symbol, offset=m.offset, code=m.new)
        if patch.old != m.old:
            raise InfraError(
                f"{m.symbol}+{m.offset:#x} holds {patch.old.hex()}, the file has {m.old.hex()}",
                hint="a patch site that pynooks/inject/mutate/code.py does not know; report it",
            )
        notes.planted += 1


def _observe(
    vm: Vm,
    agent: Agent,
    load: Peer,
    hardware: Hardware,
    case: Case,
    observe_s: float,
    notes: _Notes,
) -> None:
    """Until the outcome cannot change any more."""
    began = time.monotonic()
    _wait(vm, observe_s)
    quiet = time.monotonic()  # since when nothing but traffic can be missing
    while True:
        _look(load, notes)
        if case.mode is Mode.ISOLATED:
            _ask_nook(agent, case.driver, notes)
        state = notes.nook.state if notes.nook else "RUNNING"
        now = time.monotonic()
        if hardware.busy or state in ("LOADING", "FAILED", "RECOVERING"):
            quiet = now
            if now - began > observe_s + RECOVERY_S:
                return
        elif notes.alive or state != "RUNNING" or now - quiet > _patience(vm, notes):
            return
        _wait(vm, POLL_S)


def _patience(vm: Vm, notes: _Notes) -> float:
    """For how long traffic may be missing until it counts as gone."""
    if vm.verdict():
        return SETTLE_S / 2  # it is damaged; only whether it dies is of interest
    patience = REJOIN_S if notes.nook and notes.nook.faults else SETTLE_S
    waiting = notes.load.idle(ALIVE_S) if notes.load else ()
    return patience + max(BACKOFF_S, notes.outage_s / 2) if waiting == ("tcp",) else patience


def _wait(vm: Vm, seconds: float) -> None:
    """Sleep, unless the guest dies, or has an oops: then nothing can change the outcome."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        vm.wait_verdict(min(POLL_S, left), fatal=True)
        found = vm.verdict()
        if found and (found.fatal or found.kind is VerdictKind.OOPS):
            raise _dead(vm)


def _silence(vm: Vm, time_given: Time) -> list[str]:
    """What is known of a hang or lockup. Raises InfraError if the host is to blame."""
    kinds = {v.kind for v in vm.verdicts()}
    if time_given.starved and kinds <= {*SILENCE, VerdictKind.WARN}:
        raise InfraError(
            f"the host had no time for the guest: {time_given}",
            hint="fewer workers, or a quieter host",
        )
    found = [str(time_given)]
    if VerdictKind.HANG in kinds:
        found.append(f"CPUs at {', '.join(map(hex, vm.instruction_pointers()))}")
        if kinds == {VerdictKind.HANG} and vm.revives(REVIVAL_S):
            raise InfraError(
                f"the guest answers after all: {'; '.join(found)}",
                hint="fewer workers, or a quieter host",
            )
    return found


def _dead(vm: Vm) -> GuestError:
    found = vm.verdict()
    return GuestError(found.title if found else "dead", hint="see the console")


def _blemishes(notes: _Notes) -> list[str]:
    """Why applications are not well, in words."""
    if notes.load is None:
        return []
    changed = [f.name for f in notes.load.flows if f.changed]
    found = {
        "missing": notes.missing if not notes.alive else "",
        "changed": " ".join(changed),
        "wrong": "; ".join(notes.load.wrong),
        "errors": "; ".join(notes.load.errors),
    }
    return [f"{what}: {text}" for what, text in found.items() if text]


def _look(load: Peer, notes: _Notes) -> None:
    notes.load, notes.alive = None, False
    raw = load.call("report", timeout=ANSWER_S)
    notes.load = as_load(raw)
    notes.alive = notes.load.alive(ALIVE_S)
    notes.outage_s = max(f["outage_s"] for f in raw["flows"])
    missing = (*notes.load.idle(ALIVE_S), notes.load.closed, raw["unwired"])
    notes.missing = " ".join(filter(None, missing))


def as_load(raw: Mapping[str, Any]) -> Load:
    """The workload's report."""
    names = ("name", "sent", "received", "changed", "idle_s")
    return Load(
        flows=tuple(Flow(**{n: f[n] for n in names}) for f in raw["flows"]),
        errors=tuple(raw["errors"]),
        wrong=tuple(raw["wrong"]),
        gap_s=raw["gap_s"],
        closed=raw["closed"],
    )


def _ask_nook(agent: Agent, driver: str, notes: _Notes) -> None:
    try:
        nook = agent.nook(driver)
    except NooksError as e:
        if isinstance(e, GuestError | InfraError):
            raise
        notes.nook = Nooked(faults=1, recoveries=0, state="", fault=str(e))
        return
    fault = f"{nook.fault.vector} in {_function(nook.fault.symbol)}" if nook.fault else ""
    if nook.fault and nook.fault.what:
        fault += f": {nook.fault.what}"
    notes.nook = Nooked(
        faults=nook.stats["faults"],
        recoveries=nook.stats["recoveries"],
        state=nook.state,
        fault=fault,
    )
    notes.recovery_s = recovery_time(agent.events)


def _function(symbol: str) -> str:
    return symbol.split("+")[0] or "no known function"


def recovery_time(events: Iterable[Mapping[str, Any]]) -> float | None:
    """From the first fault to the next time that the driver runs; by the target's clock."""
    fault: float | None = None
    for event in events:
        if event["event"] == "fault" and fault is None:
            fault = float(event["t"])
        elif event["event"] == "state" and event["state"] == "RUNNING" and fault is not None:
            return round(float(event["t"]) - fault, 3)
    return None


def _seen(case: Case, notes: _Notes, verdicts: Sequence[Verdict], console: str) -> Seen:
    return Seen(
        driver=case.driver,
        verdicts=tuple(verdicts),
        activated=len(notes.hits),
        changed=notes.changed,
        load=notes.load,
        alive=notes.alive,
        nook=notes.nook,
        complaints=complaints(console, case.driver),
    )


def _keep_log(judged: Judged, console: str, keep: Path | None) -> str:
    if keep is None or judged.outcome in BORING:
        return ""
    keep.parent.mkdir(parents=True, exist_ok=True)
    keep.write_text(console)
    return keep.name


def reap(workdir: Path) -> None:
    """End the guest that a dead worker left behind."""
    try:
        pid, start = map(int, (workdir / "qemu.pid").read_text().split())
    except (OSError, ValueError):
        return
    Identity(pid, start).end()
    (workdir / "qemu.pid").unlink(missing_ok=True)
