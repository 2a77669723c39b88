# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks build`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from pynooks.build.builder import (
    build_module,
    default_btf,
    headers_dir,
    read_btf,
    write_generated,
)
from pynooks.build.generate import generate
from pynooks.errors import RefusedError
from pynooks.policy import load_policies
from pynooks.relink import load_symvers
from pynooks.vm import paths, recipe
from pynooks.vm.tree import ensure_tree

SCHEMA = 1


def default_kernel() -> str:
    """The running kernel if modules can be built for it, else the guests' kernel."""
    running = os.uname().release
    try:
        headers_dir(running)
    except RefusedError:
        kernel = recipe.load("slim", paths.recipe_dir()).kernel
        tree = ensure_tree(kernel, paths.cache_dir(), lambda step: typer.echo(step, err=True))
        return tree.release
    return running


def build(
    kernel: Annotated[
        str | None,
        typer.Option(help="Kernel release. Default: this one if it has headers, else the guests'."),
    ] = None,
    btf: Annotated[
        Path | None, typer.Option(help="BTF, vmlinux or vmlinuz of that kernel.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Copy nooks.ko and its symbols here.")
    ] = None,
    generate_only: Annotated[
        Path | None, typer.Option("--generate", help="Only write the generated sources here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object on stdout.")] = False,
) -> None:
    """Generate the wrappers and build nooks.ko for a kernel."""
    release = kernel or default_kernel()
    if generate_only:
        symvers = load_symvers(headers_dir(release) / "Module.symvers")
        made = generate(read_btf(btf or default_btf(release)), load_policies(), symvers)
        write_generated(made, generate_only)
        typer.echo(str(generate_only / "generated"))
        return
    built = build_module(release, btf, lambda step: typer.echo(step, err=True))
    ko, crcs = built.ko, built.symvers
    if output:
        output.mkdir(parents=True, exist_ok=True)
        ko = Path(shutil.copy2(ko, output / "nooks.ko"))
        crcs = Path(shutil.copy2(crcs, output / "Module.symvers"))
    if as_json:
        line = {
            "schema": SCHEMA, "kernel": release, "ko": str(ko), "symvers": str(crcs),
            "cached": built.cached,
        }  # fmt: skip
        typer.echo(json.dumps(line))
    else:
        typer.echo(str(ko))
