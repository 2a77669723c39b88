# SPDX-License-Identifier: GPL-2.0-only
"""Figures as Markdown and JSON, and their place in a document. Pure but for `insert`."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pynooks.bench.measure import Comparison, PerPacket, Side
from pynooks.errors import RefusedError

SCHEMA = 4  # 2: udp64_pps, tcp_cpu; 3: flooded; 4: resumed
RARE = 0.05  # writes per pair; below, they are summed


def as_json(found: Comparison) -> dict[str, Any]:
    """Every measured value, not only what the table shows."""
    return {"schema": SCHEMA, **asdict(found)}


def as_markdown(found: Comparison) -> str:
    """The README's table."""
    native, isolated = found.native, found.isolated
    rows = [
        _row("TCP, Mbit/s", native.tcp_mbit, isolated.tcp_mbit, 1),
        _row("UDP 1400 B, packets/s", native.udp_pps, isolated.udp_pps, 0),
        _row("UDP 64 B, packets/s", native.udp64_pps, isolated.udp64_pps, 0),
        _row("CPU time of TCP, s per GB", native.tcp_cpu, isolated.tcp_cpu, 1),
        _row("ping, ms, median", [native.rtt_median], [isolated.rtt_median], 2),
        _row("ping, ms, p99", [native.rtt_p99], [isolated.rtt_p99], 2),
    ]
    setting = (
        f"Stock {found.driver} at level `{found.level}`, "
        + ", ".join(f"{name} {value}" for name, value in found.machine.items())
        + f"; one boot, {len(native.tcp_mbit)} rounds native and isolated by turns, medians and "
        f"(lowest to highest), {len(native.rtt_ms)} pings a side:"
    )
    lines = [
        *textwrap.wrap(setting, 100),
        "",
        *table(("", "native", "isolated", "ratio"), rows),
        "",
        "Per packet that one NIC sends and the other receives:",
        "",
        *table(
            ("", "paced", "UDP 64 B", "saturated (TCP)"),
            _per_packet(found.paced, found.flooded, found.saturated),
        ),
    ]
    return "\n".join(lines)


def _row(name: str, native: Sequence[float], isolated: Sequence[float], digits: int) -> list[str]:
    a, b = statistics.median(native), statistics.median(isolated)
    return [name, _range(native, digits), _range(isolated, digits), f"{b / a:.2f}"]


def _range(values: Sequence[float], digits: int) -> str:
    text = f"{statistics.median(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
    return text


def _per_packet(*sides: PerPacket) -> list[list[str]]:
    rows = [
        ["entries", *(f"{side.entries:.2f}" for side in sides)],
        ["exits", *(f"{side.exits:.2f}" for side in sides)],
        ["exceptions, resumed", *(f"{side.resumed:.2f}" for side in sides)],
        ["CR3 loads", *(f"{side.cr3_loads:.2f}" for side in sides)],
        ["checked writes", *(f"{sum(side.writes.values()):.2f}" for side in sides)],
    ]
    names = sorted({name for side in sides for name in side.writes})
    common = [n for n in names if max(side.writes.get(n, 0.0) for side in sides) >= RARE]
    for name in common:
        rows.append([f"- {name}", *(f"{side.writes.get(name, 0.0):.2f}" for side in sides)])
    rest = [sum(v for n, v in side.writes.items() if n not in common) for side in sides]
    return [*rows, ["- all other fields", *(f"{value:.2f}" for value in rest)]]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A Markdown table."""
    names = list(head)
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def insert(path: Path, name: str, text: str) -> None:
    """Replace what stands between <!-- NAME --> and <!-- /NAME --> in a document."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    old = path.read_text()
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise RefusedError(f"{path} has not one {begin} ... {end}", hint="put these lines into it")
    before, after = old.split(begin)[0], old.split(end)[1]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")


__all__ = ["Side", "as_json", "as_markdown", "insert", "table"]
