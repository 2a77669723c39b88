# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks inject`."""

from __future__ import annotations

import json
import random
from typing import Annotated

import typer

from pynooks.cli.where import HostOption, JsonOption, VmOption, open_target
from pynooks.errors import UsageError
from pynooks.inject import Injection, Kind, inject_bytes, inject_kind

BYTES = "bytes"


def inject(
    kind: Annotated[str, typer.Argument(help=f"{BYTES}, {', '.join(Kind)}")],
    driver: Annotated[str, typer.Option("--driver", help="A loaded driver.")],
    vm: VmOption = None,
    host: HostOption = None,
    seed: Annotated[int | None, typer.Option(help="Drawn and printed if not given.")] = None,
    native: Annotated[
        bool, typer.Option("--native", help="The driver is not isolated: the kernel may die.")
    ] = False,
    symbol: Annotated[str | None, typer.Option(help="Driver function. Default: by seed.")] = None,
    offset: Annotated[int, typer.Option(help="bytes: from the symbol.")] = 0,
    code: Annotated[str | None, typer.Option("--hex", help="bytes: what to write.")] = None,
    address: Annotated[
        str | None, typer.Option(help="wild-write: kernel symbol or 0x... Default: by seed.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put a fault into the text of a loaded driver."""
    if kind == BYTES:
        raw = _hex(code, symbol)
        with open_target(vm, host) as target:
            done = inject_bytes(
                target, driver, raw, symbol=symbol or "", offset=offset, native=native
            )
    else:
        chosen = _kind(kind)
        seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
        with open_target(vm, host) as target:
            done = inject_kind(
                target, driver, chosen, seed=seed, native=native, symbol=symbol, address=address
            )
    typer.echo(json.dumps(done.as_json()) if as_json else _line(done))


def _kind(word: str) -> Kind:
    try:
        return Kind(word)
    except ValueError as e:
        raise UsageError(
            f"{word} is no kind of fault", hint=f"choose from {BYTES}, {', '.join(Kind)}"
        ) from e


def _hex(code: str | None, symbol: str | None) -> bytes:
    if not code or not symbol:
        raise UsageError("bytes needs --symbol and --hex", hint="--symbol S --offset N --hex 0f0b")
    try:
        return bytes.fromhex(code)
    except ValueError as e:
        raise UsageError(f"--hex {code}: {e}", hint="an even number of hex digits") from e


def _line(done: Injection) -> str:
    p = done.patch
    seed = "" if done.seed is None else f", seed {done.seed}"
    target = f" to {done.target}" if done.target else ""
    return (
        f"{done.kind}{target} in {p.module}:{p.symbol}+{p.offset:#x} at {p.addr:#x}{seed}: "
        f"{p.old.hex()} -> {p.new.hex()}"
    )
