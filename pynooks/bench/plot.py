# SPDX-License-Identifier: GPL-2.0-only
"""A comparison as a picture: isolated beside native, one bar per figure. SVG; pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape

from pynooks.bench.measure import Comparison

_LEFT, _WIDTH, _RIGHT = 170, 460, 130
_TOP, _STEP, _BAR = 54, 34, 18


def as_svg(found: Comparison) -> str:
    """Bars: median over native's median; whiskers: lowest and highest value over the same."""
    a, b = found.native, found.isolated
    rows = [
        ("TCP", a.tcp_mbit, b.tcp_mbit, "Mbit/s"),
        ("UDP 1400 B", a.udp_pps, b.udp_pps, "packets/s"),
        ("UDP 64 B", a.udp64_pps, b.udp64_pps, "packets/s"),
        ("CPU time (TCP)", a.tcp_cpu, b.tcp_cpu, "s per GB"),
        ("ping, median", [a.rtt_median], [b.rtt_median], "ms"),
    ]
    scale = max(1.0, *(max(new) / statistics.median(old) for _, old, new, _ in rows))
    height = _TOP + _STEP * len(rows) + 20
    full = _LEFT + _WIDTH + _RIGHT
    one = _LEFT + _WIDTH / scale
    title = f"{found.driver} at level {found.level}, native = 1"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{full}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{full}" height="{height}" fill="white"/>',
        f'<text x="10" y="20" font-size="15">{escape(title)}</text>',
        f'<text x="10" y="38" font-size="10" fill="#555">{escape(_machine(found))}</text>',
    ]
    for i, (name, old, new, unit) in enumerate(rows):
        lines += _bar(_TOP + i * _STEP, name, old, new, unit, scale)
    lines.append(
        f'<line x1="{one:.1f}" y1="{_TOP - 6}" x2="{one:.1f}" y2="{height - 16}" '
        'stroke="#333" stroke-dasharray="4 3"/>'
    )
    return "\n".join([*lines, "</svg>", ""])


def _machine(found: Comparison) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.machine.items())


def _bar(
    top: int, name: str, old: Sequence[float], new: Sequence[float], unit: str, scale: float
) -> list[str]:
    base, value = statistics.median(old), statistics.median(new)
    unit_px = _WIDTH / scale / base
    low, high = (_LEFT + edge * unit_px for edge in (min(new), max(new)))
    middle, text = top + _BAR / 2, top + _BAR - 4
    return [
        f'<text x="{_LEFT - 8}" y="{text}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{_LEFT}" y="{top}" width="{value * unit_px:.1f}" height="{_BAR}" '
        'fill="#4878a8"/>',
        f'<line x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}" stroke="black"/>',
        f'<text x="{_LEFT + _WIDTH + 8}" y="{text}">'
        f"{value / base:.2f} ({value:.4g} {escape(unit)})</text>",
    ]
