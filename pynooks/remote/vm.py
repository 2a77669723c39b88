# SPDX-License-Identifier: GPL-2.0-only
"""A VM of `pynooks vm` as a target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from pynooks.errors import InfraError, RefusedError
from pynooks.vm.machine import Vm
from pynooks.vm.ssh import GuestStream, RunResult


class LocalVm:
    """Borrows a VM: it goes on when the target is closed."""

    def __init__(self, vm: Vm, *, name: str) -> None:
        self.vm = vm
        self.name = name

    @classmethod
    def attach(cls, name: str) -> Self:
        """A running VM by its name."""
        return cls(Vm.attach(name), name=name)

    def run(self, argv: Sequence[str], *, timeout: float = 60, check: bool = True) -> RunResult:
        return self.vm.run(list(argv), timeout=timeout, check=check)

    def put(self, local: Path, remote: str) -> None:
        self.vm.put(local, remote)

    def open_stream(self, argv: Sequence[str]) -> GuestStream:
        return self.vm.open_stream(list(argv))

    def release(self) -> str:
        return self.vm.image.kernel_release

    def driver_file(self, name: str) -> Path:
        try:
            return self.vm.image.module(name)
        except InfraError as e:
            raise RefusedError(str(e), hint=e.hint) from e

    def btf_file(self) -> Path:
        return self.vm.image.vmlinux

    def close(self) -> None:
        """The VM is its starter's to stop."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
