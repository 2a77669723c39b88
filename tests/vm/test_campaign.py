# SPDX-License-Identifier: GPL-2.0-only
"""Trials in guests: faults are planted, reached, judged; each way to die has its own outcome."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pynooks.bench.traffic import inside
from pynooks.campaign import Case, Mode, Outcome, Plan, Result, results, runner
from pynooks.campaign.base import Base, make_base, open_agent, open_workload
from pynooks.campaign.golden import write_reach
from pynooks.campaign.journal import Fault
from pynooks.campaign.plan import AnyClass
from pynooks.campaign.trial import run_trial
from pynooks.demo.net import SPACES
from pynooks.errors import InfraError
from pynooks.inject.hardware import HardwareClass, choose_hardware, loads
from pynooks.inject.mutate import FaultClass, Mutation, Text
from pynooks.remote import LocalVm
from pynooks.report import write_report
from pynooks.vm.image import ensure_image
from pynooks.vm.machine import Vm

pytestmark = pytest.mark.vm
DRIVER = "e1000"
QUICK = Plan(name="quick", seed=3, classes=(FaultClass.NOP,), trials=1, modes=(Mode.ISOLATED,))
SLOW = Plan(name="slow", seed=5, classes=(FaultClass.POINTER, FaultClass.OFF_BY_ONE), trials=2)
HANDLER = "e1000_intr"
CLI_LOOP = bytes.fromhex("faebfe")
UD2 = bytes.fromhex("0f0b")
UNDERRUN = bytes.fromhex("c646ff00" "31c0" "c3")  # movb $0, -1(%rsi); return 0


@pytest.fixture(scope="module")
def text() -> Text:
    return Text.of(ensure_image("slim").module(DRIVER).read_bytes())


def test_a_campaign_of_one_trial(tmp_path: Path, text: Text) -> None:
    """Without a golden run: the functions are those of every packet."""
    hot = dict.fromkeys(("e1000_clean", "e1000_xmit_frame", HANDLER))
    write_reach(tmp_path / "reach" / f"{DRIVER}.json", text, hot)
    (result,) = runner.run(tmp_path, QUICK)
    assert result.case == Case(driver=DRIVER, cls=FaultClass.NOP, seed=3, mode=Mode.ISOLATED)
    assert len(result.mutations) == QUICK.faults
    assert result.activated, result
    assert not result.outcome.is_kernel_failure, result
    assert result.outcome is not Outcome.LOST, result
    assert results(tmp_path) == [result]
    assert list(runner.run(tmp_path)) == [], "there is nothing left to do"
    for path in write_report(tmp_path, tmp_path / "report"):
        assert result.case.key in path.read_text()


# ---- slow: what the judge must tell apart


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return make_base(DRIVER, Mode.NATIVE, tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module")
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return make_base(DRIVER, Mode.ISOLATED, tmp_path_factory.mktemp("isolated"))


def planted(text: Text, code: bytes, function: str = HANDLER) -> Mutation:
    """Behind the tracer's call, over whole instructions."""
    routine = text.routines[function]
    start = routine.insns[1].offset
    end = next(i.end for i in routine.insns if i.end >= start + len(code))
    new = code + b"\x90" * (end - start - len(code))
    return Mutation(
        cls=FaultClass.TEXT, symbol=function, offset=start, old=routine.code[start:end], new=new
    )


def trial(
    base: Base, faults: tuple[Fault, ...], workdir: Path, cls: AnyClass = FaultClass.TEXT
) -> Result:
    case = Case(driver=DRIVER, cls=cls, seed=0, mode=base.mode)
    return run_trial(case, base, faults, workdir, observe_s=3.0, keep=workdir / "kept.log")


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(Mode))
def test_no_fault_has_no_effect(
    mode: Mode, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    found = trial(request.getfixturevalue(mode), (), tmp_path)
    assert found.outcome is Outcome.NOT_ACTIVATED, found


@pytest.mark.slow
def test_a_native_oops_is_a_crash(native: Base, text: Text, tmp_path: Path) -> None:
    found = trial(native, (planted(text, UD2),), tmp_path)
    assert found.outcome is Outcome.KERNEL_CRASH, found
    assert found.title == f"invalid opcode in {HANDLER} [{DRIVER}]"
    assert set(found.activated) == {0}
    assert "invalid opcode" in (tmp_path / found.log).read_text()


@pytest.mark.slow
def test_the_witness_of_a_trial_counts_an_oops(native: Base, text: Text, tmp_path: Path) -> None:
    """By its own probes: of a base guest's kernel, without the console."""
    fault = planted(text, UD2, "e1000_get_drvinfo")
    with ExitStack() as stack:
        vm = stack.enter_context(Vm.restore(native.snapshot, tmp_path))
        target = LocalVm(vm, name="witness")
        agent = stack.enter_context(open_agent(target))
        load = stack.enter_context(open_workload(target))
        before = load.call("canaries")
        agent.inject(DRIVER, fault.symbol, offset=fault.offset, code=fault.new)
        target.run(inside(SPACES[0], "sh", "-c", "ethtool -i $(ls /sys/class/net | grep -v lo)"),
                   check=False)  # fmt: skip
        after = load.call("canaries")
    assert before["oops"] == "0"
    assert {k: v for k, v in after.items() if v != before[k]} == {"oops": "1", "taint": "0x80"}


@pytest.mark.slow
def test_the_same_in_a_nook_is_a_recovery(isolated: Base, text: Text, tmp_path: Path) -> None:
    found = trial(isolated, (planted(text, UD2),), tmp_path)
    assert found.outcome is Outcome.RECOVERED, found
    assert found.title.startswith(f"#UD in {HANDLER}")
    assert found.recovery_s is not None
    assert 0 < found.recovery_s < 20


@pytest.mark.slow
def test_a_native_loop_with_interrupts_off_is_a_hang(
    native: Base, text: Text, tmp_path: Path
) -> None:
    found = trial(native, (planted(text, CLI_LOOP),), tmp_path)
    assert found.outcome is Outcome.KERNEL_HANG, found


@pytest.mark.slow
def test_a_byte_before_a_kernel_object_is_damage(
    native: Base, text: Text, tmp_path: Path
) -> None:
    """Nothing of it would be seen but for the red zones."""
    found = trial(native, (planted(text, UNDERRUN, "e1000_xmit_frame"),), tmp_path)
    assert found.outcome is Outcome.KERNEL_DAMAGED, found
    assert "Redzone overwritten" in found.title


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("cls", list(HardwareClass))
def test_hardware_goes_wrong(
    cls: HardwareClass, mode: Mode, text: Text, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each fault comes about, and a kernel outlives it."""
    places = [(HANDLER, insn.offset) for insn in loads(text.routines[HANDLER])][:1]
    faults = choose_hardware(text, cls, seed=2, count=2, registers=places, devices=2)
    found = trial(request.getfixturevalue(mode), faults, tmp_path, cls)
    assert set(found.activated) == set(range(len(faults))), found
    assert mode is Mode.NATIVE or not found.outcome.is_kernel_failure, found


@pytest.fixture
def murder(tmp_path: Path) -> Iterator[None]:
    """Somebody kills the guest's QEMU in the middle of its trial."""

    def kill() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if (tmp_path / "qemu.pid").exists():
                time.sleep(2)
                os.kill(int((tmp_path / "qemu.pid").read_text().split()[0]), signal.SIGKILL)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=kill)
    thread.start()
    yield
    thread.join()


@pytest.mark.slow
@pytest.mark.usefixtures("murder")
def test_a_guest_that_is_killed_is_no_result(native: Base, tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="QEMU ended"):
        trial(native, (), tmp_path)


@pytest.mark.slow
def test_pairs_have_equal_faults_and_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Golden runs, pairs, a stop in the middle, the rest; then one of them again."""
    known = tmp_path / "known" / "e1000.json"
    monkeypatch.setattr(runner, "known_reach", lambda driver, text: known)
    running = runner.run(tmp_path, SLOW)
    first = [next(running) for _ in range(3)]
    running.close()
    rest = list(runner.run(tmp_path))
    found = results(tmp_path)
    assert sorted(r.case for r in found) == sorted(SLOW.cases())
    assert len(first) + len(rest) == len(found)
    for r in found:
        twin = next(o for o in found if o.case.seed == r.case.seed and o.case.cls == r.case.cls)
        assert r.mutations == twin.mutations
        assert r.activated, "the golden run saw this code run"
        assert not (r.case.mode is Mode.ISOLATED and r.outcome.is_kernel_failure), r
    assert known.read_text() == (tmp_path / "reach" / f"{DRIVER}.json").read_text()
    again = runner.repeat(tmp_path, found[0].case)
    assert again.mutations == found[0].mutations
