# SPDX-License-Identifier: GPL-2.0-only
"""Traffic between the two namespaces of pynooks.demo.net, and what the tools said of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pynooks.demo.net import ADDRESSES, SPACES
from pynooks.errors import CheckError
from pynooks.remote.target import REMOTE_DIR, Target
from pynooks.vm.ssh import GuestStream

SCRIPT = f"{REMOTE_DIR}/udp.py"
IDLE_S = 5
TICKS = 100  # USER_HZ on amd64
_START_S = 60
_SERVER_S = 120
_TIME = re.compile(r"time=([\d.]+) ms")
_LISTENING = "grep -q ':1451 .* 0A ' /proc/net/tcp /proc/net/tcp6"  # iperf3's 5201


@dataclass(frozen=True, slots=True, kw_only=True)
class Datagrams:
    """One direction. changed: arrived with a wrong byte; repeated: arrived again."""

    sent: int
    received: int
    changed: int
    repeated: int

    @property
    def whole(self) -> bool:
        return self.received == self.sent and not self.changed and not self.repeated


def inside(space: str, *argv: str) -> list[str]:
    """A command in a network namespace of the target."""
    return ["ip", "netns", "exec", space, *argv]


def datagrams(target: Target, *, count: int, rate: float) -> tuple[Datagrams, Datagrams]:
    """Numbered datagrams both ways at once, `rate` a second each way; first: from nooks-a."""
    target.put(Path(str(resources.files("pynooks.bench") / "udp.py")), SCRIPT)
    limit = 3 * count / rate + _START_S
    with ExitStack() as stack:
        ends: list[GuestStream] = []
        for i in (0, 1):
            argv = ["python3", SCRIPT, ADDRESSES[i], ADDRESSES[1 - i]]
            argv += [str(count), str(rate), str(IDLE_S)]
            ends.append(stack.enter_context(target.open_stream(inside(SPACES[i], *argv))))
        for end in ends:
            _line(end, _START_S)
        for end in ends:
            end.stdin.write(b"go\n")
        at_a, at_b = (Datagrams(sent=count, **json.loads(_line(end, limit))) for end in ends)
    return at_b, at_a


def _line(end: GuestStream, limit: float) -> str:
    if line := end.stdout.readline(limit):
        return line.decode()
    raise CheckError(
        f"udp.py ended: {end.stderr_tail.strip()[-300:]}", hint="are the two interfaces up?"
    )


def stream(target: Target, *, seconds: float) -> float:
    """TCP from nooks-a to nooks-b by iperf3; what arrived, in Mbit/s. Raises CheckError."""
    said = _iperf(target, seconds)
    return float(said["end"]["sum_received"]["bits_per_second"]) / 1e6


def udp_flood(target: Target, *, seconds: float, length: int = 1400) -> float:
    """UDP as fast as iperf3 can; datagrams that arrived, per second."""
    end = _iperf(target, seconds, "-u", "-b", "0", "-l", str(length))["end"]["sum"]
    return float(end["packets"] - end["lost_packets"]) / float(end["seconds"])


def busy_seconds(target: Target) -> float:
    """What all CPUs of the target have spent outside of idle and iowait since boot."""
    line = target.run(["head", "-n", "1", "/proc/stat"]).stdout
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(int, line.split()[1:])
    return (user + nice + system + irq + softirq) / TICKS


@contextmanager
def iperf_server(target: Target, seconds: float) -> Iterator[None]:
    """For one client, in nooks-b; ends itself after so long. Raises CheckError."""
    argv = ["timeout", str(int(seconds)), "iperf3", "-s", "-1"]
    with target.open_stream(inside(SPACES[1], *argv)):
        deadline = time.monotonic() + _START_S
        while target.run(inside(SPACES[1], "sh", "-c", _LISTENING), check=False).status:
            if time.monotonic() > deadline:
                raise CheckError("iperf3 does not listen", hint="is it on the target?")
        yield


def _iperf(target: Target, seconds: float, *words: str) -> dict[str, Any]:
    with iperf_server(target, _SERVER_S):
        argv = ["iperf3", "-J", "-c", ADDRESSES[1], "-t", str(seconds), *words]
        done = target.run(inside(SPACES[0], *argv), timeout=seconds + _START_S, check=False)
    said: dict[str, Any] = json.loads(done.stdout or "{}")
    if done.status or "error" in said:
        raise CheckError(
            f"iperf3: {said.get('error', done.stderr.strip())}", hint="look at the console"
        )
    return said


def ping_times(target: Target, *, count: int, interval_s: float) -> list[float]:
    """Round trips in ms, of those that came back."""
    argv = ["ping", "-n", "-c", str(count), "-i", str(interval_s), "-W", "2", ADDRESSES[1]]
    limit = count * (interval_s + 0.2) + _START_S
    done = target.run(inside(SPACES[0], *argv), timeout=limit, check=False)
    return [float(t) for t in _TIME.findall(done.stdout)]
