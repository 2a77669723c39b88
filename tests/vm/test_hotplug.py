# SPDX-License-Identifier: GPL-2.0-only
"""Devices of an isolated driver that come and go, under traffic, and while it fails."""

from __future__ import annotations

import random
import time

import pytest
from bed import Bed

from pynooks.bench import ping_times
from pynooks.demo.net import ADDRESSES
from pynooks.inject import Kind
from pynooks.vm.spec import HUB

pytestmark = pytest.mark.vm
MAC = "52:54:00:6e:00:09"
COMES_S = 20


def plug(bed: Bed, device: str) -> str:
    """One more NIC on the hub, sending; gives its interface."""
    monitor = bed.vm.monitor
    monitor.execute("netdev_add", {"type": "hubport", "id": f"hub-{device}", "hubid": HUB})
    bed.vm.hotplug(
        "e1000", id=device, bus="spare0", mac=MAC, romfile="", netdev=f"hub-{device}"
    )
    deadline = time.monotonic() + COMES_S
    while not (found := bed.shell(f"grep -l {MAC} /sys/class/net/*/address")[1]):
        assert time.monotonic() < deadline, bed.nook()
        time.sleep(0.1)
    net = found.split("/")[4]
    bed.shell(f"ip addr add 192.0.2.9/24 dev {net}; ip link set {net} up")
    bed.shell(f"setsid ping -f -q {ADDRESSES[0]} >/dev/null 2>&1 </dev/null &")
    return net


def pull(bed: Bed, device: str) -> None:
    bed.vm.unplug(device)
    bed.vm.monitor.execute("netdev_del", {"id": f"hub-{device}"})
    bed.shell("pkill ping")
    assert MAC not in bed.shell("cat /sys/class/net/*/address")[1]


def test_a_device_comes_and_goes(bed: Bed) -> None:
    before = bed.nook().stats
    for i in range(3):
        plug(bed, f"guest{i}")
        time.sleep(1)
        pull(bed, f"guest{i}")
    after = bed.nook().stats
    assert (after["faults"], after["heap"]) == (before["faults"], before["heap"])
    assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_device_goes_while_its_driver_fails(bed: Bed, rounds: int) -> None:
    """Somewhere between the fault and the end of its recovery, or after it."""
    rng = random.Random(rounds)
    for i in range(rounds):
        faults = bed.nook().stats["faults"]
        plug(bed, f"victim{i}")
        time.sleep(rng.uniform(0.5, 3))
        bed.inject(Kind.WILD_WRITE, seed=i)
        time.sleep(rng.uniform(0, 1))
        pull(bed, f"victim{i}")
        with bed.traffic():
            bed.await_recovery(faults)
    bed.wire()
    assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20
