# SPDX-License-Identifier: GPL-2.0-only
"""Applications over an isolated NIC whose driver fails again and again: iperf3, scp, SSH.

One iperf3 stream and one SSH session last through all faults; scp copies a file meanwhile, over and
over, and each copy is compared. Nothing of the applications is ours, and no connection may break.
Before the first fault there may be a time without any: what fails then is a false alarm, what grows
is lost.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from pynooks.bench.recovery import KINDS, QUIET_S, await_running
from pynooks.bench.traffic import inside, iperf_server
from pynooks.control.client import Agent
from pynooks.demo.net import ADDRESSES, SPACES, wire
from pynooks.deploy import deploy
from pynooks.errors import CheckError, RefusedError
from pynooks.inject import inject_kind
from pynooks.remote.target import REMOTE_DIR, Target
from pynooks.vm.ssh import GuestStream

LOOK_S = 5.0
ANSWER_S = 90  # TCP backs off while the link is down
TELL_S = 60
SETTLE_S = 600  # for the last copy, on a NIC that rests
PORT = 2222
DIR = f"{REMOTE_DIR}/endure"
Progress = Callable[[str], None]

SET_UP = f"""
set -e
mkdir -p {DIR}; mount -t tmpfs -o size=90% endure {DIR}; cd {DIR}
head -c $1M /dev/urandom >source
ssh-keygen -q -t ed25519 -N '' -f key; mkdir -p /run/sshd
"""
SERVER = (
    "/usr/sbin/sshd", "-D", "-p", str(PORT), "-o", f"ListenAddress={ADDRESSES[1]}",
    "-o", "PidFile=none", "-o", "StrictModes=no", "-o", f"AuthorizedKeysFile={DIR}/key.pub",
)  # fmt: skip
CLIENT = f"-q -i {DIR}/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
SESSION = f"exec ssh {CLIENT} -p {PORT} root@{ADDRESSES[1]} 'while read x; do echo $$ $x; done'"
COPIES = f"""
cd {DIR}
while [ ! -e stop ]; do
	rm -f copy
	scp {CLIENT} -P {PORT} source root@{ADDRESSES[1]}:{DIR}/copy || {{ echo failed; continue; }}
	cmp -s source copy && echo whole || echo changed
done
echo over
"""


@dataclass(slots=True, kw_only=True)
class Endured:
    """faults: that struck; recoveries: times that the driver ran again after one.

    seconds: of the whole. answers: lines that the one SSH session gave back, one per fault.

    quiet_s: before the first fault; alarms: faults in that time, all false
    copies:  what became of each: whole, changed, failed
    grown:   at the end less the start, of the faults and of the time before: memory in kB, objects,
             heap in bytes, interrupt lines
    broken:  why a connection ended; "" if none did
    """

    faults: int = 0
    recoveries: int = 0
    planted: int = 0
    seconds: float = 0.0
    quiet_s: float = 0.0
    alarms: int = 0
    grown_quiet: dict[str, int] = field(default_factory=dict)
    answers: int = 0
    copy_mb: int = 0
    copies: list[str] = field(default_factory=list)
    iperf_mbit: float = 0.0
    iperf_s: float = 0.0
    grown: dict[str, int] = field(default_factory=dict)
    broken: str = ""

    @property
    def intact(self) -> bool:
        return (
            not self.broken
            and not self.alarms
            and self.answers == self.planted
            and bool(self.copies)
            and set(self.copies) == {"whole"}
        )


class Session:
    """One SSH connection that stays open; the far shell's process answers each line."""

    def __init__(self, stream: GuestStream) -> None:
        self._stream = stream
        self._far = ""
        self._said = 0

    def exchange(self) -> None:
        """A line there and back. Raises CheckError if it is not the same shell that answers."""
        self._said += 1
        self._stream.stdin.write(b"%d\n" % self._said)
        far, _, number = self._stream.stdout.readline(ANSWER_S).decode().strip().partition(" ")
        self._far = self._far or far
        if not far or (far, number) != (self._far, str(self._said)):
            raise CheckError(
                f"the SSH session answered {far!r} {number!r}: {self._stream.stderr_tail.strip()}",
                hint="look at the console",
            )


def _iperf(target: Target, stack: ExitStack, seconds: float, mbit: int) -> GuestStream:
    """A stream of so many seconds; its JSON comes as one line at the end."""
    stack.enter_context(iperf_server(target, seconds + SETTLE_S))
    line = f"iperf3 -J -b {mbit}M -c {ADDRESSES[1]} -t {seconds:.0f} | tr -d '\\n'; echo"
    return stack.enter_context(target.open_stream(inside(SPACES[0], "sh", "-c", line)))


def _held(agent: Agent, driver: str) -> dict[str, int]:
    """What may grow."""
    have = agent.call("resources")
    stats = agent.nook(driver).stats
    return {
        "memory used, kB": -(have["memory"]["MemAvailable"] + have["memory"]["PerCpuLists"]),
        "slab, kB": have["memory"]["SUnreclaim"],
        "vmalloc areas": have["vmalloc"],
        "interrupt lines": len(have["irqs"]),
        "objects": stats["objects"],
        "heap, bytes": stats["heap"],
    }


class _Faults:
    """Faults by turns of kind, in functions that traffic runs; the seed chooses which."""

    def __init__(self, target: Target, agent: Agent, driver: str, seed: int) -> None:
        self._target, self._agent, self._driver = target, agent, driver
        self._dice = random.Random(seed)
        self._names = sorted(agent.call("running", module=driver, seconds=LOOK_S, native=False))
        self.planted = 0

    def plant(self) -> str:
        """One; gives where. The driver must run."""
        kind = KINDS[self.planted % len(KINDS)]
        self.planted += 1
        while True:
            name = self._dice.choice(self._names)
            try:
                inject_kind(
                    self._target, self._driver, kind, seed=self._dice.randrange(1000),
                    native=False, symbol=name, agent=self._agent,
                )  # fmt: skip
            except RefusedError:  # it is too short for this kind, or no function of its own
                self._names.remove(name)
                if not self._names:
                    raise
                continue
            return f"{kind} in {name}"


def endure(
    target: Target,
    driver: str,
    *,
    faults: int,
    every_s: float,
    quiet_s: float,
    copy_mb: int,
    seed: int,
    progress: Progress,
) -> Endured:
    """`quiet_s` seconds, then `faults` faults, one every `every_s`, under three applications."""
    deploy(target, driver)
    wire(target, driver)
    target.run(["sh", "-c", SET_UP, "endure", str(copy_mb)], timeout=120)
    found = Endured(copy_mb=copy_mb)
    with Agent(target) as agent, ExitStack() as stack:
        stack.enter_context(target.open_stream(inside(SPACES[1], *SERVER)))
        time.sleep(QUIET_S)
        shell = target.open_stream(inside(SPACES[0], "sh", "-c", SESSION))
        session = Session(stack.enter_context(shell))
        session.exchange()
        iperf = _iperf(target, stack, quiet_s + faults * every_s * 1.2 + LOOK_S, mbit=10)
        copies = stack.enter_context(target.open_stream(inside(SPACES[0], "sh", "-c", COPIES)))
        try:
            if quiet_s:
                _be_quiet(agent, driver, session, found, quiet_s, progress)
        except CheckError as e:
            found.broken = str(e)
            return found
        strikes = _Faults(target, agent, driver, seed)
        before = _held(agent, driver)
        began = time.monotonic()
        try:
            for i in range(faults):
                time.sleep(max(0.0, began + i * every_s - time.monotonic()))
                await_running(agent, driver)
                where = strikes.plant()
                session.exchange()
                found.answers += 1
                progress(f"fault {i + 1} of {faults}, {time.monotonic() - began:.0f} s: {where}")
            await_running(agent, driver)
            found.copies = _last_copy(target, copies)
            said = json.loads(iperf.stdout.readline(faults * every_s + SETTLE_S))
            session.exchange()
            if "error" in said:
                raise CheckError(f"iperf3: {said['error']}", hint="look at the console")
            received = said["end"]["sum_received"]
            found.iperf_mbit = received["bits_per_second"] / 1e6
            found.iperf_s = received["seconds"]
        except CheckError as e:
            found.broken = str(e)
        found.planted = strikes.planted
        found.seconds = time.monotonic() - began
        stats = agent.nook(driver).stats
        found.faults = stats["faults"] - found.alarms
        found.recoveries = stats["recoveries"]
        after = _held(agent, driver)
        found.grown = {name: after[name] - before[name] for name in before}
    return found


def _be_quiet(
    agent: Agent, driver: str, session: Session, found: Endured, seconds: float, progress: Progress
) -> None:
    """What is at fault meanwhile is so without a cause."""
    before = _held(agent, driver)
    began = told = time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        session.exchange()
        found.alarms = agent.nook(driver).stats["faults"]
        if now >= told + TELL_S:
            progress(f"quiet for {now - began:.0f} s, faults: {found.alarms}")
            told = now
        time.sleep(LOOK_S)
    found.quiet_s = time.monotonic() - began
    after = _held(agent, driver)
    found.grown_quiet = {name: after[name] - before[name] for name in before}


def _last_copy(target: Target, copies: GuestStream) -> list[str]:
    """Let the copy that runs end, and no other begin; what became of all."""
    target.run(["touch", f"{DIR}/stop"])
    became: list[str] = []
    while (line := copies.stdout.readline(SETTLE_S).decode().strip()) != "over":
        if not line:
            raise CheckError("the copies ended", hint=copies.stderr_tail.strip()[-200:])
        became.append(line)
    return became


def as_json(found: Endured) -> dict[str, Any]:
    return {"schema": 1, **asdict(found), "intact": found.intact}


def _rows(grown: dict[str, int], when: str) -> list[tuple[str, str]]:
    return [(f"{name}, {when}", f"{value:+d}") for name, value in grown.items()]


def as_markdown(found: Endured, machine: dict[str, str], driver: str) -> str:
    """One table."""
    where = ", ".join(f"{k} {v}" for k, v in machine.items())
    whole = found.copies.count("whole")
    rows = []
    if found.quiet_s:
        rows += [
            ("time without faults, s", f"{found.quiet_s:.0f}"),
            ("false alarms meanwhile", f"{found.alarms}"),
            *_rows(found.grown_quiet, "meanwhile"),
        ]
    rows += [
        ("faults that struck, of those planted", f"{found.faults} of {found.planted}"),
        ("times that the driver ran again", f"{found.recoveries}"),
        ("time, s", f"{found.seconds:.0f}"),
        ("lines that the one SSH session gave back", f"{found.answers} of {found.planted}"),
        (f"scp of {found.copy_mb} MB, compared", f"{whole} of {len(found.copies)} whole"),
        ("the one iperf3 stream", f"{found.iperf_s:.0f} s, {found.iperf_mbit:.1f} Mbit/s"),
        *_rows(found.grown, "end less start"),
    ]
    return "\n".join(
        [
            f"Stock {driver} at level `pagetable`; {where}."
            + (f" Broken: {found.broken}." if found.broken else ""),
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
        ]
    )
