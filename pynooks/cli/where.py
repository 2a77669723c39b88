# SPDX-License-Identifier: GPL-2.0-only
"""Which machine and which nook a command is about."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from pynooks.errors import UsageError
from pynooks.modname import module_name
from pynooks.remote import LocalVm, SshHost, Target
from pynooks.vm import registry

_log = logging.getLogger(__name__)

VmOption = Annotated[
    str | None, typer.Option("--vm", help="VM of `pynooks vm start`. Default: the only one.")
]
HostOption = Annotated[
    str | None, typer.Option("--host", metavar="USER@HOST", help="A machine behind SSH.")
]
NookArgument = Annotated[
    str, typer.Argument(metavar="NOOK", help="The nook's name: its driver's.", parser=module_name)
]
DriverArgument = Annotated[
    str, typer.Argument(metavar="DRIVER", help="The driver's name.", parser=module_name)
]
JsonOption = Annotated[bool, typer.Option("--json", help="One object per line on stdout.")]


def open_target(vm: str | None, host: str | None) -> Target:
    """The machine that is meant. Raises UsageError if that is not clear."""
    if vm and host:
        raise UsageError("--vm and --host exclude each other", hint="give one of them")
    if host:
        return SshHost(host)
    if vm:
        return LocalVm.attach(vm)
    running = [name for name in registry.names() if registry.read(name).identity.alive()]
    if len(running) != 1:
        which = f"{len(running)} VMs run: {', '.join(running)}" if running else "no VM runs"
        raise UsageError(which, hint="pynooks vm start, or give --vm NAME or --host USER@HOST")
    return LocalVm.attach(running[0])


def progress() -> Callable[[str], None]:
    """Where steps are told: stderr if somebody looks, else the log."""
    if not sys.stderr.isatty():
        return _log.info
    return lambda step: typer.echo(step, err=True)
