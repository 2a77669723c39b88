# SPDX-License-Identifier: GPL-2.0-only
"""A driver does what no driver should: the kernel lives unchanged, and the fault has a name.

The table is tests/hostile/cases.toml. Here stand those attacks that need more than a row of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pynooks.bench.cases import Case, Class, load_cases
from pynooks.bench.hostile import Outcome, isolated_trial, native_base, native_trial
from pynooks.bench.lab import PARAMETERS, Lab, running_lab
from pynooks.vm.machine import VmSpec

pytestmark = pytest.mark.vm
PF, RULE, WATCHDOG = 14, 257, 256
PF_WRITE, PF_INSTR = 2, 16
STORED = 0xBADBADBADBADBAD
DIRECTION, IOPL, NT, AC = 0x400, 0x3000, 0x4000, 0x40000
CASES = load_cases()
# One of each kind of native end, for the slow tier; `pynooks bench hostile` runs them all.
NATIVE = {
    "null_write": Outcome.OOPS,
    "jump_panic": Outcome.PANIC,
    "endless_cli": Outcome.HANG,
    "kernel_data": Outcome.DAMAGE,
    "late_block": Outcome.DAMAGE,
    "poll_result": Outcome.UNHARMED,
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(VmSpec(name="test-hostile"), tmp_path_factory.mktemp("lab")) as lab:
        assert lab.attack("ping")
        yield lab


@pytest.fixture
def unharmed(lab: Lab) -> Iterator[None]:
    """Whatever a test did: the kernel works, and complained of nothing."""
    yield
    lab.await_running()
    assert not lab.harm(), lab.vm.console_tail()


# The quick tier runs every third case of a long class, and every second of the others.
LONG = (Class.PARAMETER, Class.BUG)


def _param(number: int, case: Case) -> object:
    # not run: a hole may take the guest along
    marks = [pytest.mark.xfail(reason=case.hole, run=False)] if case.hole else []
    if number % (3 if case.cls in LONG else 2):
        marks.append(pytest.mark.slow)
    return pytest.param(case, id=f"{case.cls}-{case.name}", marks=marks)


@pytest.mark.parametrize("case", [_param(i, case) for i, case in enumerate(CASES)])
def test_a_case_comes_out_as_the_table_says(lab: Lab, case: Case) -> None:
    trial = isolated_trial(lab, case)
    assert not trial.wrong, f"{trial.outcome}: {trial.detail}"


@pytest.mark.slow
def test_natively_a_case_may_end_the_kernel(tmp_path: Path) -> None:
    base = native_base(tmp_path / "base")
    cases = {case.name: case for case in CASES}
    ends = {name: native_trial(base, tmp_path / name, cases[name]).outcome for name in NATIVE}
    assert ends == NATIVE


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
def test_what_holds_it_is_not_its_own(lab: Lab, unharmed: None, module: str, symbol: str) -> None:
    """Its own text, its struct module, its manifest; nooks.ko's data."""
    listed = lab.shell(f"grep '{symbol}.\\[{module}\\]' /proc/kallsyms")[1].split()
    at = int(listed[0], 16)
    before = lab.peek(at)
    fault = attack(lab, f"store {at:x} {STORED:x}")
    assert (fault.vec, fault.addr) == (PF, at)
    assert lab.peek(at) == before != [STORED]


@pytest.mark.parametrize("function", ["panic", "schedule", "rtnl_lock", "sched_show_task"])
def test_a_jump_into_the_kernel(lab: Lab, unharmed: None, function: str) -> None:
    """The kernel's code runs with the driver's rights, so it fails at its first write."""
    at = lab.agent.call("address", symbol=function)
    fault = attack(lab, f"jump {at:x}")
    assert fault.vec == PF


def test_a_loop_that_sleeps_ends_with_a_restart(lab: Lab, unharmed: None) -> None:
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


HELD_S = 30


def test_an_entry_that_sleeps_in_the_kernel(lab: Lab, unharmed: None) -> None:
    """It cannot be woken, and is a fault all the same; the driver starts when it is back."""
    faults = lab.nook().stats["faults"]
    hold, attack = (
        f"{PARAMETERS.format(module)}/{file}"
        for module, file in (("victim", "hold"), ("hostile", "attack"))
    )
    with lab.limited({"stall_ms": 3000}):
        lab.shell(f"sh -c 'echo netdev_held >{attack}' >/dev/null 2>&1 </dev/null &")
        assert not lab.shell(f"until echo hostile0 >{hold}; do :; done 2>/dev/null", HELD_S)[0]
        deadline = time.monotonic() + HELD_S
        while (nook := lab.nook()).stats["faults"] == faults:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert nook.stats["inside"] == 1
        assert not lab.shell(f"echo - >{hold}")[0]
        fault = lab.await_running().fault
    assert fault is not None
    assert (fault.vec, fault.what) == (WATCHDOG, "asleep in the kernel for more than 3000 ms")
    assert fault.symbol.startswith("hostile_netdev_")


LATER_JIFFIES = 50  # of 4 ms; before the first CPU's silence is noticed


def loop_everywhere(lab: Lab) -> None:
    """A timer on one CPU and an entry on the other; both loop with interrupts off."""
    assert lab.vm.spec.smp == 2  # parameters of one module are written one at a time
    file = f"{PARAMETERS.format('hostile')}/attack"
    later = f"taskset 2 sh -c 'echo cli_later {LATER_JIFFIES:x} >{file}'"
    assert lab.shell(f"{later} && exec taskset 1 sh -c 'echo cli_loop >{file}'")[0]


def test_loops_with_interrupts_off_on_all_cpus_end(lab: Lab, unharmed: None) -> None:
    """Nobody is left to look after others: the timer's NMIs do, or one CPU was kept outside."""
    before = lab.nook().stats
    loop_everywhere(lab)
    nook = lab.await_running()
    assert nook.stats["faults"] > before["faults"]
    assert nook.fault is not None
    assert (nook.fault.vec, nook.stats["inside"]) == (WATCHDOG, 0)


def test_the_timer_of_nmis_was_found(lab: Lab) -> None:
    """QEMU's HPET has one, so the rule that one CPU stays outside is not needed here."""
    assert lab.shell(f"cat {PARAMETERS.format('nooks')}/nmi_timer") == (0, "Y\n")


@pytest.mark.slow
def test_without_a_timer_one_cpu_stays_outside(tmp_path: Path) -> None:
    spec = VmSpec(name="test-no-timer")
    with running_lab(spec, tmp_path / "lab", options=("nmi_timer=0",)) as lab:
        assert lab.shell(f"cat {PARAMETERS.format('nooks')}/nmi_timer") == (0, "N\n")
        for _ in range(3):
            loop_everywhere(lab)
            assert lab.await_running().stats["inside"] == 0
        assert not lab.harm(), lab.vm.console_tail()


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
def test_flags_do_not_leak_into_the_kernel(
    lab: Lab, unharmed: None, busy: None, command: str
) -> None:
    """NT makes the kernel's iret fault, AC opens user memory to it, DF reverses its copies."""
    before = lab.nook().stats["faults"]
    for _ in range(5):
        assert lab.attack(command)
    assert lab.nook().stats["faults"] == before


def test_a_message_with_a_wild_pointer(lab: Lab, unharmed: None) -> None:
    before = lab.nook().stats["faults"]
    assert lab.attack("printk 400000")
    assert lab.nook().stats["faults"] == before
    assert "hostile says (bad string)" in lab.vm.run(["dmesg"]).stdout


@pytest.mark.parametrize("command", ["waits", "tasklet"])
def test_what_works_natively_works(lab: Lab, unharmed: None, command: str) -> None:
    """Completions, wait queues and tasklets, used as they should be."""
    before = lab.nook().stats["faults"]
    for _ in range(3):
        assert lab.attack(command)
    assert lab.nook().stats["faults"] == before


def test_parameters_work(lab: Lab, unharmed: None) -> None:
    """A string and an array, given at load, read, and set later; and as they were without."""
    lab.reload("text=hello", "list=1,2,3")
    read = f"cd {PARAMETERS.format('hostile')} && cat text list"
    assert lab.shell(read) == (0, "hello\n1,2,3\n")
    assert lab.shell(f"echo -n world >{PARAMETERS.format('hostile')}/text")[0] == 0
    assert lab.shell(read) == (0, "world\n1,2,3\n")
    lab.reload()
    assert lab.shell(read) == (0, "text\n0,0,0,0\n")


def test_the_module_can_be_loaded_again(lab: Lab, unharmed: None) -> None:
    lab.reload()
    assert lab.attack("ping")


@pytest.fixture
def debugged(lab: Lab) -> Iterator[None]:
    """The driver with a heap that is looked at."""
    lab.reload(flags=["debug_heap"])
    yield
    lab.reload()


def test_a_debugged_heap_tells(lab: Lab, unharmed: None, debugged: None) -> None:
    """Faults that stay within the driver's own memory."""
    assert lab.attack("ping")
    assert "beyond the block of 64 bytes" in attack(lab, "beyond_block").what
    assert "written after it was freed" in attack(lab, "late_again 0 5").what
    assert lab.attack("never_written 0"), "it was zeroed"
    assert "debug_heap" in lab.nook().flags
