# SPDX-License-Identifier: GPL-2.0-only
"""Nobody notices: interfaces, connections and configuration outlive the driver."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator

import pytest
from bed import ADDRESSES, DRIVER, NIC, A, Bed

from pynooks.bench.recovery import traffic
from pynooks.health import Health
from pynooks.inject import Kind

pytestmark = pytest.mark.vm
LINK_S = 15
# in functions that every packet needs
STRIKES = ((Kind.WILD_WRITE, 0), (Kind.NULL_DEREF, 1), (Kind.WILD_WRITE, 2))
SET_UP = f"""
nic={NIC}
ip link set $nic mtu 1300; ip link set $nic allmulticast on
ip maddr add 33:33:00:00:00:42 dev $nic
ip link add link $nic name tagged type vlan id 7; ip link set tagged up
ethtool -G $nic rx 512 tx 512; ethtool -C $nic rx-usecs 20
ethtool -A $nic autoneg off rx off; ethtool -K $nic tso off gro off; ethtool -s $nic msglvl 5
"""
CLEAR = f"""
nic={NIC}
ip link del tagged; ip link set $nic mtu 1500; ip link set $nic allmulticast off
ip maddr del 33:33:00:00:00:42 dev $nic
ethtool -G $nic rx 256 tx 256; ethtool -C $nic rx-usecs 3; ethtool -K $nic tso on gro on
"""
SHOW = f"""
nic={NIC}
ip -d addr show; ip route; ip maddr | sort; cat /proc/net/vlan/* | grep -v '[0-9][0-9]*$'
for what in '' -k -g -c -a; do ethtool $what $nic; done
"""
COUNTERS = f"ip -s -s -j link show {NIC}"


def in_a(bed: Bed, line: str) -> str:
    """A shell line in the first namespace."""
    bed.agent.call("write", path="/run/pynooks/line.sh", text=line)
    return bed.shell(f"{A} sh /run/pynooks/line.sh 2>&1")[1]


def configuration(bed: Bed) -> str:
    """All that ip and ethtool tell, without what counts down."""
    return re.sub(r"valid_lft.*|promiscuity.*", "", in_a(bed, SHOW))


def await_answer(bed: Bed) -> None:
    deadline = time.monotonic() + LINK_S
    while bed.shell(f"{A} ping -q -c 1 -W 1 {ADDRESSES[1]}")[0]:
        assert time.monotonic() < deadline, "no answer"


@pytest.fixture
def configured(bed: Bed) -> Iterator[Bed]:
    in_a(bed, SET_UP)
    await_answer(bed)
    yield bed
    in_a(bed, CLEAR)


def test_configuration_after_a_recovery_equals_before(configured: Bed) -> None:
    bed = configured
    time.sleep(2)
    before = configuration(bed)
    for word in ("mtu 1300", "tagged", "33:33:00:00:00:42", "tcp-segmentation-offload: off"):
        assert word in before
    bed.strike(Kind.WILD_WRITE, 1)
    await_answer(bed)
    time.sleep(2)
    assert configuration(bed) == before


def test_a_connection_and_the_interface_outlive_faults(bed: Bed) -> None:
    await_answer(bed)
    bed.shell("ip -n nooks-a monitor link >/run/pynooks/monitor 2>&1 & echo $! >/run/pynooks/pid")
    index = in_a(bed, f"cat /sys/class/net/{NIC}/ifindex")
    with traffic(bed.target, 120) as flow:
        for kind, seed in STRIKES:
            bed.strike(kind, seed)
            flow.next_pause(LINK_S)
        bed.shell("pkill -INT -f 'outage.py ask'")
        stream = flow.finish(60)
    bed.shell("kill $(cat /run/pynooks/pid)")
    assert stream.intact, stream
    assert in_a(bed, f"cat /sys/class/net/{NIC}/ifindex") == index
    said = bed.shell("cat /run/pynooks/monitor")[1]
    assert "Deleted" not in said
    assert "NO-CARRIER" not in said


@pytest.mark.slow
def test_counters_never_run_backwards(bed: Bed) -> None:
    await_answer(bed)

    def counters() -> dict[str, int]:
        stats = json.loads(in_a(bed, COUNTERS))[0]["stats64"]
        return {f"{way}.{k}": v for way in ("rx", "tx") for k, v in stats[way].items()}

    seen = [counters()]
    for kind, seed in STRIKES[:2]:
        bed.strike(kind, seed)
        seen.append(counters())
        await_answer(bed)
        seen.append(counters())
    for earlier, later in itertools.pairwise(seen):
        assert {k: (v, later[k]) for k, v in earlier.items() if later[k] < v} == {}
    assert seen[-1]["rx.packets"] > seen[0]["rx.packets"]


GRACE_S = 12


@pytest.fixture
def patient(bed: Bed) -> Iterator[Bed]:
    """A second fault within the grace period waits 6 s for its restart."""
    values = Health(grace_period=1000 * GRACE_S, backoff=6000).values(0)
    bed.agent.call("set", name=DRIVER, **values)
    time.sleep(GRACE_S)  # what earlier tests did is forgiven
    yield bed
    bed.agent.call("set", name=DRIVER, **Health().values(0))
    in_a(bed, f"ip link set {NIC} mtu 1500; ethtool -G {NIC} rx 256")


# Who has room for as many counters as `ethtool -i` said gets as many as there are: equal, always.
ASKED = f"set -e; ethtool -i {NIC}; ethtool -S {NIC} | cut -d: -f1"
# regs.len 0: the driver fills the kernel's buffer, whose size the kernel has from the driver.
SHORT_REGS = """
import ctypes, fcntl, os, socket, struct
nic = next(name for name in os.listdir("/sys/class/net") if name.startswith("e"))
data = ctypes.create_string_buffer(struct.pack("<III", 4, 0, 0), 4096)
request = struct.pack("<16sQ16x", nic.encode(), ctypes.addressof(data))
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8946, request)
"""


def test_room_for_registers_is_the_kernels(bed: Bed) -> None:
    faults = bed.nook().stats["faults"]
    in_a(bed, f"python3 -c '{SHORT_REGS}'")
    assert bed.nook().stats["faults"] == faults


def test_requests_while_the_driver_is_down_are_kept(patient: Bed) -> None:
    """Nobody is there for 6 s: the shadow driver answers, and what was set is so afterwards."""
    bed = patient
    await_answer(bed)
    bed.strike(Kind.WILD_WRITE, 0)
    await_answer(bed)
    faults = bed.nook().stats["faults"]
    asked = in_a(bed, ASKED)
    with bed.traffic():
        bed.inject(Kind.WILD_WRITE)
        while bed.nook().stats["faults"] == faults:
            time.sleep(0.1)
    time.sleep(0.5)
    assert bed.nook().state == "RECOVERING"
    assert in_a(bed, ASKED) == asked
    said = in_a(
        bed,
        f"set -e; nic={NIC}; ip link set $nic mtu 1400; ethtool -G $nic rx 1024; "
        "ip link set $nic promisc on; ip -s link show $nic; ethtool -g $nic; "
        "ip link set $nic promisc off; echo fine",
    )
    assert said.splitlines()[-1] == "fine", said
    assert bed.nook().state == "RECOVERING"
    bed.await_recovery(faults)
    await_answer(bed)
    assert "mtu 1400" in in_a(bed, f"ip link show {NIC}")
    assert "1024" in in_a(bed, f"ethtool -g {NIC}").rpartition("Current")[2]


@pytest.mark.slow
def test_a_driver_that_keeps_failing_is_left_stopped(bed: Bed) -> None:
    bed.agent.call("set", name=DRIVER, **Health(grace_period=600000, burst=2).values(0))
    tries = 0
    while bed.nook().state != "STOPPED":
        await_answer(bed)
        faults = bed.nook().stats["faults"]
        with bed.traffic():
            bed.inject(Kind.WILD_WRITE)
            while (nook := bed.nook()).stats["faults"] == faults or nook.state in (
                "FAILED", "RECOVERING", "LOADING",
            ):  # fmt: skip
                time.sleep(0.2)
        tries += 1
        assert tries < 5
    assert bed.nook().stats["objects"] == 0
    assert bed.agent.restart(DRIVER).state == "RUNNING"  # on demand it starts all the same
    bed.agent.call("set", name=DRIVER, **Health().values(0))
    bed.wire()
    await_answer(bed)
