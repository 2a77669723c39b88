# SPDX-License-Identifier: GPL-2.0-only
"""A running guest: QEMU, console, monitor and SSH under one life cycle.

Three watchers see a guest die: the serial console (panic text), QEMU (QMP event, exit) and SSH
(no answer). Whoever is first decides; every wait in here asks them, so it ends within seconds.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pynooks.errors import (
    GuestBootError,
    GuestCrashError,
    GuestHangError,
    GuestStallError,
    InfraError,
    NooksError,
)
from pynooks.vm import accel, boot, registry, stale
from pynooks.vm.command import host
from pynooks.vm.console import Console
from pynooks.vm.crash import Verdict, VerdictKind, worst
from pynooks.vm.gdb import Reached, Stub
from pynooks.vm.image import Image, ensure_image, read_image
from pynooks.vm.monitor import Monitor
from pynooks.vm.qemu import Qemu
from pynooks.vm.spec import TWO_E1000, Accel, Nic, VmSpec
from pynooks.vm.ssh import ConnectionLostError, GuestStream, RunResult, Ssh
from pynooks.vm.tree import Progress

__all__ = ["TWO_E1000", "Nic", "RunResult", "Snapshot", "Verdict", "VerdictKind", "Vm", "VmSpec"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_MARKER = re.compile(r"^NOOKS-BOOT-OK ", re.MULTILINE)
_FAILED = re.compile(r"^NOOKS-BOOT-FAILED (.*)$", re.MULTILINE)
_LOGIN_S = 60.0


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
        self.ssh_port = 0
        self.boot_s = 0.0
        self._qemu: Qemu | None = None
        self._ssh: Ssh | None = None
        self._outside: list[Verdict] = []
        self._reached: Reached | None = None
        self._stale: stale.StaleWatch | None = None
        self._keep = False
        self._stack = ExitStack()

    # -- life cycle -----------------------------------------------------------------------

    @classmethod
    def start(
        cls,
        spec: VmSpec,
        workdir: Path,
        progress: Progress = _log.info,
        *,
        disk: Path | None = None,
    ) -> Vm:
        """Boot a guest up to SSH. Its files go into `workdir` and stay there after the end.

        disk: the overlay that a guest of the same image has left, to begin with.

        A guest that stands still before anything of ours is in it is booted once more; that is
        told, counted (`boot.stalls`), and its console kept as console.stalled.log.
        Raises GuestBootError if the kernel does not come up, InfraError if the host cannot.
        """
        image = ensure_image(spec.image, progress)
        choice = accel.choose(spec.accel, image, progress)
        progress(f"{spec.name}: starting with {choice.accel} ({choice.reason})")
        workdir.mkdir(parents=True, exist_ok=True)
        boots = 0
        while True:
            vm = cls(spec, image, workdir, choice.accel)
            boots += 1
            try:
                vm._boot(disk)
                break
            except BaseException as e:
                vm.close()
                if not boot.again(e, boots):
                    raise
                vm.console_log.replace(workdir / "console.stalled.log")
                boot.stalls.append(f"{spec.name}: {e}")
                progress(f"{spec.name}: {e}; nothing of ours was loaded: booting once more")
        progress(f"{spec.name}: SSH answers after {vm.boot_s:.1f} s")
        return vm

    def _boot(self, disk: Path | None) -> None:
        """From an empty overlay, or a copy of `disk`, up to SSH."""
        overlay = self.workdir / "overlay.qcow2"
        overlay.unlink(missing_ok=True)
        if disk is not None:
            shutil.copyfile(disk, overlay)
        else:
            host(
                [
                    *("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"),
                    *("-b", str(self.image.rootfs.resolve()), str(overlay)),
                ],
                timeout=30,
                hint="apt-get install qemu-utils",
            )
        began = time.monotonic()
        self._launch(None)
        self._await_boot(began)
        self._connect_ssh()
        self.boot_s = time.monotonic() - began

    @classmethod
    def restore(cls, snapshot: Snapshot, workdir: Path) -> Vm:
        """A new guest from a snapshot, in about a second. The clock is set to the host's."""
        workdir.mkdir(parents=True, exist_ok=True)
        host(
            [
                *("cp", "--sparse=always", "--reflink=auto"),
                *(str(snapshot.overlay), str(workdir / "overlay.qcow2")),
            ],
            timeout=60,
            hint="is the disk full?",
        )
        vm = cls(snapshot.spec, read_image(snapshot.image_root), workdir, snapshot.accel)
        try:
            began = time.monotonic()
            vm._launch(snapshot.tag)
            vm._connect_ssh()
            vm.run(["date", "-s", f"@{time.time():.0f}"])
            vm.boot_s = time.monotonic() - began
        except BaseException:
            vm.close()
            raise
        return vm

    @classmethod
    def attach(cls, name: str) -> Vm:
        """A guest that `pynooks vm start` left running. Closing it lets the guest live on."""
        state = registry.read(name)
        if not state.identity.alive():
            raise InfraError(
                f"VM {name} is not running",
                hint=f"its console: pynooks vm console {name} --log; anew: pynooks vm start {name}",
            )
        vm = cls(state.spec, read_image(state.image_root), state.workdir, state.accel)
        vm._keep = True
        vm.ssh_port = state.ssh_port
        try:
            vm._qemu = Qemu.adopt(state)
            vm._stack.callback(vm._qemu.disconnect)
            vm._stack.callback(vm.console.close)
            vm.console.follow()
            vm._connect_ssh()
        except BaseException:
            vm.close()
            raise
        return vm

    def detach(self) -> None:
        """Leave the guest running in the background, known under its name."""
        qemu = self._need_qemu()
        registry.write(
            registry.State(
                spec=self.spec,
                workdir=self.workdir,
                image_root=self.image.root,
                accel=self.accel,
                identity=qemu.identity,
                ssh_port=self.ssh_port,
                socket_dir=qemu.socket_dir,
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
        self.monitor.execute("inject-nmi")

    @property
    def monitor(self) -> Monitor:
        """QEMU's monitor, connected at first use."""
        return self._need_qemu().monitor

    def revives(self, timeout: float) -> bool:
        """After a hang: does sshd answer after all? Then the host was too busy for this guest."""
        deadline = time.monotonic() + timeout
        while self._qemu and self._qemu.running and time.monotonic() < deadline:
            if self._ssh and self._ssh.answers:
                return True
            time.sleep(0.2)
        return False

    def instruction_pointers(self) -> list[int]:
        """Where each CPU is, by the monitor. Raises InfraError if QEMU has stopped the guest."""
        status = self.monitor.execute("query-status")["status"]
        if status != "running":
            raise InfraError(f"QEMU has stopped the guest: {status}", hint="report this")
        return stale.instruction_pointers(self.monitor)

    @contextmanager
    def reached(self) -> Iterator[Reached]:
        """Watch places in the guest's code. The guest is stopped until `go`."""
        with Reached(self.monitor, self._stub_path) as reached:
            self._reached = reached
            try:
                yield reached
            finally:
                self._reached = None

    @property
    def identity(self) -> registry.Identity:
        """QEMU's process, so that somebody else can end it if we die."""
        return self._need_qemu().identity

    @property
    def socket_dir(self) -> Path:
        """Short, and gone with the guest."""
        return self._need_qemu().socket_dir

    def hotplug(self, driver: str, **properties: str) -> None:
        """Plug a device in; pass bus="spare0" for the spare PCIe port."""
        self.monitor.execute("device_add", {"driver": driver, **properties})

    def unplug(self, device: str, timeout: float = 30) -> None:
        """Ask the guest to give a device up, and wait until it has. Raises GuestHangError."""
        monitor = self.monitor
        before = len(monitor.events())  # there may have been one of that name
        monitor.execute("device_del", {"id": device})
        deadline = time.monotonic() + timeout
        while not any(
            event["event"] == "DEVICE_DELETED" and event["data"].get("device") == device
            for event in monitor.events()[before:]
        ):
            self._raise_if_dead()
            if time.monotonic() > deadline:
                raise GuestHangError(
                    f"the guest did not release {device} within {timeout:.0f} s",
                    hint="can its driver be unbound?",
                )
            time.sleep(0.05)

    def freeze(self, target: Path, tag: str = "base") -> Snapshot:
        """Save the guest into `target` (a qcow2 file) and end it."""
        self.run(["sync"])
        if self._ssh:
            self._ssh.close()  # a restored sshd must not wait for this connection
            time.sleep(0.3)
        text = self.monitor.hmp(f"savevm {tag}", timeout=120).strip()
        if text:
            raise InfraError(f"QEMU refused savevm: {text}", hint="is the disk full?")
        self.close()
        shutil.move(self.workdir / "overlay.qcow2", target)
        return Snapshot(self.spec, target, tag, self.image.root, self.accel)

    # -- verdicts -------------------------------------------------------------------------

    def verdicts(self) -> list[Verdict]:
        """All that went wrong so far, by console, monitor, process and SSH."""
        qemu = self._qemu
        if qemu and (panic := qemu.panicked()):
            self._note(panic)
        if self._keep and self._ssh and self._ssh.unanswered_s > self.spec.hang_s / 3:
            with suppress(InfraError):  # the monitor may serve whoever else is attached
                self._watch_translations()
        if self._ssh and self._ssh.unanswered_s > self.spec.hang_s:
            title = f"no answer from the guest for {self.spec.hang_s:.0f} s"
            self._note(Verdict(kind=VerdictKind.HANG, title=title, source="ssh"))
        if qemu and not qemu.running:
            self.console.wait_end(1)  # so that the last words are parsed
            said = [*self.console.verdicts(), *self._outside]
            panicked = any(v.kind is VerdictKind.PANIC for v in said)
            if not panicked and (death := qemu.death()):
                self._note(death)
        return [*self.console.verdicts(), *self._outside]

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

    def _note(self, verdict: Verdict) -> None:
        if all(v.kind is not verdict.kind for v in self._outside):
            self._outside.append(verdict)

    def _alive(self, action: Callable[[Ssh], _T]) -> _T:
        """Do something over SSH; a connection that breaks is explained by the verdict."""
        if self._ssh is None:
            raise InfraError("this VM has no SSH connection", hint="it was closed or frozen")
        self._raise_if_dead()
        try:
            return action(self._ssh)
        except ConnectionLostError:
            self.wait_verdict(3, fatal=True)
            self._raise_if_dead()
            raise

    def _raise_if_dead(self) -> None:
        found = self.verdict()
        if found is None or not found.fatal:
            return
        if found.kind is VerdictKind.PANIC:
            self.console.wait_end(1)  # QEMU exits at once; the tail shall hold all it said
            found = self.verdict() or found
        raise self._error(found)

    def _error(self, found: Verdict) -> NooksError:
        hint = f"the whole console log: {self.console_log}"
        cause = worst([v for v in self.console.verdicts() if not v.fatal])
        what = found.title + (f" (before: {cause.title})" if cause else "")
        if found.kind is VerdictKind.LOST:
            return InfraError(what, hint=hint)
        if found.kind is VerdictKind.HANG:
            what = f"the guest hangs: {what}"
            return GuestHangError(what, hint=hint, console=self.console_tail())
        what = f"the guest died: {what}"
        return GuestCrashError(what, hint=hint, console=self.console_tail())

    # -- start ----------------------------------------------------------------------------

    def _launch(self, loadvm: str | None) -> None:
        qemu = Qemu.launch(self.spec, self.image, self.workdir, self.accel, loadvm)
        self._qemu = qemu
        self._stack.callback(lambda: qemu.disconnect() if self._keep else qemu.end())
        self._stack.callback(self.console.close)
        qemu.when_ready(lambda: self.console.connect(qemu.console_socket), "console")
        self.ssh_port = qemu.forwarded_port()
        self._watch_translations()

    @property
    def _stub_path(self) -> Path:
        return self.socket_dir / "gdb"

    def _watch_translations(self) -> None:
        """Look after what an old QEMU gets wrong (stale.py)."""
        if self._stale or self.accel != "tcg" or not stale.needed(self.monitor):
            return
        self._stale = stale.StaleWatch(self.spec.name, self.monitor, self._rewrite)
        self._stack.callback(self._stale.close)

    def _rewrite(self, pages: Iterable[int]) -> None:
        if self._reached:
            self._reached.rewrite(pages)
            return
        with Stub(self.monitor, self._stub_path) as stub:
            stub.rewrite(pages)

    def _await_boot(self, began: float) -> None:
        """Until the boot marker; a panic, an exit and silence are told apart."""
        while not self.console.search(_MARKER):
            if (found := self.verdict()) and found.kind is VerdictKind.LOST:
                raise self._error(found)
            if found and found.fatal:
                self.console.wait_end(1)
            failed = self.console.search(_FAILED)
            seen = boot.Boot(
                failed=failed.group(1) if failed else "",
                verdicts=sorted(self.verdicts(), key=lambda v: -v.kind.severity),
                console=self.console.text,
                silent_s=self.console.silent_s,
                elapsed_s=time.monotonic() - began,
            )
            if failure := boot.failure(seen, self.spec):
                raise (GuestStallError if failure.stalled else GuestBootError)(
                    failure.why,
                    hint=f"the whole console log: {self.console_log}",
                    console=self.console_tail(),
                )
            self.console.wait_change(0.2)

    def _connect_ssh(self) -> None:
        self._ssh = Ssh(
            self.ssh_port,
            key=self.key_path,
            known_hosts=self.known_hosts,
            watch=self._raise_if_dead,
        )
        self._stack.callback(self._ssh.close)
        self._ssh.connect(_LOGIN_S)

    def _need_qemu(self) -> Qemu:
        if self._qemu is None:
            raise InfraError("this VM does not run", hint="start it first")
        return self._qemu
