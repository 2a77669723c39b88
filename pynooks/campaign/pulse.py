# SPDX-License-Identifier: GPL-2.0-only
"""Did the host give a guest time? A guest that gets none looks hung, and is not.

From /proc/PID/task/*/schedstat: nanoseconds that a thread ran, and that it waited for a CPU.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SAMPLE_S = 0.5
WINDOW_S = 10.0  # as long as a guest may be silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """Seconds that a process ran and waited, all threads together, in so many seconds."""

    ran: float
    waited: float
    span: float

    @property
    def starved(self) -> bool:
        """It wanted to run and could not: silence says nothing then.

        A CPU that loops runs; CPUs that all sleep do not wait.
        """
        return self.waited > 3 * self.ran and self.ran < 0.2 * self.span

    def __str__(self) -> str:
        return f"QEMU ran {self.ran:.1f} s and waited {self.waited:.1f} s of {self.span:.0f} s"


class Pulse:
    """Watches one process; a context manager."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._samples: deque[tuple[float, int, int]] = deque(maxlen=int(WINDOW_S / SAMPLE_S) + 1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pulse", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while True:
            self._samples.append((time.monotonic(), *times(self._pid)))
            if self._stop.wait(SAMPLE_S):
                return

    def last(self) -> Time:
        """The last WINDOW_S seconds."""
        return between(list(self._samples))

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def between(samples: list[tuple[float, int, int]]) -> Time:
    """From the first sample to the last; threads that end in between take their times along."""
    if len(samples) < 2:
        return Time(ran=0.0, waited=0.0, span=0.0)
    (t0, ran0, waited0), (t1, ran1, waited1) = samples[0], samples[-1]
    return Time(
        ran=max(0, ran1 - ran0) / 1e9, waited=max(0, waited1 - waited0) / 1e9, span=t1 - t0
    )


def times(pid: int) -> tuple[int, int]:
    """Nanoseconds that a process' living threads ran and waited; zeros if it is gone."""
    ran = waited = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError, ValueError):
            a, b, _ = path.read_text().split()
            ran += int(a)
            waited += int(b)
    return ran, waited
