# SPDX-License-Identifier: GPL-2.0-only
"""Instructions that a packet takes, native and isolated.

QEMU counts them (-icount): the guest's clock is that count, so neither what else the host does nor
what a TLB costs is in it.
"""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pynooks.bench.measure import packets_sent
from pynooks.bench.report import table
from pynooks.bench.traffic import ping_times, stream, udp_flood
from pynooks.bench.xpc import Cost, by_name
from pynooks.control.client import Agent
from pynooks.demo.net import wire
from pynooks.deploy import deploy, release
from pynooks.errors import CheckError
from pynooks.remote.target import Target

SCHEMA = 1
SHIFT = 1  # of VmSpec.icount
ROUNDS = 3
PINGS = 8000  # /proc/stat counts in 10 ms
FLOOD_S = 3.0  # of the guest's time
_CLOCKS = ["sh", "-c", "cat /proc/uptime; head -n 1 /proc/stat"]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Instructions of all that the CPU did, per packet that one NIC sent and the other received."""

    name: str
    native: float
    isolated: float


def _ping(target: Target) -> None:
    if len(ping_times(target, count=PINGS, interval_s=0)) != PINGS:
        raise CheckError("pings were lost", hint="look at the console")


LOADS: dict[str, Callable[[Target], object]] = {
    "ping, one after the other": _ping,
    "UDP 64 B": lambda target: udp_flood(target, seconds=FLOOD_S, length=64),
    "UDP 1400 B": lambda target: udp_flood(target, seconds=FLOOD_S, length=1400),
    "TCP, saturated": lambda target: stream(target, seconds=FLOOD_S),
}


def measure(target: Target, driver: str, progress: Progress) -> list[Load]:
    """By turns, in one boot. `driver` is loaded and native, on one CPU that counts by SHIFT."""
    native: dict[str, list[float]] = {name: [] for name in LOADS}
    isolated: dict[str, list[float]] = {name: [] for name in LOADS}
    for number in range(1, ROUNDS + 1):
        progress(f"round {number} of {ROUNDS}: native")
        _round(target, driver, native)
        progress(f"round {number} of {ROUNDS}: isolated")
        deploy(target, driver, progress=progress)
        _round(target, driver, isolated)
        release(target, driver, progress=progress)
    return [
        Load(
            name=name,
            native=statistics.median(native[name]),
            isolated=statistics.median(isolated[name]),
        )
        for name in LOADS
    ]


def _round(target: Target, driver: str, found: dict[str, list[float]]) -> None:
    wire(target, driver)
    with Agent(target) as agent:
        for name, run in LOADS.items():
            before, packets = _instructions(agent), packets_sent(agent)
            run(target)
            spent = _instructions(agent) - before
            found[name].append(spent / (packets_sent(agent) - packets))


def _instructions(agent: Agent) -> float:
    """Run by the one CPU since boot: its time but for what it idled."""
    uptime, stat = agent.call("run", argv=_CLOCKS)["stdout"].splitlines()
    idle, iowait = (int(word) / 100 for word in stat.split()[4:6])
    return (float(uptime.split()[0]) - idle - iowait) * 1e9 / (1 << SHIFT)


def of_crossing(cost: Cost) -> dict[str, int]:
    """Instructions of what bench xpc times, on a CPU that counts by SHIFT."""
    return {name: round(ns / (1 << SHIFT)) for name, ns in by_name(cost).items()}


def as_markdown(
    loads: list[Load], crossing: Mapping[str, int], machine: Mapping[str, str], driver: str
) -> str:
    """Two tables."""
    where = ", ".join(f"{name} {value}" for name, value in machine.items())
    rows = [
        [load.name, f"{load.native:.0f}", f"{load.isolated:.0f}",
         f"{load.isolated / load.native:.2f}"]
        for load in loads
    ]  # fmt: skip
    setting = (
        f"Stock {driver}, {where}; medians of {ROUNDS} rounds by turns in one boot. Instructions "
        "per packet that one NIC sends and the other receives, of both ends and their programs:"
    )
    return "\n".join(
        [
            *textwrap.wrap(setting, 100),
            "",
            *table(("", "native", "isolated", "ratio"), rows),
            "",
            *table(("a crossing", "instructions"), [[k, str(v)] for k, v in crossing.items()]),
        ]
    )


def as_json(loads: list[Load], crossing: Mapping[str, int]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "packets": [asdict(load) for load in loads],
        "crossing": dict(crossing),
    }
