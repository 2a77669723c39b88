# SPDX-License-Identifier: GPL-2.0-only
"""Each kind of fault, in a nook: the kernel lives, the fault is told, the interface comes back.

One seed per kind here; 20 with `make test-slow`, and there also what each does natively.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from bed import ACTIONS, DRIVER, PROBES, A, Bed

from pynooks.bench import ping_times
from pynooks.bench.faults import Outcome, native_base, native_trial
from pynooks.control.records import Nook
from pynooks.errors import RefusedError
from pynooks.inject import Kind, inject_bytes, inject_kind
from pynooks.trace import canaries
from pynooks.vm.machine import Snapshot

pytestmark = pytest.mark.vm
QUICK, ALL = 1, 20
SEEDS = [
    pytest.param(seed, marks=[pytest.mark.slow] if seed >= QUICK else []) for seed in range(ALL)
]
SOON_S = 4  # a loop is a fault after the driver's limit of 3 s
KILLED = 258  # another entry of the nook was faster
# vectors that a kind may end in: what was hit first depends on the place
VECTORS = {
    Kind.WILD_WRITE: {14},
    Kind.NULL_DEREF: {14},
    Kind.UD2: {6},
    Kind.LOOP: {256},
    Kind.CLI_LOOP: {256},
    Kind.BAD_JUMP: {13, 14},
    Kind.STACK_OVERFLOW: {8, 14},
}


@pytest.fixture(scope="module")
def unharmed(_guest: Bed) -> dict[str, str]:
    """Checksums of kernel objects before the first fault."""
    return canaries(_guest.target)


def inject(bed: Bed, kind: Kind, seed: int) -> Nook:
    """One fault in a function that runs; gives the nook when it runs again."""
    faults = bed.nook().stats["faults"]
    with bed.traffic(), bed.again(PROBES):
        done = bed.inject(kind, seed)
        assert done.patch.new != done.patch.old
        if not struck(bed, faults):
            bed.shell(f"{A} sh -c '{ACTIONS}' >/dev/null 2>&1")
        return bed.await_recovery(faults)


def struck(bed: Bed, faults: int) -> bool:
    """Whether the traffic alone runs into the fault, soon."""
    deadline = time.monotonic() + SOON_S
    while time.monotonic() < deadline:
        if bed.nook().stats["faults"] > faults:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", list(Kind))
def test_a_fault_costs_a_restart_only(
    bed: Bed, unharmed: dict[str, str], kind: Kind, seed: int
) -> None:
    fault = inject(bed, kind, seed).fault
    assert fault is not None
    assert fault.vec in VECTORS[kind] | {KILLED}, str(fault)
    assert fault.entry
    assert "+0x" in fault.symbol
    bed.wire()
    assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20
    assert bed.complaints() == []
    if kind is Kind.WILD_WRITE:
        assert canaries(bed.target) == unharmed


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A guest with the native driver and traffic, to be broken again and again."""
    return native_base(tmp_path_factory.mktemp("native"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(Kind))
def test_natively_the_kernel_is_hurt(native: Snapshot, tmp_path: Path, kind: Kind) -> None:
    trial = native_trial(native, tmp_path, kind, seed=1)
    assert trial.outcome is not Outcome.LOST, trial
    assert trial.outcome is not Outcome.UNHARMED, trial


def test_bytes_are_what_was_asked_for(bed: Bed) -> None:
    address = bed.agent.call("symbols", module=DRIVER)["e1000_set_rx_mode"]
    done = inject_bytes(
        bed.target, DRIVER, b"\x90" * 5, symbol="e1000_set_rx_mode", offset=0, native=False
    )
    assert done.patch.addr == address
    assert done.patch.new == b"\x90" * 5
    again = inject_bytes(
        bed.target, DRIVER, done.patch.old, symbol="e1000_set_rx_mode", offset=0, native=False
    )
    assert again.patch.old == b"\x90" * 5


@pytest.mark.parametrize(
    ("symbol", "offset"),
    [("no_such_function", 0), ("e1000_set_rx_mode", 1 << 30), ("e1000_netdev_ops", 0)],
)
def test_only_text_is_patched(bed: Bed, symbol: str, offset: int) -> None:
    with pytest.raises(RefusedError):
        inject_bytes(bed.target, DRIVER, b"\x90", symbol=symbol, offset=offset, native=False)


def test_native_must_be_said(bed: Bed) -> None:
    with pytest.raises(RefusedError, match="is in a nook"):
        inject_kind(bed.target, DRIVER, Kind.UD2, seed=1, native=True)
    with pytest.raises(RefusedError, match="not in a nook"):
        inject_kind(bed.target, "virtio_net", Kind.UD2, seed=1, native=False)
