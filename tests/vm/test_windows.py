# SPDX-License-Identifier: GPL-2.0-only
"""NMIs at every point of the entry code: W-ENTER, W-LEAVE, W-RET (kmod/xpc/entry.S).

Each window is a few instructions wide, so a storm has to hit it by number: thousands of entries,
exits and faults, with an NMI every few microseconds on every CPU. Then every count must agree.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pynooks.bench.lab import PARAMETERS, Lab, running_lab
from pynooks.vm.machine import VerdictKind, VmSpec

pytestmark = [pytest.mark.vm, pytest.mark.slow]
ROUNDS = 3000
FAULT_EVERY = 30
STORM_US = 20
EXITS_PER_PING = 2
STORM_S = 60
WATCHED = ("xpc_resume", "xpc_enter", "nooks_xpc_exit")
COMPLAINTS = re.compile(r"BUG|WARNING|Oops|Uhhuh|stall|unwind|triple|general protection fault:")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """With 5-level paging, so that both are tested: test_hostile.py has four."""
    spec = VmSpec(name="test-windows", la57=True)
    with running_lab(spec, tmp_path_factory.mktemp("lab")) as lab:
        symbols = lab.agent.call("symbols", module="nooks")
        watch = " ".join(f"{symbols[name]:x}" for name in WATCHED)
        assert lab.shell(f"echo {watch} >{PARAMETERS.format('victim')}/watch")[0] == 0
        yield lab


def _numbers(text: str) -> dict[str, int]:
    return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", text)}


def run_rounds(lab: Lab, rounds: int, every: int) -> None:
    """Entries with two exits each; every so many, one that faults. All counts must agree."""
    lab.await_running()
    before = lab.nook().stats
    file = f"{PARAMETERS.format('victim')}/rounds"
    line = f"echo '{rounds} {every} {lab.address('page')}' >{file}; cat {file}"
    status, out = lab.shell(line, timeout=300)
    assert status == 0
    did = _numbers(out)
    faults = rounds // every if every else 0
    assert did == {"pings": rounds, "faults": faults, "passed": 0, "escaped": 0}

    lab.await_running()  # one ping more
    after = lab.nook().stats
    grown = {name: after[name] - before[name] for name in before}
    # A restart is an entry of init, which makes one exit. An entry that faults while init is
    # still running costs one restart more, or one less if it comes just before.
    starts = grown["entries"] - (rounds + 1) - faults
    assert grown["faults"] == faults
    assert grown["recoveries"] <= starts <= faults
    assert grown["recoveries"] or not faults
    assert grown["exits"] == (rounds + 1) * EXITS_PER_PING + starts
    assert after["inside"] == 0
    assert after["objects"] == before["objects"]
    assert after["heap"] == before["heap"]


def storm_counts(lab: Lab) -> dict[str, int]:
    return _numbers(lab.shell(f"cat {PARAMETERS.format('victim')}/storm")[1])


@contextmanager
def storm(lab: Lab, us: int) -> Iterator[None]:
    """NMIs from a kernel thread to all other CPUs."""
    file = f"{PARAMETERS.format('victim')}/storm"
    assert lab.shell(f"echo {us} >{file}")[0] == 0
    try:
        yield
    finally:
        print(f"NMIs: {storm_counts(lab)}")
        assert lab.shell(f"echo 0 >{file}")[0] == 0


def quiet(lab: Lab, *, after: int) -> None:
    """The console has no complaint since it had `after` characters."""
    text = lab.vm.console_log.read_text(errors="replace")[after:]
    assert not COMPLAINTS.search(text), text[-4000:]


def console_size(lab: Lab) -> int:
    return len(lab.vm.console_log.read_text(errors="replace"))


def test_counts_agree_without_a_storm(lab: Lab) -> None:
    began = console_size(lab)
    run_rounds(lab, ROUNDS, FAULT_EVERY)
    quiet(lab, after=began)


def test_every_window_is_hit(lab: Lab) -> None:
    """Rounds until NMIs have arrived in all of them."""
    began = console_size(lab)
    deadline = time.monotonic() + STORM_S
    with storm(lab, STORM_US):
        while True:
            run_rounds(lab, ROUNDS, 0)
            hit = storm_counts(lab)
            if hit["enter"] and hit["ret"]:
                break
            assert time.monotonic() < deadline, f"windows not hit: {hit}"
    quiet(lab, after=began)
    assert lab.vm.verdict() is None


def test_faults_and_restarts_under_a_storm(lab: Lab) -> None:
    began = console_size(lab)
    with storm(lab, STORM_US):
        run_rounds(lab, 2 * ROUNDS, FAULT_EVERY)
        assert storm_counts(lab)["inside"]
    quiet(lab, after=began)
    assert lab.vm.verdict() is None


@pytest.mark.parametrize("command", ["loop", "cli_loop", "overflow", "rsp 0", "jump 0", "ud2"])
def test_an_entry_dies_under_a_storm(lab: Lab, command: str) -> None:
    """What is interrupted here is the driver itself, or the way out of it."""
    with storm(lab, STORM_US):
        for _ in range(5):
            before = lab.nook().stats["faults"]
            assert not lab.attack(command)
            assert lab.await_running().stats["faults"] == before + 1
        assert storm_counts(lab)["seen"]
    assert lab.vm.verdict() is None


def test_nmis_of_the_monitor(lab: Lab) -> None:
    """From outside, to all CPUs at once; the kernel asks who sent them, and goes on."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.01):
            lab.vm.nmi()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        run_rounds(lab, ROUNDS, FAULT_EVERY)
    finally:
        over.set()
        sender.join()
    found = lab.vm.verdict()
    assert found is None or found.kind is not VerdictKind.PANIC
