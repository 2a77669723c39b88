# SPDX-License-Identifier: GPL-2.0-only
"""The serial console. QEMU logs it from the first byte to a file; pexpect drains its socket.

A console that nobody reads fills up and stops the guest's UART, so a thread reads all the
time and hands the text to the crash parser. An attached VM is followed through the log file, where
QEMU 7.2 now and then has a character twice: it logs what it could not send at once, and logs it
again when it can.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pexpect
from pexpect import fdpexpect

from pynooks.errors import InfraError
from pynooks.vm.crash import Parser, Verdict

_log = logging.getLogger(__name__)
_KEEP = 1 << 20  # characters kept in memory for waits; the log file has all


class Console:
    """Text of one guest's console, its crashes, and a way to wait for a line or to type."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._changed = threading.Condition()
        self._parser = Parser()
        self._text = ""
        self._last = time.monotonic()
        self._ended = False
        self._stop = threading.Event()
        self._socket: socket.socket | None = None
        self._spawn: fdpexpect.fdspawn | None = None
        self._thread: threading.Thread | None = None

    def connect(self, path: Path) -> None:
        """Own the console: the socket must accept now."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._spawn = fdpexpect.fdspawn(self._socket.fileno(), timeout=None)
        self._run(self._drain)

    def follow(self) -> None:
        """Only read along, through the log file."""
        self._run(self._tail_log)

    def close(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=5)
        if self._socket:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def send(self, text: str) -> None:
        """Type on the console."""
        if not self._spawn:
            raise InfraError("this console is read-only", hint="use: pynooks vm console NAME")
        self._spawn.send(text)

    def verdicts(self) -> list[Verdict]:
        with self._changed:
            return self._parser.verdicts()

    @property
    def text(self) -> str:
        """What the console said: its last million characters."""
        with self._changed:
            return self._text

    @property
    def silent_s(self) -> float:
        """Seconds since the last byte."""
        with self._changed:
            return time.monotonic() - self._last

    def search(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The pattern anywhere in what the console said (its last million characters)."""
        with self._changed:
            return pattern.search(self._text)

    def wait_change(self, timeout: float) -> None:
        """Sleep until the console says something, ends, or `timeout` seconds pass."""
        with self._changed:
            before = self._last
            self._changed.wait_for(lambda: self._last != before or self._ended, timeout)

    def wait_end(self, timeout: float) -> bool:
        """Wait until QEMU has closed the console, so that all of it is parsed."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, timeout)

    def tail(self, n: int = 40) -> str:
        """The last lines of the log file."""
        try:
            data = self.log.read_bytes()[-200 * n :]
        except OSError:
            return ""
        return "\n".join(data.decode(errors="replace").replace("\r", "").splitlines()[-n:])

    def _run(self, target: object) -> None:
        if not callable(target):
            raise TypeError(target)
        self._thread = threading.Thread(target=target, name="console", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        spawn = self._spawn
        while spawn and not self._stop.is_set():
            try:
                self._feed(spawn.read_nonblocking(65536, timeout=0.2))
            except pexpect.TIMEOUT:
                continue
            except (pexpect.EOF, OSError, ValueError):
                break
        self._end()

    def _tail_log(self) -> None:
        with self.log.open("rb") as file:
            while not self._stop.is_set():
                if data := file.read(65536):
                    self._feed(data)
                else:
                    self._stop.wait(0.1)
        self._end()

    def _feed(self, data: bytes) -> None:
        text = data.decode(errors="replace").replace("\r", "")
        with self._changed:
            self._text = (self._text + text)[-_KEEP:]
            self._parser.feed(text)
            self._last = time.monotonic()
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self._parser.close()
            self._ended = True
            self._changed.notify_all()
