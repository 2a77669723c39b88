# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks relink`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pynooks.cli.build import default_kernel
from pynooks.cli.files import write_atomic
from pynooks.errors import RefusedError, UsageError
from pynooks.relink import (
    RelinkReport,
    analyse,
    load_plan,
    relink,
)

SCHEMA = 1
WIDE = 200  # columns of output that goes into a file or a pipe


def relink_command(
    driver: Annotated[Path, typer.Argument(help="The stock driver's .ko file.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write.")] = None,
    with_: Annotated[
        list[Path] | None,
        typer.Option("--with", help="A module that DRIVER depends on: a part of its nook. Repeat."),
    ] = None,
    kernel: Annotated[
        str | None, typer.Option(help="Target's kernel release. Default: as for `pynooks build`.")
    ] = None,
    symvers: Annotated[
        Path | None, typer.Option(help="The target kernel's Module.symvers.")
    ] = None,
    nooks_symvers: Annotated[
        Path | None, typer.Option(help="Module.symvers of nooks.ko. Default: build it.")
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Print what would be done to each import.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one object.")] = False,
) -> None:
    """Make the module that runs DRIVER in a nook."""
    if output is None and not plan_only:
        raise UsageError("no output file", hint="say -o OUT.ko, or --plan")
    data, libraries = read_driver(driver), [read_driver(path) for path in with_ or ()]
    release = kernel or default_kernel()
    plan = load_plan(release, symvers=symvers, nooks_symvers=nooks_symvers)
    report = analyse(data, plan, libraries)
    if plan_only or output is None:
        _show(report, as_json)
        return
    if nooks_symvers is None:  # what is refused was refused above, before anything is built
        from pynooks.build.builder import build_module  # needs headers and a compiler

        nooks_symvers = build_module(release, None, lambda step: typer.echo(step, err=True)).symvers
    plan = load_plan(release, symvers=symvers, nooks_symvers=nooks_symvers)
    out, report = relink(data, plan, libraries)
    _write(output, out)
    if as_json:
        _show(report, as_json)
    else:
        typer.echo(
            f"{output}: {report.calls} calls through nooks.ko, {len(report.escapes)} gates, "
            f"sha256 of the input {report.sha256}"
        )


def read_driver(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise RefusedError(f"{path}: {e.strerror}", hint="give the path of a .ko file") from e


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomic(path, data)
    except OSError as e:
        raise RefusedError(f"{path}: {e.strerror}", hint="choose another output file") from e


def report_dict(report: RelinkReport) -> dict[str, Any]:
    """The report as JSON prints it."""
    return {
        "schema": SCHEMA,
        "driver": report.name,
        "sha256": report.sha256,
        "libraries": [{"name": n, "sha256": digest} for n, digest in report.libraries],
        "kernel": report.release,
        "calls": report.calls,
        "fentry": report.fentry,
        "imports": [
            {
                "name": u.name, "policy": u.kind.value if u.kind else None, "calls": u.calls,
                "others": u.others, "relocs": u.relocs, "why": u.why,
            }
            for u in report.imports
        ],
        "gates": [
            {"function": e.name, "kind": e.kind.name.lower(), "where": list(e.where)}
            for e in report.escapes
        ],
        "ranges": [{"section": name, "size": size} for name, size in report.ranges],
    }  # fmt: skip


def _show(report: RelinkReport, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report_dict(report)))
        return
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = WIDE
    table = Table(box=None, pad_edge=False)
    for title in ("import", "policy", "relocations"):
        table.add_column(title, no_wrap=True)
    table.add_column("why")
    for u in report.imports:
        policy = u.kind.value if u.kind else ("MISSING" if u.calls else "as it is")
        table.add_row(u.name, policy, u.relocs, u.why)
    out.print(table)
    for name, digest in report.libraries:
        out.print(f"\nwith {name}, sha256 {digest}")
    gates = Table("escaping function", "kind", "held in", box=None, pad_edge=False)
    for e in report.escapes:
        gates.add_row(e.name, e.kind.name.lower(), " ".join(e.where))
    out.print()
    out.print(gates)
    missing = [u.name for u in report.imports if u.calls and u.kind is None]
    if missing:
        out.print(f"\nno policy: {', '.join(missing)}")
