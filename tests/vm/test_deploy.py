# SPDX-License-Identifier: GPL-2.0-only
"""From a driver's name to its nook and back; and what is refused leaves the guest untouched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pynooks.control.client import Agent, AgentError
from pynooks.demo.net import ping, wire
from pynooks.deploy import deploy, release
from pynooks.deploy.pipeline import deployed
from pynooks.errors import NooksError, RefusedError
from pynooks.policy import Value, WriteRule
from pynooks.remote import LocalVm
from pynooks.vm.machine import Vm, VmSpec

pytestmark = pytest.mark.vm
DRIVER = "e1000"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalVm]:
    """One guest for the module, with the stock driver loaded."""
    with Vm.start(VmSpec(name="test-deploy"), tmp_path_factory.mktemp("vm")) as vm:
        vm.run(["modprobe", DRIVER])
        yield LocalVm(vm, name="test-deploy")


def state(target: LocalVm) -> str:
    """What deploy could leave behind."""
    return target.run(
        ["sh", "-c", "cut -d' ' -f1,3,4 /proc/modules; ls /sys/class/net; ls /run; uname -v"]
    ).stdout


def garbage(stock: bytes) -> bytes:
    return bytes(range(256)) * 64


def truncated(stock: bytes) -> bytes:
    return stock[: len(stock) // 2]


def arm64(stock: bytes) -> bytes:
    return stock[:18] + (183).to_bytes(2, "little") + stock[20:]  # e_machine


def other_kernel(stock: bytes) -> bytes:
    return stock.replace(b"vermagic=6.1.", b"vermagic=6.9.")


@pytest.mark.parametrize("spoil", [garbage, truncated, arm64, other_kernel])
def test_bad_files_are_refused_and_nothing_is_touched(
    target: LocalVm, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    before = state(target)
    bad = tmp_path / "e1000.ko"
    bad.write_bytes(spoil(target.driver_file(DRIVER).read_bytes()))
    with pytest.raises(RefusedError) as caught:
        deploy(target, str(bad))
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert state(target) == before


@pytest.mark.parametrize("name", ["no_such_driver", "/no/such/file.ko"])
def test_unknown_drivers_are_refused(target: LocalVm, name: str) -> None:
    before = state(target)
    with pytest.raises(RefusedError):
        deploy(target, name)
    assert state(target) == before


def test_the_stock_driver_lives_in_a_nook_and_goes_back(target: LocalVm) -> None:
    done, nook = deploy(target, DRIVER)
    stock = target.driver_file(DRIVER)
    assert done.sha256 == hashlib.sha256(stock.read_bytes()).hexdigest()
    assert (done.stock, done.native, done.level) == (True, True, "pagetable")
    assert (nook.name, nook.state, nook.level, nook.fault) == (DRIVER, "RUNNING", "pagetable", None)
    with Agent(target) as agent:
        assert deployed(agent, DRIVER) == done
    with pytest.raises(RefusedError, match="in a nook already"):
        deploy(target, DRIVER)
    wire(target, DRIVER)
    assert ping(target, count=50).whole

    assert release(target, DRIVER)
    with Agent(target) as agent:
        assert agent.nooks() == []
        assert deployed(agent, DRIVER) is None
        with pytest.raises(AgentError, match="no nook is named e1000"):
            agent.nook(DRIVER)
    wire(target, DRIVER)
    assert ping(target, count=10).whole


def test_what_fails_late_is_rolled_back(target: LocalVm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without write rules the driver's probe is killed: the stock driver has its devices again."""
    monkeypatch.setattr("pynooks.deploy.pipeline.driver_rules", lambda *_: ())
    with pytest.raises(NooksError, match="no rule allows this write"):
        deploy(target, DRIVER)
    with Agent(target) as agent:
        assert DRIVER in agent.call("modules")
        assert len(agent.call("devices", driver=DRIVER)) == 2
    wire(target, DRIVER)
    assert ping(target, count=10).whole


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (WriteRule(object="no_such", field="x", offset=0, size=4, value=Value.ANY), "no_such.x"),
        (WriteRule(object="sk_buff", field="x", offset=4096, size=4, value=Value.ANY), "outside"),
        (WriteRule(object="percpu", field="nix", offset=0, size=4, value=Value.ANY), "percpu.nix"),
        (WriteRule(object="sk_buff", field="x", offset=0, size=4, value=Value.OPS), "pointers"),
    ],
)
def test_rules_that_make_no_sense(target: LocalVm, rule: WriteRule, said: str) -> None:
    with Agent(target) as agent:
        if "nooks" not in agent.call("modules"):
            agent.call("insmod", path="/run/pynooks/nooks.ko")
        with pytest.raises(AgentError, match=said) as caught:
            agent.policy_set("nobody", level=1, limit_ms=1000, flags=0, rules=[rule])
        assert caught.value.number == 22


def test_control_of_a_live_nook(target: LocalVm) -> None:
    deploy(target, DRIVER)
    with Agent(target) as agent:
        agent.call("events")
        with pytest.raises(AgentError, match="is in a nook; release it first") as caught:
            agent.policy_set(DRIVER, level=1, limit_ms=1000, flags=0, rules=[])
        assert caught.value.number == 16
        assert agent.call("set", name=DRIVER, limit_ms=2500, flags=2)["flags"] == ["no_recover"]
        assert agent.call("set", name=DRIVER, flags=0)["limit_ms"] == 2500
        with pytest.raises(AgentError, match="level cannot change"):
            agent.call("set", name=DRIVER, level=0)
        with pytest.raises(AgentError) as caught:
            agent.call("set", name=DRIVER, limit_ms=1)
        assert caught.value.number in (22, 34)
        nook = agent.restart(DRIVER)
        assert nook.state == "RUNNING"
        states = []
        while states[-1:] != ["RUNNING"]:
            states.append(agent.wait_event(10)["state"])
        assert "RECOVERING" in states or "LOADING" in states
        kinds = {count.kind for count in agent.counts(DRIVER)}
        assert kinds == {"object", "write", "exit", "entry"}
        assert agent.learned(DRIVER) == []
    assert json.dumps(nook.stats)
    release(target, DRIVER)


def test_an_unprivileged_user_is_refused(target: LocalVm) -> None:
    with Agent(target) as agent:
        if "nooks" not in agent.call("modules"):
            agent.call("insmod", path="/run/pynooks/nooks.ko")
    script = (
        "import os; os.setgid(65534); os.setuid(65534)\n"
        "import sys; sys.path.insert(0, '/run/pynooks')\n"
        "import nooks_netlink\n"
        "try: nooks_netlink.NooksSocket().nooks()\n"
        "except Exception as e: print('refused', e.code)\n"
    )
    assert target.run(["python3", "-c", script]).stdout.strip() == "refused 1"
