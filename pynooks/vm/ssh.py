# SPDX-License-Identifier: GPL-2.0-only
"""SSH into a guest: one connection, a channel per command.

Every wait is a loop of short waits, because a channel to a dead guest never ends by itself;
between them `watch` is called, which raises when the guest is known to be dead.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import logging
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import paramiko

from pynooks.errors import CheckError, InfraError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_SLICE_S = 0.2
_OPEN_S = 60.0
_CONNECTION_LOST = (paramiko.SSHException, EOFError, OSError)
_HINT_LOST = "look at the console log"
# A dead guest is no news here; paramiko would print a traceback for it.
_PARAMIKO = "pynooks.paramiko"
logging.getLogger(_PARAMIKO).setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a command in the guest printed, and its exit status (-1: ended by a signal)."""

    stdout: str
    stderr: str
    status: int


class CommandTimeoutError(CheckError):
    """A command in the guest exceeded its limit while the guest was still answering."""


class ConnectionLostError(InfraError):
    """The connection broke. `Vm` turns this into the guest's verdict if there is one."""


class _Reader:
    """The standard output of a stream, as the lines of a file."""

    def __init__(self, channel: paramiko.Channel, watch: Callable[[], None]) -> None:
        self._channel = channel
        self._watch = watch
        self._buffer = b""
        self.stderr = b""

    def readline(self, timeout: float | None = None) -> bytes:
        """One line with its newline; b"" at the end. Raises CommandTimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._buffer:
            if self._channel.recv_stderr_ready():
                self.stderr = (self.stderr + self._channel.recv_stderr(65536))[-65536:]
            try:
                data = self._channel.recv(65536)
            except TimeoutError:
                self._watch()
                if deadline is not None and time.monotonic() > deadline:
                    raise CommandTimeoutError(
                        f"the guest's stream gave no line within {timeout:.0f} s",
                        hint="look at the console log",
                    ) from None
                continue
            if not data:
                line, self._buffer = self._buffer, b""
                return line
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> bytes:
        if line := self.readline():
            return line
        raise StopIteration


class _Writer:
    """The standard input of a stream. Unbuffered."""

    def __init__(self, channel: paramiko.Channel, watch: Callable[[], None]) -> None:
        self._channel = channel
        self._watch = watch

    def write(self, data: bytes) -> int:
        sent = 0
        while sent < len(data):
            try:
                sent += self._channel.send(data[sent:])
            except TimeoutError:
                self._watch()
            except _CONNECTION_LOST as e:
                self._watch()
                raise ConnectionLostError(
                    f"the guest's stream is closed: {e}", hint=_HINT_LOST
                ) from e
        return sent

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        with contextlib.suppress(*_CONNECTION_LOST):
            self._channel.shutdown_write()


def _close(channel: paramiko.Channel) -> None:
    """It says so to the other end, which may be gone."""
    with contextlib.suppress(*_CONNECTION_LOST):
        channel.close()


class GuestStream:
    """A long-lived command in the guest, such as the agent: bytes in, lines out."""

    def __init__(self, channel: paramiko.Channel, watch: Callable[[], None]) -> None:
        channel.settimeout(_SLICE_S)
        self._channel = channel
        self._watch = watch
        self.stdin = _Writer(channel, watch)
        self.stdout = _Reader(channel, watch)

    @property
    def stderr_tail(self) -> str:
        return self.stdout.stderr.decode(errors="replace")

    def wait(self, timeout: float) -> int:
        """The exit status. Raises CommandTimeoutError."""
        deadline = time.monotonic() + timeout
        while not self._channel.status_event.wait(_SLICE_S):
            self._watch()
            if time.monotonic() > deadline:
                raise CommandTimeoutError(
                    f"the guest's stream did not end within {timeout:.0f} s",
                    hint="look at the console log",
                )
        return int(self._channel.recv_exit_status())

    def close(self) -> None:
        _close(self._channel)

    def __enter__(self) -> GuestStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Ssh:
    """The connection to one guest. `watch` raises if the guest is known to be dead."""

    def __init__(
        self, port: int, *, key: Path, known_hosts: Path, watch: Callable[[], None]
    ) -> None:
        self.port = port
        self._key = key
        self._known_hosts = known_hosts
        self._watch = watch
        self._client: paramiko.SSHClient | None = None
        self._sftp: paramiko.SFTPClient | None = None
        self._asked: float | None = None  # when the unanswered probe was sent
        self._stop = threading.Event()

    def connect(self, timeout: float) -> None:
        """Log in, trying again while the guest's sshd is coming up. Raises InfraError."""
        key = paramiko.Ed25519Key.from_private_key_file(str(self._key))
        pinned = paramiko.HostKeys(str(self._known_hosts)).lookup("nooks-guest")
        if pinned is None:
            raise InfraError(f"{self._known_hosts} pins no key", hint="rebuild the image")
        deadline = time.monotonic() + timeout
        while True:
            client = paramiko.SSHClient()
            client.set_log_channel(_PARAMIKO)
            client.set_missing_host_key_policy(paramiko.RejectPolicy())
            for name, host_key in pinned.items():
                client.get_host_keys().add(f"[127.0.0.1]:{self.port}", name, host_key)
            left = max(1.0, deadline - time.monotonic())
            try:
                client.connect(
                    "127.0.0.1",
                    port=self.port,
                    username="root",
                    pkey=key,
                    look_for_keys=False,
                    allow_agent=False,
                    timeout=min(5.0, left),
                    banner_timeout=left,
                    auth_timeout=left,
                    channel_timeout=left,
                )
            except paramiko.BadHostKeyException as e:
                client.close()
                raise InfraError(
                    f"port {self.port} shows another host key", hint="another VM has this port"
                ) from e
            except _CONNECTION_LOST as e:
                client.close()
                self._watch()
                if time.monotonic() > deadline:
                    raise InfraError(
                        f"no SSH login within {timeout:.0f} s: {e}", hint=_HINT_LOST
                    ) from e
                time.sleep(0.1)
                continue
            break
        self._client = client
        self._stop = threading.Event()
        self._asked = None
        threading.Thread(target=self._probe, args=(client,), name="ssh-probe", daemon=True).start()

    def _transport(self) -> paramiko.Transport:
        transport = self._client.get_transport() if self._client else None
        if transport is None or not transport.is_active():
            self._watch()
            raise ConnectionLostError("the SSH connection is gone", hint=_HINT_LOST)
        return transport

    def _probe(self, client: paramiko.SSHClient) -> None:
        """Ask the guest's sshd for a sign of life now and then; it is one small packet."""
        stop = self._stop
        while not stop.wait(2.0):
            transport = client.get_transport()
            if transport is None or not transport.is_active():
                return
            self._asked = time.monotonic()
            try:
                transport.global_request("keepalive@openssh.com", wait=True)
            except _CONNECTION_LOST:
                return
            self._asked = None

    @property
    def unanswered_s(self) -> float:
        """For how long the guest's sshd has owed an answer."""
        asked = self._asked
        return 0.0 if asked is None else time.monotonic() - asked

    @property
    def answers(self) -> bool:
        """Connected, and the last sign of life was given."""
        transport = self._client.get_transport() if self._client else None
        return bool(transport and transport.is_active() and self._asked is None)

    def run(
        self, command: Sequence[str] | str, *, timeout: float = 30, check: bool = True
    ) -> RunResult:
        """Run a command (argv, or a shell line) and wait for its end.

        Raises CheckError if it fails and `check` is set, CommandTimeoutError if it takes too
        long, and what `watch` raises if the guest dies meanwhile.
        """
        text = command if isinstance(command, str) else shlex.join(command)
        _log.debug("guest: %s", text)
        deadline = time.monotonic() + timeout
        out, err = bytearray(), bytearray()
        channel = self._open(text)
        try:
            pause = 0.002
            while True:
                done = channel.exit_status_ready() or channel.closed
                moved = False
                while channel.recv_ready():
                    out += channel.recv(65536)
                    moved = True
                while channel.recv_stderr_ready():
                    err += channel.recv_stderr(65536)
                    moved = True
                if done and not moved and (channel.eof_received or channel.closed):
                    break
                if moved:
                    pause = 0.002
                    continue
                self._watch()
                self._transport()
                if time.monotonic() > deadline:
                    raise CommandTimeoutError(
                        f"guest command did not finish within {timeout:.0f} s: {text}",
                        hint="the guest still answers; give it more time or look at its console",
                    )
                time.sleep(pause)
                pause = min(pause * 1.5, 0.05)
            status = channel.recv_exit_status()
            if status < 0:
                self._check_connection()
        finally:
            _close(channel)
        result = RunResult(out.decode(errors="replace"), err.decode(errors="replace"), status)
        _log.debug("guest: status %d", status)
        if check and status:
            tail = "\n".join((result.stderr or result.stdout).strip().splitlines()[-8:])
            raise CheckError(
                f"guest command failed with status {status}: {text}: {tail}",
                hint="look at the guest's console log",
            )
        return result

    def _check_connection(self) -> None:
        """No status came: did a signal end the command, or something the connection?"""
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            self._transport()
            self._watch()
            time.sleep(0.05)

    def open_stream(self, argv: Sequence[str] | str) -> GuestStream:
        text = argv if isinstance(argv, str) else shlex.join(argv)
        _log.debug("guest stream: %s", text)
        return GuestStream(self._open(text), self._watch)

    def put(self, local: Path, remote: str, *, timeout: float = 120) -> None:
        """Copy a file into the guest, with its permission bits."""
        _log.debug("guest: put %s %s", local, remote)

        def copy() -> None:
            sftp = self._sftp_client()
            sftp.put(str(local), remote)
            sftp.chmod(remote, local.stat().st_mode & 0o777)

        try:
            self._attended(copy, f"copying {local}", timeout)
        except (FileNotFoundError, PermissionError) as e:
            raise InfraError(f"cannot copy {local} to {remote}: {e}", hint="check paths") from e

    def get(self, remote: str, local: Path, *, timeout: float = 120) -> None:
        """Copy a file out of the guest."""
        _log.debug("guest: get %s %s", remote, local)
        try:
            self._attended(
                lambda: self._sftp_client().get(remote, str(local)), f"copying {remote}", timeout
            )
        except (FileNotFoundError, PermissionError) as e:
            raise InfraError(f"cannot copy the guest's {remote}: {e}", hint="check paths") from e

    def _sftp_client(self) -> paramiko.SFTPClient:
        """The file transfer channel, opened at first use."""
        if self._sftp is None:
            self._sftp = paramiko.SFTPClient.from_transport(self._transport())
        if self._sftp is None:
            raise ConnectionLostError("the guest refuses sftp", hint=_HINT_LOST)
        return self._sftp

    def _open(self, text: str) -> paramiko.Channel:
        def open_channel() -> paramiko.Channel:
            channel = self._transport().open_session(timeout=_OPEN_S)
            channel.exec_command(text)
            return channel

        return self._attended(open_channel, "opening a channel", _OPEN_S)

    def _attended(self, action: Callable[[], _T], what: str, timeout: float) -> _T:
        """Do what blocks inside paramiko (some of it without any limit) in a thread, and keep
        watching the guest. The thread of a dead guest ends when the connection is closed."""
        future: concurrent.futures.Future[_T] = concurrent.futures.Future()

        def work() -> None:
            try:
                future.set_result(action())
            except BaseException as e:
                future.set_exception(e)

        threading.Thread(target=work, name="ssh-work", daemon=True).start()
        deadline = time.monotonic() + timeout
        while not concurrent.futures.wait([future], timeout=_SLICE_S).done:
            self._watch()
            if time.monotonic() > deadline:
                raise ConnectionLostError(
                    f"{what} did not finish within {timeout:.0f} s", hint=_HINT_LOST
                )
        try:
            return future.result()
        except (FileNotFoundError, PermissionError):
            raise
        except _CONNECTION_LOST as e:
            self._watch()
            raise ConnectionLostError(f"{what} broke off: {e!r}", hint=_HINT_LOST) from e

    def close(self) -> None:
        self._stop.set()
        self._sftp = None
        if self._client:
            self._client.close()
            self._client = None
