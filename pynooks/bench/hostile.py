# SPDX-License-Identifier: GPL-2.0-only
"""Every case of the hostile suite, native and isolated, and what became of it."""

from __future__ import annotations

import logging
import shlex
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pynooks.bench.cases import Case, Class, Expect
from pynooks.bench.lab import (
    CANARIES,
    DEVICE,
    IN_A_NOOK,
    MODULES,
    PARAMETERS,
    REFUSED,
    SYMBOLS,
    THINGS,
    Lab,
    Progress,
    make_hostile,
    running_lab,
)
from pynooks.bench.report import table
from pynooks.errors import GuestError, InfraError, NooksError
from pynooks.vm.cmdline import WITNESS
from pynooks.vm.machine import Snapshot, Verdict, VerdictKind, Vm, VmSpec
from pynooks.vm.ssh import CommandTimeoutError

_log = logging.getLogger(__name__)
SCHEMA = 1
FAULT_S = 5.0  # until a fault of what an attack left behind
NATIVE_S = 8.0  # for the attack and what follows it
VALIDATE_S = 20.0
STUCK_S = 12.0  # the detectors of a guest that does not answer speak before
SETTLE_S = 1.0  # an oops may still become a panic

# The detectors need seconds, and damage in slabs is seen when it is looked for.
_DETECTORS = """
sysctl -qw kernel.watchdog_thresh=2 kernel.hung_task_timeout_secs=3
sysctl -qw kernel.hung_task_check_interval_secs=1
echo 4 >/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout
"""
_SLABS = "/sys/kernel/slab/kmalloc-*/validate /sys/kernel/slab/skbuff_*/validate"
VALIDATE = f"for s in {_SLABS}; do echo 1 >$s; done 2>/dev/null; true"


class Outcome(StrEnum):
    """What became of the kernel; a closed list, worst first. LOST says nothing about it."""

    PANIC = "panic"
    HANG = "hang"
    OOPS = "oops"
    DAMAGE = "damaged"
    UNHARMED = "no effect"
    REFUSED = "refused"
    IGNORED = "ignored"
    FAULT = "fault"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One case, native or isolated.

    detail: the console's title, or the fault's record
    wrong:  isolated: what is not as the table says; "" if nothing
    """

    case: Case
    native: bool
    outcome: Outcome
    detail: str
    wrong: str = ""


# ---- isolated


def isolated_trial(lab: Lab, case: Case) -> Trial:
    """One case in its nook. Raises NooksError if the driver does not come back."""
    if case.expect is Expect.REFUSED:
        said = lab.refusal(case.module)
        outcome = Outcome.REFUSED if said else Outcome.UNHARMED
        return _judged(lab, case, outcome, said, "" if case.what in said else "not refused so")
    with lab.limited(dict(case.limits)):
        return _attacked(lab, case)


def _attacked(lab: Lab, case: Case) -> Trial:
    before = lab.nook().stats
    went = lab.attack(case.command(lab.addresses))
    after = f"{case.then};" if case.then else ""
    if case.unload:
        went = went and lab.nook().stats["faults"] == before["faults"]
        lab.agent.call("rmmod", name="hostile")
        lab.shell(f"{after} sleep 1")
        lab.agent.call("insmod", path=f"{MODULES}/hostile.nook.ko")
        before = {**before, "faults": 0, "recoveries": 0}
    elif after:
        lab.shell(after)
    deadline = time.monotonic() + FAULT_S
    while case.expect is Expect.FAULT and time.monotonic() < deadline:
        if lab.nook().stats["faults"] > before["faults"]:
            break
        time.sleep(0.05)
    nook = lab.await_running()
    faults = nook.stats["faults"] - before["faults"]
    wrong = _unlike(case, lab, went, faults) if case.expect is Expect.FAULT else ""
    if case.expect is Expect.IGNORED and (faults or not went):
        wrong = f"{faults} faults" if faults else "what was armed did not run"
    if nook.stats["recoveries"] - before["recoveries"] != faults or nook.stats["inside"]:
        wrong = wrong or "recoveries or entries do not agree"
    if not faults:
        return _judged(lab, case, Outcome.IGNORED, "", wrong)
    return _judged(lab, case, Outcome.FAULT, _told(lab), wrong)


def _unlike(case: Case, lab: Lab, went: bool, faults: int) -> str:
    """What the fault's record has that it should not."""
    fault = lab.nook().fault
    if faults != 1 or fault is None:
        return f"{faults} faults, and the attack {'went through' if went else 'failed'}"
    if fault.vector != case.vec:
        return f"{fault.vector} instead of {case.vec}"
    if case.at and _function(fault.symbol) != case.at:
        return f"at {fault.symbol} instead of {case.at}"
    return "" if case.what in fault.what else f"{fault.what!r} has no {case.what!r}"


def _told(lab: Lab) -> str:
    fault = lab.nook().fault
    if fault is None:
        return ""
    return f"{fault.vector} at {_function(fault.symbol) or hex(fault.ip)}: {fault.what}"


def _function(symbol: str) -> str:
    """The name of symbol+offset, without what the compiler appends."""
    return symbol.partition("+")[0].partition(".")[0]


def _judged(lab: Lab, case: Case, outcome: Outcome, detail: str, wrong: str) -> Trial:
    if harm := lab.harm():
        return Trial(
            case=case, native=False, outcome=Outcome.DAMAGE, detail="; ".join(harm),
            wrong=f"harm: {'; '.join(harm)}",
        )  # fmt: skip
    return Trial(case=case, native=False, outcome=outcome, detail=detail, wrong=wrong)


def isolated_trials(
    workdir: Path, cases: Iterable[Case], progress: Progress = lambda _: None
) -> Iterator[Trial]:
    """One after the other in one guest, as long as it is well; then the next gets a fresh one."""
    todo = deque(cases)
    while todo:
        with running_lab(VmSpec(name="hostile"), workdir, progress=progress) as lab:
            while todo:
                trial = _survived(lab, todo.popleft())
                yield trial
                if trial.outcome in (Outcome.PANIC, Outcome.HANG, Outcome.OOPS, Outcome.DAMAGE):
                    break


def _survived(lab: Lab, case: Case) -> Trial:
    try:
        return isolated_trial(lab, case)
    except NooksError as e:
        found = lab.vm.wait_verdict(SETTLE_S, fatal=True) or lab.vm.verdict()
        outcome = _outcome(found) if found else Outcome.HANG
        detail = found.title if found else str(e)
        return Trial(case=case, native=False, outcome=outcome, detail=detail, wrong=str(e))


# ---- native


@dataclass(frozen=True, slots=True)
class NativeBase:
    """A frozen guest where the modules are loaded as they were compiled."""

    snapshot: Snapshot
    addresses: dict[str, int]
    canaries: list[str]


def native_base(workdir: Path, progress: Progress = lambda _: None) -> NativeBase:
    """Boot, build, load, freeze. nooks.ko is not there."""
    spec = VmSpec(name="hostile-native", nics=DEVICE, memory_mib=512, extra_cmdline=WITNESS)
    with Vm.start(spec, workdir, progress) as vm:
        made = make_hostile(vm.image, workdir, progress)
        for name, path in made.plain.items():
            vm.put(path, f"{MODULES}/{name}.ko")
        vm.run(f"cd {MODULES} && insmod victim.ko && insmod bystander.ko && insmod hostile.ko")
        vm.run(_DETECTORS)
        files = [f"{PARAMETERS.format('victim')}/{thing}" for thing in THINGS]
        files += [f"{PARAMETERS.format(name)}/heap" for name in IN_A_NOOK]
        values = vm.run(["cat", *files]).stdout.split()
        addresses = dict(zip((*THINGS, *IN_A_NOOK), map(int, values), strict=True))
        addresses["heap"] = addresses["hostile"]
        for symbol in SYMBOLS:
            line = vm.run(["grep", f" {symbol}$", "/proc/kallsyms"]).stdout
            addresses[symbol] = int(line.split()[0], 16)
        canaries = _canaries(vm, addresses)
        return NativeBase(vm.freeze(workdir / "base.qcow2"), addresses, canaries)


def native_trial(base: NativeBase, workdir: Path, case: Case) -> Trial:
    """One case in a guest of its own, which is thrown away."""
    outcome, detail = Outcome.LOST, ""
    try:
        with Vm.restore(base.snapshot, workdir) as vm:
            outcome, detail = _native(vm, base, case)
    except InfraError as e:
        _log.debug("%s, native", case.name, exc_info=True)
        detail = detail or repr(e)
    return Trial(case=case, native=True, outcome=outcome, detail=detail)


def _native(vm: Vm, base: NativeBase, case: Case) -> tuple[Outcome, str]:
    stuck = ""
    try:
        vm.run(_native_script(base, case), timeout=NATIVE_S, check=False)
    except CommandTimeoutError:
        stuck = "the attack does not end"
    except (GuestError, InfraError):
        pass  # the verdict tells
    vm.wait_verdict(STUCK_S if stuck else SETTLE_S, fatal=not stuck)
    changed: list[str] = []
    try:
        if not (worst := vm.verdict()) or _outcome(worst) is Outcome.DAMAGE:
            vm.run(VALIDATE, timeout=VALIDATE_S)
            changed = _changed(vm, base)
    except NooksError:
        stuck = stuck or "no answer"
        vm.wait_verdict(STUCK_S)
    if worst := vm.verdict():
        return _outcome(worst), _cause(vm, worst)
    if changed:
        return Outcome.DAMAGE, f"changed: {', '.join(changed)}"
    return (Outcome.HANG, stuck) if stuck else (Outcome.UNHARMED, "")


def _cause(vm: Vm, worst: Verdict) -> str:
    """What a panic, or a guest that is gone, had to say before."""
    said = [v.title for v in vm.verdicts() if not v.fatal]
    fatal = worst.fatal and "Fatal exception" in worst.title
    return said[0] if said and (fatal or worst.kind is VerdictKind.HANG) else worst.title


def _native_script(base: NativeBase, case: Case) -> str:
    file = f"{PARAMETERS.format(case.module)}/attack"
    attack = f"echo {shlex.quote(case.command(base.addresses))} >{file}"
    lines = [f"sh -c {shlex.quote(attack)}"]
    if case.module in REFUSED:
        lines.insert(0, f"insmod {MODULES}/{case.module}.ko")
    if case.unload:
        lines.append(f"rmmod {case.module}")
    if case.then:
        lines.append(case.then)
    return "\n".join([*lines, "sleep 0.7"])  # what was left behind comes after half a second


def _canaries(vm: Vm, addresses: dict[str, int]) -> list[str]:
    file = f"{PARAMETERS.format('victim')}/peek"
    line = "".join(f"echo {addresses[n]:x} >{file}; read v <{file}; echo $v;" for n in CANARIES)
    return vm.run(line, timeout=NATIVE_S).stdout.split()


def _changed(vm: Vm, base: NativeBase) -> list[str]:
    """The canaries that are not what they were."""
    now = _canaries(vm, base.addresses)
    return [n for n, a, b in zip(CANARIES, base.canaries, now, strict=True) if a != b]


def _outcome(found: Verdict) -> Outcome:
    kind = found.kind
    if kind is VerdictKind.LOST:
        return Outcome.LOST
    if kind in (VerdictKind.WARN, VerdictKind.BUG):
        return Outcome.DAMAGE
    if kind is VerdictKind.OOPS:
        return Outcome.OOPS
    if kind in (VerdictKind.PANIC, VerdictKind.RESET, VerdictKind.EXITED, VerdictKind.NO_BOOT):
        return Outcome.PANIC
    return Outcome.HANG


# ---- the table


def as_json(trial: Trial) -> dict[str, Any]:
    return {"schema": SCHEMA, **asdict(trial)}


def as_markdown(trials: Iterable[Trial]) -> str:
    """Counts, then a table for each class."""
    have = list(trials)
    native = {t.case.name: t for t in have if t.native}
    isolated = {t.case.name: t for t in have if not t.native}
    cases = list(dict.fromkeys(t.case for t in have))
    lines = _summary(native.values(), isolated.values())
    for cls in Class:
        rows = [
            [f"`{c.name}`", c.kind, _cell(native.get(c.name)), *_isolated_cells(isolated, c)]
            for c in cases
            if c.cls is cls
        ]
        if rows:
            head = ("case", "what", "native", "isolated", "the fault, or why not")
            lines += ["", f"## {cls.capitalize()}", "", *table(head, rows)]
    return "\n".join(lines)


def _summary(native: Iterable[Trial], isolated: Iterable[Trial]) -> list[str]:
    lines = []
    for name, trials in (("native", list(native)), ("isolated", list(isolated))):
        counts = [(o, sum(t.outcome is o for t in trials)) for o in Outcome]
        if trials:
            said = ", ".join(f"{n} {o}" for o, n in counts if n)
            wrong = sum(bool(t.wrong) for t in trials)
            unlike = f"; not as expected: {wrong}" if name == "isolated" else ""
            lines.append(f"- {name}, {len(trials)} cases: {said}{unlike}")
    return lines


def _cell(trial: Trial | None) -> str:
    if trial is None:
        return "not run"
    text = f"{trial.outcome}: {trial.detail}" if trial.detail else str(trial.outcome)
    return text.replace("|", "/").replace("\n", " ")


def _isolated_cells(isolated: dict[str, Trial], case: Case) -> list[str]:
    trial = isolated.get(case.name)
    if trial is None:
        return ["not run", ""]
    detail = trial.detail or case.hole
    if trial.wrong:
        detail = f"{detail} ({trial.wrong})" if detail else trial.wrong
    mark = " (hole)" if case.hole else ""
    return [f"{trial.outcome}{mark}", detail.replace("|", "/").replace("\n", " ")]
