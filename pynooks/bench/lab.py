# SPDX-License-Identifier: GPL-2.0-only
"""A guest with nooks.ko, the victim, and the hostile driver in its nook; and the modules."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pynooks.bench.calls import Callee, callees, source
from pynooks.bench.cases import hostile_dir
from pynooks.btf import Btf
from pynooks.build.builder import BuiltModule, build_module, headers_dir, read_btf
from pynooks.control.client import Agent
from pynooks.control.netlink import flags_of
from pynooks.control.records import Nook
from pynooks.errors import CheckError, InfraError, NooksError
from pynooks.policy import driver_rules, load_driver
from pynooks.relink import RelinkPlan, load_plan, relink
from pynooks.remote import LocalVm
from pynooks.vm.image import Image
from pynooks.vm.machine import Nic, Vm, VmSpec

IN_A_NOOK = ("hostile", "bystander")
CALLER = "caller"
REFUSED = ("notifier", "attributes", "thread", "parameter", "vector", "control")
# Behind bridges, their drivers not loaded: an e1000, and one that can be put to sleep.
DEVICE = (Nic(mac="52:54:00:6e:00:01"), Nic(model="e1000e", mac="52:54:00:6e:00:02"))
LIMIT_MS = 300
RESTART_S = 60
MODULES = "/root"
PARAMETERS = "/sys/module/{}/parameters"
THINGS = ("data", "slab", "page", "pte", "text", "percpu", "idt")
CANARIES = ("data", "slab", "page", "pte", "text", "idt", "bystander")  # as when first read
SYMBOLS = ("panic",)
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Hostile:
    """nooks: the module under test; plain: every module by name; relinked: by driver name.

    callees: what caller.ko can call; btf: of the guest's kernel
    """

    nooks: BuiltModule
    plain: dict[str, Path]
    relinked: dict[str, Path]
    plan: RelinkPlan
    callees: tuple[Callee, ...]
    btf: Btf

    @property
    def victim(self) -> Path:
        return self.plain["victim"]


def make_hostile(image: Image, workdir: Path, progress: Progress = lambda _: None) -> Hostile:
    """All modules, in `workdir`."""
    release = image.kernel_release
    nooks = build_module(release, image.vmlinux, progress)
    work = workdir / "hostile"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(hostile_dir(), work)
    btf = read_btf(image.vmlinux)
    plan = load_plan(release, nooks_symvers=nooks.symvers)
    known = callees(btf, plan.imports, plan.symvers)
    (work / "functions.c").write_text(source(known), encoding="utf-8")
    argv = ["make", "-C", str(headers_dir(release)), f"M={work}", "-j2", "modules"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise InfraError(f"the hostile modules do not compile:\n{tail}", hint="see what it says")
    plain = {name: work / f"{name}.ko" for name in (*IN_A_NOOK, CALLER, *REFUSED, "victim")}
    relinked = {name: work / f"{name}.nook.ko" for name in (*IN_A_NOOK, CALLER)}
    for name, path in relinked.items():
        path.write_bytes(relink(plain[name].read_bytes(), plan)[0])
    return Hostile(nooks, plain, relinked, plan, known, btf)


class Lab:
    """What is done in the guest. driver: hostile or caller, which is in a nook beside bystander."""

    def __init__(
        self, vm: Vm, made: Hostile, options: Sequence[str] = (), driver: str = "hostile"
    ) -> None:
        self.vm = vm
        self.made = made
        self.driver = driver
        self.loaded = (driver, "bystander")
        self._put()
        self.agent = Agent(LocalVm(vm, name=vm.spec.name))
        self.agent.call("insmod", path=f"{MODULES}/victim.ko")
        self.agent.call("insmod", path=f"{MODULES}/nooks.ko", args=list(options))
        for name in self.loaded:
            self.allow(name)
            self.agent.call("insmod", path=f"{MODULES}/{name}.nook.ko")
        self.addresses: dict[str, int] = {
            name: self.agent.call("address", symbol=name) for name in SYMBOLS
        }
        self._read_addresses()
        self.canaries = self._canaries()

    def _put(self) -> None:
        self.vm.put(self.made.nooks.ko, f"{MODULES}/nooks.ko")
        self.vm.put(self.made.victim, f"{MODULES}/victim.ko")
        for name in self.loaded:
            path = self.made.relinked[name]
            self.vm.put(path, f"{MODULES}/{name}.nook.ko")

    def _read_addresses(self) -> None:
        files = [f"{PARAMETERS.format('victim')}/{thing}" for thing in THINGS]
        files += [f"{PARAMETERS.format(name)}/heap" for name in self.loaded]
        values = map(int, self.shell(f"cat {' '.join(files)}")[1].split())
        self.addresses.update(zip((*THINGS, *self.loaded), values, strict=True))
        self.addresses["heap"] = self.addresses[self.driver]

    def allow(self, name: str, flags: Sequence[str] = ()) -> None:
        """Load the policy of the class for a module of this name."""
        policy = replace(load_driver(name), limit_ms=LIMIT_MS)
        rules = driver_rules(policy, self.made.btf)
        self.agent.policy_set(name, level=1, limit_ms=LIMIT_MS, flags=flags_of(flags), rules=rules)

    def close(self) -> None:
        self.agent.close()

    def shell(self, line: str, timeout: float = 60) -> tuple[int, str]:
        """A shell line by way of the agent, which is faster than SSH: status, standard output."""
        done: dict[str, Any] = self.agent.call("run", argv=["sh", "-c", line], timeout=timeout)
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
        if status:
            raise CheckError("the victim cannot read its canaries", hint="look at the console")
        return [int(line, 16) for line in out.split()]

    def _canaries(self) -> dict[str, int]:
        values = self.peek(*(self.address(name) for name in CANARIES))
        return dict(zip(CANARIES, values, strict=True))

    def harm(self) -> list[str]:
        """What is wrong with the kernel and the other nook; nothing, if all is well."""
        now = self._canaries()
        wrong = [f"{name} is {now[name]:x}" for name in now if now[name] != self.canaries[name]]
        other = self.agent.nook("bystander")
        if other.state != "RUNNING" or other.stats["faults"]:
            wrong.append(f"bystander is {other.state}, {other.stats['faults']} faults")
        cpus = range(self.vm.spec.smp)
        if self.shell("&&".join(f"taskset {1 << cpu:x} true" for cpu in cpus)) != (0, ""):
            wrong.append("a CPU runs no process")
        if found := self.vm.verdict():
            wrong.append(found.title)
        return wrong

    # -- the driver

    def attack(self, command: str, timeout: float = 60) -> bool:
        """One entry. False if it did not return, or said that it failed."""
        line = f"echo '{command}' >{PARAMETERS.format(self.driver)}/attack"
        return self.shell(line, timeout)[0] == 0

    def nook(self) -> Nook:
        return self.agent.nook(self.driver)

    @contextmanager
    def limited(self, limits: Mapping[str, int]) -> Iterator[None]:
        """Other limits for the driver meanwhile."""
        before = asdict(self.nook())
        if limits:
            self.agent.call("set", name=self.driver, **limits)
        yield
        if limits:
            self.agent.call("set", name=self.driver, **{name: before[name] for name in limits})

    def await_running(self) -> Nook:
        """After a fault; the driver must work again. Raises CheckError."""
        deadline = time.monotonic() + RESTART_S
        while True:
            nook = self.nook()
            if nook.state == "RUNNING" and self.attack("ping"):
                return nook
            if nook.state == "STOPPED" or time.monotonic() > deadline:
                raise CheckError(
                    f"{self.driver} is {nook.state}, not running again: {nook.fault}",
                    hint="look at the console",
                )
            time.sleep(0.05)

    def reload(self, *args: str, flags: Sequence[str] = ()) -> None:
        """Unload the driver, load it again with these parameters, in a nook with these flags."""
        self.agent.call("rmmod", name=self.driver)
        self.allow(self.driver, flags)
        self.agent.call("insmod", path=f"{MODULES}/{self.driver}.nook.ko", args=list(args))

    def refusal(self, name: str) -> str:
        """Why this module does not come into a nook; "" if it does. It is gone afterwards."""
        try:
            data = relink(self.made.plain[name].read_bytes(), self.made.plan)[0]
        except NooksError as e:
            return f"relink: {e}"
        local = self.made.plain[name].with_suffix(".nook.ko")
        local.write_bytes(data)
        self.vm.put(local, f"{MODULES}/{name}.nook.ko")
        self.allow(name)
        try:
            self.agent.call("insmod", path=f"{MODULES}/{name}.nook.ko")
        except NooksError:
            said = self.shell(f"dmesg | grep 'nooks: {name}:' | tail -1")[1].strip()
            return f"load: {said.partition('nooks: ')[2]}"
        self.agent.call("rmmod", name=name)
        return ""


@contextmanager
def running_lab(
    spec: VmSpec,
    workdir: Path,
    *,
    options: Sequence[str] = (),
    driver: str = "hostile",
    progress: Progress = lambda _: None,
) -> Iterator[Lab]:
    """Boot, build, load; spec: but for its NICs; options: parameters of nooks.ko."""
    with Vm.start(replace(spec, nics=DEVICE, pluggable=True), workdir / "vm", progress) as vm:
        lab = Lab(vm, make_hostile(vm.image, workdir, progress), options, driver)
        if f"{5 if spec.la57 else 4}-level paging" not in vm.run(["dmesg"]).stdout:
            raise CheckError("the guest has the other kind of paging", hint="is it TCG?")
        try:
            yield lab
        finally:
            lab.close()
