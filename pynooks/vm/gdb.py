# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's GDB stub: which places in a guest's code are reached, what is read there, and what stands
in memory.

The guest cannot notice. Each place that is watched is told once, with the time; then its breakpoint
is gone and the guest runs on. Only the few packets of the remote serial protocol that this takes
(GDB manual, appendix E). QEMU serves one client at a time.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from pynooks.errors import InfraError
from pynooks.vm.monitor import Monitor

_ANSWER_S = 10.0
# As they come in `g`, eight bytes each.
_REGISTERS = (
    *(f"r{name}" for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")),
    *(f"r{number}" for number in range(8, 16)),
    "rip",
)
_WORD = 16  # hex digits
_THREAD = re.compile(r"thread:([0-9a-fp.]+);")
_STEPS = 3  # until a CPU has moved
_HARDWARE = 1
_BREAK = b"\x03"
_PAGE = 4096
_CHUNK = 1024  # bytes in a packet: QEMU takes 4096 characters


class Stub:
    """A connection. The guest is stopped from its beginning to its end."""

    def __init__(self, monitor: Monitor, path: Path) -> None:
        """path: of the socket to make; short, as sockets are. Raises InfraError."""
        self._buffer = b""
        said = monitor.hmp(f"gdbserver unix:{path},server=on,wait=off")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_ANSWER_S)
        try:
            self._socket.connect(str(path))
            self._settle()
        except OSError as e:
            self._socket.close()
            raise InfraError(
                f"QEMU's GDB stub does not answer: {said.strip() or e}", hint="report this"
            ) from e

    def rewrite(self, pages: Iterable[int]) -> None:
        """Store into each page (by its address) what it holds. What is not mapped is left out."""
        for at in (page + offset for page in pages for offset in range(0, _PAGE, _CHUNK)):
            held = self._ask(f"m{at:x},{_CHUNK:x}")
            if len(held) == 2 * _CHUNK:
                self._ask(f"M{at:x},{_CHUNK:x}:{held}")

    def read_physical(self, address: int, size: int) -> int:
        """A little-endian word of memory or of a device. Raises InfraError."""
        with self._physical():
            said = self._ask(f"m{address:x},{size:x}")
        if len(said) != 2 * size:
            raise InfraError(f"QEMU does not read {address:#x}: {said}", hint="report this")
        return int.from_bytes(bytes.fromhex(said), "little")

    def write_physical(self, address: int, size: int, value: int) -> None:
        """As read_physical()."""
        data = value.to_bytes(size, "little").hex()
        with self._physical():
            said = self._ask(f"M{address:x},{size:x}:{data}")
        if said != "OK":
            raise InfraError(f"QEMU does not write {address:#x}: {said}", hint="report this")

    @contextlib.contextmanager
    def _physical(self) -> Iterator[None]:
        if self._ask("Qqemu.PhyMemMode:1") != "OK":
            raise InfraError("QEMU's GDB stub has no physical memory", hint="QEMU 4.1 or newer")
        try:
            yield
        finally:
            self._ask("Qqemu.PhyMemMode:0")

    def close(self) -> None:
        """Let the guest run, and QEMU serve another client."""
        with contextlib.suppress(OSError):
            self._ask("D")
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def _settle(self) -> None:
        """The stub may tell that it stopped the guest, or not: read up to an answer of ours."""
        self._send("qC")
        while (said := self._packet()) and not said.startswith("QC"):
            continue

    def _ask(self, text: str) -> str:
        self._send(text)
        return self._packet()

    def _send(self, text: str) -> None:
        self._socket.sendall(frame(text))

    def _packet(self) -> str:
        """The next packet's text; empty at the end of the connection."""
        while True:
            start = self._buffer.find(b"$")
            end = self._buffer.find(b"#", start)
            if 0 <= start < end and len(self._buffer) >= end + 3:
                text = self._buffer[start + 1 : end]
                self._buffer = self._buffer[end + 3 :]
                self._socket.sendall(b"+")
                return text.decode("ascii", "replace")
            data = self._socket.recv(65536)
            if not data:
                return ""
            self._buffer += data


def _value(registers: str, name: str) -> int:
    """Of one register in the answer to `g`."""
    at = _REGISTERS.index(name) * _WORD
    return int.from_bytes(bytes.fromhex(registers[at : at + _WORD]), "little")


class Stop:
    """A CPU before an instruction that is watched. Valid while its hook runs."""

    def __init__(self, stub: Reached, address: int, thread: str, registers: str) -> None:
        self._stub = stub
        self._address = address
        self._thread = thread
        self._registers = registers

    def __getitem__(self, register: str) -> int:
        """A 64-bit register by its name, as rax."""
        return _value(self._registers, register)

    def __setitem__(self, register: str, value: int) -> None:
        at = _REGISTERS.index(register) * _WORD
        word = value.to_bytes(8, "little").hex()
        self._registers = self._registers[:at] + word + self._registers[at + _WORD :]
        self._stub._ask("G" + self._registers)

    def step(self, size: int) -> bool:
        """Run the instruction, of `size` bytes, on this CPU alone. False if it has an exception."""
        for _ in range(_STEPS):
            self._stub._ask(f"vCont;s:{self._thread}")
            self._registers = self._stub._ask("g")
            if self["rip"] != self._address:
                break
        return self["rip"] == self._address + size


Hook = Callable[[Stop], bool]
Job = concurrent.futures.Future[None]


class Reached(Stub):
    """Watches addresses; a context manager. The guest is stopped until `go`."""

    def __init__(self, monitor: Monitor, path: Path) -> None:
        """As Stub."""
        super().__init__(monitor, path)
        self.hits: dict[int, float] = {}
        self._set: set[int] = set()
        self._began = 0.0
        self._thread: threading.Thread | None = None
        self._hooks: dict[int, Hook] = {}
        self._jobs: queue.SimpleQueue[tuple[Callable[[], object], Job]] = queue.SimpleQueue()

    def watch(self, addresses: Iterable[int]) -> None:
        """Before `go`. What the host's processor has no breakpoint for is never told."""
        for address in addresses:
            if self._ask(f"Z{_HARDWARE},{address:x},1") == "OK":
                self._set.add(address)

    def hook(self, address: int, act: Hook) -> None:
        """Before `go`. `act` is called each time, in a thread of ours, as long as it says yes.

        It steps over the instruction if it says yes; it may not take long, nor raise.
        """
        self.watch([address])
        self._hooks[address] = act

    def go(self) -> None:
        """Let the guest run."""
        self._began = time.monotonic()
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._follow, name="gdb", daemon=True)
        self._thread.start()

    @property
    def watched(self) -> frozenset[int]:
        """Addresses that would be told."""
        return frozenset(self._set)

    def rewrite(self, pages: Iterable[int]) -> None:
        """Soon, while the guest is stopped for a moment."""
        pages = tuple(pages)
        self.soon(lambda: Stub.rewrite(self, pages))

    def soon(self, work: Callable[[], object]) -> Job:
        """After `go`: done in a thread of ours, while the guest is stopped for a moment."""
        job: Job = concurrent.futures.Future()
        self._jobs.put((work, job))
        with contextlib.suppress(OSError):
            self._socket.sendall(_BREAK)
        return job

    def close(self) -> None:
        """Only when the guest is no longer needed: breakpoints that are left would stop it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if self._thread:
            self._thread.join(timeout=5)

    def _follow(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._send("c")
            while reply := self._packet():
                if reply[0] not in "ST":
                    continue
                self._stopped(reply)
                with contextlib.suppress(queue.Empty):
                    while True:
                        _do(*self._jobs.get_nowait())
                self._send("c")
                if not self._jobs.empty():  # its break may have come while the guest was stopped
                    self._socket.sendall(_BREAK)

    def _stopped(self, reply: str) -> None:
        registers = self._ask("g")
        address = _value(registers, "rip")
        if address not in self._set:
            return
        self.hits.setdefault(address, time.monotonic() - self._began)
        self._ask(f"z{_HARDWARE},{address:x},1")
        hook, thread = self._hooks.get(address), _THREAD.search(reply)
        if hook and thread and hook(Stop(self, address, thread[1], registers)):
            self._ask(f"Z{_HARDWARE},{address:x},1")
        else:
            self._set.discard(address)


def _do(work: Callable[[], object], job: Job) -> None:
    try:
        work()
        job.set_result(None)
    except InfraError as e:
        job.set_exception(e)


def frame(text: str) -> bytes:
    """A packet: $text#checksum."""
    raw = text.encode("ascii")
    return b"$%s#%02x" % (raw, sum(raw) & 0xFF)
