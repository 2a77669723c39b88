# SPDX-License-Identifier: GPL-2.0-only
"""VMs that run in the background: one directory each, with what is needed to reach them.

<cache>/vms/<name>/state.json. A VM is its QEMU's pid and start time, so that a pid which the
host has given to somebody else is never killed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pynooks.errors import InfraError, UsageError
from pynooks.vm import paths
from pynooks.vm.spec import Accel, Nic, VmSpec


@dataclass(frozen=True, slots=True)
class Identity:
    """One process. `start` is field 22 of /proc/PID/stat (clock ticks since boot)."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Self:
        return cls(pid, _start_time(pid) or 0)

    def alive(self) -> bool:
        return _start_time(self.pid) == self.start

    def end(self, timeout: float = 5) -> None:
        """SIGTERM, then SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.alive():
                return
            os.kill(self.pid, number)
            deadline = time.monotonic() + timeout
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.05)


def _start_time(pid: int) -> int | None:
    """None if there is no such process, or only its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A VM in the background."""

    spec: VmSpec
    workdir: Path
    image_root: Path
    accel: Accel
    identity: Identity
    ssh_port: int
    socket_dir: Path


def workdir(name: str) -> Path:
    return paths.cache_dir() / "vms" / name


def write(state: State) -> None:
    path = workdir(state.spec.name) / "state.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    data = {
        "schema": 1,
        "spec": asdict(state.spec),
        "workdir": str(state.workdir),
        "image_root": str(state.image_root),
        "accel": state.accel,
        "pid": state.identity.pid,
        "start": state.identity.start,
        "ssh_port": state.ssh_port,
        "socket_dir": str(state.socket_dir),
    }
    part.write_text(json.dumps(data, indent=1))
    os.replace(part, path)


def read(name: str) -> State:
    """Raises InfraError if there is no such VM."""
    path = workdir(name) / "state.json"
    try:
        data = json.loads(path.read_text())
        return State(
            spec=spec_of(data["spec"]),
            workdir=Path(data["workdir"]),
            image_root=Path(data["image_root"]),
            accel=data["accel"],
            identity=Identity(data["pid"], data["start"]),
            ssh_port=data["ssh_port"],
            socket_dir=Path(data["socket_dir"]),
        )
    except FileNotFoundError as e:
        raise InfraError(f"there is no VM {name}", hint=f"pynooks vm start {name}") from e
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise InfraError(f"{path} is damaged: {e!r}", hint=f"pynooks vm stop {name}") from e


def spec_of(data: dict[str, Any]) -> VmSpec:
    """From JSON, which has lists where the spec has tuples."""
    nics = tuple(Nic(**nic) for nic in data.pop("nics"))
    fixed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return VmSpec(nics=nics, **fixed)


def names() -> list[str]:
    return sorted(path.parent.name for path in workdir("x").parent.glob("*/state.json"))


def check_free(name: str) -> None:
    """Raises UsageError if a VM of that name runs."""
    if name in names() and read(name).identity.alive():
        raise UsageError(f"VM {name} runs already", hint=f"pynooks vm stop {name}")


def stop(name: str) -> None:
    """End a VM and delete its directory. Raises InfraError if there is none."""
    try:
        state = read(name)
    except InfraError:
        if not workdir(name).is_dir():
            raise
    else:
        state.identity.end()
        shutil.rmtree(state.socket_dir, ignore_errors=True)
    shutil.rmtree(workdir(name), ignore_errors=True)
