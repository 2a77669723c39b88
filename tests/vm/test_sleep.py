# SPDX-License-Identifier: GPL-2.0-only
"""The machine sleeps (ACPI S3), with the driver in its nook. In guests of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bed import DRIVER, DRIVERS, NIC, A, Bed, started

from pynooks.bench import ping_times
from pynooks.control.netlink import flags_of
from pynooks.demo.net import ping, wire
from pynooks.deploy import deploy
from pynooks.inject import Kind
from pynooks.modname import module_name
from pynooks.vm.machine import VmSpec
from pynooks.vm.nics import nics_of

pytestmark = pytest.mark.vm
SLEEP_S = 3
AWAKE_S = 60
# The alarm is set with the devices still up, so it must not be over before they are down.
ALARM = "/sys/class/rtc/rtc0/wakealarm"
SLEEP = f"echo 0 >{ALARM}; echo +{SLEEP_S} >{ALARM} && echo mem >/sys/power/state"


@pytest.fixture(scope="module")
def bedroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with started(VmSpec(name="test-sleep", sleeps=True), tmp_path_factory.mktemp("bedroom")) as bed:
        bed.isolate()
        yield bed


def sleep(bed: Bed) -> None:
    """And wake up. The kernel counts only what has succeeded."""
    count = "cat /sys/power/suspend_stats/success"
    before = int(bed.out(count))
    bed.shell(SLEEP, timeout=AWAKE_S)
    assert int(bed.out(count)) == before + 1, bed.vm.console_tail()


def works(bed: Bed) -> None:
    bed.wire()
    bed.out(f"{A} sh -c 'ethtool {NIC}; ethtool -S {NIC}'")  # not detached
    assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20
    assert bed.complaints() == []


def test_a_driver_sleeps_and_wakes(bedroom: Bed) -> None:
    """Under traffic. Afterwards what ends a loop with interrupts off still does."""
    bed = bedroom
    before = bed.nook().stats["faults"]
    with bed.traffic():
        sleep(bed)
    assert bed.nook().stats["faults"] == before
    works(bed)
    nook = bed.strike(Kind.CLI_LOOP, symbol="e1000_xmit_frame")
    assert nook.fault is not None
    assert nook.fault.vec == 256
    works(bed)


@pytest.mark.slow
@pytest.mark.parametrize("symbol", ["e1000_suspend", "e1000_resume"])
@pytest.mark.parametrize("kind", [Kind.WILD_WRITE, Kind.LOOP])
def test_a_driver_that_fails_on_the_way(bedroom: Bed, symbol: str, kind: Kind) -> None:
    """The machine sleeps and wakes all the same, and the driver comes back when it is awake."""
    bed = bedroom
    bed.isolate()
    before = bed.nook().stats["faults"]
    bed.inject(kind, symbol=symbol)
    with bed.traffic():
        sleep(bed)
    nook = bed.await_recovery(before)
    assert nook.stats["faults"] == before + 1
    assert nook.fault is not None
    assert nook.fault.symbol.startswith(symbol)
    works(bed)


@pytest.mark.slow
def test_a_stopped_nook_keeps_nobody_awake(bedroom: Bed) -> None:
    bed = bedroom
    bed.isolate()
    bed.agent.call("set", name=DRIVER, flags=flags_of(["no_recover"]))
    bed.inject(Kind.WILD_WRITE, symbol="e1000_xmit_frame")
    deadline = time.monotonic() + AWAKE_S
    with bed.traffic():
        while bed.nook().state != "STOPPED":
            assert time.monotonic() < deadline
            time.sleep(0.2)
    sleep(bed)
    assert bed.nook().state == "STOPPED"
    bed.isolate()
    works(bed)


@pytest.mark.slow
@pytest.mark.parametrize("driver", DRIVERS)
def test_another_driver_sleeps_and_wakes(tmp_path: Path, driver: str) -> None:
    spec = VmSpec(name="test-sleeper", sleeps=True, nics=nics_of(driver))
    with started(spec, tmp_path) as bed:
        deploy(bed.target, driver)
        wire(bed.target, driver)
        with bed.traffic():
            sleep(bed)
        wire(bed.target, driver)
        assert ping(bed.target, count=20).whole
        assert bed.agent.nook(module_name(driver)).stats["faults"] == 0
        assert bed.complaints() == []
