# SPDX-License-Identifier: GPL-2.0-only
"""The host's end of pynooks/trace/tracer.py."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pynooks.btf import Btf, struct_field
from pynooks.errors import InfraError
from pynooks.remote.target import REMOTE_DIR, Target
from pynooks.vm.ssh import CommandTimeoutError

READY_S = 120  # bcc compiles in the guest
FILES = ("tracer.py", "nooks.bpf.c", "witness.bpf.c")

Event = Mapping[str, Any]


class Tracer:
    """One running tracer; a context manager. Starts at once, is ready later: wait_ready()."""

    def __init__(self, target: Target, words: list[str]) -> None:
        self.target = target
        self._stream = _start(target, words)
        self._ready = False

    def wait_ready(self) -> None:
        """Until the probes are in place."""
        deadline = time.monotonic() + READY_S
        while not self._ready:
            if self._read(deadline - time.monotonic()) is None:
                raise InfraError("the tracer ended early", hint=self._stream.stderr_tail[-500:])

    def events(self, limit_s: float) -> Iterator[Event]:
        """Events as they come, for at most so long."""
        self.wait_ready()
        deadline = time.monotonic() + limit_s
        while (left := deadline - time.monotonic()) > 0:
            try:
                event = self._read(left)
            except CommandTimeoutError:
                return
            if event is None:
                return
            yield event

    def finish(self) -> Iterator[Event]:
        """End it: what is still in flight, and last {"event": "lost"}."""
        self.wait_ready()
        self._stream.stdin.close()
        while (event := self._read(30)) is not None:
            yield event

    def _read(self, timeout: float) -> Event | None:
        line = self._stream.stdout.readline(max(timeout, 0.01))
        if not line:
            return None
        event: Event = json.loads(line)
        if event["event"] == "error":
            raise InfraError(
                f"{self.target.name}: {event['what']}",
                hint="apt install python3-bpfcc linux-headers-amd64 on the target, "
                "or `pynooks vm start --image full`",
            )
        if event["event"] == "ready":
            self._ready = True
        return event

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _start(target: Target, words: list[str]) -> Any:
    target.run(["mkdir", "-p", REMOTE_DIR])
    for name in FILES:
        target.put(Path(str(resources.files("pynooks.trace") / name)), f"{REMOTE_DIR}/{name}")
    return target.open_stream(["python3", "-u", f"{REMOTE_DIR}/tracer.py", *words])


def trace_nooks(
    target: Target, *, calls: bool = False, objects: bool = False, writes: bool = False
) -> Tracer:
    """nooks:* tracepoints; nooks.ko must be loaded. Faults, states and steps always."""
    chosen = [w for w, on in (("calls", calls), ("objects", objects), ("writes", writes)) if on]
    return Tracer(target, ["nooks", *chosen])


def witness_argument(btf: Btf) -> str:
    """What tracer.py has to be told of a kernel to be its witness."""
    return str(struct_field(btf, "net_device", "flags").offset)


def trace_witness(target: Target, btf: Btf) -> Tracer:
    """Oops, WARN, panic, network devices, modules: the kernel's word, not the module's."""
    return Tracer(target, ["witness", witness_argument(btf)])


def canaries(target: Target) -> dict[str, str]:
    """sha256 of kernel objects that nobody may change."""
    with Tracer(target, ["canary"]) as tracer:
        event = tracer._read(READY_S)
    if event is None:
        raise InfraError(f"{target.name} gave no checksums", hint="is /proc/kcore readable?")
    found: dict[str, str] = event["sha256"]
    return found
