# SPDX-License-Identifier: GPL-2.0-only
"""Everything at once: settings, traffic, faults, restarts, devices that come and go. At random.

Nothing is expected of any of it but that the kernel lives, and that in the end packets pass, in the
nook and by the stock driver.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bed import DRIVER, DRIVERS, guest

from pynooks.control.client import Agent
from pynooks.demo.net import ADDRESSES, SPACES, ping, wire
from pynooks.deploy import deploy, release
from pynooks.errors import GuestError, InfraError, NooksError
from pynooks.inject import Kind, inject_kind
from pynooks.modname import module_name
from pynooks.remote import LocalVm
from pynooks.remote.target import REMOTE_DIR

pytestmark = [pytest.mark.vm, pytest.mark.slow]
SEED = os.environ.get("PYNOOKS_SEED", "1")
HAVOC_S = 90
PEOPLE = 2  # for each NIC
SETTLE_S = 60
SCRIPT = f"{REMOTE_DIR}/monkey.py"
LOG = f"{REMOTE_DIR}/monkey"
NO_RESET = ("vmxnet3",)  # it may pass nothing afterwards, natively neither: docs/limits.md, 7


@contextmanager
def tolerated() -> Iterator[None]:
    """What is refused is printed; a guest that dies is not."""
    try:
        yield
    except (GuestError, InfraError):
        raise
    except NooksError as e:
        print(e)


class Havoc:
    """One thing after the other; each is printed, for whoever has to find out."""

    def __init__(self, target: LocalVm, agent: Agent, driver: str) -> None:
        self.target = target
        self.agent = agent
        self.driver = driver
        self.name = module_name(driver)
        self.rng = random.Random(f"{SEED} {driver}")
        self.bus = f"/sys/bus/pci/drivers/{driver}"
        self.slots = self.shell(f"ls {self.bus} | grep ^0").split()

    def shell(self, line: str) -> str:
        return self.target.run(["sh", "-c", line], check=False, timeout=60).stdout

    @contextmanager
    def people(self) -> Iterator[None]:
        """monkey.py, several times in each namespace."""
        self.target.put(Path(__file__).parent / "monkey.py", SCRIPT)
        lines = []
        for i, space in enumerate(SPACES):
            inside = f"setsid ip netns exec {space}"
            lines.append(f"{inside} sh -c 'while :; do iperf3 -s; sleep 0.1; done'")
            for who in range(PEOPLE):
                words = f"'{SEED} {i} {who}' {ADDRESSES[i]} {ADDRESSES[1 - i]} {LOG}.{i}.{who}"
                lines.append(f"{inside} python3 {SCRIPT} {words}")
        sessions = [self.shell(f"{line} >/dev/null 2>&1 </dev/null & echo $!") for line in lines]
        yield
        for session in sessions:  # with what they have begun
            self.shell(f"pkill -KILL -s {session}")

    def one_thing(self) -> None:
        what = self.rng.choices(
            (self.fault, self.restart, self.rebind, self.rescan, self.reset, self.unlink),
            (6, 1, 2, 1, 1, 1),
        )[0]
        with tolerated():  # in the middle of something else
            print(f"{what.__name__} {what()}")

    def fault(self) -> str:
        kind, seed = self.rng.choice(list(Kind)), self.rng.randrange(1000)
        done = inject_kind(
            self.target, self.driver, kind, seed=seed, native=False, agent=self.agent
        )
        return f"{kind} in {done.patch.symbol}"

    def restart(self) -> str:
        self.agent.call("restart", name=self.name)
        return ""

    def rebind(self, slot: str = "") -> str:
        slot = slot or self.rng.choice(self.slots)
        pause = self.rng.choice((0, 0.2, 1))
        self.shell(f"echo {slot} >{self.bus}/unbind; sleep {pause}; echo {slot} >{self.bus}/bind")
        self.wire()
        return slot

    def rescan(self) -> str:
        slot = self.rng.choice(self.slots)
        if self.driver in NO_RESET:
            return self.rebind(slot)
        self.shell(f"echo 1 >/sys/bus/pci/devices/{slot}/remove; sleep 0.2")
        self.shell("echo 1 >/sys/bus/pci/rescan")
        self.wire()
        return slot

    def reset(self) -> str:
        slot = self.rng.choice(self.slots)
        if self.driver not in NO_RESET:
            self.shell(f"echo 1 >/sys/bus/pci/devices/{slot}/reset")
        return slot

    def unlink(self) -> str:
        """The cable."""
        nic = f"nic{self.rng.randrange(2)}"
        self.target.vm.monitor.execute("set_link", {"name": nic, "up": False})
        time.sleep(self.rng.uniform(0, 3))
        self.target.vm.monitor.execute("set_link", {"name": nic, "up": True})
        return nic

    def wire(self) -> None:
        """As far as it goes: settings may keep the two from each other."""
        with tolerated():
            wire(self.target, self.driver, limit_s=10)

    def settle(self) -> None:
        """It runs again, and nobody's settings are left."""
        deadline = time.monotonic() + SETTLE_S
        while (state := self.agent.nook(self.name).state) != "RUNNING":
            assert time.monotonic() < deadline, f"{state}: {self.agent.nook(self.name).fault}"
            if state == "STOPPED":
                self.restart()
            time.sleep(0.5)
        for slot in self.slots:
            self.rebind(slot)
        for space in SPACES:  # addresses that are none any more
            self.shell(f"ip -n {space} neigh flush all")

    def hung(self) -> str:
        """What somebody did that did not end, not even when it was killed."""
        return self.shell(f"grep -h 'hangs$' {LOG}.*")


@pytest.mark.parametrize("driver", [DRIVER, *DRIVERS])
def test_everything_at_once(tmp_path_factory: pytest.TempPathFactory, driver: str) -> None:
    print(f"PYNOOKS_SEED={SEED}")
    with guest(tmp_path_factory, driver) as target, Agent(target) as agent:
        deploy(target, driver)
        wire(target, driver)
        havoc = Havoc(target, agent, driver)
        with havoc.people():
            deadline = time.monotonic() + HAVOC_S
            while time.monotonic() < deadline:
                havoc.one_thing()
                assert not target.vm.verdicts()
        havoc.settle()
        wire(target, driver)
        assert ping(target, count=10).whole
        assert not havoc.hung()
        assert release(target, driver)
        wire(target, driver)
        assert ping(target, count=10).whole
