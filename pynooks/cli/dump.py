# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks dump`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pynooks.build.builder import read_btf
from pynooks.cli.files import write_atomic
from pynooks.cli.where import HostOption, JsonOption, NookArgument, VmOption, open_target
from pynooks.control.client import Agent
from pynooks.dump import as_json as crash_json
from pynooks.dump import render
from pynooks.errors import UsageError


def dump(
    nook: NookArgument,
    vm: VmOption = None,
    host: HostOption = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file. Default: stdout.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the crash record of a nook: what its last fault left behind."""
    with open_target(vm, host) as target, Agent(target) as agent:
        crash = agent.dump(nook)
        crash = replace(crash, fault=crash.fault.with_field(read_btf(target.btf_file())))
    text = json.dumps(crash_json(crash)) if as_json else render(crash)
    if output is None:
        typer.echo(text)
    else:
        _write(output, text + "\n")


def _write(path: Path, text: str) -> None:
    """The whole or nothing: a record may be the only one of its fault."""
    try:
        write_atomic(path, text.encode())
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}", hint="give a file that can be written") from e
