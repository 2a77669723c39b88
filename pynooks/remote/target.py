# SPDX-License-Identifier: GPL-2.0-only
"""What can be done with the machine that a driver runs on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from pynooks.vm.ssh import GuestStream, RunResult

# On tmpfs: a reboot of the target forgets us.
REMOTE_DIR = "/run/pynooks"


class Target(Protocol):
    """A machine with root over SSH. Closing it leaves the machine as it is."""

    name: str

    def run(self, argv: Sequence[str], *, timeout: float = 60, check: bool = True) -> RunResult:
        """Run a command to its end. Raises CheckError if `check` and it failed."""
        ...

    def put(self, local: Path, remote: str) -> None:
        """Copy a file to the target."""
        ...

    def open_stream(self, argv: Sequence[str]) -> GuestStream:
        """Start a long-lived command and speak with it."""
        ...

    def release(self) -> str:
        """Its kernel's release."""
        ...

    def driver_file(self, name: str) -> Path:
        """A local copy of the distribution's own .ko. Raises RefusedError if it ships none."""
        ...

    def btf_file(self) -> Path:
        """A local file with its kernel's type information."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
