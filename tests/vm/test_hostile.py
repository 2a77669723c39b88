# SPDX-License-Identifier: GPL-2.0-only
"""A driver does what no driver should: the kernel lives unchanged, and the fault has a name."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from lab import CANARY, PARAMETERS, Lab, running_lab

pytestmark = pytest.mark.vm
DE, DB, BP, UD, DF, GP, PF, WATCHDOG, RULE, KILLED = 0, 1, 3, 6, 8, 13, 14, 256, 257, 258
PF_WRITE, PF_INSTR = 2, 16
STORED = 0xBADBADBADBADBAD
TF, DIRECTION, IOPL, NT, AC = 0x100, 0x400, 0x3000, 0x4000, 0x40000


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab("test-hostile", tmp_path_factory.mktemp("lab")) as lab:
        assert lab.attack("ping")
        yield lab


@pytest.fixture(autouse=True)
def unharmed(lab: Lab) -> Iterator[None]:
    """Whatever a test did: the kernel works, and complained of nothing."""
    yield
    lab.await_running()
    bystander = lab.agent.nook("bystander")
    assert bystander.state == "RUNNING"
    assert bystander.stats["faults"] == 0
    canaries = lab.peek(*(lab.address(n) for n in ("data", "slab", "page", "bystander")))
    assert canaries == [CANARY] * 4
    cpus = range(lab.vm.spec.smp)
    assert lab.shell("&&".join(f"taskset {1 << cpu:x} true" for cpu in cpus)) == (0, "")
    assert lab.vm.verdict() is None, lab.vm.console_tail()


@dataclass(frozen=True, slots=True)
class Recorded:
    """The fault of one attack."""

    vec: int
    err: int
    ip: int
    addr: int
    symbol: str
    what: str


def attack(lab: Lab, command: str) -> Recorded:
    """An attack that must end its entry, with a record of its own and a restart."""
    before = lab.nook().stats
    assert not lab.attack(command), f"{command}: it went through"
    nook = lab.await_running()
    assert nook.stats["faults"] == before["faults"] + 1
    assert nook.stats["recoveries"] == before["recoveries"] + 1
    assert nook.stats["inside"] == 0
    f = nook.fault
    assert f is not None
    return Recorded(f.vec, f.err, f.ip, f.addr, f.symbol, f.what)


# ---- protected regions: each with a write that must fail


@pytest.mark.parametrize("region", ["data", "slab", "page", "text", "pte", "idt", "bystander"])
def test_a_store_into_a_region_faults(lab: Lab, region: str) -> None:
    """Kernel data, a kmalloc object, a page, text, a page table, the kernel's IDT, another nook."""
    at = lab.address(region)
    [before] = lab.peek(at)
    fault = attack(lab, f"store {at:x} {STORED:x}")
    assert (fault.vec, fault.addr) == (PF, at)
    assert fault.err & PF_WRITE
    assert fault.symbol.startswith("hostile_store+")
    assert "does not own" in fault.what
    assert lab.peek(at) == [before] != [STORED]


@pytest.mark.parametrize(
    ("command", "symbol"),
    [
        ("percpu {percpu:x}", "hostile_percpu"),
        ("own_table 1", "hostile_own_table"),
        ("idt 2", "hostile_idt"),
    ],
)
def test_a_store_to_what_the_cpu_points_at_faults(lab: Lab, command: str, symbol: str) -> None:
    """Per-CPU data, the nook's own page table, the interrupt table that is loaded."""
    fault = attack(lab, f"{command.format(percpu=lab.address('percpu'))} {STORED:x}")
    assert fault.vec == PF
    assert fault.err & PF_WRITE
    assert fault.symbol.startswith(f"{symbol}+")
    assert "does not own" in fault.what
    assert lab.peek(fault.addr) != [STORED]


def test_a_neighbour_in_the_slab_page_is_not_its_own(lab: Lab) -> None:
    """It may write a field of its sk_buff, but not of the next one."""
    before = lab.nook().stats
    fault = attack(lab, f"slab 0 {STORED & 0xFFFF:x}")
    assert lab.nook().stats["checked"] == before["checked"] + 1
    assert fault.vec == PF
    assert fault.symbol.startswith("hostile_slab+")
    assert lab.peek(fault.addr)[0] & 0xFFFF != STORED & 0xFFFF


@pytest.mark.parametrize(
    ("module", "symbol"),
    [
        ("hostile", "hostile_store"),
        ("hostile", "__this_module"),
        ("hostile", "__nooks_manifest"),
        ("nooks", "nooks_list"),
        ("nooks", "idt_ours"),
    ],
)
def test_what_holds_it_is_not_its_own(lab: Lab, module: str, symbol: str) -> None:
    """Its own text, its struct module, its manifest; nooks.ko's data."""
    listed = lab.shell(f"grep '{symbol}.\\[{module}\\]' /proc/kallsyms")[1].split()
    at = int(listed[0], 16)
    before = lab.peek(at)
    fault = attack(lab, f"store {at:x} {STORED:x}")
    assert (fault.vec, fault.addr) == (PF, at)
    assert lab.peek(at) == before != [STORED]


def test_the_kernel_does_not_write_for_it(lab: Lab) -> None:
    """memset() is the kernel's, and could write anywhere."""
    at = lab.address("slab")
    fault = attack(lab, f"memset {at:x} 55")
    assert fault.vec == RULE
    assert fault.symbol.startswith("hostile_memset+")
    assert "memset" in fault.what


# ---- broken code


@pytest.mark.parametrize(
    ("command", "vec", "symbol"),
    [
        ("load 0", PF, "hostile_load"),
        ("store 0 1", PF, "hostile_store"),
        ("store 400000 1", PF, "hostile_store"),
        ("load ffffeb8000000000", PF, "hostile_load"),
        ("store 8000000000000000 1", GP, "hostile_store"),
        ("stac 400000 1", PF, "hostile_stac"),
        ("ud2", UD, "hostile_ud2"),
        ("div0", DE, "hostile_div0"),
        ("int3", BP, "hostile_int3"),
        (f"flags {TF:x}", DB, "hostile_flags"),
        ("overflow", DF, "hostile_recurse"),
        ("rsp {data:x}", DF, "hostile_rsp"),
        ("rsp 8000000000000000", DF, "hostile_rsp"),
        ("rsp 0", DF, "hostile_rsp"),
        ("loop", WATCHDOG, "hostile_loop"),
        ("cli_loop", WATCHDOG, "hostile_cli_loop"),
    ],
)
def test_broken_code_ends_its_entry(lab: Lab, command: str, vec: int, symbol: str) -> None:
    fault = attack(lab, command.format(data=lab.address("data")))
    assert fault.vec == vec, fault
    assert fault.symbol.startswith(f"{symbol}+")


@pytest.mark.parametrize("target", ["null", "data", "hostile", "user"])
def test_a_jump_to_what_is_not_code(lab: Lab, target: str) -> None:
    at = {"null": 0, "user": 0x400000}.get(target)
    if at is None:
        at = lab.address(target)
    fault = attack(lab, f"jump {at:x}")
    assert (fault.vec, fault.ip, fault.addr) == (PF, at, at)
    assert fault.err & PF_INSTR


@pytest.mark.parametrize("function", ["panic", "schedule", "rtnl_lock", "sched_show_task"])
def test_a_jump_into_the_kernel(lab: Lab, function: str) -> None:
    """The kernel's code runs with the driver's rights, so it fails at its first write."""
    at = lab.agent.call("address", symbol=function)
    fault = attack(lab, f"jump {at:x}")
    assert fault.vec == PF


def test_a_loop_of_exits_ends(lab: Lab) -> None:
    """Time in the kernel is not counted, but no loop is only that."""
    fault = attack(lab, "exit_loop")
    assert fault.vec == WATCHDOG
    assert fault.symbol.startswith(("hostile_exit_loop+", "nooks_xpc_exit+", "nooks_k"))


def test_a_loop_that_sleeps_ends_with_a_restart(lab: Lab) -> None:
    """Sleeping is no crime, but it cannot stand in the way."""
    line = f"echo sleep_loop >{PARAMETERS.format('hostile')}/attack"
    lab.shell(f"sh -c '{line}' >/dev/null 2>&1 </dev/null &")
    deadline = time.monotonic() + 20
    while not lab.nook().stats["inside"]:
        assert time.monotonic() < deadline
    time.sleep(1)
    assert lab.nook().stats["inside"] == 1
    nook = lab.agent.restart("hostile")
    assert (nook.state, nook.stats["inside"]) == ("RUNNING", 0)


# ---- broken rules of the kernel's interface


@pytest.mark.parametrize(
    ("command", "symbol", "what"),
    [
        ("kfree {slab:x}", "hostile_kfree", "kfree"),
        ("kfree 400000", "hostile_kfree", "kfree"),
        ("kfree {bystander:x}", "hostile_kfree", "kfree"),
        ("double_free", "hostile_double_free", "kfree"),
        ("unlock", "hostile_unlock", "_raw_spin_unlock"),
        ("lock_of {slab:x}", "hostile_lock_of", "_raw_spin_lock"),
        ("keep_lock", "", "with a lock held"),
        ("keep_preempt", "", "another preempt count"),
        ("netdev {slab:x}", "hostile_netdev", "netif_carrier_on(dev)"),
        ("netdev 8", "hostile_netdev", "netif_carrier_on(dev)"),
        ("pci {page:x}", "hostile_pci", "pci_read_config_word(dev)"),
    ],
)
def test_a_broken_rule_ends_its_entry(lab: Lab, command: str, symbol: str, what: str) -> None:
    names = {name: lab.address(name) for name in re.findall(r"\{(\w+):", command)}
    fault = attack(lab, command.format(**names))
    assert fault.vec == RULE
    assert what in fault.what
    assert fault.symbol.startswith(symbol)


# ---- what is put right without a fault


@pytest.fixture
def busy(lab: Lab) -> Iterator[None]:
    """Processes that an iret returns to, on every CPU; none may come to harm."""
    loop = "while :; do :; done >/dev/null 2>&1 </dev/null & echo $!"
    pids = [
        lab.shell(f"taskset {1 << cpu:x} sh -c '{loop}'")[1].strip()
        for cpu in range(lab.vm.spec.smp)
    ]
    yield
    assert lab.shell(f"kill {' '.join(pids)}")[0] == 0


@pytest.mark.parametrize(
    "command",
    [
        "cli",
        *(f"flags {flag:x} {sleep}" for flag in (DIRECTION, IOPL, NT, AC) for sleep in (0, 1)),
        f"flags {DIRECTION | IOPL | NT | AC:x} 1",
    ],
)
def test_flags_do_not_leak_into_the_kernel(lab: Lab, busy: None, command: str) -> None:
    """NT makes the kernel's iret fault, AC opens user memory to it, DF reverses its copies."""
    before = lab.nook().stats["faults"]
    for _ in range(5):
        assert lab.attack(command)
    assert lab.nook().stats["faults"] == before


def test_a_message_with_a_wild_pointer(lab: Lab) -> None:
    before = lab.nook().stats["faults"]
    assert lab.attack("printk 400000")
    assert lab.nook().stats["faults"] == before
    assert "hostile says (bad string)" in lab.vm.run(["dmesg"]).stdout


def test_the_module_can_be_loaded_again(lab: Lab) -> None:
    lab.reload()
    assert lab.attack("ping")
