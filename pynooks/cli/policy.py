# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks policy`: what is a hang, and what follows a fault, kept on the target."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pynooks.cli.where import DriverArgument, HostOption, JsonOption, VmOption, open_target
from pynooks.control.client import Agent
from pynooks.control.netlink import flags_of
from pynooks.deploy import follow_policy
from pynooks.errors import UsageError
from pynooks.health import Health, read_health, write_health

SCHEMA = 1
app = typer.Typer(no_args_is_help=True, help="Hangs, what follows a fault; kept across reboots.")


@app.command()
def show(vm: VmOption = None, host: HostOption = None, as_json: JsonOption = False) -> None:
    """The policies of a target's drivers. Who is not listed restarts at once, without limit."""
    with open_target(vm, host) as target, Agent(target) as agent:
        found = read_health(agent)
    if as_json:
        for driver, health in found.items():
            typer.echo(json.dumps({"schema": SCHEMA, "driver": driver, **asdict(health)}))
        return
    table = Table("driver", *asdict(Health()), box=None, pad_edge=False)
    for driver, health in sorted(found.items()):
        table.add_row(driver, *(str(v).lower() for v in asdict(health).values()))
    Console(highlight=False, soft_wrap=True).print(table)


@app.command("set")
def set_policy(
    driver: DriverArgument,
    vm: VmOption = None,
    host: HostOption = None,
    isolate: Annotated[bool | None, typer.Option("--isolate/--never-isolate")] = None,
    auto_recover: Annotated[
        bool | None, typer.Option("--auto-recover/--notify-only", help="Restart after a fault?")
    ] = None,
    grace_period: Annotated[
        int | None, typer.Option(help="ms; a driver that ran so long is well again.")
    ] = None,
    backoff: Annotated[
        int | None, typer.Option(help="ms before a restart within the grace period; doubles.")
    ] = None,
    burst: Annotated[
        int | None, typer.Option(help="Restarts within the grace period; 0: no limit.")
    ] = None,
    stall: Annotated[
        int | None, typer.Option(help="ms for one entry, asleep or not; 0: no limit.")
    ] = None,
    irq_rate: Annotated[
        int | None, typer.Option(help="Interrupts in a second for one handler; 0: no limit.")
    ] = None,
    tx_timeouts: Annotated[
        int | None, typer.Option(help="Within a minute, with nothing sent; 0: no limit.")
    ] = None,
    memory: Annotated[
        int | None, typer.Option(help="MiB that its drivers may hold; 0: no limit.")
    ] = None,
) -> None:
    """Change what is given, in the file and in a nook that runs."""
    given = {
        "isolate": isolate, "auto_recover": auto_recover, "grace_period": grace_period,
        "backoff": backoff, "burst": burst, "stall": stall, "irq_rate": irq_rate,
        "tx_timeouts": tx_timeouts, "memory": memory,
    }  # fmt: skip
    change: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if not change:
        raise UsageError("nothing to set", hint="see `pynooks policy set --help`")
    with open_target(vm, host) as target, Agent(target) as agent:
        known = read_health(agent)
        health = replace(known.get(driver, Health()), **change)
        write_health(agent, known | {driver: health})
        follow_policy(agent, driver, health)
        if agent.call("facts")["nooks"]:
            for nook in agent.nooks():
                if nook.name == driver:
                    agent.call("set", name=driver, **health.values(flags_of(nook.flags)))
    typer.echo(f"{driver}: " + ", ".join(f"{k} {v}" for k, v in asdict(health).items()))
