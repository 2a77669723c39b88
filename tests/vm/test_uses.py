# SPDX-License-Identifier: GPL-2.0-only
"""What administrators build on an interface: it works over a nook, and outlives its faults."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from bed import NIC, Bed

from pynooks.demo.net import ADDRESSES, SPACES
from pynooks.inject import Kind

pytestmark = [pytest.mark.vm, pytest.mark.slow]
ADDRESS = f"{ADDRESSES[0]}/24"
MOVE = f"ip addr flush dev $nic; ip addr add {ADDRESS} dev"  # the address, to what follows
BACK = f"ip addr replace {ADDRESS} dev $nic; ip link set $nic up"
# bpf(BPF_PROG_LOAD), an XDP program that returns XDP_PASS; bpf(BPF_OBJ_PIN)
XDP = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
def bpf(command, attr):
    raw = ctypes.create_string_buffer(attr.ljust(128, bytes(1)), 128)
    got = libc.syscall(321, command, raw, 128)
    assert got >= 0, ctypes.get_errno()
    return got
code = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 2, 0x95, 0, 0, 0)
buffer, gpl, path = (ctypes.create_string_buffer(x) for x in (code, b"GPL", b"/sys/fs/bpf/pass"))
fd = bpf(5, struct.pack("<IIQQ", 6, 2, ctypes.addressof(buffer), ctypes.addressof(gpl)))
bpf(6, struct.pack("<QI", ctypes.addressof(path), fd))
"""
LOAD_XDP = f"mount -t bpf bpf /sys/fs/bpf; rm -f /sys/fs/bpf/pass; python3 -c '{XDP}'"
NOTHING = ("true", "true")


@dataclass(frozen=True)
class Use:
    """Shell lines in the first namespace; $nic is the interface."""

    begin: str
    end: str
    modules: str = ""
    peer: tuple[str, str] = NOTHING  # in the second one


def _upper(kind: str, words: str, modules: str = "", peer: tuple[str, str] = NOTHING) -> Use:
    begin = f"ip link add link $nic name up0 type {kind} {words}; {MOVE} up0; ip link set up0 up"
    return Use(begin, f"ip link del up0; {BACK}", modules or kind, peer)


def _master(kind: str, words: str = "", modules: str = "") -> Use:
    begin = f"ip link add up0 type {kind} {words}; ip link set $nic down; "
    begin += f"ip link set $nic master up0; {MOVE} up0; ip link set up0 up; ip link set $nic up"
    end = f"ip link set $nic nomaster; ip link del up0; {BACK}"
    return Use(begin, end, modules or kind)


def _tagged(words: str) -> tuple[str, str]:
    begin = f"ip link add link $nic name up0 type vlan {words}; ip addr flush dev $nic; "
    return (
        begin + f"ip addr add {ADDRESSES[1]}/24 dev up0; ip link set up0 up",
        f"ip link del up0; ip addr replace {ADDRESSES[1]}/24 dev $nic",
    )


USES = {
    "bridge": _master("bridge"),
    "bond active-backup": _master("bond", "mode active-backup miimon 100", "bonding"),
    "bond 802.3ad": _master("bond", "mode 802.3ad miimon 100 lacp_rate fast", "bonding"),
    "bond balance-alb": _master("bond", "mode balance-alb miimon 100", "bonding"),
    "macvlan": _upper("macvlan", "mode bridge"),
    "ipvlan": _upper("ipvlan", "mode l2"),
    "vlan": _upper("vlan", "id 7", "8021q", _tagged("id 7")),
    "802.1ad": _upper(
        "vlan", "protocol 802.1ad id 7", "8021q", _tagged("protocol 802.1ad id 7")
    ),
    "fq": Use("tc qdisc replace dev $nic root fq", "tc qdisc del dev $nic root", "sch_fq"),
    "htb over netem": Use(
        "tc qdisc replace dev $nic root handle 1: htb default 1; "
        "tc class add dev $nic parent 1: classid 1:1 htb rate 100mbit; "
        "tc qdisc add dev $nic parent 1:1 netem delay 1ms",
        "tc qdisc del dev $nic root",
        "sch_htb sch_netem",
    ),
    "tbf": Use(
        "tc qdisc replace dev $nic root tbf rate 50mbit burst 32kb latency 50ms",
        "tc qdisc del dev $nic root",
        "sch_tbf",
    ),
    "noqueue": Use("tc qdisc replace dev $nic root noqueue", "tc qdisc del dev $nic root"),
    "clsact": Use(
        "tc qdisc replace dev $nic clsact; "
        "tc filter add dev $nic ingress matchall action pass; "
        "tc filter add dev $nic egress matchall action pass",
        "tc qdisc del dev $nic clsact",
        "sch_ingress cls_matchall act_gact",
    ),
    "XDP": Use(
        f"{LOAD_XDP}; ip link set $nic xdpgeneric pinned /sys/fs/bpf/pass",
        "ip link set $nic xdpgeneric off",
    ),
    "another name": Use(
        "echo $nic >/run/name; ip link set $nic down; ip link set $nic name ext0; "
        "ip link set ext0 up",
        "ip link set ext0 down; ip link set ext0 name $(cat /run/name); "
        "ip link set $(cat /run/name) up",
    ),
    "another address": Use(
        "cat /sys/class/net/$nic/address >/run/mac; ip link set $nic down; "
        "ip link set $nic address 02:00:00:00:00:77; ip link set $nic up",
        "ip link set $nic down; ip link set $nic address $(cat /run/mac); ip link set $nic up",
    ),
    "no offloads": Use(
        "ethtool -K $nic tx off rx off sg off tso off gso off gro off rxvlan off txvlan off",
        "ethtool -K $nic tx on rx on sg on tso on gso on gro on rxvlan on txvlan on",
    ),
}  # fmt: skip


def _inside(bed: Bed, space: str, line: str) -> None:
    bed.agent.call("write", path="/run/pynooks/use.sh", text=f"set -e\nnic={NIC}\n{line}\n")
    bed.out(f"ip netns exec {space} sh /run/pynooks/use.sh")


def _answers(bed: Bed) -> None:
    """Within some time: a bond or a bridge has first to find out where its peer is."""
    line = f"ip netns exec {SPACES[0]} ping -q -c 10 -i 0.05 -W 1 {ADDRESSES[1]}"
    bed.out(f"for i in $(seq 20); do {line} && exit 0; sleep 0.5; done; exit 1")


def _looks(bed: Bed) -> str:
    """Interfaces, addresses and queueing disciplines of the first namespace."""
    space = SPACES[0]
    return bed.out(
        f"ip -n {space} -br link; ip -n {space} -br addr; "
        f"tc -n {space} qdisc | sed 's/ refcnt [0-9]*//'"
    )


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_it_goes_on(bed: Bed, use: Use) -> None:
    if use.modules:
        bed.out(f"modprobe -a {use.modules}")
    faults = bed.nook().stats["faults"]
    _inside(bed, SPACES[0], use.begin)
    _inside(bed, SPACES[1], use.peer[0])
    try:
        _answers(bed)
        assert bed.nook().stats["faults"] == faults
        before = _looks(bed)
        for kind in (Kind.WILD_WRITE, Kind.LOOP):
            bed.strike(kind, symbol="e1000_xmit_frame")
            _answers(bed)
        assert _looks(bed) == before
    finally:
        _inside(bed, SPACES[1], use.peer[1])
        _inside(bed, SPACES[0], use.end)
    assert bed.nook().stats["faults"] == faults + 2
    _answers(bed)
