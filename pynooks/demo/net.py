# SPDX-License-Identifier: GPL-2.0-only
"""Two NICs of one driver on a hub, each in a network namespace of its own: real traffic.

netns nooks-a          QEMU hub          netns nooks-b
192.0.2.1/24  eth0 ───────┴─────── eth1  192.0.2.2/24
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from pynooks.errors import CheckError
from pynooks.remote.target import Target

SPACES = ("nooks-a", "nooks-b")
ADDRESSES = ("192.0.2.1", "192.0.2.2")
_COUNT = re.compile(r"(\d+) packets transmitted, (\d+) received")
_TIMES = re.compile(r"rtt min/avg/max/mdev = [\d.]+/([\d.]+)/([\d.]+)")

# $1: driver, as its module or the bus names it. Interfaces that came anew are moved: both, none,
# or the one that is missing. The rest is as before.
SETUP = """
set -e
there() { ip netns exec $1 ls /sys/class/net 2>/dev/null | grep -qvx lo; }
bus=/sys/bus/pci/drivers
nets=$(ls -d $bus/$1/0*/net/* $bus/$(echo $1 | tr _ -)/0*/net/* 2>/dev/null | sort -u)
[ -n "$nets" ] || { there $2 && there $3; exit; }
n=0
if [ $(echo "$nets" | wc -l) -lt 2 ]; then
	case "$(there $2 && echo a)$(there $3 && echo b)" in
		ab) exit ;;
		a) n=1 ;;
		b) ;;
		*) exit 1 ;;
	esac
fi
for net in $nets; do
	space=$2; address=$4
	[ $n = 0 ] || { space=$3; address=$5; }
	nic=${net##*/}
	ip netns list | grep -qw $space || ip netns add $space
	ip link set $nic netns $space
	ip -n $space link set lo up
	ip -n $space addr add $address/24 dev $nic
	ip -n $space link set $nic up
	n=$((n + 1))
	[ $n -lt 2 ] || break
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """What ping said. avg_ms, max_ms: round trip, 0 if nothing came back."""

    sent: int
    received: int
    avg_ms: float
    max_ms: float

    @property
    def whole(self) -> bool:
        return self.sent == self.received > 0

    def __str__(self) -> str:
        lost = 100 * (self.sent - self.received) / self.sent if self.sent else 100
        return (
            f"{self.received} of {self.sent} answered, {lost:.0f} % lost, "
            f"round trip {self.avg_ms:.1f} ms, at most {self.max_ms:.1f} ms"
        )


def parse_ping(text: str) -> Ping:
    """The summary of iputils' ping."""
    count, times = _COUNT.search(text), _TIMES.search(text)
    return Ping(
        sent=int(count[1]) if count else 0,
        received=int(count[2]) if count else 0,
        avg_ms=float(times[1]) if times else 0.0,
        max_ms=float(times[2]) if times else 0.0,
    )


def wire(target: Target, driver: str, limit_s: float = 20) -> None:
    """Put the driver's two interfaces, once it has registered them, where the picture says."""
    deadline = time.monotonic() + limit_s
    while True:
        done = target.run(["sh", "-c", SETUP, "wire", driver, *SPACES, *ADDRESSES], check=False)
        if not done.status:
            break
        if time.monotonic() > deadline:
            raise CheckError(
                f"{driver} has not two interfaces within {limit_s:.0f} s: {done.stderr.strip()}",
                hint="`pynooks status`, and the VM's console, tell why",
            )
        time.sleep(0.2)
    _await_carrier(target, deadline)


def _await_carrier(target: Target, deadline: float) -> None:
    """A link comes up with the driver's watchdog, up to two seconds after the interface."""
    while not ping(target, count=1, interval_s=0.2).whole:
        if time.monotonic() > deadline:
            raise CheckError("the two interfaces do not reach each other", hint="see the console")


def ping(target: Target, *, count: int, interval_s: float = 0.05) -> Ping:
    """From one namespace to the other, through both NICs."""
    argv = ["ip", "netns", "exec", SPACES[0], "ping", "-n", "-q", "-W", "2"]
    argv += ["-c", str(count), "-i", str(interval_s), ADDRESSES[1]]
    done = target.run(argv, timeout=count * (interval_s + 2) + 10, check=False)
    return parse_ping(done.stdout)
