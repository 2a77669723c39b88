# SPDX-License-Identifier: GPL-2.0-only
"""An enabled driver is in its nook after a boot, by systemd; one that does not fit is stock."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from pynooks.control.client import Agent
from pynooks.control.records import Nook
from pynooks.demo.net import ping, wire
from pynooks.deploy import disable, enable, follow_policy, plans, release
from pynooks.deploy.persist import HOME, UNIT
from pynooks.errors import RefusedError
from pynooks.health import Health
from pynooks.remote import LocalVm
from pynooks.vm.machine import Vm, VmSpec
from pynooks.vm.nics import nics_of

pytestmark = [pytest.mark.vm, pytest.mark.slow]
DRIVER = "e1000"
SPEC = VmSpec(
    name="test-persist", image="systemd", nics=nics_of(DRIVER), boot_s=300, stall_s=90
)  # systemd is slow, and silent at times
BOOTED_S = 120


def unit(target: LocalVm) -> str:
    """Its state, once systemd is through with it."""
    deadline = time.monotonic() + BOOTED_S
    while True:
        argv = ["systemctl", "is-active", "pynooks.service"]
        state = target.run(argv, check=False).stdout.strip()
        if state not in ("activating", "inactive") or time.monotonic() > deadline:
            return state
        time.sleep(1)


def nooks(target: LocalVm) -> list[Nook]:
    with Agent(target) as agent:
        return agent.nooks() if agent.call("facts")["nooks"] else []


def test_a_nook_outlives_a_reboot(tmp_path: Path) -> None:
    def boot(number: int) -> Vm:
        disk = tmp_path / f"{number - 1}" / "overlay.qcow2"
        return Vm.start(SPEC, tmp_path / f"{number}", disk=disk if number else None)

    def end(target: LocalVm) -> None:
        target.run(["sync"])
        assert not target.vm.verdicts()

    with boot(0) as vm:
        target = LocalVm(vm, name=SPEC.name)
        with pytest.raises(RefusedError, match="is not enabled"):
            disable(target, DRIVER)
        enable(target, DRIVER)
        assert nooks(target) == [], "it is for the next boot"
        with Agent(target) as agent:
            follow_policy(agent, DRIVER, Health(stall=30000))
        end(target)

    with boot(1) as vm:
        target = LocalVm(vm, name=SPEC.name)
        assert unit(target) == "active"
        (nook,) = nooks(target)
        assert (nook.name, nook.state, nook.level) == (DRIVER, "RUNNING", "pagetable")
        assert nook.stall_ms == 30000
        wire(target, DRIVER)
        assert ping(target, count=10).whole
        assert release(target, DRIVER), "as one that was deployed by hand"
        with Agent(target) as agent:
            plan: dict[str, Any] = plans(agent)[DRIVER] | {"kernel": "6.1.0-1-amd64 #1"}
            agent.call("write", path=f"{HOME}/{DRIVER}/plan.json", text=json.dumps(plan))
        end(target)

    with boot(2) as vm:
        target = LocalVm(vm, name=SPEC.name)
        assert unit(target) == "failed"
        said = target.run(["journalctl", "-u", "pynooks.service"], check=False).stdout
        assert "enabled for kernel 6.1.0-1-amd64 #1, this is" in said
        assert nooks(target) == []
        wire(target, DRIVER)
        assert ping(target, count=10).whole, "by the stock driver"
        disable(target, DRIVER)
        left = target.run(["ls", HOME, UNIT], check=False)
        assert left.status
        assert not left.stdout
