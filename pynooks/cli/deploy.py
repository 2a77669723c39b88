# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks deploy` and `release`, `enable` and `disable`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from pynooks.cli.where import (
    DriverArgument,
    HostOption,
    JsonOption,
    NookArgument,
    VmOption,
    open_target,
    progress,
)
from pynooks.control.client import Agent
from pynooks.deploy import deploy, disable, enable, plans, release
from pynooks.errors import UsageError
from pynooks.policy import Level

SCHEMA = 1


def level_of(word: str | None) -> Level | None:
    """A level by its name, None for the policy's."""
    if word is None:
        return None
    try:
        return Level[word.upper()]
    except KeyError as e:
        names = ", ".join(level.name.lower() for level in Level)
        raise UsageError(f"{word} is no level", hint=f"choose from {names}") from e


def deploy_command(
    driver: Annotated[str, typer.Argument(help="Driver's name, or the path of its stock .ko.")],
    vm: VmOption = None,
    host: HostOption = None,
    level: Annotated[
        str | None, typer.Option(help="wrap or pagetable. Default: the driver's policy.")
    ] = None,
    learn: Annotated[
        bool, typer.Option("--learn", help="Log and allow writes that no rule allows.")
    ] = False,
    no_recover: Annotated[
        bool, typer.Option("--no-recover", help="After a fault leave the driver stopped.")
    ] = False,
    debug_heap: Annotated[
        bool, typer.Option("--debug-heap", help="Red zones and poison in what it allocates.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the stock DRIVER in a nook on a VM or host."""
    chosen = level_of(level)
    with open_target(vm, host) as target:
        done, nook = deploy(
            target,
            driver,
            level=chosen,
            learn=learn,
            no_recover=no_recover,
            debug_heap=debug_heap,
            progress=progress(),
        )
    if as_json:
        typer.echo(json.dumps({"schema": SCHEMA, **asdict(done), "state": nook.state}))
        return
    origin = "the distribution's file" if done.stock else "not the distribution's file"
    typer.echo(f"{done.name} runs in nook {nook.id}, level {done.level}; {origin}, {done.sha256}")


def release_command(
    nook: NookArgument,
    vm: VmOption = None,
    host: HostOption = None,
) -> None:
    """Unload the isolated driver and give its devices back to the stock one."""
    with open_target(vm, host) as target:
        native = release(target, nook, progress=progress())
    typer.echo(f"{nook} is released" + ("; the stock driver is loaded" if native else ""))


def enable_command(
    driver: Annotated[
        str | None, typer.Argument(help="Driver's name, or the path of its stock .ko.")
    ] = None,
    vm: VmOption = None,
    host: HostOption = None,
    level: Annotated[
        str | None, typer.Option(help="wrap or pagetable. Default: the driver's policy.")
    ] = None,
) -> None:
    """From the next boot on run DRIVER in a nook, with what `pynooks policy` says. Without DRIVER:
    list those."""
    chosen = level_of(level)
    with open_target(vm, host) as target:
        if driver is None:
            with Agent(target) as agent:
                for name, plan in plans(agent).items():
                    typer.echo(f"{name}: {plan['record']['level']}, kernel {plan['kernel']}")
            return
        done = enable(target, driver, level=chosen, progress=progress())
    typer.echo(f"{done.name} is in a nook from the next boot on, level {done.level}")


def disable_command(driver: DriverArgument, vm: VmOption = None, host: HostOption = None) -> None:
    """From the next boot on leave DRIVER alone. A nook of now stays: `pynooks release`."""
    with open_target(vm, host) as target:
        disable(target, driver)
    typer.echo(f"{driver} is stock from the next boot on")
