# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the target: verified traffic between two namespaces, and requests to the driver.

    workload.py DRIVER SPACE SPACE ADDRESS ADDRESS SCRIPT

SCRIPT and its arguments as in pynooks.demo.net: it configures interfaces that come anew.
Answers JSON lines like the agent. It lives in the snapshot that trials start from: sockets are
open, and "start" lets traffic flow. Copied beside nooks_*.py.

    UDP both ways     numbered datagrams, any wrong byte is seen
    TCP one way       numbered blocks on one connection that must survive
    ICMP echo         with contents
    requests          ethtool operations, promiscuous mode on and off, an interface down and up
    heartbeat         one thread per CPU: how long did it not run?

Interfaces that come anew, because the driver was restarted, are configured as a system would.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

try:
    from pynooks.bench import udp
    from pynooks.campaign.requests import Requests
    from pynooks.trace import tracer
except ImportError:  # in the target
    import nooks_tracer as tracer  # type: ignore[import-not-found, no-redef]
    import nooks_udp as udp  # type: ignore[import-not-found, no-redef]
    from nooks_requests import Requests  # type: ignore[import-not-found, no-redef]

RATE = 50.0  # datagrams a second each way
PING_RATE = 10.0
BLOCK = 16384
BLOCK_RATE = 20.0
TCP_PORT = 9010
CAPACITY = 1 << 16  # datagrams of one run
PAUSE_S = 0.1
WIRE_S = 15.0  # a few commands of ip
# Machine check, bad page, oops, WARN, soft lockup (Documentation/admin-guide/tainted-kernels.rst).
HARM = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14
DISTURB_AT_S, AGAIN_S = 0.25, 0.5  # into a run; between requests afterwards


class Inside:
    """The calling thread in another network namespace meanwhile."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._libc = ctypes.CDLL(None, use_errno=True)

    def _enter(self, fd: int) -> None:
        if self._libc.setns(fd, 0):
            raise OSError(ctypes.get_errno(), f"setns {self._name}")

    def __enter__(self) -> None:
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self._name}", os.O_RDONLY)
        self._enter(there)
        os.close(there)

    def __exit__(self, *_: object) -> None:
        self._enter(self._home)
        os.close(self._home)


class Flow:
    """Counts of one kind of traffic."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reset(time.monotonic())

    def reset(self, now: float) -> None:
        self.sent = self.received = self.changed = 0
        self.last, self.outage = now, 0.0

    def right(self, now: float) -> None:
        """Something right arrived."""
        self.received += 1
        self.outage = max(self.outage, now - self.last)
        self.last = now

    def report(self, now: float) -> dict[str, Any]:
        idle = now - self.last
        return {"name": self.name, "sent": self.sent, "received": self.received,
                "changed": self.changed, "idle_s": round(idle, 3),
                "outage_s": round(max(self.outage, idle), 3)}  # fmt: skip


class Datagrams:
    """One direction of UDP."""

    def __init__(self, name: str, to: str, source: socket.socket, sink: socket.socket) -> None:
        self.flow, self.to, self.source, self.sink = Flow(name), to, source, sink
        self.rate = RATE
        self.reset(time.monotonic())

    def reset(self, now: float) -> None:
        self.flow.reset(now)
        self.tally = udp.Tally(CAPACITY)

    def send(self) -> None:
        try:
            self.source.sendto(udp.datagram(self.flow.sent % CAPACITY), (self.to, udp.PORT))
            self.flow.sent += 1
        except OSError:
            pass  # no interface now: what does not arrive is seen at the other end

    def take(self, now: float) -> None:
        try:
            data = self.sink.recv(2048)
        except OSError:
            return
        before = self.tally.received, self.tally.changed
        self.tally.take(data)
        if self.tally.received > before[0]:
            self.flow.right(now)
        self.flow.changed += self.tally.changed - before[1]


class Echo:
    """ICMP echo with contents; the other end is the kernel's."""

    def __init__(self, to: str, sock: socket.socket) -> None:
        self.flow, self.to, self.sink = Flow("icmp"), to, sock
        self.rate = PING_RATE
        self._id = os.getpid() & 0xFFFF

    def reset(self, now: float) -> None:
        self.flow.reset(now)

    def send(self) -> None:
        number = self.flow.sent & 0xFFFF
        body = udp.datagram(number)
        head = struct.pack("!BBHHH", 8, 0, 0, self._id, number)
        head = struct.pack("!BBHHH", 8, 0, checksum(head + body), self._id, number)
        try:
            self.sink.sendto(head + body, (self.to, 0))
            self.flow.sent += 1
        except OSError:
            pass

    def take(self, now: float) -> None:
        try:
            data = self.sink.recv(4096)[20:]
        except OSError:
            return
        kind, _, _, mine, number = struct.unpack_from("!BBHHH", data)
        if kind == 0 and mine == self._id:
            if data[8:] == udp.datagram(number):
                self.flow.right(now)
            else:
                self.flow.changed += 1


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def block(number: int) -> bytes:
    """The only right contents of block `number` of the stream."""
    start = number * 61 % (len(udp.TABLE) - BLOCK)
    return struct.pack("!Q", number) + udp.TABLE[start : start + BLOCK - 8]


class Stream:
    """Blocks over one TCP connection, from its first to its last."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.flow, self.source, self.sink = Flow("tcp"), source, sink
        self.rate = BLOCK_RATE
        self.closed = ""
        self._out, self._in = b"", b""
        self._next_out = self._next_in = 0

    def reset(self, now: float) -> None:
        self.flow.reset(now)

    def send(self) -> None:
        if len(self._out) < 4 * BLOCK:
            self._out += block(self._next_out)
            self._next_out += 1
            self.flow.sent += 1
        try:
            self._out = self._out[self.source.send(self._out) :]
        except BlockingIOError:
            pass
        except OSError as e:
            self._close(e.strerror or str(e))

    def take(self, now: float) -> None:
        try:
            data = self.sink.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError as e:
            self._close(e.strerror or str(e))
            return
        if not data:
            self._close("end of stream")
        self._in += data
        while len(self._in) >= BLOCK:
            if self._in[:BLOCK] == block(self._next_in):
                self.flow.right(now)
            else:
                self.flow.changed += 1
            self._next_in += 1
            self._in = self._in[BLOCK:]

    def _close(self, why: str) -> None:
        self.closed = self.closed or why


class Heart:
    """Beats on one CPU."""

    def __init__(self, cpu: int) -> None:
        self.cpu, self.gap, self.last = cpu, 0.0, time.monotonic()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        os.sched_setaffinity(0, {self.cpu})
        while True:
            now = time.monotonic()
            self.gap = max(self.gap, now - self.last)
            self.last = now
            time.sleep(PAUSE_S)

    def reset(self) -> None:
        self.gap, self.last = 0.0, time.monotonic()


class Workload:
    """Methods whose names begin with do_ are what the host can ask for."""

    def __init__(self, driver: str) -> None:
        self.driver = driver
        self.running = threading.Event()
        self.began = 0.0
        self.rewired, self.unwired = 0, ""
        self._resting = threading.Event()

    def do_ping(self) -> dict[str, Any]:
        return {"pid": os.getpid()}

    def prepare(self, script: str, spaces: list[str], addresses: list[str]) -> None:
        """Open everything, and find the canaries."""
        self._setup = [script, "wire", self.driver, *spaces, *addresses]
        self.do_canaries()
        udp_ends, controls = [], []
        for space, address in zip(spaces, addresses, strict=True):
            with Inside(space):
                end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                end.bind((address, udp.PORT))
                controls.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                if space == spaces[0]:
                    echo = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
                else:
                    server = socket.create_server((address, TCP_PORT))
            udp_ends.append(end)
        with Inside(spaces[0]):
            client = socket.create_connection((addresses[1], TCP_PORT), 20)
        accepted, _ = server.accept()
        for sock in (*udp_ends, echo, client, accepted):
            sock.setblocking(False)
        self.stream = Stream(client, accepted)
        self.flows: list[Any] = [
            Datagrams("udp a-b", addresses[1], udp_ends[0], udp_ends[1]),
            Datagrams("udp b-a", addresses[0], udp_ends[1], udp_ends[0]),
            Echo(addresses[1], echo),
            self.stream,
        ]
        self.requests = Requests(self.driver, controls)
        self.hearts = [Heart(cpu) for cpu in sorted(os.sched_getaffinity(0))]
        for work in (self._traffic, self._control, self._rewire):
            threading.Thread(target=work, daemon=True).start()

    def do_start(self, after_s: float = 0.0) -> None:
        """Let traffic flow, now or later."""
        if after_s:
            threading.Timer(after_s, self.do_start).start()
            return
        now = self.began = time.monotonic()
        for flow in self.flows:
            flow.reset(now)
        for heart in self.hearts:
            heart.reset()
        self.requests.reset()
        self.rewired = 0
        self.running.set()

    def do_pause(self) -> None:
        """Until nothing is in flight."""
        self._resting.clear()
        self.running.clear()
        self._resting.wait(5)

    def do_report(self) -> dict[str, Any]:
        now = time.monotonic()
        return {
            "flows": [flow.flow.report(now) for flow in self.flows],
            "errors": self.requests.errors[:20],
            "wrong": self.requests.wrong[:20],
            "gap_s": round(max(max(h.gap, now - h.last) for h in self.hearts), 3),
            "closed": self.stream.closed,
            "rewired": self.rewired,
            "unwired": self.unwired,
            "run_s": round(now - self.began, 3),
        }

    def do_canaries(self) -> dict[str, str]:
        """Checksums of kernel objects, and what says that the kernel was harmed: its taint, and
        how often the witness has seen it complain. Addresses are looked up once.
        """
        if not hasattr(self, "_places"):
            self._places = tracer.kernel_symbols(tracer.CANARIES)
        taint = int(Path("/proc/sys/kernel/tainted").read_text()) & HARM
        seen = {k: str(n) for k, n in tracer.witness_counts().items() if k in tracer.ALARMS}
        return {**tracer.checksums(self._places), **seen, "taint": f"{taint:#x}"}

    def do_slabs(self) -> int:
        """Have the kernel look at every object of every cache; what is wrong it tells the console.

        It does only for caches with slub_debug, which base guests have. Gives their number.
        """
        caches = {os.path.realpath(path) for path in glob.glob("/sys/kernel/slab/*")}
        for cache in sorted(caches):
            with contextlib.suppress(OSError), open(f"{cache}/validate", "w") as file:
                file.write("1")
        return len(caches)

    # ---- threads

    def _traffic(self) -> None:
        due = [0.0] * len(self.flows)
        sinks = {flow.flow.name: flow for flow in self.flows}
        owners = {flow.sink.fileno(): flow for flow in sinks.values()}
        while True:
            if not self.running.is_set():
                time.sleep(2 * PAUSE_S)
                self._drain(owners)
                self._resting.set()
                self.running.wait()
            now = time.monotonic()
            for i, flow in enumerate(self.flows):
                if now >= due[i]:
                    flow.send()
                    due[i] = max(due[i] + 1 / flow.rate, now)
            left = max(0.0, min(due) - time.monotonic())
            if self.stream.closed:
                owners.pop(self.stream.sink.fileno(), None)
            for fd in select.select(list(owners), [], [], min(left, PAUSE_S))[0]:
                owners[fd].take(time.monotonic())

    def _drain(self, owners: dict[int, Any]) -> None:
        """What is still under way belongs to the old run."""
        while ready := select.select(list(owners), [], [], 2 * PAUSE_S)[0]:
            for fd in ready:
                owners[fd].take(time.monotonic())
            if self.stream.closed:
                owners.pop(self.stream.sink.fileno(), None)

    def _control(self) -> None:
        while True:
            self.running.wait()
            began = self.began
            turn = 0
            while self.running.is_set() and self.began == began:
                self.requests.ask(turn % 2)
                turn += 1
                if turn == 2:
                    time.sleep(max(0.0, began + DISTURB_AT_S - time.monotonic()))
                    self.requests.disturb(1)
                time.sleep(AGAIN_S if turn >= 2 else PAUSE_S)
            time.sleep(PAUSE_S)

    def _rewire(self) -> None:
        """As udev and a network manager would: a new interface gets its place and address."""
        while True:
            time.sleep(PAUSE_S)
            if any(self._is_ours(path) for path in Path("/sys/class/net").iterdir()):
                try:
                    self.unwired = self._wire()
                except (OSError, subprocess.TimeoutExpired) as e:
                    self.unwired = str(e)
                self.rewired += not self.unwired

    def _wire(self) -> str:
        """Why it did not work, empty if it did."""
        done = subprocess.run(
            ["sh", "-c", *self._setup], capture_output=True, timeout=WIRE_S, check=False, text=True
        )
        return f"status {done.returncode} {done.stderr.strip()}" if done.returncode else ""

    def _is_ours(self, path: Path) -> bool:
        try:
            bound = os.path.basename(os.readlink(path / "device/driver"))
            return bound.replace("-", "_") == self.driver
        except OSError:
            return False


def serve(load: Workload) -> None:
    """One request per line, one answer per line."""
    for line in sys.stdin:
        if not line.strip():
            continue
        request = json.loads(line)
        answer: dict[str, Any] = {"id": request.get("id")}
        try:
            method = getattr(load, f"do_{request['method']}")
            answer["result"] = method(**request.get("params", {}))
        except OSError as e:
            answer["error"] = {"errno": e.errno or errno.EIO, "what": str(e)}
        except Exception as e:
            answer["error"] = {"errno": 0, "what": f"{type(e).__name__}: {e}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def main(driver: str, *words: str) -> None:
    load = Workload(driver)
    load.prepare(words[4], list(words[:2]), list(words[2:4]))
    serve(load)


if __name__ == "__main__":
    main(*sys.argv[1:])
