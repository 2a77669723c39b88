# SPDX-License-Identifier: GPL-2.0-only
"""Faults and state changes are told as they happen, and what a fault left behind afterwards."""

from __future__ import annotations

import errno
import time

import pytest
from bed import DRIVER, Bed

from pynooks.control.client import Agent, AgentError
from pynooks.deploy import release
from pynooks.dump import disassemble, render
from pynooks.inject import Kind
from pynooks.inject.payload import MARK
from pynooks.vm.ssh import CommandTimeoutError

pytestmark = pytest.mark.vm
EVENTS_S = 30


def test_a_fault_and_its_recovery_are_told(bed: Bed) -> None:
    with Agent(bed.target) as listener, bed.traffic():
        listener.call("events")
        faults = bed.nook().stats["faults"]
        bed.inject(Kind.UD2, 3)
        seen = []
        deadline = time.monotonic() + EVENTS_S
        while not seen or seen[-1].get("state") != "RUNNING":
            seen.append(listener.wait_event(max(0.1, deadline - time.monotonic())))
        fault = bed.await_recovery(faults).fault
    assert fault is not None
    assert {event["name"] for event in seen} == {DRIVER}
    told = [event["fault"] for event in seen if event["event"] == "fault"]
    assert told, seen
    assert told[0]["vec"] == 6
    assert told[0]["symbol"]
    states = [event["state"] for event in seen if event["event"] == "state"]
    assert [s for s in states if s != "LOADING"] == ["FAILED", "RECOVERING", "RUNNING"], states


def test_a_fault_leaves_a_record(bed: Bed) -> None:
    fault = bed.strike(Kind.WILD_WRITE, 1).fault
    crash = bed.agent.dump(DRIVER)
    assert crash.fault == fault
    assert crash.fault.vec == 14
    assert crash.registers["ip"] == crash.fault.ip
    assert crash.registers["sp"] == crash.fault.sp == crash.sp
    mine = bed.agent.call("symbols", module=DRIVER)

    failed = [insn for insn in disassemble(crash) if insn.faulting]
    assert [insn.addr for insn in failed] == [crash.fault.ip]
    assert failed[0].where == crash.fault.symbol.split("/")[0]
    assert failed[0].where.split("+")[0] in mine
    # as injected: recovery has put the driver's own text back since
    assert failed[0].code.endswith(MARK.to_bytes(4, "little"))

    called = [frame.symbol.split("+")[0] for frame in crash.frames]
    assert called[0] in mine
    assert "xpc_enter" in called
    kinds = {c.kind for c in crash.crossings}
    assert kinds == {"entry", "exit"}
    assert {c.name for c in crash.crossings if c.kind == "entry"} <= set(mine)
    assert "net_device" in {o.type for o in crash.objects}
    assert crash.counts["net_device"] == 2
    assert "=> " + failed[0].where in render(crash)


def test_no_fault_no_record(bed: Bed) -> None:
    release(bed.target, DRIVER)
    bed.isolate()
    with pytest.raises(AgentError, match=f"{DRIVER} has had no fault") as refused:
        bed.agent.dump(DRIVER)
    assert refused.value.number == errno.ENODATA
    with pytest.raises(AgentError) as refused:
        bed.agent.dump("gone")
    assert refused.value.number == errno.ENOENT


def test_nothing_is_told_without_cause(bed: Bed) -> None:
    with Agent(bed.target) as listener:
        listener.call("events")
        with pytest.raises(CommandTimeoutError):
            listener.wait_event(2)
