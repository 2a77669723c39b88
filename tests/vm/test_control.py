# SPDX-License-Identifier: GPL-2.0-only
"""Faults and state changes are told as they happen."""

from __future__ import annotations

import time

import pytest
from bed import DRIVER, Bed

from pynooks.control.client import Agent
from pynooks.inject import Kind, inject_kind
from pynooks.vm.ssh import CommandTimeoutError

pytestmark = pytest.mark.vm
EVENTS_S = 30


def test_a_fault_and_its_recovery_are_told(bed: Bed) -> None:
    with Agent(bed.target) as listener, bed.traffic():
        listener.call("events")
        faults = bed.nook().stats["faults"]
        inject_kind(bed.target, DRIVER, Kind.UD2, seed=3, native=False, agent=bed.agent)
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


def test_nothing_is_told_without_cause(bed: Bed) -> None:
    with Agent(bed.target) as listener:
        listener.call("events")
        with pytest.raises(CommandTimeoutError):
            listener.wait_event(2)
