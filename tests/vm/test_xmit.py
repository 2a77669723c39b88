# SPDX-License-Identifier: GPL-2.0-only
"""Packets that are sent in one entry: fewer entries, the same packets in the same order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from bed import NIC, A, B, Bed

from pynooks.bench import ping_times, stream
from pynooks.bench.measure import packets_sent
from pynooks.bench.traffic import udp_flood
from pynooks.demo.net import ADDRESSES

pytestmark = pytest.mark.vm

# Numbered datagrams, sixteen in one call, which the kernel cuts (UDP_SEGMENT); what becomes of them
# is not the sender's business. The receiver tells how many came, and how many of them too late.
FLOODER = "/run/pynooks/flood.py"
FLOOD = """
import socket, struct, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_UDP, 103, 1000)
n, end = 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        s.sendto(b"".join(struct.pack("!I996x", n + i) for i in range(16)), (sys.argv[1], 9))
        n += 16
    except OSError:
        time.sleep(0.01)
"""
SINK = "/run/pynooks/sink.py"
SINKING = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
s.bind((sys.argv[1], 9))
s.settimeout(5)
came = late = last = 0
try:
    while True:
        n = struct.unpack("!I", s.recv(2000)[:4])[0]
        came, late, last = came + 1, late + (n < last), max(n, last)
except TimeoutError:
    print(came, late)
"""


def _set(bed: Bed, line: str) -> None:
    """ethtool or ip, for the NIC of each namespace; DEV is its name."""
    for space in (A, B):
        bed.out(f"{space} sh -c '{line.replace('DEV', NIC)}'")


@contextmanager
def _counted(bed: Bed) -> Iterator[dict[str, float]]:
    """Entries for each packet sent meanwhile, of either NIC."""
    found: dict[str, float] = {}
    entries, packets = bed.nook().stats["entries"], packets_sent(bed.agent)
    yield found
    sent = packets_sent(bed.agent) - packets
    assert sent > 1000
    found["entries"] = (bed.nook().stats["entries"] - entries) / sent


@pytest.fixture
def segmented(bed: Bed) -> Iterator[None]:
    """The kernel cuts what TCP sends, and hands the driver all the segments at once."""
    _set(bed, "ethtool -K DEV tso off")
    yield
    _set(bed, "ethtool -K DEV tso on")


@pytest.fixture
def short_ring(bed: Bed) -> Iterator[None]:
    yield
    _set(bed, "ethtool -G DEV tx 256")
    bed.wire()


def _answers(bed: Bed) -> None:
    """Nothing waits for company that does not come."""
    assert len(ping_times(bed.target, count=10, interval_s=0.1)) == 10
    assert bed.complaints() == []


def test_segments_are_sent_together(bed: Bed, segmented: None) -> None:
    faults = bed.nook().stats["faults"]
    with _counted(bed) as per_packet:
        assert stream(bed.target, seconds=4) > 1
    assert per_packet["entries"] < 0.8
    assert bed.nook().stats["faults"] == faults
    _answers(bed)


@contextmanager
def _flood(bed: Bed, seconds: float) -> Iterator[None]:
    bed.agent.call("write", path=FLOODER, text=FLOOD)
    with bed.background(f"{A} python3 {FLOODER} {ADDRESSES[1]} {seconds}"):
        yield


@pytest.mark.parametrize("ring", [256, 80])
def test_the_order_is_kept(bed: Bed, short_ring: None, ring: int) -> None:
    """A short ring is full in the middle of what is sent together."""
    _set(bed, f"ethtool -G DEV tx {ring}")
    bed.wire()
    faults = bed.nook().stats["faults"]
    bed.agent.call("write", path=SINK, text=SINKING)
    with _flood(bed, 3):
        came, late = map(int, bed.out(f"{B} python3 {SINK} {ADDRESSES[1]}").split())
    assert came > 1000
    assert late == 0
    assert bed.nook().stats["faults"] == faults
    _answers(bed)


def test_a_flood_gathers(bed: Bed) -> None:
    with _counted(bed) as per_packet:
        assert udp_flood(bed.target, seconds=4, length=64) > 1
    assert per_packet["entries"] < 1
    _answers(bed)


def test_what_waits_goes_with_its_interface(bed: Bed, short_ring: None) -> None:
    """Down and up, over and over, while segments wait for a full ring."""
    _set(bed, "ethtool -G DEV tx 80")
    bed.wire()
    faults = bed.nook().stats["faults"]
    with _flood(bed, 60):
        for _ in range(10):
            bed.out(f"{A} sh -c 'ip link set {NIC} down; ip link set {NIC} up'")
            time.sleep(0.5)
    bed.wire()
    _answers(bed)
    assert bed.nook().stats["faults"] == faults


# One packet many times, sixteen at once. pktgen's files are of the namespace that opens them.
PKTGEN = """
cd /proc/net/pktgen
echo rem_device_all > kpktgend_0
echo add_device DEV > kpktgend_0
for line in 'count 50000' 'clone_skb 1000' 'burst 16' 'pkt_size 300' 'delay 0' \\
        'dst_mac ff:ff:ff:ff:ff:ff'; do echo "$line" > DEV; done
timeout 60 sh -c 'echo start > pgctrl'
grep -o 'pkts-sofar: [0-9]*' DEV
"""


def test_one_packet_may_be_sent_many_times(bed: Bed) -> None:
    bed.out("modprobe pktgen")
    faults = bed.nook().stats["faults"]
    device = bed.out(f"{A} sh -c 'echo {NIC}'").strip()
    bed.agent.call("write", path="/run/pynooks/pktgen.sh", text=PKTGEN.replace("DEV", device))
    sent = int(bed.out(f"{A} sh /run/pynooks/pktgen.sh").split()[1])
    assert sent >= 50_000
    assert bed.nook().stats["faults"] == faults
    _answers(bed)
