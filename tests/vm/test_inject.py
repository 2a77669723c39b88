# SPDX-License-Identifier: GPL-2.0-only
"""Each kind of fault, in a nook: the kernel lives, the fault is told, the interface comes back.

Seeds per kind: 3 here; NOOKS_SEEDS=20 for the whole table.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pynooks.control.client import Agent
from pynooks.demo.net import SPACES, ping, wire
from pynooks.deploy import deploy
from pynooks.errors import RefusedError
from pynooks.inject import Kind, inject_bytes, inject_kind
from pynooks.remote import LocalVm
from pynooks.trace import canaries
from pynooks.vm.machine import Snapshot, Vm, VmSpec

pytestmark = pytest.mark.vm
DRIVER = "e1000"
SEEDS = range(int(os.environ.get("NOOKS_SEEDS", "3")))
RECOVERY_S = 40
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
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A guest with e1000 in its nook and some traffic behind it."""
    path = tmp_path_factory.mktemp("frozen")
    with Vm.start(VmSpec(name="test-inject"), path) as vm:
        target = LocalVm(vm, name="test-inject")
        deploy(target, DRIVER)
        wire(target, DRIVER)
        assert ping(target, count=10).whole
        return vm.freeze(path / "base.qcow2")


@pytest.fixture
def target(frozen: Snapshot, tmp_path: Path) -> Iterator[LocalVm]:
    with Vm.restore(frozen, tmp_path) as vm:
        yield LocalVm(vm, name="test-inject")


def await_recovery(agent: Agent, before: int) -> None:
    """Until the nook runs again after at least one more fault."""
    deadline = time.monotonic() + RECOVERY_S
    while True:
        nook = agent.nook(DRIVER)
        if nook.stats["faults"] > before and nook.state == "RUNNING":
            return
        assert time.monotonic() < deadline, f"{nook.state}, {nook.stats['faults']} faults"
        time.sleep(0.3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", list(Kind))
def test_a_fault_costs_a_restart_only(target: LocalVm, kind: Kind, seed: int) -> None:
    before = canaries(target)
    traffic = ["ip", "netns", "exec", SPACES[0], "ping", "-q", "-i", "0.05", "192.0.2.2"]
    with Agent(target) as agent, target.open_stream(traffic):
        faults = agent.nook(DRIVER).stats["faults"]
        done = inject_kind(target, DRIVER, kind, seed=seed, native=False)
        assert done.patch.new != done.patch.old
        await_recovery(agent, faults)
        fault = agent.nook(DRIVER).fault
    assert fault is not None
    assert fault.vec in VECTORS[kind] or fault.vec == 258, str(fault)
    assert fault.entry
    assert "+0x" in fault.symbol or kind is Kind.BAD_JUMP
    wire(target, DRIVER)
    assert ping(target, count=20).whole
    assert canaries(target) == before
    assert target.vm.verdict() is None


def test_bytes_are_what_was_asked_for(target: LocalVm) -> None:
    with Agent(target) as agent:
        address = agent.call("symbols", module=DRIVER)["e1000_set_rx_mode"]
    done = inject_bytes(
        target, DRIVER, b"\x90" * 5, symbol="e1000_set_rx_mode", offset=0, native=False
    )
    assert done.patch.addr == address
    assert done.patch.new == b"\x90" * 5
    again = inject_bytes(
        target, DRIVER, done.patch.old, symbol="e1000_set_rx_mode", offset=0, native=False
    )
    assert again.patch.old == b"\x90" * 5


@pytest.mark.parametrize(
    ("symbol", "offset"),
    [("no_such_function", 0), ("e1000_set_rx_mode", 1 << 30), ("e1000_netdev_ops", 0)],
)
def test_only_text_is_patched(target: LocalVm, symbol: str, offset: int) -> None:
    with pytest.raises(RefusedError):
        inject_bytes(target, DRIVER, b"\x90", symbol=symbol, offset=offset, native=False)


def test_native_must_be_said(target: LocalVm) -> None:
    with pytest.raises(RefusedError, match="is in a nook"):
        inject_kind(target, DRIVER, Kind.UD2, seed=1, native=True)
    with pytest.raises(RefusedError, match="not in a nook"):
        inject_kind(target, "virtio_net", Kind.UD2, seed=1, native=False)
