# SPDX-License-Identifier: GPL-2.0-only
"""A fault in each context that a driver runs in: recovered, or stopped with a clear state."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from bed import DRIVER, NIC, A, Bed

from pynooks.bench import ping_times
from pynooks.deploy import release
from pynooks.inject import Kind

pytestmark = pytest.mark.vm
TRIES = 3  # of a restart
SOON_S = 20
UD2 = bytes.fromhex("0f0b")

# where the fault is, and what makes the driver run it; nothing: traffic does
CONTEXTS = {
    "hard interrupt": ("e1000_intr", ""),
    "softirq": ("e1000_clean", ""),
    "softirq, transmit": ("e1000_xmit_frame", ""),
    "work": ("e1000_watchdog", ""),
    "process, rtnl": ("e1000_change_mtu", f"ip link set {NIC} mtu 1400"),
    "process, bottom halves off": ("e1000_set_rx_mode", f"ip link set {NIC} promisc on"),
    "open": ("e1000_open", f"ip link set {NIC} down; ip link set {NIC} up"),
    "close": ("e1000_close", f"ip link set {NIC} down; ip link set {NIC} up"),
    "ethtool, get": ("e1000_get_ethtool_stats", f"ethtool -S {NIC}"),
    "ethtool, set": ("e1000_set_ringparam", f"ethtool -G {NIC} rx 512"),
    "ethtool, self-test": ("e1000_reset_hw", f"ethtool -t {NIC} offline"),
}
QUICK = ("hard interrupt", "work", "process, rtnl", "ethtool, get")
AFTER = f"ip link set {NIC} mtu 1500; ip link set {NIC} promisc off; ethtool -G {NIC} rx 256"


def well(bed: Bed) -> None:
    bed.wire()
    assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20
    assert bed.complaints() == []


@pytest.mark.parametrize(
    "context",
    [pytest.param(c, marks=[pytest.mark.slow] if c not in QUICK else []) for c in CONTEXTS],
)
def test_a_fault_in_each_context(bed: Bed, context: str) -> None:
    symbol, action = CONTEXTS[context]
    line = f"{A} sh -c '{action}' >/dev/null 2>&1" if action else ""
    fault = bed.strike(Kind.UD2, symbol=symbol, line=line).fault
    assert fault is not None
    assert fault.symbol.startswith(f"{symbol}+"), fault
    bed.shell(f"{A} sh -c '{AFTER}'")
    well(bed)


@pytest.fixture
def unbound(bed: Bed) -> Iterator[str]:
    """The slot of a device that a test may unbind; afterwards all is made anew."""
    yield bed.agent.call("devices", driver=DRIVER)[0]["slot"]
    release(bed.target, DRIVER)


@pytest.mark.parametrize("symbol", ["e1000_probe", "e1000_remove"])
def test_a_fault_while_devices_come_and_go(bed: Bed, unbound: str, symbol: str) -> None:
    """The other device goes on; this one is the driver's again once it has restarted."""
    home = f"/sys/bus/pci/drivers/{DRIVER}"
    line = f"echo {unbound} >{home}/unbind; echo {unbound} >{home}/bind"
    fault = bed.strike(Kind.UD2, symbol=symbol, line=line).fault
    assert fault is not None
    assert fault.symbol.startswith(f"{symbol}+"), fault
    assert len(bed.agent.call("devices", driver=DRIVER)) == 2
    assert bed.complaints() == []


def harass(bed: Bed, symbol: str, times: int) -> int:
    """A fault each time that the driver is started again; gives how many struck."""
    struck = 0
    deadline = time.monotonic() + SOON_S
    while struck < times and (nook := bed.nook()).state != "STOPPED":
        assert time.monotonic() < deadline, nook
        if nook.state != "LOADING":
            continue
        bed.agent.inject(DRIVER, symbol, offset=0, code=UD2)
        while bed.nook().stats["faults"] == nook.stats["faults"]:
            assert time.monotonic() < deadline, nook
        struck += 1
    return struck


def first_fault(bed: Bed) -> None:
    """One that the recovery of is to be disturbed."""
    faults = bed.nook().stats["faults"]
    bed.inject(Kind.UD2, symbol="e1000_get_ethtool_stats")
    bed.shell(f"{A} sh -c 'ethtool -S {NIC}' >/dev/null 2>&1 &")
    while bed.nook().stats["faults"] == faults:
        time.sleep(0.02)


def test_a_fault_during_recovery(bed: Bed) -> None:
    faults = bed.nook().stats["faults"]
    first_fault(bed)
    assert harass(bed, "e1000_open", 1) == 1
    nook = bed.await_recovery(faults + 1)
    assert nook.fault is not None
    assert nook.fault.symbol.startswith("e1000_open+"), nook.fault
    well(bed)


def test_a_restart_that_cannot_succeed_ends_stopped(bed: Bed) -> None:
    """Every try dies: nothing is held then, the state tells, and a restart on demand works."""
    first_fault(bed)
    assert harass(bed, "e1000_open", TRIES) == TRIES
    deadline = time.monotonic() + SOON_S
    while bed.nook().state != "STOPPED":
        assert time.monotonic() < deadline, bed.nook()
        time.sleep(0.1)
    assert bed.nook().stats["objects"] == 0
    assert bed.agent.restart(DRIVER).state == "RUNNING"
    well(bed)
