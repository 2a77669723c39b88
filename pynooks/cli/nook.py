# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks status`, `restart`, `set`, `learn`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pynooks.build.builder import read_btf
from pynooks.cli.deploy import level_of
from pynooks.cli.where import (
    DriverArgument,
    HostOption,
    JsonOption,
    NookArgument,
    VmOption,
    open_target,
)
from pynooks.control.client import Agent
from pynooks.control.netlink import FLAGS, flags_of
from pynooks.control.records import Counter, Nook
from pynooks.errors import UsageError
from pynooks.learn import propose, toml_lines
from pynooks.modname import module_name
from pynooks.policy import driver_rules, load_driver

SCHEMA = 1
WIDTH = 120  # of a table that goes to a file


def status(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NOOK", help="One nook, with its counters.", parser=module_name),
    ] = None,
    vm: VmOption = None,
    host: HostOption = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until ^C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the nooks of a target."""
    with open_target(vm, host) as target, Agent(target) as agent:
        if not watch:
            _show(agent, name, as_json)
            return
        if as_json:
            while True:
                _show(agent, name, as_json)
                time.sleep(1)
        with Live(_table(_nooks(agent, name)), auto_refresh=False) as live:
            while True:
                live.update(_table(_nooks(agent, name)), refresh=True)
                time.sleep(1)


def _nooks(agent: Agent, name: str | None) -> list[Nook]:
    if name:
        return [agent.nook(name)]
    return agent.nooks() if agent.call("facts")["nooks"] else []


def _show(agent: Agent, name: str | None, as_json: bool) -> None:
    nooks = _nooks(agent, name)
    counts = agent.counts(name) if name else []
    if as_json:
        for nook in nooks:
            line = {"schema": SCHEMA, **asdict(nook)}
            if name:
                line["counts"] = [asdict(count) for count in counts]
            typer.echo(json.dumps(line))
        return
    out = _console()
    if not nooks:
        out.print("no nooks")
        return
    out.print(_table(nooks))
    for nook in nooks:
        if nook.fault:
            fault = nook.fault.with_field(read_btf(agent.target.btf_file()))
            out.print(f"{nook.name}: last fault: {fault}", markup=False)
    if counts:
        out.print(_count_table(counts))


def _console() -> Console:
    out = Console(highlight=False, soft_wrap=True)
    if not out.is_terminal:
        out.width = WIDTH
    return out


def _table(nooks: list[Nook]) -> Table:
    names = ("faults", "recoveries", "entries", "exits", "checked", "denied", "objects")
    table = Table("nook", "state", "level", "flags", "limit", *names, box=None, pad_edge=False)
    for nook in nooks:
        table.add_row(
            nook.name,
            nook.state,
            nook.level,
            ",".join(nook.flags) or "-",
            f"{nook.limit_ms} ms",
            *(str(nook.stats.get(name, 0)) for name in names),
        )
    return table


def _count_table(counts: list[Counter]) -> Table:
    table = Table("kind", "name", "count", box=None, pad_edge=False)
    for c in counts:
        if c.value:
            table.add_row(c.kind, f"{c.name}.{c.field}" if c.field else c.name, str(c.value))
    return table


def restart(
    nook: NookArgument,
    vm: VmOption = None,
    host: HostOption = None,
) -> None:
    """Stop a nook, release what its driver holds, and start the driver again."""
    with open_target(vm, host) as target, Agent(target) as agent:
        began = time.monotonic()
        now = agent.restart(nook)
        took = time.monotonic() - began
    typer.echo(f"{nook} is {now.state} after {took:.2f} s")


def set_command(
    nook: NookArgument,
    vm: VmOption = None,
    host: HostOption = None,
    limit_ms: Annotated[int | None, typer.Option(help="CPU time per entry, 10 to 60000.")] = None,
    stall_ms: Annotated[int | None, typer.Option(help="Time per entry, asleep or not.")] = None,
    irq_rate: Annotated[int | None, typer.Option(help="Interrupts in a second.")] = None,
    tx_timeouts: Annotated[int | None, typer.Option(help="Within a minute, nothing sent.")] = None,
    memory_mib: Annotated[int | None, typer.Option(help="That its drivers may hold.")] = None,
    level: Annotated[str | None, typer.Option(help="Only while stopped.")] = None,
    learn: Annotated[bool | None, typer.Option("--learn/--enforce")] = None,
    recover: Annotated[bool | None, typer.Option("--recover/--no-recover")] = None,
) -> None:
    """Change limits, level and flags of a nook, until it is released; 0: no limit."""
    chosen = level_of(level)
    limits = {
        "limit_ms": limit_ms, "stall_ms": stall_ms, "irq_rate": irq_rate,
        "tx_timeouts": tx_timeouts, "memory_mib": memory_mib,
    }  # fmt: skip
    given = {name: value for name, value in limits.items() if value is not None}
    if not given and chosen is None and learn is None and recover is None:
        raise UsageError("nothing to set", hint="see `pynooks set --help`")
    with open_target(vm, host) as target, Agent(target) as agent:
        flags = {flag: flag in agent.nook(nook).flags for flag in FLAGS}
        if learn is not None:
            flags["learn"] = learn
        if recover is not None:
            flags["no_recover"] = not recover
        values = given | {"flags": flags_of(flag for flag, on in flags.items() if on)}
        if chosen is not None:
            values["level"] = int(chosen)
        now = Nook.of(agent.call("set", name=nook, **values))
    _console().print(_table([now]))


def learn(
    driver: DriverArgument,
    vm: VmOption = None,
    host: HostOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose policy lines from what DRIVER, deployed with --learn, wrote without a rule."""
    with open_target(vm, host) as target, Agent(target) as agent:
        btf = read_btf(target.btf_file())
        rules = driver_rules(load_driver(driver), btf)
        found = propose(agent.learned(driver), btf, rules)
    if as_json:
        for proposal in found:
            typer.echo(json.dumps({"schema": SCHEMA, **asdict(proposal)}))
    elif found:
        typer.echo("\n".join(toml_lines(found)))
    else:
        typer.echo(f"# {driver} wrote nothing that its policy does not allow")
