# SPDX-License-Identifier: GPL-2.0-only
"""nooks.ko comes and goes without a trace, refuses what it cannot serve, and follows its kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bed import DRIVER, Bed, started

from pynooks.bench import datagrams, ping_times
from pynooks.build.builder import build_module
from pynooks.control.client import Agent, AgentError
from pynooks.deploy import deploy, release
from pynooks.errors import RefusedError
from pynooks.inject import Kind, inject_kind
from pynooks.remote import LocalVm
from pynooks.vm.machine import Vm, VmSpec

pytestmark = pytest.mark.vm
NOOKS = "/run/pynooks/nooks.ko"
PGE = 1 << 7
LOADS = 5
HOTPLUGS, CHURNS = 5, 15
_REGISTERS = re.compile(r"IDT=\s*([0-9a-f]+) ([0-9a-f]+).*?CR4=([0-9a-f]+)", re.DOTALL)


def cpus(vm: Vm) -> list[tuple[int, int]]:
    """(IDT's address, CR4) of each CPU, as the machine has them: not the guest's word."""
    text = vm.monitor.hmp("info registers -a", timeout=30)
    found = [(int(idt, 16), int(cr4, 16)) for idt, _, cr4 in _REGISTERS.findall(text)]
    assert len(found) == vm.spec.smp, text
    return found


def test_unloading_restores_every_cpu(bed: Bed) -> None:
    loaded = cpus(bed.vm)
    assert not any(cr4 & PGE for _, cr4 in loaded)
    release(bed.target, DRIVER)
    bed.agent.call("rmmod", name="nooks")
    plain = cpus(bed.vm)
    assert all(cr4 == was | PGE for (_, cr4), (_, was) in zip(plain, loaded, strict=True))
    assert not {idt for idt, _ in plain} & {idt for idt, _ in loaded}
    for _ in range(LOADS):
        bed.agent.call("insmod", path=NOOKS)
        assert [cr4 for _, cr4 in cpus(bed.vm)] == [cr4 for _, cr4 in loaded]
        bed.agent.call("rmmod", name="nooks")
        assert cpus(bed.vm) == plain
    bed.agent.call("modprobe", name=DRIVER)
    bed.wire()
    assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20


def test_it_does_not_leave_while_a_driver_is_in_a_nook(bed: Bed) -> None:
    with pytest.raises(AgentError, match="in use"):
        bed.agent.call("rmmod", name="nooks")
    assert bed.nook().state == "RUNNING"


def test_cpus_come_and_go_under_traffic(bed: Bed) -> None:
    faults = bed.nook().stats["faults"]
    cpu = "/sys/devices/system/cpu/cpu1/online"
    with bed.traffic():
        for _ in range(HOTPLUGS):
            assert bed.shell(f"echo 0 >{cpu} && sleep 0.3 && echo 1 >{cpu} && sleep 0.3")[0] == 0
    assert bed.shell(f"cat {cpu}") == (0, "1\n")
    assert not any(cr4 & PGE for _, cr4 in cpus(bed.vm))
    assert bed.nook().stats["faults"] == faults
    there, back = datagrams(bed.target, count=500, rate=250)
    assert (there.whole, back.whole) == (True, True)


def test_modules_come_and_go_under_traffic(bed: Bed) -> None:
    """Their text, data and page tables are new to a domain that is in use."""
    faults = bed.nook().stats["faults"]
    with bed.traffic():
        line = "modprobe dummy && ip link add d0 type dummy && ip link del d0 && rmmod dummy"
        done = bed.shell(f"for i in $(seq {CHURNS}); do {line} || exit 1; done", timeout=120)
    assert done[0] == 0, done
    assert bed.nook().stats["faults"] == faults
    assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20


@pytest.mark.slow
def test_it_refuses_page_table_isolation(tmp_path: Path) -> None:
    """With the reason and the remedy, from the kernel and before that from deploy."""
    spec = VmSpec(name="test-pti", smp=1, nics=(), extra_cmdline=("pti=on",))
    with Vm.start(spec, tmp_path) as vm, LocalVm(vm, name="test-pti") as target:
        built = build_module(target.release(), target.btf_file(), lambda _: None)
        with Agent(target) as agent:
            assert agent.call("facts")["pti"]
            target.put(built.ko, NOOKS)
            with pytest.raises(AgentError, match=r"page table isolation is on.*boot with nopti"):
                agent.call("insmod", path=NOOKS)
            assert "nooks" not in agent.call("modules")
        with pytest.raises(RefusedError, match="pti: on") as caught:
            deploy(target, DRIVER)
        assert "nopti" in caught.value.hint
        assert [v.title for v in vm.verdicts()] == []


@pytest.mark.slow
def test_five_level_paging(tmp_path: Path) -> None:
    with started(VmSpec(name="test-la57", la57=True), tmp_path) as bed:
        if bed.vm.accel != "tcg":
            pytest.skip("the host's CPU decides under KVM; TCG has it always")
        assert "la57" in bed.shell("grep -m1 flags /proc/cpuinfo")[1].split()
        bed.isolate()
        assert len(ping_times(bed.target, count=50, interval_s=0.02)) == 50
        with bed.traffic():
            inject_kind(bed.target, DRIVER, Kind.WILD_WRITE, seed=5, native=False, agent=bed.agent)
            fault = bed.await_recovery(0).fault
        assert fault is not None
        assert fault.vec == 14
        bed.wire()
        assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20
        assert bed.complaints() == []


@pytest.mark.slow
def test_a_cpu_that_was_never_up(tmp_path: Path) -> None:
    """It has no interrupt table, and QEMU's takes NMIs all the same: it gets none."""
    spec = VmSpec(name="test-maxcpus", extra_cmdline=("maxcpus=1",))
    with started(spec, tmp_path) as bed:
        bed.isolate()
        assert bed.out("cat /sys/module/nooks/parameters/nmi_timer") == "N\n"
        with bed.traffic():
            bed.out("echo 1 >/sys/devices/system/cpu/cpu1/online")
        assert len(ping_times(bed.target, count=20, interval_s=0.02)) == 20
        assert bed.complaints() == []
