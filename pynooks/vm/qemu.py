# SPDX-License-Identifier: GPL-2.0-only
"""One QEMU process with its sockets: started here, or found again through the registry."""

from __future__ import annotations

import logging
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pynooks.errors import InfraError
from pynooks.vm.crash import Verdict, VerdictKind
from pynooks.vm.image import Image
from pynooks.vm.monitor import Monitor
from pynooks.vm.registry import Identity, State
from pynooks.vm.spec import Accel, Files, VmSpec, qemu_argv

_log = logging.getLogger(__name__)
_START_S = 15.0
_EVENT_S = 2.0
_CHATTER = re.compile(r"info: QEMU waiting for connection|is not connected to host network")


class Qemu:
    """The process. `monitor` connects at first use, because QEMU serves one client at a time."""

    def __init__(
        self,
        workdir: Path,
        socket_dir: Path,
        identity: Identity,
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self.workdir = workdir
        self.socket_dir = socket_dir
        self.identity = identity
        self._process = process
        self._monitor: Monitor | None = None
        self._ended_by_us = False

    @classmethod
    def launch(
        cls, spec: VmSpec, image: Image, workdir: Path, accel: Accel, loadvm: str | None = None
    ) -> Qemu:
        """Start QEMU on workdir/overlay.qcow2. It waits for somebody to connect the console."""
        socket_dir = Path(tempfile.mkdtemp(prefix="nooks-"))  # short: sockets allow 107 bytes
        files = Files(
            # an uncompressed kernel boots faster, but it is the decompressor that turns LA57 on,
            # and from S3 it does not come back (TCG: triple fault behind the resume vector)
            vmlinux=(image.vmlinuz if spec.la57 or spec.sleeps else image.vmlinux).resolve(),
            initrd=image.initrd.resolve(),
            overlay=(workdir / "overlay.qcow2").resolve(),
            console_socket=socket_dir / "console",
            console_log=(workdir / "console.log").resolve(),
            monitor_socket=socket_dir / "monitor",
        )
        argv = qemu_argv(spec, files, accel, loadvm)
        _log.debug("run: %s", shlex.join(argv))
        (workdir / "qemu.cmd").write_text(shlex.join(argv) + "\n")
        try:
            with (workdir / "qemu.log").open("wb") as log:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # survives the CLI and its ^C; end() ends it
                )
        except FileNotFoundError as e:
            shutil.rmtree(socket_dir, ignore_errors=True)
            raise InfraError(
                "qemu-system-x86_64 is not installed", hint="apt-get install qemu-system-x86"
            ) from e
        return cls(workdir, socket_dir, Identity.of(process.pid), process)

    @classmethod
    def adopt(cls, state: State) -> Qemu:
        """The QEMU of a VM in the background."""
        return cls(state.workdir, state.socket_dir, state.identity)

    @property
    def console_socket(self) -> Path:
        return self.socket_dir / "console"

    @property
    def running(self) -> bool:
        return self._process.poll() is None if self._process else self.identity.alive()

    @property
    def monitor(self) -> Monitor:
        """Raises InfraError if QEMU is gone, or serves another client."""
        if self._monitor is None:
            path = self.socket_dir / "monitor"
            monitor = Monitor(self.workdir.name)
            try:
                self.when_ready(lambda: monitor.connect(path, _START_S), "monitor")
            except InfraError:
                monitor.close()
                raise
            self._monitor = monitor
        return self._monitor

    def when_ready(self, connect: Callable[[], object], what: str) -> None:
        """Connect as soon as QEMU has made its socket."""
        deadline = time.monotonic() + _START_S
        while True:
            try:
                connect()
                return
            except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError) as e:
                self._explain(e)
                if time.monotonic() > deadline:
                    raise InfraError(
                        f"QEMU opened no {what} within {_START_S:.0f} s",
                        hint=f"look at {self.workdir / 'qemu.log'}",
                    ) from e
                time.sleep(0.02)
            except InfraError as e:
                time.sleep(0.1)  # a dying process needs a moment to be dead
                self._explain(e)
                raise

    def _explain(self, cause: Exception) -> None:
        if not self.running:
            raise InfraError(
                f"QEMU ended at once: {self.said()}",
                hint=f"its command line: {self.workdir / 'qemu.cmd'}",
            ) from cause

    def forwarded_port(self) -> int:
        """The free port that the host's kernel picked for the SSH forward."""
        text = self.monitor.hmp("info usernet")
        match = re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s", text)
        if not match:
            raise InfraError(f"QEMU forwards no port: {text}", hint="report this, with qemu.cmd")
        return int(match.group(1))

    def said(self) -> str:
        """The end of QEMU's own messages."""
        try:
            text = (self.workdir / "qemu.log").read_text(errors="replace")
        except OSError:
            text = ""
        lines = [line for line in text.splitlines() if line and not _CHATTER.search(line)]
        return "; ".join(lines[-3:]) or "it said nothing"

    def panicked(self) -> Verdict | None:
        """What pvpanic told QEMU."""
        if self._monitor and any(e["event"] == "GUEST_PANICKED" for e in self._monitor.events()):
            return Verdict(kind=VerdictKind.PANIC, title="guest panicked", source="qmp")
        return None

    def death(self) -> Verdict | None:
        """Why the process is gone; None while it runs or after end()."""
        if self._ended_by_us or self.running:
            return None
        reason = self._reason()
        if reason == "guest-reset":
            kind, title = VerdictKind.RESET, "reset without a word (triple fault?)"
        elif reason == "guest-shutdown":
            kind, title = VerdictKind.EXITED, "the guest powered off"
        elif self._process is None:
            kind, title = VerdictKind.EXITED, "its QEMU has ended"
        else:
            status = self._process.returncode
            kind, title = VerdictKind.LOST, f"QEMU ended with status {status}: {self.said()}"
        return Verdict(kind=kind, title=title, source="process")

    def _reason(self) -> str:
        """Of a shutdown, as QEMU told it: the process may be gone before that is read."""
        told = ""
        if self._monitor and self._process and self._process.returncode == 0:
            with suppress(InfraError):
                self._monitor.wait_event("SHUTDOWN", _EVENT_S)
        for event in self._monitor.events() if self._monitor else []:
            if event["event"] == "SHUTDOWN":
                told = str(event["data"].get("reason", ""))
        return told

    def disconnect(self) -> None:
        if self._monitor:
            self._monitor.close()
            self._monitor = None

    def end(self) -> None:
        """End the process and remove its sockets."""
        self._ended_by_us = True
        self.disconnect()
        if self._process:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                try:
                    self._process.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    self._process.kill()
            self._process.wait()
        else:
            self.identity.end()
        shutil.rmtree(self.socket_dir, ignore_errors=True)
