# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the target: numbered datagrams to a peer and from it, at a paced rate.

    udp.py LOCAL REMOTE COUNT RATE IDLE_S

Says "ready", waits for a line on stdin, sends COUNT datagrams at RATE per second, receives as many,
and says what arrived. Each datagram's length and contents follow from its number, so a changed byte
is seen. After a stall it does not catch up with a burst: a rate that is exceeded measures buffers.
"""

from __future__ import annotations

import json
import random
import select
import socket
import struct
import sys
import time

PORT = 9009
HEADER = struct.Struct("!Q")
LENGTHS = (18, 64, 200, 256, 600, 1000, 1472)  # below and above the driver's copy-break
BURST = 4
BUFFER = 8 << 20
TABLE = random.Random(1009).randbytes(1 << 16)


def datagram(number: int) -> bytes:
    """The only right contents of datagram `number`."""
    length = LENGTHS[number % len(LENGTHS)] - HEADER.size
    start = number * 61 % (len(TABLE) - length)
    return HEADER.pack(number) + TABLE[start : start + length]


class Tally:
    """What arrived. changed: wrong in any byte; repeated: came before."""

    def __init__(self, count: int) -> None:
        self.seen = bytearray(count)
        self.received = self.changed = self.repeated = 0

    def take(self, data: bytes) -> None:
        number = HEADER.unpack_from(data)[0] if len(data) >= HEADER.size else len(self.seen)
        if number >= len(self.seen) or data != datagram(number):
            self.changed += 1
        elif self.seen[number]:
            self.repeated += 1
        else:
            self.seen[number] = 1
            self.received += 1


def exchange(sock: socket.socket, peer: str, count: int, rate: float, idle: float) -> Tally:
    """Until all has arrived, or nothing for `idle` seconds after the last was sent."""
    tally, sent, step = Tally(count), 0, 1 / rate
    due = heard = time.monotonic()
    while sent < count or tally.received < count:
        now = time.monotonic()
        if sent < count and now >= due:
            sock.sendto(datagram(sent), (peer, PORT))
            sent += 1
            due = max(due + step, now - BURST * step)
            heard = now
        elif now - heard > idle:
            break
        left = max(0.0, due - time.monotonic()) if sent < count else idle
        if select.select([sock], [], [], left)[0]:
            tally.take(sock.recv(2048))
            heard = time.monotonic()
    return tally


def main(local: str, remote: str, count: str, rate: str, idle: str) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, 33, BUFFER)  # SO_RCVBUFFORCE: not the driver's to lose
    sock.bind((local, PORT))
    print("ready", flush=True)
    sys.stdin.readline()
    tally = exchange(sock, remote, int(count), float(rate), float(idle))
    print(
        json.dumps(
            {
                "received": tally.received,
                "changed": tally.changed,
                "repeated": tally.repeated,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
