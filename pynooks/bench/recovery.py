# SPDX-License-Identifier: GPL-2.0-only
"""What applications see of a recovery: pauses of traffic, beside those of an interface down and up.

Both in one run, on one device, by turns. The kernel's part, step by step, comes from the tracepoint
nooks:nooks_recov_step.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from pynooks.bench.traffic import inside
from pynooks.control.client import Agent
from pynooks.control.records import Nook
from pynooks.demo.net import ADDRESSES, SPACES, wire
from pynooks.deploy import deploy
from pynooks.errors import CheckError
from pynooks.inject import Kind, inject_kind
from pynooks.remote.target import REMOTE_DIR, Target

SCRIPT = f"{REMOTE_DIR}/outage.py"
EVENT = "/sys/kernel/tracing/events/nooks/nooks_recov_step"
TRACE = "/sys/kernel/tracing/trace"
LINK_S = 20  # for traffic to flow again
STRIKE_S = 5  # for a fault to be reached by traffic alone
RECOVERY_S = 60
QUIET_S = 1.0  # after the first answer
KINDS = (Kind.WILD_WRITE, Kind.NULL_DEREF, Kind.UD2, Kind.BAD_JUMP, Kind.STACK_OVERFLOW)
TOUCH = "ethtool $nic; ethtool -S $nic; ip link set $nic promisc on; ip link set $nic promisc off"
_STEP = re.compile(r"nooks_recov_step: .*?step=(\w+) .*?ns=(\d+)")
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """The TCP connection that was open all the time. sent, right: blocks."""

    sent: int
    right: int
    broken: str

    @property
    def intact(self) -> bool:
        return not self.broken and self.sent == self.right > 0


@dataclass(slots=True, kw_only=True)
class Outages:
    """Seconds. faults: from the fault to the first answer; updown: from `ip link set down` to it.

    steps: of the recoveries, by name, ms
    missed: faults that traffic did not reach
    """

    faults: list[float] = field(default_factory=list)
    updown: list[float] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=dict)
    missed: int = 0
    stream: Stream | None = None


class Traffic:
    """outage.py between the two namespaces. pauses: (last answer, first answer)."""

    def __init__(self, target: Target, seconds: float) -> None:
        target.put(Path(str(resources.files("pynooks.bench") / "outage.py")), SCRIPT)
        self._ends = target.open_stream(
            inside(SPACES[1], "python3", "-u", SCRIPT, "answer", ADDRESSES[1])
        )
        self._ends.stdout.readline(LINK_S)
        self._asks = target.open_stream(
            inside(SPACES[0], "python3", "-u", SCRIPT, "ask", ADDRESSES[1], str(seconds))
        )
        self._line(LINK_S)

    def _line(self, timeout: float) -> dict[str, Any]:
        text = self._asks.stdout.readline(timeout)
        if not text:
            raise CheckError(
                f"traffic ended: {self._asks.stderr_tail.strip()[-200:]}",
                hint="look at the target's kernel log (dmesg)",
            )
        line: dict[str, Any] = json.loads(text)
        return line

    def next_pause(self, timeout: float) -> tuple[float, float]:
        """The next one to end. Raises CommandTimeoutError."""
        line = self._line(timeout)
        if "sent" in line:
            raise CheckError("the time for traffic was too short", hint="fewer faults a run")
        return line["last"], line["first"]

    def finish(self, timeout: float) -> Stream:
        """To the end."""
        while "sent" not in (line := self._line(timeout)):
            pass
        return Stream(**line)

    def close(self) -> None:
        self._asks.close()
        self._ends.close()


@contextmanager
def traffic(target: Target, seconds: float) -> Iterator[Traffic]:
    """Both ways, meanwhile, for at most `seconds`."""
    flow = Traffic(target, seconds)
    try:
        yield flow
    finally:
        flow.close()


def _nic(agent: Agent) -> str:
    argv = inside(SPACES[0], "ls", "/sys/class/net")
    names = agent.call("run", argv=argv)["stdout"].split()
    return str(next(name for name in names if name != "lo"))


def _shell(agent: Agent, line: str) -> str:
    argv = inside(SPACES[0], "sh", "-c", f"nic={_nic(agent)}; {line}")
    return str(agent.call("run", argv=argv, timeout=60)["stdout"])


def _updown(agent: Agent, flow: Traffic) -> float:
    """One interface down and up."""
    text = _shell(
        agent,
        "python3 -c 'import time; print(time.monotonic())'; ip link set $nic down; "
        "ip link set $nic up",
    )
    began = float(text.split()[0])
    while True:
        _, first = flow.next_pause(LINK_S)
        if first > began:
            return first - began


def _struck(agent: Agent, driver: str, faults: int) -> bool:
    deadline = time.monotonic() + STRIKE_S
    while agent.nook(driver).stats["faults"] == faults:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def await_running(agent: Agent, driver: str) -> Nook:
    """After a fault. Raises CheckError if the driver does not come back."""
    deadline = time.monotonic() + RECOVERY_S
    while (nook := agent.nook(driver)).state != "RUNNING":
        if nook.state == "STOPPED" or time.monotonic() > deadline:
            raise CheckError(f"{driver} is {nook.state}: {nook.fault}", hint="see dmesg")
        time.sleep(0.1)
    return nook


def _fault(
    target: Target, agent: Agent, driver: str, flow: Traffic, kind: Kind, seed: int
) -> float:
    """One fault, to the first answer after it; negative if nothing reached it."""
    faults = agent.nook(driver).stats["faults"]
    inject_kind(target, driver, kind, seed=seed, native=False, agent=agent)
    if not _struck(agent, driver, faults):
        _shell(agent, TOUCH + " >/dev/null 2>&1")
        if not _struck(agent, driver, faults):
            agent.restart(driver)  # takes the fault out again
            flow.next_pause(LINK_S)
            return -1
    nook = await_running(agent, driver)
    began = nook.fault.time / 1e9 if nook.fault else 0.0
    while True:
        _, first = flow.next_pause(LINK_S)
        if first > began:
            return first - began


def measure(target: Target, driver: str, *, faults: int, seed: int, progress: Progress) -> Outages:
    """`faults` faults of KINDS by turns, and as many interfaces down and up, under traffic."""
    deploy(target, driver)
    wire(target, driver)
    found = Outages()
    with Agent(target) as agent:
        agent.call("write", path=f"{EVENT}/enable", text="1")
        time.sleep(5)
        seconds = faults * 2 * (LINK_S / 2 + STRIKE_S)
        with traffic(target, seconds) as flow:
            for i in range(faults):
                found.updown.append(_updown(agent, flow))
                time.sleep(QUIET_S)
                kind = KINDS[i % len(KINDS)]
                gap = _fault(target, agent, driver, flow, kind, seed + i)
                again = found.updown[-1]
                progress(f"{kind} seed {seed + i}: {gap:.2f} s; down and up: {again:.2f} s")
                if gap < 0:
                    found.missed += 1
                else:
                    found.faults.append(gap)
                time.sleep(QUIET_S)
            target.run(["pkill", "-INT", "-f", "outage.py ask"], check=False)
            found.stream = flow.finish(seconds)
        found.steps = read_steps(str(agent.call("read", path=TRACE) or ""))
    return found


def read_steps(text: str) -> dict[str, list[float]]:
    """Milliseconds of each step in the text of a trace."""
    steps: dict[str, list[float]] = {}
    for name, ns in _STEP.findall(text):
        steps.setdefault(name, []).append(int(ns) / 1e6)
    return steps


def quantile(values: list[float], share: float) -> float:
    """Nearest rank."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def as_json(found: Outages) -> dict[str, Any]:
    return {"schema": 1, **asdict(found)}


def as_markdown(found: Outages, machine: dict[str, str], driver: str) -> str:
    """Two tables."""
    where = ", ".join(f"{k} {v}" for k, v in machine.items())
    stream = found.stream
    said = (
        f"{stream.right} of {stream.sent} blocks of 8 KiB arrived right on the one connection"
        + (f", which broke: {stream.broken}" if stream.broken else "")
        if stream
        else "no stream"
    )
    rows = [_row("fault to first answer", found.faults, 2)]
    rows.append(_row("interface down and up", found.updown, 2))
    if found.faults and found.updown:
        ratio = statistics.median(found.faults) / statistics.median(found.updown)
        tail = quantile(found.faults, 0.99) / quantile(found.updown, 0.99)
        rows.append(f"| ratio | | {ratio:.2f} | {tail:.2f} |")
    return "\n".join(
        [
            f"Stock {driver} at level `pagetable`; {where}. {said}. Faults that nothing reached: "
            f"{found.missed}.",
            "",
            "| pause of traffic, s | n | median | p99 |",
            "|---|---|---|---|",
            *rows,
            "",
            "| step of the recovery, ms | n | median | p99 |",
            "|---|---|---|---|",
            *(_row(name, values, 1) for name, values in found.steps.items()),
        ]
    )


def _row(name: str, values: list[float], digits: int) -> str:
    if not values:
        return f"| {name} | 0 | | |"
    middle, tail = statistics.median(values), quantile(values, 0.99)
    return f"| {name} | {len(values)} | {middle:.{digits}f} | {tail:.{digits}f} |"
