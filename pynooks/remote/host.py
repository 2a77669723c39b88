# SPDX-License-Identifier: GPL-2.0-only
"""A host behind SSH as a target, with fabric. A user who is not root needs `sudo -n`."""

from __future__ import annotations

import base64
import logging
import shlex
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import fabric
import invoke.exceptions
import paramiko

from pynooks.errors import CheckError, InfraError, RefusedError
from pynooks.modname import module_name
from pynooks.vm.ssh import GuestStream, RunResult

_log = logging.getLogger(__name__)
_CHANNEL_S = 30
_LOST = (paramiko.SSHException, EOFError, OSError)


class SshHost:
    """USER@HOST[:PORT] as ssh_config and the agent of the user know it; host keys are checked."""

    def __init__(self, where: str) -> None:
        self.name = where
        self._scratch = tempfile.TemporaryDirectory(prefix="pynooks-host-")
        # Without channel_timeout a command on a dead host hangs in spite of its own timeout.
        self._ssh = fabric.Connection(
            where, connect_timeout=10, connect_kwargs={"channel_timeout": _CHANNEL_S}
        )
        self._ssh.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        self._ssh.client.load_system_host_keys()
        try:
            self._ssh.open()
        except _LOST as e:
            raise InfraError(
                f"{where}: no SSH connection: {e}",
                hint=f"`ssh {where} true` must work without a question",
            ) from e
        self._sudo: list[str] = []
        if self.run(["id", "-u"]).stdout.strip() != "0":
            self._sudo = ["sudo", "-n"]
            if self.run(["true"], check=False).status:
                raise RefusedError(
                    f"{where}: not root, and sudo wants a password",
                    hint="log in as root, or allow this user sudo without a password",
                )

    def _line(self, argv: Sequence[str]) -> str:
        return shlex.join([*self._sudo, *argv])

    def run(self, argv: Sequence[str], *, timeout: float = 60, check: bool = True) -> RunResult:
        line = self._line(argv)
        _log.debug("%s: %s", self.name, line)
        try:
            done: Any = self._ssh.run(line, hide=True, warn=True, timeout=timeout, in_stream=False)
        except invoke.exceptions.CommandTimedOut as e:
            raise CheckError(
                f"{self.name}: {argv[0]} did not finish within {timeout:.0f} s",
                hint="look at the host's kernel log",
            ) from e
        except _LOST as e:
            raise InfraError(f"{self.name}: connection lost: {e}", hint="is it alive?") from e
        result = RunResult(done.stdout, done.stderr, done.exited)
        if check and result.status:
            text = (result.stderr or result.stdout).strip()[-500:]
            raise CheckError(
                f"{self.name}: {line}: status {result.status}: {text}",
                hint="look at the host's kernel log",
            )
        return result

    def put(self, local: Path, remote: str) -> None:
        # By way of a stream: sftp has not sudo's rights.
        with self.open_stream(["sh", "-c", f"cat >{shlex.quote(remote)}"]) as stream:
            stream.stdin.write(local.read_bytes())
            stream.stdin.close()
            if stream.wait(120):
                raise InfraError(
                    f"{self.name}: cannot write {remote}: {stream.stderr_tail}",
                    hint="is there room in /run?",
                )

    def open_stream(self, argv: Sequence[str]) -> GuestStream:
        try:
            channel = self._ssh.transport.open_session(timeout=_CHANNEL_S)
            channel.exec_command(self._line(argv))
        except _LOST as e:
            raise InfraError(f"{self.name}: connection lost: {e}", hint="is it alive?") from e
        return GuestStream(channel, self._watch)

    def _watch(self) -> None:
        if not self._ssh.is_connected:
            raise InfraError(f"{self.name}: connection lost", hint="is it alive?")

    def release(self) -> str:
        return self.run(["uname", "-r"]).stdout.strip()

    def _fetch(self, remote: str, local: Path, limit: float = 120) -> Path:
        deadline = time.monotonic() + limit
        with self.open_stream(["base64", remote]) as stream, local.open("wb") as out:
            while line := stream.stdout.readline(max(1.0, deadline - time.monotonic())):
                out.write(base64.b64decode(line))
            if stream.wait(10):
                raise InfraError(
                    f"{self.name}: cannot read {remote}: {stream.stderr_tail}", hint="see above"
                )
        return local

    def driver_file(self, name: str) -> Path:
        found = self.run(["/sbin/modinfo", "-n", name], check=False)
        path = found.stdout.strip()
        if found.status or not path.startswith("/"):
            raise RefusedError(
                f"{self.name} has no module {name}",
                hint="check the name; drivers built into the kernel have no .ko",
            )
        if not path.endswith(".ko"):
            raise RefusedError(
                f"{self.name}: {path} is compressed",
                hint="only Debian's plain .ko files are known to work",
            )
        return self._fetch(path, Path(self._scratch.name) / f"{module_name(name)}.ko")

    def btf_file(self) -> Path:
        return self._fetch("/sys/kernel/btf/vmlinux", Path(self._scratch.name) / "vmlinux.btf")

    def close(self) -> None:
        self._ssh.close()
        self._scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
