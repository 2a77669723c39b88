# SPDX-License-Identifier: GPL-2.0-only
"""A guest with two e1000 on a hub, and the stock driver in its nook: what the tests do with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pynooks.control.client import Agent
from pynooks.control.records import Nook
from pynooks.demo.net import ADDRESSES, SPACES, wire
from pynooks.deploy import deploy, release
from pynooks.inject import Injection, Kind, inject_kind
from pynooks.policy import Level
from pynooks.remote import LocalVm
from pynooks.vm.machine import Vm, VmSpec
from pynooks.vm.nics import nics_of

DRIVER = "e1000"
OTHER = "8139cp"
DRIVERS = (OTHER, "e100", "e1000e", "ne2k-pci", "pcnet32", "tulip", "vmxnet3")  # but e1000
RECOVERY_S = 40
A, B = (f"ip netns exec {space} " for space in SPACES)
NIC = "$(basename $(ls -d /sys/class/net/e* | head -1))"  # inside a namespace

# Both ways for ever, through every loss of the interface; -f would starve a small guest.
_TRAFFIC = """
one() { while :; do ip netns exec $1 ping -q -c 1000 -i {pace} -s $3 $2 || sleep 0.05; done; }
one {a} {to_b} 64 & one {b} {to_a} 1400 & wait
"""

# Entries that ping alone does not make. In a namespace; single quotes stand around them.
PROBES = f"""
nic={NIC}
timeout 3 ethtool -i $nic; timeout 3 ethtool -S $nic; timeout 3 ethtool $nic
ip link set $nic promisc on; ip link set $nic promisc off
sleep 0.5
"""
ACTIONS = f"{PROBES} ip link set $nic mtu 1400; ip link set $nic down; ip link set $nic up"


@contextmanager
def guest(tmp_path_factory: pytest.TempPathFactory, *drivers: str) -> Iterator[LocalVm]:
    """Each card behind a bridge of its own, as on real machines; test_deploy.py has one without."""
    name = f"test-{drivers[-1].replace('_', '-')}"
    spec = VmSpec(name=name, nics=nics_of(*drivers), pluggable=True)
    with Vm.start(spec, tmp_path_factory.mktemp("vm")) as vm:
        for driver in drivers:
            vm.run(["modprobe", driver])
        yield LocalVm(vm, name=spec.name)
        assert not vm.verdicts()


class Bed:
    """The guest of this session. One request at a time."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.target = LocalVm(vm, name=vm.spec.name)
        self.agent = Agent(self.target)

    def close(self) -> None:
        self.agent.close()

    def shell(self, line: str, timeout: float = 60) -> tuple[int, str]:
        """A shell line by way of the agent, which is faster than SSH: status, standard output."""
        done = self.agent.call("run", argv=["sh", "-c", line], timeout=timeout)
        return done["status"], done["stdout"]

    def out(self, line: str) -> str:
        """What a shell line that must succeed prints."""
        status, text = self.shell(line)
        assert status == 0, text
        return text

    def nook(self) -> Nook:
        return self.agent.nook(DRIVER)

    def isolate(self, level: Level = Level.PAGETABLE) -> None:
        """In its nook at this level, RUNNING, whatever was before, and the two NICs connected."""
        loaded = "nooks" in self.agent.call("modules")
        nooks = self.agent.nooks() if loaded else []
        want = level.name.lower()
        mine = next((nook for nook in nooks if nook.name == DRIVER), None)
        if mine and (mine.level != want or mine.state in ("STOPPED", "RELEASED") or mine.flags):
            release(self.target, DRIVER)
            mine = None
        if mine is None:
            deploy(self.target, DRIVER, level=level)
        self.wire()

    def wire(self) -> None:
        wire(self.target, DRIVER)

    def await_recovery(self, faults: int) -> Nook:
        """Until the nook runs again after at least one fault more than `faults`."""
        deadline = time.monotonic() + RECOVERY_S
        while True:
            nook = self.nook()
            if nook.stats["faults"] > faults and nook.state == "RUNNING":
                return nook
            assert nook.state != "STOPPED", f"not started again: {nook.fault}"
            assert time.monotonic() < deadline, f"{nook.state}, {nook.stats['faults']} faults"
            time.sleep(0.2)

    def inject(self, kind: Kind, seed: int = 0, symbol: str | None = None) -> Injection:
        """One fault into the isolated driver; nobody need run into it yet."""
        return inject_kind(
            self.target, DRIVER, kind, seed=seed, native=False, symbol=symbol, agent=self.agent
        )

    def strike(
        self, kind: Kind, seed: int = 0, *, symbol: str | None = None, line: str = ""
    ) -> Nook:
        """One fault under traffic and this shell line; the nook when it runs again."""
        faults = self.nook().stats["faults"]
        with self.traffic():
            self.inject(kind, seed, symbol)
            if line:
                self.shell(line)
            return self.await_recovery(faults)

    @contextmanager
    def traffic(self, pace_s: float = 0.02) -> Iterator[None]:
        """Packets both ways meanwhile, as far as there are interfaces."""
        (a, b), (at_a, at_b) = SPACES, ADDRESSES
        script = _TRAFFIC
        for key, value in {"a": a, "b": b, "to_a": at_a, "to_b": at_b, "pace": str(pace_s)}.items():
            script = script.replace("{" + key + "}", value)
        self.agent.call("write", path="/run/pynooks/traffic.sh", text=script)
        with self.background("sh /run/pynooks/traffic.sh"):
            yield

    @contextmanager
    def again(self, line: str) -> Iterator[None]:
        """A shell line in the first namespace, over and over meanwhile. No single quotes."""
        with self.background(f"{A} sh -c 'while :; do {line}\ndone'"):
            yield

    @contextmanager
    def background(self, command: str) -> Iterator[None]:
        """A command, with all that it starts, meanwhile."""
        line = f"setsid {command} >/dev/null 2>&1 </dev/null & echo $!"
        pid = self.shell(line)[1].strip()
        try:
            yield
        finally:
            self.shell(f"kill -- -{pid}")

    def counts(self, kind: str) -> dict[str, int]:
        """Counters of the nook by name, of writes by object.field."""
        return {
            f"{c.name}.{c.field}" if c.field else c.name: c.value
            for c in self.agent.counts(DRIVER)
            if c.kind == kind
        }

    def complaints(self) -> list[str]:
        """All that the kernel ever complained of on its console."""
        return [verdict.title for verdict in self.vm.verdicts()]


@contextmanager
def started(spec: VmSpec, workdir: Path) -> Iterator[Bed]:
    """A guest for as long as this lasts; no driver is isolated yet."""
    with Vm.start(spec, workdir) as vm:
        bed = Bed(vm)
        try:
            yield bed
        finally:
            bed.close()
