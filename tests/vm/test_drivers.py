# SPDX-License-Identifier: GPL-2.0-only
"""Other stock drivers than e1000, each on the NIC that QEMU has for it, and two nooks at once."""

from __future__ import annotations

import time

import pytest
from bed import ACTIONS, DRIVERS, OTHER, guest

from pynooks.bench import stream
from pynooks.control.client import Agent
from pynooks.control.records import Nook
from pynooks.demo.net import SPACES, ping, wire
from pynooks.deploy import deploy, release
from pynooks.errors import NooksError
from pynooks.inject import Kind, inject_kind
from pynooks.remote import LocalVm

pytestmark = [pytest.mark.vm, pytest.mark.slow]
FAULTS = (Kind.WILD_WRITE, Kind.NULL_DEREF, Kind.LOOP)
RECOVERY_S = 60
SEEDS, HIT_S = 4, 12
LINK_S = 20
# Their policy is whole, and QEMU has no card for them.
NO_CARD = (
    "3c59x", "8139too", "acenic", "alx", "amd8111e", "atl1", "atl1c", "atl1e", "atl2", "cassini",
    "de2104x", "dl2k", "dmfe", "epic100", "fealnx", "hamachi", "igbvf", "ixgb", "qla3xxx",
    "starfire", "tehuti", "typhoon", "uli526x", "winbond-840", "xircom_cb", "yellowfin",
)  # fmt: skip
NO_LINK = ("e100", "e1000e", "ne2k-pci", "tulip")  # QEMU's tell nobody that it is gone


# While the injector looks for functions that run, and until the one it chose has.
TRAFFIC = (
    f"setsid ip netns exec {SPACES[0]} ping -q -w {RECOVERY_S + 60} -i 0.1 192.0.2.2"
    " >/dev/null 2>&1 </dev/null &"
)

# Programs that wait until the packets that they have sent are gone: nothing but the driver's queues
# can wake them. More of them than a driver has queues.
SENDERS = 8
BLOCKED_S = 20
SENDER = f"""
import socket, threading, time
sent = [0] * {SENDERS}
def send(i):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    while True:
        s.sendto(bytes(512), ("192.0.2.2", 9))
        sent[i] += 1
        time.sleep(0.02)
for i in range({SENDERS}):
    threading.Thread(target=send, args=(i,)).start()
while True:
    time.sleep(0.2)
    print(*sent, flush=True)
"""
SENDING = (
    f"setsid ip netns exec {SPACES[0]} python3 -c '{SENDER}'"
    " >/run/sent 2>/run/sent.err </dev/null &"
)


def await_recovery(agent: Agent, driver: str, faults: int) -> Nook:
    deadline = time.monotonic() + RECOVERY_S
    while True:
        nook = agent.nook(driver)
        if nook.stats["faults"] > faults and nook.state == "RUNNING":
            return nook
        assert nook.state != "STOPPED", f"not started again: {nook.fault}"
        assert time.monotonic() < deadline, f"{nook.state}, {nook.stats['faults']} faults"
        time.sleep(0.2)


def fail(target: LocalVm, agent: Agent, driver: str, kind: Kind) -> None:
    """Until one hits: a function that ran, a timer of the link say, need not run again soon."""
    name = driver.replace("-", "_")
    before = agent.nook(name).stats["faults"]
    for seed in range(SEEDS):
        inject_kind(target, driver, kind, seed=seed, native=False, agent=agent)
        deadline = time.monotonic() + HIT_S
        while time.monotonic() < deadline:
            if agent.nook(name).stats["faults"] > before:
                await_recovery(agent, name, before)
                return
            time.sleep(0.2)
    pytest.fail(f"{kind}: {SEEDS} sites, and none was reached")


def loses_its_link(target: LocalVm) -> None:
    """For a while. What the driver was shown of its link in the recovery must not last."""
    read = f"ip netns exec {SPACES[0]} sh -c 'cat /sys/class/net/e*/carrier'"
    for on in (False, True):
        target.vm.monitor.execute("set_link", {"name": "nic0", "up": on})
        deadline = time.monotonic() + LINK_S
        while target.run(["sh", "-c", read]).stdout.strip() != str(int(on)):
            assert time.monotonic() < deadline, f"link {on}: nobody told the kernel"
            time.sleep(0.2)


def sent(target: LocalVm) -> list[int]:
    return [int(n) for n in target.run(["tail", "-n1", "/run/sent"]).stdout.split()]


def senders_go_on(target: LocalVm) -> None:
    before = sent(target)
    assert len(before) == SENDERS, target.run(["cat", "/run/sent.err"]).stdout
    deadline = time.monotonic() + BLOCKED_S
    while stuck := [i for i, (a, b) in enumerate(zip(before, sent(target), strict=True)) if a == b]:
        assert time.monotonic() < deadline, f"senders {stuck} of {SENDERS} still wait"
        time.sleep(0.5)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_stock_driver_in_its_nook(tmp_path_factory: pytest.TempPathFactory, driver: str) -> None:
    with guest(tmp_path_factory, driver) as target, Agent(target) as agent:
        done, nook = deploy(target, driver)
        assert (done.stock, done.level, nook.state) == (True, "pagetable", "RUNNING")
        wire(target, driver)
        assert ping(target, count=50).whole
        inside = ["ip", "netns", "exec", SPACES[0], "sh", "-c", ACTIONS]
        assert not target.run(inside, timeout=60, check=False).status
        wire(target, driver)
        assert stream(target, seconds=1) > 0
        assert agent.nook(nook.name).fault is None
        for kind in FAULTS:
            agent.call("run", argv=["sh", "-c", TRAFFIC], timeout=10)
            agent.call("run", argv=["sh", "-c", SENDING], timeout=10)
            fail(target, agent, driver, kind)
            agent.call("run", argv=["pkill", "ping"], timeout=10)
            senders_go_on(target)
            agent.call("run", argv=["pkill", "-f", "sendto"], timeout=10)
            wire(target, driver, limit_s=40)
            assert ping(target, count=10).whole
        if driver not in NO_LINK:
            loses_its_link(target)
            assert ping(target, count=10).whole
        assert release(target, driver)
        wire(target, driver)
        assert ping(target, count=10).whole


def test_drivers_without_a_card_load_and_go(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Init, the registration of the PCI driver and its end run in the nook, and nothing else."""
    found = {}
    with guest(tmp_path_factory, "e1000") as target, Agent(target) as agent:
        for driver in NO_CARD:
            try:
                _, nook = deploy(target, driver)
            except NooksError as e:
                found[driver] = str(e)
                continue
            found[driver] = f"{nook.state}, {agent.nook(nook.name).fault}"
            release(target, driver)
    assert found == dict.fromkeys(NO_CARD, "RUNNING, None")


def test_one_nook_fails_and_the_other_goes_on(tmp_path_factory: pytest.TempPathFactory) -> None:
    with guest(tmp_path_factory, "e1000", OTHER) as target, Agent(target) as agent:
        for driver in ("e1000", OTHER):
            deploy(target, driver)
        wire(target, OTHER)
        assert ping(target, count=10).whole
        before = agent.nook(OTHER)
        agent.call("run", argv=["sh", "-c", UP], timeout=20)
        inject_kind(target, "e1000", Kind.WILD_WRITE, seed=1, native=False, agent=agent)
        assert ping(target, count=50).whole
        await_recovery(agent, "e1000", 0)
        after = agent.nook(OTHER)
        assert (after.state, after.fault) == ("RUNNING", None)
        assert after.stats["recoveries"] == before.stats["recoveries"]
        assert ping(target, count=20).whole


# e1000's interfaces stay in the first namespace: its watchdog is work enough for a fault.
UP = 'for n in /sys/bus/pci/drivers/e1000/0*/net/*; do ip link set "${n##*/}" up; done; sleep 3'
