# SPDX-License-Identifier: GPL-2.0-only
"""The stock driver works in its nook: no packet is lost or changed, at either level."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator

import pytest
from bed import DRIVER, Bed

from pynooks.bench import datagrams, ping_times, stream
from pynooks.bench.traffic import inside, iperf_server, udp_flood
from pynooks.control.client import Agent
from pynooks.demo.net import ADDRESSES, SPACES
from pynooks.deploy import deploy, release
from pynooks.deploy.pipeline import deployed
from pynooks.inject import Kind
from pynooks.policy import Level

pytestmark = pytest.mark.vm
PINGS = 200
DOWN_AND_UP = "cd /sys/class/net; for n in e*; do ip link set $n down; ip link set $n up; done"
RATE = 500.0  # a second, each way: what a loaded host can emulate


def test_it_is_the_distributions_file(bed: Bed) -> None:
    """What was relinked is byte for byte what the guest's modprobe would load."""
    record = deployed(bed.agent, DRIVER)
    assert record is not None
    shipped = bed.shell(f"sha256sum $(modinfo -n {DRIVER})")[1].split()[0]
    assert record.stock
    assert record.sha256 == shipped
    assert record.sha256 == hashlib.sha256(bed.target.driver_file(DRIVER).read_bytes()).hexdigest()
    assert (bed.nook().level, bed.nook().flags) == ("pagetable", ())


def test_no_ping_is_lost(bed: Bed) -> None:
    before = bed.nook().stats
    assert len(ping_times(bed.target, count=PINGS, interval_s=0.02)) == PINGS
    after = bed.nook().stats
    assert after["entries"] - before["entries"] > PINGS  # they went through the nook
    assert after["faults"] == before["faults"]


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_datagram_is_lost_or_changed(bed: Bed, count: int) -> None:
    before = bed.nook().stats
    there, back = datagrams(bed.target, count=count, rate=RATE)
    assert there.whole, there
    assert back.whole, back
    after = bed.nook().stats
    assert after["entries"] - before["entries"] > count
    assert after["resumed"] - before["resumed"] < count / 100  # a packet costs no exception
    assert (after["faults"], after["denied"]) == (before["faults"], before["denied"])


@pytest.mark.parametrize("seconds", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_tcp_flows(bed: Bed, seconds: float) -> None:
    """With segmentation offload, which writes packet headers."""
    before = bed.nook().stats["faults"]
    assert stream(bed.target, seconds=seconds) > 1
    assert bed.nook().stats["faults"] == before


@pytest.fixture
def poll_delay(bed: Bed) -> Iterator[Callable[[int], None]]:
    """Sets how long a poll of a busy device may wait, us."""
    file = "/sys/module/nooks/parameters/poll_delay_us"
    before = bed.out(f"cat {file}").strip()
    yield lambda us: bed.out(f"echo {us} > {file}")
    bed.out(f"echo {before} > {file}")


def interrupts(bed: Bed) -> int:
    """Of the network cards so far, on all CPUs."""
    lines = bed.out("grep eth /proc/interrupts").splitlines()
    return sum(int(word) for line in lines for word in line.split()[1:] if word.isdigit())


def flooded(bed: Bed) -> float:
    """Interrupts for each datagram that arrives, as fast as one end can send."""
    before, seconds = interrupts(bed), 3.0
    arrived = udp_flood(bed.target, seconds=seconds, length=64) * seconds
    return (interrupts(bed) - before) / arrived


@pytest.mark.slow  # alone on the host: a guest that has to wait for its CPUs is not busy
def test_a_busy_device_is_polled_without_its_interrupts(
    bed: Bed, poll_delay: Callable[[int], None]
) -> None:
    rounds: list[tuple[float, float]] = []
    for _ in range(5):
        poll_delay(0)
        by_interrupts = flooded(bed)
        poll_delay(1000)
        rounds.append((by_interrupts, flooded(bed)))
        if rounds[-1][1] < 0.5 * by_interrupts:
            return
    pytest.fail(f"interrupts per datagram, let alone and held: {rounds}")


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    "change",
    ["ip link set DEV down; ip link set DEV up", "ethtool -G DEV rx 512", "ethtool -G DEV rx 256",
     "ip link set DEV mtu 1400", "ip link set DEV mtu 1500", "ethtool -r DEV"],
)
def test_a_driver_that_stops_its_polls_has_its_interrupts_back(
    bed: Bed, space: str, change: str
) -> None:
    """Set up anew while it is busy and its interrupts are off, it then hears single pings."""
    device = bed.out(f"ip netns exec {space} ls /sys/class/net | grep ^e").strip()
    flood = inside(SPACES[0], "iperf3", "-u", "-b", "0", "-l", "64", "-c", ADDRESSES[1], "-t", "5")
    with iperf_server(bed.target, 60), bed.target.open_stream(flood) as end:
        time.sleep(2)
        bed.out(f"ip netns exec {space} sh -c '{change.replace('DEV', device)}'")
        while end.stdout.readline(30):
            pass
    bed.wire()
    assert len(ping_times(bed.target, count=10, interval_s=0.1)) == 10


@pytest.fixture
def wrapped(bed: Bed) -> Iterator[Bed]:
    """The same guest at level `wrap`."""
    bed.isolate(Level.WRAP)
    yield bed
    bed.isolate()


def test_level_wrap_works_and_recovers(wrapped: Bed) -> None:
    assert wrapped.nook().level == "wrap"
    assert len(ping_times(wrapped.target, count=PINGS, interval_s=0.02)) == PINGS
    wrapped.strike(Kind.UD2, 1)
    wrapped.wire()
    assert len(ping_times(wrapped.target, count=20, interval_s=0.02)) == 20


@pytest.fixture
def debugged(bed: Bed) -> Iterator[Bed]:
    release(bed.target, DRIVER)
    deploy(bed.target, DRIVER, debug_heap=True)
    bed.wire()
    yield bed
    bed.isolate()


def test_the_stock_driver_stays_within_its_blocks(debugged: Bed) -> None:
    """Red zones are whole when it frees its rings, and it does not need memory to be zero."""
    bed = debugged
    assert bed.nook().flags == ("debug_heap",)
    assert stream(bed.target, seconds=2) > 1
    for space in SPACES:
        assert bed.shell(f"ip netns exec {space} sh -c '{DOWN_AND_UP}'")[0] == 0
    bed.wire()
    assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20
    assert bed.nook().stats["faults"] == 0
    assert bed.complaints() == []


def test_the_agent_can_be_started_twice(bed: Bed) -> None:
    with Agent(bed.target) as other:
        assert other.nook(DRIVER).id == bed.nook().id
