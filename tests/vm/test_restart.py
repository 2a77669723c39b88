# SPDX-License-Identifier: GPL-2.0-only
"""Restarts under traffic leave nothing behind: memory, interrupts, objects, regions."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any

import pytest
from bed import DRIVER, Bed

from pynooks.bench import ping_times

pytestmark = pytest.mark.vm
WARM_UP = 2
SETTLE_S = 2.0
SENT, SENT_S = "sk_buff", 10.0  # e1000 looks at all it has sent every two seconds
MEMORY_KB = 16384  # per-CPU page lists and private tables fill up: 11 MB in 8 restarts, 18 in 32
PER_RESTART_KB = 16
PGT_FIXED = 32
BARS = 0x10
PACE_S = 0.005  # both ways, so that packets are always in flight
LAZY = "vmap_area"  # of areas that wait to be purged, too; those in use are counted above
SLAB_SLACK = 256
SLACK_SLABS = 2  # one for each CPU: what is free in it is counted as in use (get_slabinfo())

# All at once: what a restart has put back already may not be wiped again.
WIPE = f"""
import os, sys
found = [os.open(f"/sys/bus/pci/devices/{{slot}}/config", os.O_WRONLY) for slot in sys.argv[1:]]
for config in found: os.pwrite(config, bytes(24), {BARS})
"""
SHRINK = """sync; echo 3 >/proc/sys/vm/drop_caches
for slab in /sys/kernel/slab/*/shrink; do echo 1 >$slab; done"""


def settled(bed: Bed) -> dict[str, Any]:
    """What is held once all that is in flight has landed."""
    bed.wire()
    assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20
    time.sleep(SETTLE_S)
    bed.shell(SHRINK)
    # not in the moment in which a packet is under way that the kernel has sent by itself
    deadline = time.monotonic() + SENT_S
    while True:
        held: dict[str, Any] = bed.agent.call("resources")
        held["stats"] = bed.nook().stats
        held["objects"] = bed.counts("object")
        if SENT not in held["objects"] or time.monotonic() > deadline:
            return held


@pytest.mark.parametrize("count", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_restarts_leave_nothing_behind(bed: Bed, count: int) -> None:
    with bed.traffic(PACE_S):
        restart(bed, WARM_UP)
    before = settled(bed)
    with bed.traffic(PACE_S):
        restart(bed, count)
    after = settled(bed)

    assert after["stats"]["faults"] == before["stats"]["faults"]
    assert after["irqs"] == before["irqs"]
    assert after["regions"] == before["regions"]
    assert after["objects"] == before["objects"]
    for name in ("objects", "heap", "inside"):
        assert after["stats"][name] == before["stats"][name], name
    # kept for the nook's life: one for each 2 MB of memory in which it ever owned a page
    assert after["stats"]["pgt_pages"] < bed.vm.spec.memory_mib // 2 + PGT_FIXED
    assert after["vmalloc"] - before["vmalloc"] < max(4, count // 10)
    lost = free_kb(before) - free_kb(after)
    assert lost < MEMORY_KB + PER_RESTART_KB * count, f"{lost} kB"
    assert not grown_slabs(before, after, count)


def grown_slabs(before: dict[str, Any], after: dict[str, Any], count: int) -> dict[str, int]:
    """Objects more than before, where there are more than chance explains."""
    more = {name: n - before["slabs"].get(name, 0) for name, n in after["slabs"].items()}
    return {
        name: n
        for name, n in more.items()
        if name != LAZY and n > max(SLAB_SLACK, count, SLACK_SLABS * after["per_slab"][name])
    }


def free_kb(held: dict[str, Any]) -> int:
    """Memory that anybody could have."""
    kilobytes: int = held["memory"]["MemAvailable"] + held["memory"]["PerCpuLists"]
    return kilobytes


def restart(bed: Bed, count: int) -> None:
    """Again and again, with packets in flight and receive buffers in the ring."""
    for _ in range(count):
        bed.wire()
        assert bed.agent.restart(DRIVER).state == "RUNNING"


def slots_of(bed: Bed) -> list[str]:
    return [device["slot"] for device in bed.agent.call("devices", driver=DRIVER)]


def wipe(bed: Bed, slots: list[str]) -> None:
    """The BARs of these devices, as by a loss of power."""
    status, said = bed.shell(f"python3 -c '{WIPE}' {' '.join(slots)}")
    assert status == 0, said


@pytest.mark.parametrize("busy", [False, True])
def test_a_device_that_forgets_its_addresses(bed: Bed, busy: bool) -> None:
    """It is found, and put back before the restart: else it would go on with the old rings.

    A busy one leaves its line up, too, and nobody can answer that: the cause is the same.
    """
    bed.wire()
    faults = bed.nook().stats["faults"]
    slots = slots_of(bed)
    with bed.traffic(PACE_S) if busy else nullcontext():
        wipe(bed, slots)
        fault = bed.await_recovery(faults).fault
    assert fault is not None
    assert "is not where the kernel has put it" in fault.what
    assert fault.symbol.startswith("e1000_probe+")
    bed.wire()
    assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20
    assert bed.complaints() == []


def test_a_device_that_has_forgotten_its_addresses_before_its_driver_comes(bed: Bed) -> None:
    """So it is for a retry, if power fails during a restart."""
    bed.wire()
    faults = bed.nook().stats["faults"]
    slots = slots_of(bed)
    for slot in slots:
        bed.agent.call("unbind", driver=DRIVER, slot=slot)
    wipe(bed, slots)
    for slot in slots:
        bed.agent.call("bind", driver=DRIVER, slot=slot)
    bed.wire()
    assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20
    assert bed.nook().stats["faults"] == faults
    assert bed.complaints() == []
