# SPDX-License-Identifier: GPL-2.0-only
"""Quiet failures of the stock e1000: it works, but its device does not. In a guest of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from bed import DRIVER, Bed, started

from pynooks.bench import ping_times
from pynooks.control.netlink import IRQ_RATE, TX_TIMEOUTS
from pynooks.control.records import Nook
from pynooks.inject import inject_bytes
from pynooks.vm.machine import VmSpec

pytestmark = [pytest.mark.vm, pytest.mark.slow]
WATCHDOG = 256
HANG_S = 120
HANDLED = bytes.fromhex("b801000000c3")  # mov $1, %eax; ret
# `and $1, %ebp` of e1000_clean_tx_irq(), inlined: has the card written the packet back?
DONE_AT, DONE, NEVER_DONE = 0x7E, bytes.fromhex("83e501"), bytes.fromhex("83e500")


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with started(VmSpec(name="test-hangs"), tmp_path_factory.mktemp("ward")) as bed:
        bed.isolate()
        yield bed


def patch(bed: Bed, symbol: str, offset: int, code: bytes) -> bytes:
    """Gives what was there."""
    done = inject_bytes(bed.target, DRIVER, code, symbol=symbol, offset=offset, native=False)
    return done.patch.old


def await_fault(bed: Bed, faults: int) -> Nook:
    """With traffic, until it is found and the driver runs again."""
    deadline = time.monotonic() + HANG_S
    with bed.traffic():
        while bed.nook().stats["faults"] == faults:
            assert time.monotonic() < deadline, "nobody noticed"
            time.sleep(0.2)
        return bed.await_recovery(faults)


def test_a_line_that_does_not_fall_silent(ward: Bed) -> None:
    """A handler that says that all is well, and has not asked its device."""
    bed = ward
    faults = bed.nook().stats["faults"]
    assert bed.nook().irq_rate == IRQ_RATE
    bed.agent.call("set", name=DRIVER, irq_rate=1000)
    patch(bed, "e1000_intr", 0, HANDLED)
    fault = await_fault(bed, faults).fault
    bed.agent.call("set", name=DRIVER, irq_rate=IRQ_RATE)
    assert fault is not None
    assert (fault.vec, fault.entry) == (WATCHDOG, "irq_handler")
    assert "interrupt storm: more than 1000 a second" in fault.what
    assert fault.symbol.startswith("e1000_intr+")
    bed.wire()
    assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20
    assert bed.complaints() == []


def test_a_device_that_does_not_send(ward: Bed) -> None:
    """No packet is ever done. The driver itself stops the queue, so the kernel is never told."""
    bed = ward
    faults = bed.nook().stats["faults"]
    assert bed.nook().tx_timeouts == TX_TIMEOUTS
    bed.agent.call("set", name=DRIVER, tx_timeouts=2)
    assert patch(bed, "e1000_clean", DONE_AT, NEVER_DONE) == DONE
    fault = await_fault(bed, faults).fault
    bed.agent.call("set", name=DRIVER, tx_timeouts=TX_TIMEOUTS)
    assert fault is not None
    assert (fault.vec, fault.entry) == (WATCHDOG, "net_device_ops.ndo_tx_timeout")
    assert fault.what.startswith("device stopped answering: nothing sent for 1")
    assert fault.symbol.startswith("e1000_tx_timeout+")
    bed.wire()
    assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20
    assert bed.complaints() == []
