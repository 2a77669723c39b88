# SPDX-License-Identifier: GPL-2.0-only
"""A guest with nooks.ko, the victim, and the hostile driver in its nook."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hostilemake import Hostile, make_hostile

from pynooks.build.builder import read_btf
from pynooks.control.client import Agent
from pynooks.control.records import Nook
from pynooks.policy import DriverPolicy, Level, WriteAllow, driver_rules
from pynooks.remote import LocalVm
from pynooks.vm.machine import Vm, VmSpec

LIMIT_MS = 300
RESTART_S = 60
CANARY = 0x600D600D600D600D
MODULES = "/root"
PARAMETERS = "/sys/module/{}/parameters"
THINGS = ("data", "slab", "page", "pte", "text", "percpu", "idt")
WRITES = (("percpu", "__preempt_count"), ("sk_buff", "protocol"))


class Lab:
    """What the tests do in the guest."""

    def __init__(self, vm: Vm, made: Hostile) -> None:
        self.vm = vm
        self._put(made)
        self.agent = Agent(LocalVm(vm, name=vm.spec.name))
        self.agent.call("insmod", path=f"{MODULES}/victim.ko")
        self.agent.call("insmod", path=f"{MODULES}/nooks.ko")
        writes = tuple(WriteAllow(object=o, field=f) for o, f in WRITES)
        for name in made.relinked:
            policy = DriverPolicy(
                driver=name, cls="", level=Level.PAGETABLE, limit_ms=LIMIT_MS, use=(), writes=writes
            )
            rules = driver_rules(policy, read_btf(vm.image.vmlinux))
            self.agent.policy_set(name, level=1, limit_ms=LIMIT_MS, flags=0, rules=rules)
            self.agent.call("insmod", path=f"{MODULES}/{name}.nook.ko")
        files = [f"{PARAMETERS.format('victim')}/{thing}" for thing in THINGS]
        files += [f"{PARAMETERS.format(name)}/heap" for name in made.relinked]
        values = map(int, self.shell(f"cat {' '.join(files)}")[1].split())
        self.addresses = dict(zip((*THINGS, *made.relinked), values, strict=True))

    def _put(self, made: Hostile) -> None:
        self.vm.put(made.nooks.ko, f"{MODULES}/nooks.ko")
        self.vm.put(made.victim, f"{MODULES}/victim.ko")
        for name, path in made.relinked.items():
            self.vm.put(path, f"{MODULES}/{name}.nook.ko")

    def close(self) -> None:
        self.agent.close()

    def shell(self, line: str, timeout: float = 60) -> tuple[int, str]:
        """A shell line by way of the agent, which is faster than SSH: status, standard output."""
        done = self.agent.call("run", argv=["sh", "-c", line], timeout=timeout)
        return done["status"], done["stdout"]

    # -- the victim

    def address(self, name: str) -> int:
        """Of one of the victim's things, or of a block of a nook's heap."""
        return self.addresses[name]

    def peek(self, *at: int) -> list[int]:
        """Eight bytes of kernel memory at each address, read by the kernel."""
        file = f"{PARAMETERS.format('victim')}/peek"
        status, out = self.shell(
            "".join(f"echo {a:x} >{file}; read v <{file}; echo $v;" for a in at)
        )
        assert status == 0
        return [int(line, 16) for line in out.split()]

    # -- the driver

    def attack(self, command: str, timeout: float = 60) -> bool:
        """One entry. False if it did not return."""
        line = f"echo '{command}' >{PARAMETERS.format('hostile')}/attack"
        return self.shell(line, timeout)[0] == 0

    def nook(self) -> Nook:
        return self.agent.nook("hostile")

    def await_running(self) -> Nook:
        """After a fault; the driver must work again."""
        deadline = time.monotonic() + RESTART_S
        while True:
            nook = self.nook()
            if nook.state == "RUNNING":
                assert self.attack("ping")
                return nook
            assert nook.state != "STOPPED", f"not started again: {nook.fault}"
            assert time.monotonic() < deadline, f"still {nook.state}"
            time.sleep(0.05)

    def reload(self) -> None:
        """Unload the driver, load it again."""
        self.agent.call("rmmod", name="hostile")
        self.agent.call("insmod", path=f"{MODULES}/hostile.nook.ko")


@contextmanager
def running_lab(name: str, workdir: Path, *, la57: bool = False) -> Iterator[Lab]:
    """Boot, build, load; la57: with 5-level paging."""
    with Vm.start(VmSpec(name=name, nics=(), la57=la57), workdir / "vm") as vm:
        lab = Lab(vm, make_hostile(vm.image, workdir))
        assert f"{5 if la57 else 4}-level paging" in vm.run(["dmesg"]).stdout
        try:
            yield lab
        finally:
            lab.close()
