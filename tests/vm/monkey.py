# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the guest: somebody who does one thing after the other to a NIC, at random, for ever.

    monkey.py SEED ADDRESS PEER LOG

In the namespace of the NIC. What the driver refuses is refused; LOG has each line before it is
done, so that the last one is what hung.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time

VALUES: dict[str, tuple[object, ...]] = {
    "bit": (0, 1),
    "channels": (1, 2, 4),
    "cpus": (0, 1, 2, 3),
    "duplex": ("half", "full"),
    "feature": (
        "rx", "tx", "sg", "tso", "gso", "gro", "rxvlan", "txvlan", "rx-fcs", "rx-all", "ntuple",
        "rxhash", "loopback", "lro", "highdma", "rx-vlan-filter",
    ),
    "iperf": ("", "-R", "-u -b 0 -l 64", "-u -b 50M", "-P 3", "-M 500"),
    "level": (0, 0, 7, 65535),
    "mtu": (68, 576, 1400, 1500, 1500, 1500, 2000, 9000, 65535),
    "ns": (0, 1000, 100000),
    "on": ("on", "off"),
    "pause": (0, 0, 0.1, 1),
    "qdisc": (
        "pfifo", "pfifo limit 1", "fq", "fq_codel", "noqueue", "mq", "prio", "sfq",
        "tbf rate 10mbit burst 10k latency 10ms",
    ),
    "queue": (0, 1, 100, 1000),
    "ring": (1, 16, 64, 80, 128, 256, 512, 4096, 9999),
    "size": (0, 56, 1400, 8000, 60000),
    "speed": (10, 100, 1000),
    "test": ("online", "offline"),
    "usecs": (0, 1, 10, 100, 10000),
    "wol": ("g", "d", "umbg"),
}  # fmt: skip
LINES = (
    "ip link set $n down; sleep {pause}; ip link set $n up",
    "ip link set $n mtu {mtu}",
    "ip link set $n promisc {on}",
    "ip link set $n allmulticast {on}",
    "ip link set $n txqueuelen {queue}",
    "ip link set $n address 52:54:00:11:22:3{channels}; ip neigh flush all",
    "ip maddr add 33:33:00:00:00:0{channels} dev $n",
    "ip maddr del 33:33:00:00:00:0{channels} dev $n",
    "ip link add link $n name v{channels} type vlan id {queue}; ip link set v{channels} up",
    "ip link del v{channels}",
    "ethtool -K $n {feature} {on}",
    "ethtool -G $n rx {ring} tx {ring}",
    "ethtool -C $n rx-usecs {usecs}",
    "ethtool -C $n adaptive-rx {on}",
    "ethtool -L $n combined {channels}",
    "ethtool -A $n rx {on} tx {on} autoneg {on}",
    "ethtool -s $n speed {speed} duplex {duplex} autoneg {on}",
    "ethtool -s $n autoneg on",
    "ethtool -s $n wol {wol}",
    "ethtool -s $n msglvl {level}",
    "ethtool --set-eee $n eee {on}",
    "ethtool -X $n equal {channels}",
    "ethtool -r $n",
    "ethtool -t $n {test}",
    "timeout 2 ethtool -p $n 1",
    "ethtool -E $n magic 0x100e8086 offset {usecs} value {bit}",
    "ethtool -S $n; ethtool -d $n; ethtool -e $n length 64; ethtool -i $n; ethtool $n",
    "ethtool -k $n; ethtool -g $n; ethtool -c $n; ethtool -a $n; ethtool -l $n; ethtool -x $n",
    "ethtool -T $n; ethtool --show-eee $n; ethtool -m $n; ethtool --show-priv-flags $n",
    "tc qdisc replace dev $n root {qdisc}",
    "tc qdisc del dev $n root",
    "cat /sys/class/net/$n/* /sys/class/net/$n/statistics/* /sys/class/net/$n/device/*",
    "echo {cpus} >/sys/class/net/$n/queues/rx-0/rps_cpus",
    "echo {ns} >/sys/class/net/$n/gro_flush_timeout",
    "echo {bit} >/sys/class/net/$n/threaded",
    "echo {bit} >/sys/class/net/$n/carrier",
    "ip -s -d link show $n; cat /proc/net/dev /proc/interrupts",
    "ping -f -q -w 1 -s {size} {peer}",
    "iperf3 -c {peer} -t 1 {iperf}",
)
NIC = "n=$(ls /sys/class/net | grep '^e' | head -n 1); [ $n ] || exit 99; "
KEEP = "ip addr replace {address}/24 dev $n"
LINE_S = 20


class Choice(dict[str, object]):
    """A value for each name that a line has, chosen when it is asked for."""

    def __init__(self, rng: random.Random, **fixed: object) -> None:
        super().__init__(fixed)
        self.rng = rng

    def __missing__(self, name: str) -> object:
        return self.rng.choice(VALUES[name])


def do(line: str) -> str:
    """Its status; or that it hangs, and cannot even be killed."""
    argv = ["timeout", "-k", "5", str(LINE_S), "sh", "-c", NIC + line]
    try:
        done = subprocess.run(argv, capture_output=True, check=False, timeout=3 * LINE_S)
    except subprocess.TimeoutExpired:
        return "hangs"
    return str(done.returncode)


def main(seed: str, address: str, peer: str, log: str) -> None:
    rng = random.Random(seed)
    values = Choice(rng, address=address, peer=peer)
    with open(log, "w", buffering=1) as out:
        while True:
            line = rng.choice(LINES).format_map(values)
            out.write(f"{time.monotonic():.2f} {line}")
            out.write(f" -> {do(line)}\n")
            do(KEEP.format_map(values) + ("; ip link set $n up" if rng.random() < 0.3 else ""))
            time.sleep(rng.choice((0, 0, 0.05, 0.3)))


if __name__ == "__main__":
    main(*sys.argv[1:])
