# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks vm ...`: build images, run guests in the background, reach them."""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
import termios
import time
import tty
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console as Terminal
from rich.table import Table

from pynooks.errors import GuestCrashError, InfraError, UsageError
from pynooks.vm import registry
from pynooks.vm.accel import choose
from pynooks.vm.crash import parse, worst
from pynooks.vm.image import ensure_image, stale_images
from pynooks.vm.machine import Vm, VmSpec
from pynooks.vm.recipe import known_kind
from pynooks.vm.spec import AccelChoice

app = typer.Typer(no_args_is_help=True, help="Guest images and virtual machines.")

Name = Annotated[str, typer.Argument(help="Name of the VM.")]
_DETACH = b"\x1d"  # ^]
_SSH_BROKE = 255  # of ssh itself
_LAST_WORD_S = 3.0
_TAIL_LINES = 25


def _accel(name: str) -> AccelChoice:
    if name not in get_args(AccelChoice):
        raise UsageError(f"unknown accelerator {name!r}", hint="one of: auto, kvm, tcg")
    return cast(AccelChoice, name)


class _Steps:
    """Progress on stderr: what is being done, with the seconds since the start."""

    def __init__(self) -> None:
        self._terminal = Terminal(stderr=True, highlight=False)
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        seconds = time.monotonic() - self._began
        self._terminal.print(f"[dim]{seconds:6.1f} s[/dim]  {text}", soft_wrap=True)


@app.command()
def build(
    kind: Annotated[
        str, typer.Argument(help="slim, full (with bcc) or systemd (with udev).")
    ] = "slim",
    as_json: Annotated[bool, typer.Option("--json", help="The manifest on stdout.")] = False,
) -> None:
    """Build a guest image, unless it is cached. Prints its directory."""
    image = ensure_image(known_kind(kind), _Steps())
    typer.echo(json.dumps(dict(image.manifest)) if as_json else str(image.root))


@app.command()
def start(
    name: Name = "nooks",
    image: Annotated[str, typer.Option(help="slim, full or systemd.")] = "slim",
    accel: Annotated[str, typer.Option(help="auto, kvm or tcg.")] = "auto",
    smp: Annotated[int, typer.Option(help="Guest CPUs.")] = 2,
    memory: Annotated[int, typer.Option(help="Guest memory in MiB.")] = 1024,
    la57: Annotated[bool, typer.Option(help="5-level paging.")] = False,
    append: Annotated[str, typer.Option(help="More kernel command line.")] = "",
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Boot a VM and leave it running in the background."""
    spec = VmSpec(
        name=name,
        image=known_kind(image),
        accel=_accel(accel),
        smp=smp,
        memory_mib=memory,
        la57=la57,
        extra_cmdline=tuple(shlex.split(append)),
    )
    registry.check_free(name)
    workdir = registry.workdir(name)
    shutil.rmtree(workdir, ignore_errors=True)
    vm = Vm.start(spec, workdir, _Steps())
    try:
        vm.detach()
    finally:
        vm.close()
    row = {
        "schema": 1,
        "name": name,
        "accel": vm.accel,
        "ssh_port": vm.ssh_port,
        "boot_s": round(vm.boot_s, 1),
        "console_log": str(vm.console_log),
    }
    if as_json:
        typer.echo(json.dumps(row))
    else:
        typer.echo(f"{name}: running ({vm.accel}, 127.0.0.1:{vm.ssh_port}); pynooks vm ssh {name}")


@app.command()
def stop(
    names: Annotated[list[str] | None, typer.Argument(help="Names of VMs.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="All of this user's VMs.")] = False,
) -> None:
    """End VMs and delete their disks and logs."""
    chosen = registry.names() if everyone else names or ["nooks"]
    for name in chosen:
        registry.stop(name)
        typer.echo(f"{name}: stopped")


@app.command(name="list")
def list_vms(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Show the VMs of this user."""
    table = Table("name", "state", "image", "accel", "smp", "ssh", "pid", box=None)
    for name in registry.names():
        state = registry.read(name)
        running = "running" if state.identity.alive() else "dead"
        row = {
            "schema": 1,
            "name": name,
            "state": running,
            "image": state.spec.image,
            "accel": state.accel,
            "smp": state.spec.smp,
            "ssh_port": state.ssh_port,
            "pid": state.identity.pid,
        }
        if as_json:
            typer.echo(json.dumps(row))
        table.add_row(*(str(value) for key, value in row.items() if key != "schema"))
    if not as_json:
        Terminal(highlight=False).print(table)


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def ssh(
    name: Name = "nooks",
    command: Annotated[list[str] | None, typer.Argument(help="Command; none: a shell.")] = None,
) -> int:
    """Log in to a VM, or run one command there with its exit status.

    A command of a single word is a line for the guest's shell.
    """
    state = _running(name)
    if command and command[0] == "--":
        command = command[1:]
    argv = [
        *("ssh", "-q", "-p", str(state.ssh_port), "-i", str(state.image_root / "id_ed25519")),
        *("-o", f"UserKnownHostsFile={state.image_root / 'known_hosts'}"),
        *("-o", "HostKeyAlias=nooks-guest", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
        *("-o", "ConnectTimeout=10", "root@127.0.0.1"),
        *([command[0] if len(command) == 1 else shlex.join(command)] if command else []),
    ]
    if shutil.which("ssh") is None:
        raise InfraError("ssh is not installed", hint="apt-get install openssh-client")
    status = subprocess.call(argv)
    if status == _SSH_BROKE:
        _explain_death(state)
    return status


def _explain_death(state: registry.State) -> None:
    """The connection broke. If the guest died, its console says so a moment later."""
    log = state.workdir / "console.log"
    deadline = time.monotonic() + _LAST_WORD_S
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        found = worst(parse(text))
        if found and found.fatal and not state.identity.alive():
            tail = "\n".join(text.splitlines()[-_TAIL_LINES:])
            raise GuestCrashError(
                f"{state.spec.name}: {found.title}", hint="pynooks vm console --log", console=tail
            )
        time.sleep(0.1)


@app.command()
def console(
    name: Name = "nooks",
    log: Annotated[bool, typer.Option("--log", help="Print the whole log and stop.")] = False,
) -> None:
    """Attach to a VM's serial console; leave with ^]."""
    state = registry.read(name)
    path = state.workdir / "console.log"
    if log or not sys.stdin.isatty():
        sys.stdout.write(path.read_bytes().decode(errors="replace").replace("\r", ""))
        return
    _running(name)
    typer.echo(f"console of {name}; leave with ^]", err=True)
    sys.stdout.write(path.read_bytes()[-2000:].decode(errors="replace"))
    sys.stdout.flush()
    _interact(state.socket_dir / "console")


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Delete cached images that this version does not make and no VM uses."""
    for root in stale_images():
        if not dry_run:
            shutil.rmtree(root)
            root.with_suffix(".lock").unlink(missing_ok=True)
        typer.echo(str(root))


@app.command()
def probe(
    image: Annotated[str, typer.Option(help="slim or full.")] = "slim",
    accel: Annotated[str, typer.Option(help="auto, kvm or tcg.")] = "auto",
) -> None:
    """Say which accelerator VMs get on this host, and why."""
    steps = _Steps()
    choice = choose(_accel(accel), ensure_image(known_kind(image), steps), steps)
    typer.echo(f"{choice.accel}: {choice.reason}")


def _running(name: str) -> registry.State:
    state = registry.read(name)
    if not state.identity.alive():
        raise InfraError(
            f"VM {name} is not running",
            hint=f"its console: pynooks vm console {name} --log; then: pynooks vm start {name}",
        )
    return state


def _interact(path: Path) -> None:
    """Copy between the terminal (raw) and the console's socket until ^] or the end."""
    saved = termios.tcgetattr(sys.stdin)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(path))
        try:
            tty.setraw(sys.stdin)
            while True:
                ready, _, _ = select.select([sys.stdin, sock], [], [])
                if sock in ready:
                    data = sock.recv(65536)
                    if not data:
                        return
                    os.write(sys.stdout.fileno(), data)
                if sys.stdin in ready:
                    typed = os.read(sys.stdin.fileno(), 4096)
                    if not typed or _DETACH in typed:
                        return
                    sock.sendall(typed)
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)
