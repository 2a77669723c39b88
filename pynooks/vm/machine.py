# SPDX-License-Identifier: GPL-2.0-only
"""A running guest: QEMU, console, monitor and SSH under one life cycle.

Three watchers see a guest die: the serial console (panic text), QEMU (QMP event, exit) and SSH
(no answer). Whoever is first decides; every wait in here asks them, so it ends within seconds.
"""

from __future__ import annotations

import logging
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pynooks.errors import (
    GuestBootError,
    GuestCrashError,
    GuestError,
    GuestHangError,
    InfraError,
)
from pynooks.vm import accel, registry
from pynooks.vm.command import host
from pynooks.vm.console import Console
from pynooks.vm.crash import Verdict, VerdictKind, worst
from pynooks.vm.image import Image, ensure_image, read_image
from pynooks.vm.monitor import Monitor
from pynooks.vm.spec import TWO_E1000, Accel, Files, Nic, VmSpec, qemu_argv
from pynooks.vm.ssh import ConnectionLostError, GuestStream, RunResult, Ssh
from pynooks.vm.tree import Progress

__all__ = ["TWO_E1000", "Nic", "RunResult", "Snapshot", "Verdict", "VerdictKind", "Vm", "VmSpec"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_MARKER = re.compile(r"^NOOKS-BOOT-OK ", re.MULTILINE)
_FAILED = re.compile(r"^NOOKS-BOOT-FAILED (.*)$", re.MULTILINE)
_HINT_LOG = "the whole console log: {}"
_QMP_DEATHS = {"GUEST_PANICKED": (VerdictKind.PANIC, "guest panicked")}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A frozen guest: `overlay` holds disk, memory and devices under the name `tag`."""

    spec: VmSpec
    overlay: Path
    tag: str
    image_root: Path
    accel: Accel


class Vm:
    """One guest. Use it as a context manager; `start`, `restore` and `attach` make one."""

    def __init__(self, spec: VmSpec, image: Image, workdir: Path, accel_used: Accel) -> None:
        self.spec = spec
        self.image = image
        self.workdir = workdir
        self.accel = accel_used
        self.console_log = workdir / "console.log"
        self.key_path = image.key_path
        self.known_hosts = image.known_hosts
        self.console = Console(self.console_log)
        self.monitor: Monitor | None = None
        self.ssh_port = 0
        self.boot_s = 0.0
        self._ssh: Ssh | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._identity: registry.Identity | None = None
        self._socket_dir: Path | None = None
        self._outside: list[Verdict] = []
        self._keep = False
        self._began = time.monotonic()
        self._stack = ExitStack()

    # -- life cycle -----------------------------------------------------------------------

    @classmethod
    def start(cls, spec: VmSpec, workdir: Path, progress: Progress = _log.info) -> Vm:
        """Boot a guest up to SSH. Its files go into `workdir` and stay there after the end.

        Raises GuestBootError if the kernel does not come up, InfraError if the host cannot.
        """
        image = ensure_image(spec.image, progress)
        choice = accel.choose(spec.accel, image, progress)
        progress(f"{spec.name}: starting with {choice.accel} ({choice.reason})")
        workdir.mkdir(parents=True, exist_ok=True)
        vm = cls(spec, image, workdir, choice.accel)
        try:
            overlay = workdir / "overlay.qcow2"
            overlay.unlink(missing_ok=True)
            host(
                [
                    *("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"),
                    *("-b", str(image.rootfs.resolve()), str(overlay)),
                ],
                timeout=30,
                hint="apt-get install qemu-utils",
            )
            vm._launch(overlay, loadvm=None)
            vm._await_boot()
            vm._connect_ssh(60)
        except BaseException:
            vm.close()
            raise
        progress(f"{spec.name}: SSH answers after {vm.boot_s:.1f} s")
        return vm

    @classmethod
    def restore(cls, snapshot: Snapshot, workdir: Path) -> Vm:
        """A new guest from a snapshot, in about a second. The clock is set to the host's."""
        workdir.mkdir(parents=True, exist_ok=True)
        vm = cls(snapshot.spec, read_image(snapshot.image_root), workdir, snapshot.accel)
        try:
            overlay = workdir / "overlay.qcow2"
            host(
                ["cp", "--sparse=always", "--reflink=auto", str(snapshot.overlay), str(overlay)],
                timeout=60,
                hint="is the disk full?",
            )
            vm._launch(overlay, loadvm=snapshot.tag)
            vm._connect_ssh(60)
            vm.run(["date", "-s", f"@{time.time():.0f}"])
        except BaseException:
            vm.close()
            raise
        return vm

    @classmethod
    def attach(cls, name: str) -> Vm:
        """A guest that `pynooks vm start` left running. Closing it lets the guest live on."""
        state = registry.read(name)
        vm = cls(state.spec, read_image(state.image_root), state.workdir, state.accel)
        vm._keep = True
        vm._identity = state.identity
        vm.ssh_port = state.ssh_port
        vm._socket_dir = state.socket_dir
        try:
            if not state.identity.alive():
                raise InfraError(f"VM {name} is not running", hint=f"pynooks vm start {name}")
            vm._stack.callback(vm.console.close)
            vm.console.follow()
            vm._open_monitor()
            vm._connect_ssh(30)
        except BaseException:
            vm.close()
            raise
        return vm

    def detach(self) -> None:
        """Leave the guest running in the background, known under its name."""
        if not self._identity or not self._socket_dir:
            raise InfraError("this VM does not run", hint="start it first")
        registry.write(
            registry.State(
                spec=self.spec,
                workdir=self.workdir,
                image_root=self.image.root,
                accel=self.accel,
                identity=self._identity,
                ssh_port=self.ssh_port,
                socket_dir=self._socket_dir,
            )
        )
        self._keep = True
        self.close()

    def close(self) -> None:
        """End the guest (unless attached or detached) and free what it used on the host."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    # -- what a user does with a guest ----------------------------------------------------

    def run(
        self, command: Sequence[str] | str, timeout: float = 30, check: bool = True
    ) -> RunResult:
        """Run argv, or a shell line, as root in the guest.

        Raises CheckError on a failing status (`check`), CommandTimeoutError if only the command
        is slow, GuestCrashError or GuestHangError if the guest died of it.
        """
        return self._alive(lambda ssh: ssh.run(command, timeout=timeout, check=check))

    def put(self, local: Path, remote: str) -> None:
        """Copy a file into the guest, with its permission bits."""
        self._alive(lambda ssh: ssh.put(local, remote))

    def get(self, remote: str, local: Path) -> None:
        """Copy a file out of the guest."""
        self._alive(lambda ssh: ssh.get(remote, local))

    def open_stream(self, argv: Sequence[str] | str) -> GuestStream:
        """Start a command that stays, with its standard input and output as pipes."""
        return self._alive(lambda ssh: ssh.open_stream(argv))

    def console_tail(self, n: int = 40) -> str:
        """The last lines of the serial console."""
        return self.console.tail(n)

    def nmi(self) -> None:
        """Send a non-maskable interrupt to every guest CPU."""
        self._need_monitor().execute("inject-nmi")

    def verdicts(self) -> list[Verdict]:
        """All that went wrong so far, by console, monitor, process and SSH."""
        self._look_outside()
        return self.console.verdicts() + self._outside

    def verdict(self) -> Verdict | None:
        """The worst thing that has happened to the guest so far; None if nothing has."""
        return worst(self.verdicts())

    def wait_verdict(self, timeout: float, *, fatal: bool = False) -> Verdict | None:
        """Wait until something goes wrong (with `fatal`: until the guest is dead)."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.verdict()
            if found and (found.fatal or not fatal):
                return found
            if time.monotonic() > deadline:
                return None
            self.console.wait_change(0.1)

    def hotplug(self, driver: str, **properties: str) -> None:
        """Plug a device in; pass bus="spare0" for the spare PCIe port."""
        self._need_monitor().execute("device_add", {"driver": driver, **properties})

    def unplug(self, device: str, timeout: float = 30) -> None:
        """Ask the guest to give a device up, and wait until it has."""
        monitor = self._need_monitor()
        monitor.execute("device_del", {"id": device})
        deadline = time.monotonic() + timeout
        while not any(
            event["event"] == "DEVICE_DELETED" and event["data"].get("device") == device
            for event in monitor.events()
        ):
            self._raise_if_dead()
            if time.monotonic() > deadline:
                raise InfraError(
                    f"the guest did not release {device} within {timeout:.0f} s",
                    hint="is pciehp loaded, and the driver able to unbind?",
                )
            time.sleep(0.05)

    def freeze(self, target: Path, tag: str = "base") -> Snapshot:
        """Save the guest into `target` (a qcow2 file) and end it."""
        self.run(["sync"])
        if self._ssh:
            self._ssh.close()  # a restored sshd must not wait for this connection
            time.sleep(0.3)
        text = self._need_monitor().hmp(f"savevm {tag}", timeout=120).strip()
        if text:
            raise InfraError(f"QEMU refused savevm: {text}", hint="is the disk full?")
        self.close()
        shutil.move(self.workdir / "overlay.qcow2", target)
        return Snapshot(self.spec, target, tag, self.image.root, self.accel)

    # -- start ----------------------------------------------------------------------------

    def _launch(self, overlay: Path, loadvm: str | None) -> None:
        self._began = time.monotonic()
        self._socket_dir = Path(tempfile.mkdtemp(prefix="nooks-"))
        self._stack.callback(self._remove_sockets)
        files = Files(
            vmlinux=self.image.vmlinux.resolve(),
            initrd=self.image.initrd.resolve(),
            overlay=overlay.resolve(),
            console_socket=self._socket_dir / "console",
            console_log=self.console_log.resolve(),
            monitor_socket=self._socket_dir / "monitor",
        )
        argv = qemu_argv(self.spec, files, self.accel, loadvm)
        _log.debug("run: %s", shlex.join(argv))
        (self.workdir / "qemu.cmd").write_text(shlex.join(argv) + "\n")
        with (self.workdir / "qemu.log").open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # survives the CLI and its ^C; close() ends it
                )
            except FileNotFoundError as e:
                raise InfraError(
                    "qemu-system-x86_64 is not installed", hint="apt-get install qemu-system-x86"
                ) from e
        self._identity = registry.Identity.of(self._process.pid)
        self._stack.callback(self._end_process)
        self._stack.callback(self.console.close)
        self._retry(lambda: self.console.connect(files.console_socket), "console", 15)
        self._open_monitor()
        self.ssh_port = self._forwarded_port()

    def _retry(self, action: Callable[[], object], what: str, timeout: float) -> None:
        """Until QEMU has made a socket."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                action()
                return
            except (FileNotFoundError, ConnectionRefusedError) as e:
                if self._process and self._process.poll() is not None:
                    raise InfraError(
                        f"QEMU ended at once: {self._qemu_said()}",
                        hint=f"command line: {self.workdir / 'qemu.cmd'}",
                    ) from e
                if time.monotonic() > deadline:
                    raise InfraError(
                        f"QEMU opened no {what} within {timeout:.0f} s",
                        hint=f"look at {self.workdir / 'qemu.log'}",
                    ) from e
                time.sleep(0.02)

    def _open_monitor(self) -> None:
        if not self._socket_dir:
            raise InfraError("this VM does not run", hint="start it first")
        path = self._socket_dir / "monitor"
        self._retry(lambda: path.stat(), "monitor", 15)
        self.monitor = Monitor(self.spec.name)
        self._stack.callback(self.monitor.close)
        self.monitor.connect(path, timeout=15)

    def _forwarded_port(self) -> int:
        """The free port that the host's kernel picked for the SSH forward."""
        text = self._need_monitor().hmp("info usernet")
        match = re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s", text)
        if not match:
            raise InfraError(f"QEMU forwards no port: {text}", hint="report this, with qemu.cmd")
        return int(match.group(1))

    def _await_boot(self) -> None:
        """Until the boot marker; a panic, an exit and silence are told apart."""
        spec = self.spec
        deadline = self._began + spec.boot_s
        while not self.console.search(_MARKER):
            why = ""
            if failed := self.console.search(_FAILED):
                why = f"the guest's start script failed: {failed.group(1)}"
            elif (found := self.verdict()) and found.fatal:
                why = f"the guest died while booting: {found.title}"
                if found.kind is VerdictKind.EXITED and not self.console.tail().strip():
                    raise InfraError(f"QEMU ended: {self._qemu_said()}", hint="see qemu.cmd")
            elif self.console.silent_s > spec.stall_s:
                said = "went silent" if self.console.tail().strip() else "never said a word"
                why = f"the guest {said} for {spec.stall_s:.0f} s while booting"
            elif time.monotonic() > deadline:
                why = f"the guest did not reach its boot marker within {spec.boot_s:.0f} s"
            if why:
                raise GuestBootError(
                    why,
                    hint=_HINT_LOG.format(self.console_log),
                    console=self.console_tail(),
                )
            self.console.wait_change(0.2)

    def _connect_ssh(self, timeout: float) -> None:
        self._ssh = Ssh(
            self.ssh_port,
            key=self.key_path,
            known_hosts=self.known_hosts,
            watch=self._raise_if_dead,
        )
        self._stack.callback(self._ssh.close)
        self._ssh.connect(timeout)
        self.boot_s = time.monotonic() - self._began

    # -- watchers -------------------------------------------------------------------------

    def _alive(self, action: Callable[[Ssh], _T]) -> _T:
        """Do something over SSH; a connection that breaks is explained by the verdict."""
        if self._ssh is None:
            raise InfraError("this VM has no SSH connection", hint="it was closed or frozen")
        self._raise_if_dead()
        try:
            return action(self._ssh)
        except ConnectionLostError:
            if self.wait_verdict(3, fatal=True):
                self._raise_if_dead()
            raise

    def _raise_if_dead(self) -> None:
        ssh = self._ssh
        if ssh and ssh.unanswered_s > self.spec.hang_s:
            title = f"no answer from the guest for {self.spec.hang_s:.0f} s"
            self._note(Verdict(kind=VerdictKind.HANG, title=title, source="ssh"))
        found = self.verdict()
        if found is None or not found.fatal:
            return
        if found.kind is VerdictKind.PANIC and found.source != "serial":
            self.console.wait_end(1)  # the console says more than the event
            found = self.verdict() or found
        raise self._error(found)

    def _error(self, found: Verdict) -> GuestError:
        hint = _HINT_LOG.format(self.console_log)
        cause = worst([v for v in self.console.verdicts() if not v.fatal])
        what = found.title + (f" (before: {cause.title})" if cause else "")
        if found.kind is VerdictKind.HANG:
            return GuestHangError(
                f"the guest hangs: {what}", hint=hint, console=self.console_tail()
            )
        return GuestCrashError(f"the guest died: {what}", hint=hint, console=self.console_tail())

    def _note(self, verdict: Verdict) -> None:
        if all(v.kind is not verdict.kind for v in self._outside):
            self._outside.append(verdict)

    def _look_outside(self) -> None:
        """QMP events, and whether QEMU still runs."""
        reason = ""
        for event in self.monitor.events() if self.monitor else []:
            if death := _QMP_DEATHS.get(event["event"]):
                self._note(Verdict(kind=death[0], title=death[1], source="qmp"))
            elif event["event"] == "SHUTDOWN":
                reason = event["data"].get("reason", "")
        running = (
            self._process.poll() is None
            if self._process
            else self._identity is not None and self._identity.alive()
        )
        if running or self._identity is None:
            return
        self.console.wait_end(1)
        if any(v.kind is VerdictKind.PANIC for v in self.console.verdicts() + self._outside):
            return
        if reason == "guest-reset":
            kind, title = VerdictKind.RESET, "reset without a word (triple fault?)"
        elif reason == "guest-shutdown":
            kind, title = VerdictKind.EXITED, "the guest powered off"
        else:
            kind, title = VerdictKind.EXITED, f"QEMU ended: {self._qemu_said()}"
        self._note(Verdict(kind=kind, title=title, source="process"))

    # -- small things ---------------------------------------------------------------------

    def _need_monitor(self) -> Monitor:
        if self.monitor is None:
            raise InfraError("this VM has no monitor", hint="start it first")
        return self.monitor

    def _qemu_said(self) -> str:
        try:
            lines = (self.workdir / "qemu.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return "; ".join(lines[-3:]) or "it said nothing"

    def _end_process(self) -> None:
        if self._keep or not self._process:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._identity = None

    def _remove_sockets(self) -> None:
        if not self._keep and self._socket_dir:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
