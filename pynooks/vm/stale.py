# SPDX-License-Identifier: GPL-2.0-only
"""Translations that QEMU has forgotten to drop, and guests that stand still because of them.

QEMU before 8.1 reads code from a page, translates it, and only then locks the page. If another CPU
writes there in between, the translation of what was there stays for ever (fixed by its commit
deba78709a, "accel/tcg: Always lock pages before translation"). Linux changes its own text, for
tracepoints and jump labels, by way of a breakpoint. So a CPU hits a breakpoint that memory has no
more; the kernel finds nothing there, returns, and hits it again. Any guest with two CPUs stands
still then, with nooks.ko or without: on a busy host within a minute, if its text changes all the
time.

It is seen from outside, by CPUs that are found at the first instructions of the breakpoint's
handler again and again; and undone, by writing into the pages where they are what is there already.
A guest to which that happens in error is stopped for some milliseconds and else unchanged.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable

from pynooks.errors import InfraError
from pynooks.vm.monitor import Monitor

_log = logging.getLogger(__name__)
FIXED_IN = (8, 1)
PERIOD_S = 0.5
BURST = 24  # looks, once a CPU was found there
OFTEN = 2  # of them, to be sure
_PAUSE_S = 2.0  # after a cure
_END_S = 5.0  # longer than a cure takes; a QEMU that was stopped does not answer
_ENTRY = 64  # bytes of the handler
_PAGE = 4096
_KERNEL = 1 << 63
_BREAKPOINT = 3 * 16  # of its gate in the interrupt table (Intel SDM volume 3, figure 6-8)
_IDT = re.compile(r"\bIDT=\s*([0-9a-f]{16})")
_RIP = re.compile(r"\bRIP=([0-9a-f]{16})")
_WORD = re.compile(r"\b0x([0-9a-f]{16})\b")

cures: list[str] = []
"""Guests of this process that were helped on: for whoever reports."""


def instruction_pointers(monitor: Monitor) -> list[int]:
    """Where each CPU is."""
    return _pointers(monitor.hmp("info registers -a"))


def gate_offset(low: int, high: int) -> int:
    """The handler's address in the two words of an interrupt gate."""
    return (low & 0xFFFF) | (low >> 48 << 16) | ((high & 0xFFFFFFFF) << 32)


def stuck(looks: Iterable[Iterable[int]], handler: int) -> set[int]:
    """Pages to write anew, from where the CPUs were in some looks; none if it was by chance."""
    seen = [ip for look in looks for ip in look if ip >= _KERNEL]
    often = sum(_at(ip, handler) for ip in seen) >= OFTEN
    # a CPU that does not run is always at the same place
    return {ip & -_PAGE for ip in seen} if often and len(set(seen)) > 1 else set()


class StaleWatch:
    """Looks after one guest from a thread of its own, until `close`."""

    def __init__(
        self, name: str, monitor: Monitor, rewrite: Callable[[Iterable[int]], None]
    ) -> None:
        """rewrite: stores what is there into pages, while the guest is stopped."""
        self._name = name
        self._monitor = monitor
        self._rewrite = rewrite
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stale", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(timeout=_END_S)

    def _run(self) -> None:
        pause = PERIOD_S
        while not self._ended.wait(pause):
            pause = PERIOD_S
            try:
                if self._look():
                    pause = _PAUSE_S
            except InfraError as e:  # QEMU is busy, or gone
                _log.debug("%s: %s", self._name, e)

    def _look(self) -> bool:
        """Was there something to do?"""
        text = self._monitor.hmp("info registers -a")
        handler = self._handler(text)
        if not handler or not any(_at(ip, handler) for ip in _pointers(text)):
            return False
        looks = [instruction_pointers(self._monitor) for _ in range(BURST)]
        pages = stuck(looks, handler)
        if not pages or self._monitor.execute("query-status")["status"] != "running":
            return False
        self._rewrite(sorted(pages))
        told = f"{self._name}: QEMU ran code that has changed (a fault of QEMU before 8.1); undone"
        _log.info("%s at %s", told, ", ".join(map(hex, sorted(pages))))
        cures.append(told)
        return True

    def _handler(self, registers: str) -> int:
        """Of breakpoints; 0 while there is none."""
        table = _IDT.search(registers)
        if not table:
            return 0
        words = _WORD.findall(self._monitor.hmp(f"x/2xg 0x{int(table[1], 16) + _BREAKPOINT:x}"))
        return gate_offset(*(int(word, 16) for word in words)) if len(words) == 2 else 0


def needed(monitor: Monitor) -> bool:
    """Does this emulator have the fault? Raises InfraError."""
    version = monitor.execute("query-version")["qemu"]
    return (version["major"], version["minor"]) < FIXED_IN


def _pointers(registers: str) -> list[int]:
    return [int(ip, 16) for ip in _RIP.findall(registers)]


def _at(ip: int, handler: int) -> bool:
    return handler <= ip < handler + _ENTRY
