# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks trace`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Annotated, Any

import typer

from pynooks.build.builder import read_btf
from pynooks.cli.where import HostOption, JsonOption, VmOption, open_target
from pynooks.control.records import VECTORS
from pynooks.errors import CheckError
from pynooks.trace import canaries, judge, trace_nooks, trace_witness

SCHEMA = 1
FOREVER_S = 1e9


def trace(
    vm: VmOption = None,
    host: HostOption = None,
    for_s: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", help="Default: until ^C.")
    ] = None,
    calls: Annotated[bool, typer.Option("--calls", help="Entries and exits too.")] = False,
    objects: Annotated[bool, typer.Option("--objects", help="Tracked objects too.")] = False,
    writes: Annotated[bool, typer.Option("--writes", help="Checked writes too.")] = False,
    witness: Annotated[
        bool, typer.Option("--witness", help="Watch the kernel instead; 1 if it came to harm.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show faults, state changes and recovery steps as they happen."""
    show = _json if as_json else _text
    limit = FOREVER_S if for_s is None else for_s
    with open_target(vm, host) as target, ExitStack() as stack:
        if not witness:
            tracer = stack.enter_context(
                trace_nooks(target, calls=calls, objects=objects, writes=writes)
            )
            _follow(tracer.events(limit), show)
            _follow(tracer.finish(), show)
            return
        tracer = stack.enter_context(trace_witness(target, read_btf(target.btf_file())))
        tracer.wait_ready()
        before = canaries(target)
        seen = _follow(tracer.events(limit), show)
        seen += _follow(tracer.finish(), show)
        found = judge(before, canaries(target), seen)
    if not found.good:
        what = ", ".join((*found.bad, *(f"{name} changed" for name in found.changed)))
        raise CheckError(
            f"the kernel came to harm: {what or f'{found.lost} events lost'}",
            hint="look at the target's kernel log",
        )


def _follow(events: Any, show: Any) -> list[Mapping[str, Any]]:
    """Show events until they end or the user has seen enough."""
    seen = []
    try:
        for event in events:
            seen.append(event)
            show(event)
    except KeyboardInterrupt:
        pass
    return seen


def _json(event: Mapping[str, Any]) -> None:
    typer.echo(json.dumps({"schema": SCHEMA, **event}))


def _text(event: Mapping[str, Any]) -> None:
    kind = event["event"]
    if kind == "lost" and not event["count"]:
        return
    rest = {k: v for k, v in event.items() if k not in ("event", "t") and v != ""}
    if "vec" in rest:
        rest["vec"] = VECTORS.get(rest["vec"], rest["vec"])
    words = " ".join(f"{k}={hex(v) if k in ('ip', 'addr') and isinstance(v, int) else v}"
                     for k, v in rest.items())  # fmt: skip
    when = event["t"] / 1e9 if "t" in event else time.monotonic()
    typer.echo(f"{when:14.6f} {kind:18} {words}")
