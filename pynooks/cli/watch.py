# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks watch`: nooks, their traffic, faults and recoveries, live."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pynooks.cli.where import HostOption, JsonOption, VmOption, open_target
from pynooks.control.client import Agent
from pynooks.control.records import Fault, Nook

SCHEMA = 1
EVENTS = 12  # lines kept below the table
RATES = ("entries", "exits", "checked")
STYLES = {"RUNNING": "green", "RECOVERING": "yellow", "LOADING": "yellow", "RELEASED": "dim"}


@dataclass(slots=True, kw_only=True)
class View:
    """What is shown: counters of the last look, and what happened. Rates are per second."""

    at: float = 0.0
    nooks: dict[str, Nook] = field(default_factory=dict)
    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    events: deque[str] = field(default_factory=lambda: deque(maxlen=EVENTS))

    def look(self, nooks: list[Nook], now: float) -> None:
        """Take new counters; rates are those since the last ones."""
        passed = now - self.at
        self.rates = {}
        for nook in nooks:
            before = self.nooks.get(nook.name)
            if before and before.id == nook.id and passed > 0:
                self.rates[nook.name] = {
                    key: (nook.stats[key] - before.stats[key]) / passed for key in RATES
                }
        self.nooks = {nook.name: nook for nook in nooks}
        self.at = now

    def tell(self, event: Mapping[str, Any], clock: str) -> None:
        """One line for a fault or a change of state."""
        what = event["state"] if event["event"] == "state" else str(Fault.of(event["fault"]))
        self.events.append(f"{clock} {event['name']}: {what}")

    def render(self) -> Group:
        table = Table(
            "nook", "state", "level", *(f"{key}/s" for key in RATES), "objects", "faults",
            "recoveries", box=None, pad_edge=False,
        )  # fmt: skip
        for nook in self.nooks.values():
            rates = self.rates.get(nook.name, {})
            table.add_row(
                nook.name,
                Text(nook.state, style=STYLES.get(nook.state, "bold red")),
                nook.level,
                *(f"{rates[key]:.0f}" if key in rates else "-" for key in RATES),
                *(str(nook.stats[key]) for key in ("objects", "faults", "recoveries")),
            )
        return Group(table, Text(""), *(Text(line) for line in self.events))


def changes(agent: Agent) -> Iterator[dict[str, Any]]:
    """What has happened since the last call."""
    while agent.events:
        yield agent.events.popleft()


def watch(
    vm: VmOption = None,
    host: HostOption = None,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
    seconds: Annotated[float | None, typer.Option("--for", help="Default: until ^C.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show nooks, traffic, faults and recoveries as they happen."""
    view = View()
    with open_target(vm, host) as target, Agent(target) as agent:
        if agent.call("facts")["nooks"]:
            agent.call("events")
        end = time.monotonic() + seconds if seconds is not None else None
        with Live(view.render(), auto_refresh=False, transient=as_json) as live:
            while end is None or time.monotonic() < end:
                nooks = agent.nooks() if agent.call("facts")["nooks"] else []
                view.look(nooks, time.monotonic())
                for event in changes(agent):
                    view.tell(event, time.strftime("%H:%M:%S"))
                    if as_json:
                        typer.echo(json.dumps({"schema": SCHEMA, **event}))
                if as_json:
                    for name, rates in view.rates.items():
                        line = {"nook": name, "state": view.nooks[name].state, **rates}
                        typer.echo(json.dumps({"schema": SCHEMA, "event": "rates", **line}))
                else:
                    live.update(view.render(), refresh=True)
                time.sleep(every)
