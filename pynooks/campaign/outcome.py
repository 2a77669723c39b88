# SPDX-License-Identifier: GPL-2.0-only
"""What became of a trial: a closed list, and the one function that decides. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pynooks.vm.crash import Verdict, VerdictKind, worst

V = VerdictKind


class Outcome(StrEnum):
    """A closed list, from harmless to worst; LOST says nothing about the driver.

    The three about detection are of isolated drivers only.
    """

    NOT_ACTIVATED = "not activated"
    NO_EFFECT = "no effect"
    WRONG_RESULT = "wrong result"
    DRIVER_ERROR = "driver error reported"
    DRIVER_HANG = "driver hang"
    RECOVERED = "recovered, applications alive"
    RECOVERED_HURT = "recovered, application hurt"
    NOT_RECOVERED = "detected, not recovered"
    KERNEL_HANG = "kernel hang"
    KERNEL_CRASH = "kernel crash"
    KERNEL_DAMAGED = "kernel damaged"
    LOST = "lost"

    @property
    def is_kernel_failure(self) -> bool:
        """Of an isolated driver: a bug of ours."""
        return self in (Outcome.KERNEL_HANG, Outcome.KERNEL_CRASH, Outcome.KERNEL_DAMAGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Verified traffic of one kind. idle_s: since something right arrived.

    changed: arrived with wrong contents; repeated ones and lost ones are the network's right
    """

    name: str
    sent: int
    received: int
    changed: int
    idle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the workload saw in the guest.

    errors:  requests to the driver that failed, or answered wrong, as text
    wrong:   of those, the ones that answered wrong
    gap_s:   longest time that a CPU ran none of our threads
    closed:  why a connection ended; empty if none did
    """

    flows: tuple[Flow, ...]
    errors: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    gap_s: float = 0.0
    closed: str = ""

    def alive(self, limit_s: float) -> bool:
        """Every flow arrives, on the sockets of the beginning."""
        return not self.closed and not self.idle(limit_s)

    def idle(self, limit_s: float) -> tuple[str, ...]:
        """Names of flows that got nothing right for longer."""
        return tuple(f.name for f in self.flows if f.idle_s > limit_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nooked:
    """What nooks.ko says of the nook afterwards. state: empty if it did not answer."""

    faults: int
    recoveries: int
    state: str
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that is known when a trial is judged.

    verdicts:  by console, QMP, process and SSH
    activated: planted faults that were reached
    changed:   canaries that differ
    load:      None if the workload did not answer
    alive:     its flows arrived at the end
    nook:      None if the driver is native
    complaints: the driver's own error messages
    """

    driver: str
    verdicts: tuple[Verdict, ...]
    activated: int
    changed: tuple[str, ...]
    load: Load | None
    alive: bool
    nook: Nooked | None
    complaints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The outcome, and a title that equal causes share."""

    outcome: Outcome
    title: str


# The kernel's word for a network driver that does not transmit; no damage of the kernel's.
_TX_WATCHDOG = "WARNING in dev_watchdog"
_COMPLAINT = re.compile(
    r"hang|error|fail|unable|timed? ?out|bad|invalid|exceed|reset adapter|not ready", re.IGNORECASE
)
_MESSAGE = r"\] (?:\[ *[TC]\d+\] )?{driver} [0-9a-f:.]+[^:\n]*: (.*)"


def judge(seen: Seen) -> Judged:
    """The worst that is true."""
    notable = [v for v in seen.verdicts if not _is_drivers(v, seen.driver)]
    if found := worst(notable):
        return _of_verdict(found, notable)
    if seen.changed:
        return Judged(outcome=Outcome.KERNEL_DAMAGED, title=f"changed: {', '.join(seen.changed)}")
    if seen.nook and (seen.nook.faults or seen.nook.state != "RUNNING"):
        return _of_nook(seen.nook, seen)
    return _of_driver(seen)


def _is_drivers(v: Verdict, driver: str) -> bool:
    """A check of the driver's own, or the kernel's of its transmitter: no damage of the kernel."""
    first = v.text.split("\n", 1)[0]
    return v.kind is V.WARN and (v.title == _TX_WATCHDOG or f" [{driver}]" in first)


def _of_verdict(found: Verdict, all_of_them: Iterable[Verdict]) -> Judged:
    match found.kind:
        case V.LOST | V.NO_BOOT:
            return Judged(outcome=Outcome.LOST, title=found.title)
        case V.HANG:
            # Silence has a cause if an oops or a lockup was reported before.
            before = worst([v for v in all_of_them if not v.fatal])
            if before and before.kind is V.OOPS:
                return Judged(outcome=Outcome.KERNEL_CRASH, title=before.title)
            title = before.title if before else found.title
            return Judged(outcome=Outcome.KERNEL_HANG, title=title)
        case V.PANIC:
            first = worst([v for v in all_of_them if v.kind is V.OOPS])
            return Judged(outcome=Outcome.KERNEL_CRASH, title=first.title if first else found.title)
        case V.RESET | V.EXITED | V.OOPS:
            return Judged(outcome=Outcome.KERNEL_CRASH, title=found.title)
        case _:
            return Judged(outcome=Outcome.KERNEL_DAMAGED, title=found.title)


def _of_nook(nook: Nooked, seen: Seen) -> Judged:
    title = nook.fault or f"nook {nook.state or 'does not answer'}"
    if nook.state != "RUNNING":
        return Judged(outcome=Outcome.NOT_RECOVERED, title=title)
    load = seen.load
    # What a dead driver answered in between, an error or an empty name, is the fault itself.
    hurt = load is None or not seen.alive or any(f.changed for f in load.flows)
    return Judged(outcome=Outcome.RECOVERED_HURT if hurt else Outcome.RECOVERED, title=title)


def _of_driver(seen: Seen) -> Judged:
    load = seen.load
    if load is None:
        return Judged(outcome=Outcome.DRIVER_HANG, title="the workload does not answer")
    if changed := [f.name for f in load.flows if f.changed]:
        return Judged(outcome=Outcome.WRONG_RESULT, title=f"wrong data: {', '.join(changed)}")
    if load.wrong:
        return Judged(outcome=Outcome.WRONG_RESULT, title=f"wrong answer: {load.wrong[0]}")
    warned = [v.title for v in seen.verdicts if v.kind is V.WARN and v.title != _TX_WATCHDOG]
    said = [*load.errors, *warned, *seen.complaints]
    if not seen.alive:
        title = said[0] if said else "no traffic"
        stuck = any(v.title == _TX_WATCHDOG for v in seen.verdicts)
        return Judged(outcome=Outcome.DRIVER_HANG, title="transmit timeout" if stuck else title)
    if said:
        return Judged(outcome=Outcome.DRIVER_ERROR, title=said[0])
    if not seen.activated:
        return Judged(outcome=Outcome.NOT_ACTIVATED, title="")
    return Judged(outcome=Outcome.NO_EFFECT, title="")


def complaints(console: str, driver: str) -> tuple[str, ...]:
    """What a driver complained of on the console, without what differs between runs."""
    pattern = re.compile(_MESSAGE.format(driver=re.escape(driver)))
    said = [m[1].strip() for m in pattern.finditer(console) if _COMPLAINT.search(m[1])]
    return tuple(dict.fromkeys(re.sub(r"\b(0x)?[0-9a-f]*\d[0-9a-f]*\b", "N", s) for s in said))
