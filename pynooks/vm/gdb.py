# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's GDB stub: which places in a guest's code are reached, and pages written anew.

The guest cannot notice. Each place is told once, with the time; then its breakpoint is gone and the
guest runs on. Only the few packets of the remote serial protocol that this takes (GDB manual,
appendix E). QEMU serves one client at a time.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from pynooks.errors import InfraError
from pynooks.vm.monitor import Monitor

_ANSWER_S = 10.0
_RIP = 16 * 16  # hex digits of `g` before rip: sixteen registers of eight bytes
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


class Reached(Stub):
    """Watches addresses; a context manager. The guest is stopped until `go`."""

    def __init__(self, monitor: Monitor, path: Path) -> None:
        """As Stub."""
        super().__init__(monitor, path)
        self.hits: dict[int, float] = {}
        self._set: set[int] = set()
        self._began = 0.0
        self._thread: threading.Thread | None = None
        self._pages: queue.SimpleQueue[tuple[int, ...]] = queue.SimpleQueue()

    def watch(self, addresses: Iterable[int]) -> None:
        """Before `go`. What the host's processor has no breakpoint for is never told."""
        for address in addresses:
            if self._ask(f"Z{_HARDWARE},{address:x},1") == "OK":
                self._set.add(address)

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
        self._pages.put(tuple(pages))
        with contextlib.suppress(OSError):
            self._socket.sendall(_BREAK)

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
                registers = self._ask("g")
                address = int.from_bytes(bytes.fromhex(registers[_RIP : _RIP + 16]), "little")
                if address in self._set:
                    self.hits.setdefault(address, time.monotonic() - self._began)
                    self._set.discard(address)
                    self._ask(f"z{_HARDWARE},{address:x},1")
                with contextlib.suppress(queue.Empty):
                    super().rewrite(self._pages.get_nowait())
                self._send("c")


def frame(text: str) -> bytes:
    """A packet: $text#checksum."""
    raw = text.encode("ascii")
    return b"$%s#%02x" % (raw, sum(raw) & 0xFF)
