# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the target: traffic that notices each pause. Needs nothing but Python.

    outage.py answer ADDRESS            echoes datagrams, swallows and checks a TCP stream
    outage.py ask ADDRESS SECONDS       sends both; one JSON line per pause, one at the end,
                                        which SIGINT brings forward

Times are seconds of CLOCK_MONOTONIC, as in nooks.ko's records. A pause is a time without an answer.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

Over = Callable[[], bool]
ECHO_PORT, STREAM_PORT = 9021, 9022
PERIOD_S = 0.005  # between datagrams
NOTABLE_S = 0.1
BLOCK = 8192
PAUSE_S = 0.005  # between blocks
SETTLE_S = 60  # TCP's patience at the end


def block(number: int) -> bytes:
    """Bytes that no other block has at the same place."""
    return number.to_bytes(8, "big") * (BLOCK // 8)


def whole(sock: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes, or fewer at the end of the stream."""
    got = bytearray()
    while len(got) < size:
        more = sock.recv(size - len(got))
        if not more:
            break
        got += more
    return bytes(got)


def answer(address: str) -> None:
    """Until killed. A line says that both are there."""
    server = socket.create_server((address, STREAM_PORT))
    threading.Thread(target=swallow, args=(server,), daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, ECHO_PORT))
        print(json.dumps({"ready": True}), flush=True)
        while True:
            try:
                data, sender = sock.recvfrom(2048)
                sock.sendto(data, sender)
            except OSError:  # the route may be gone for a moment
                continue


def swallow(server: socket.socket) -> None:
    """One stream after the other; at its end the other side is told how many blocks were right."""
    with server:
        while True:
            sock, _ = server.accept()
            with sock:
                right = 0
                while (data := whole(sock, BLOCK)) and data == block(right):
                    right += 1
                sock.sendall(right.to_bytes(8, "big"))


class Stream(threading.Thread):
    """Numbered blocks on one connection. broken: why it ended early."""

    def __init__(self, address: str, over: Over) -> None:
        super().__init__()
        self.sent = self.right = 0
        self.broken = ""
        self._over = over
        self._sock = socket.create_connection((address, STREAM_PORT))

    def run(self) -> None:
        try:
            while not self._over():
                self._sock.sendall(block(self.sent))
                self.sent += 1
                time.sleep(PAUSE_S)
            self._sock.shutdown(socket.SHUT_WR)
            self._sock.settimeout(SETTLE_S)
            self.right = int.from_bytes(whole(self._sock, 8), "big")
        except OSError as e:
            self.broken = str(e)


def pauses(address: str, over: Over) -> Iterator[tuple[float, float]]:
    """(last answer before, first answer after) of each notable pause."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        last = time.monotonic()
        while not over():
            try:
                sock.sendto(b"?" * 64, (address, ECHO_PORT))
            except OSError:
                time.sleep(PERIOD_S)
            if not select.select([sock], [], [], PERIOD_S)[0]:
                continue
            try:
                while sock.recv(2048):
                    now = time.monotonic()
                    if now - last > NOTABLE_S:
                        yield last, now
                    last = now
            except OSError:
                time.sleep(PERIOD_S)


def ask(address: str, seconds: float) -> None:
    """For `seconds`; a line per pause as it ends."""
    end = time.monotonic() + seconds
    enough = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: enough.set())

    def over() -> bool:
        return enough.is_set() or time.monotonic() > end

    stream = Stream(address, over)
    stream.start()
    print(json.dumps({"began": time.monotonic()}), flush=True)
    for last, first in pauses(address, over):
        print(json.dumps({"last": last, "first": first}), flush=True)
    stream.join()
    print(
        json.dumps({"sent": stream.sent, "right": stream.right, "broken": stream.broken}),
        flush=True,
    )


if __name__ == "__main__":
    if sys.argv[1] == "answer":
        answer(sys.argv[2])
    else:
        ask(sys.argv[2], float(sys.argv[3]))
