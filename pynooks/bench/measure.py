# SPDX-License-Identifier: GPL-2.0-only
"""Native and isolated by turns in one boot, and what each cost."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from pynooks.bench.traffic import busy_seconds, datagrams, ping_times, stream, udp_flood
from pynooks.control.client import Agent
from pynooks.demo.net import SPACES, wire
from pynooks.deploy import deploy, release
from pynooks.errors import CheckError
from pynooks.remote.target import Target

Progress = Callable[[str], None]
PINGS, PING_INTERVAL_S = 200, 0.02
PACED, RATE = 2000, 400.0
LARGE, SMALL = 1400, 64  # bytes of a datagram


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Seconds and counts of one round; `make test` takes less than a figure for print."""

    rounds: int = 7
    stream_s: float = 10
    flood_s: float = 5


@dataclass(slots=True, kw_only=True)
class Side:
    """All rounds of one side. rtt_ms: every ping; the others: one value per round.

    tcp_cpu: seconds that the target's CPUs were busy, all together, per GB that arrived
    """

    rtt_ms: list[float] = field(default_factory=list)
    udp_pps: list[float] = field(default_factory=list)
    udp64_pps: list[float] = field(default_factory=list)
    tcp_mbit: list[float] = field(default_factory=list)
    tcp_cpu: list[float] = field(default_factory=list)

    @property
    def rtt_median(self) -> float:
        return statistics.median(self.rtt_ms)

    @property
    def rtt_p99(self) -> float:
        return sorted(self.rtt_ms)[int(0.99 * (len(self.rtt_ms) - 1))]


@dataclass(frozen=True, slots=True, kw_only=True)
class PerPacket:
    """Per pair: a packet that one NIC sent and the other received.

    resumed: exceptions in the domain that the driver does not notice, checked writes too
    writes: checked writes by object.field; pairs: how many were counted
    """

    pairs: int
    entries: float
    exits: float
    resumed: float
    cr3_loads: float
    writes: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """machine: what it ran on, by name.

    paced: at a low rate; flooded: by small datagrams, each a packet; saturated: during TCP
    """

    machine: dict[str, str]
    driver: str
    level: str
    native: Side
    isolated: Side
    paced: PerPacket
    flooded: PerPacket
    saturated: PerPacket


def compare(
    target: Target,
    driver: str,
    *,
    machine: dict[str, str],
    effort: Effort,
    progress: Progress,
) -> Comparison:
    """Measure `driver`, which must be loaded and native, in turns with its nook."""
    native, isolated = Side(), Side()
    paced: list[PerPacket] = []
    flooded: list[PerPacket] = []
    saturated: list[PerPacket] = []
    level = ""
    for number in range(1, effort.rounds + 1):
        progress(f"round {number} of {effort.rounds}: native")
        wire(target, driver)
        _measure(target, native, effort)
        progress(f"round {number} of {effort.rounds}: isolated")
        level = deploy(target, driver, progress=progress)[0].level
        wire(target, driver)
        with Agent(target) as agent:
            _latency(target, isolated)
            paced.append(_counted(agent, driver, lambda: _paced(target)))
            _large(target, isolated, effort.flood_s)
            flooded.append(
                _counted(agent, driver, lambda: _small(target, isolated, effort.flood_s))
            )
            saturated.append(
                _counted(agent, driver, lambda: _saturate(target, isolated, effort.stream_s))
            )
        release(target, driver, progress=progress)
    return Comparison(
        machine=machine,
        driver=driver,
        level=level,
        native=native,
        isolated=isolated,
        paced=_median(paced),
        flooded=_median(flooded),
        saturated=_median(saturated),
    )


def _measure(target: Target, side: Side, effort: Effort) -> None:
    _latency(target, side)
    _large(target, side, effort.flood_s)
    _small(target, side, effort.flood_s)
    _saturate(target, side, effort.stream_s)


def _latency(target: Target, side: Side) -> None:
    times = ping_times(target, count=PINGS, interval_s=PING_INTERVAL_S)
    if len(times) != PINGS:
        raise CheckError(f"{len(times)} of {PINGS} pings came back", hint="look at the console")
    side.rtt_ms += times


def _paced(target: Target) -> None:
    for way in datagrams(target, count=PACED, rate=RATE):
        if not way.whole:
            raise CheckError(
                f"datagrams were lost or changed: {way}", hint="is the host busy with more?"
            )


def _large(target: Target, side: Side, seconds: float) -> None:
    side.udp_pps.append(udp_flood(target, seconds=seconds, length=LARGE))


def _small(target: Target, side: Side, seconds: float) -> None:
    side.udp64_pps.append(udp_flood(target, seconds=seconds, length=SMALL))


def _saturate(target: Target, side: Side, seconds: float) -> None:
    before = busy_seconds(target)
    mbit = stream(target, seconds=seconds)
    side.tcp_mbit.append(mbit)
    side.tcp_cpu.append((busy_seconds(target) - before) / (mbit * seconds / 8000))


def _counted(agent: Agent, driver: str, traffic: Callable[[], None]) -> PerPacket:
    """What the nook did for each pair of that traffic, background included."""
    before, packets = _counters(agent, driver), packets_sent(agent)
    traffic()
    after, pairs = _counters(agent, driver), packets_sent(agent) - packets
    rate = {name: (value - before.get(name, 0)) / pairs for name, value in after.items()}
    return PerPacket(
        pairs=pairs,
        entries=rate.pop("entries"),
        exits=rate.pop("exits"),
        resumed=rate.pop("resumed"),
        cr3_loads=rate.pop("cr3_loads"),
        writes={name: value for name, value in sorted(rate.items()) if value},
    )


def _counters(agent: Agent, driver: str) -> dict[str, int]:
    stats = agent.nook(driver).stats
    found = {name: stats[name] for name in ("entries", "exits", "resumed", "cr3_loads")}
    for count in agent.counts(driver):
        if count.kind == "write":
            name = f"{count.name}.{count.field}"
            found[name] = found.get(name, 0) + count.value
    return found


def packets_sent(agent: Agent) -> int:
    """Packets that both NICs sent. On their hub the other one receives each."""
    total = 0
    for space in SPACES:
        done = agent.call("run", argv=["ip", "netns", "exec", space, "cat", "/proc/net/dev"])
        for line in done["stdout"].splitlines()[2:]:
            name, values = line.split(":")
            if name.strip() != "lo":
                total += int(values.split()[9])
    return total


def _median(found: list[PerPacket]) -> PerPacket:
    fields = sorted({name for one in found for name in one.writes})
    return PerPacket(
        pairs=sum(one.pairs for one in found),
        entries=statistics.median(one.entries for one in found),
        exits=statistics.median(one.exits for one in found),
        resumed=statistics.median(one.resumed for one in found),
        cr3_loads=statistics.median(one.cr3_loads for one in found),
        writes={
            name: statistics.median(one.writes.get(name, 0.0) for one in found) for name in fields
        },
    )
