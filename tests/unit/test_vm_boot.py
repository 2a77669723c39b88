# SPDX-License-Identifier: GPL-2.0-only
"""A boot that the emulator spoilt is tried again; one that the guest spoilt is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pynooks.errors import GuestBootError
from pynooks.vm import machine
from pynooks.vm.boot import TRIES, lost_timer
from pynooks.vm.machine import CONSOLE_LOG, Vm, VmSpec

STALL = """[   64.455133] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[   64.457556] rcu: rcu_preempt kthread timer wakeup didn't happen for 5251 jiffies! g-1151 f0x0
[   64.458398] rcu: \tPossible timer handling issue on cpu=0 timer-softirq=6
"""
PANIC = "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n"
BUSY = "[   60.1] rcu: INFO: rcu_preempt self-detected stall on CPU\n"


@pytest.mark.parametrize(("text", "verdict"), [(STALL, True), (PANIC, False), (BUSY, False)])
def test_only_a_lost_timer_is_the_emulators(text: str, verdict: bool) -> None:
    assert lost_timer(text) is verdict


@pytest.mark.parametrize(("text", "boots"), [(STALL, TRIES), (PANIC, 1)])
def test_how_often_a_boot_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, boots: int
) -> None:
    tried = []

    def fail(*_: object) -> Vm:
        tried.append(1)
        (tmp_path / CONSOLE_LOG).write_text(text)
        raise GuestBootError("the guest went silent while booting", hint="", console=text)

    monkeypatch.setattr(machine, "ensure_image", lambda *_: None)
    monkeypatch.setattr(
        machine.accel, "choose", lambda *_: type("C", (), {"accel": "tcg", "reason": "test"})
    )
    monkeypatch.setattr(Vm, "_boot", fail)
    with pytest.raises(GuestBootError):
        Vm.start(VmSpec(name="t"), tmp_path)
    assert len(tried) == boots
    assert (tmp_path / "console.1.log").exists() is (boots > 1)
