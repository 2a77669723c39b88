# SPDX-License-Identifier: GPL-2.0-only
"""Plots as inline SVG, from plain numbers. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 220, 40, 40, 12
BARS = 24
_STEPS = (1, 2, 5)


def histogram(values: Sequence[float], *, label: str) -> Markup:
    """How often each value came; a sentence if there are none."""
    if not values:
        return Markup("<p>No values.</p>")
    step = _nice(max(values) / BARS)
    counts = [0] * (math.floor(max(values) / step) + 1)
    for value in values:
        counts[math.floor(value / step)] += 1
    top = max(counts)
    bar = (WIDTH - LEFT - 10) / len(counts)
    tall = HEIGHT - BOTTOM - TOP
    base = HEIGHT - BOTTOM
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{escape(label)}">'
    ]
    for i, count in enumerate(counts):
        high = tall * count / top
        parts.append(
            f'<rect x="{LEFT + i * bar:.1f}" y="{base - high:.1f}" width="{max(bar - 1, 1):.1f}" '
            f'height="{high:.1f}" class="bar"><title>{i * step:g}-{(i + 1) * step:g}: {count}'
            "</title></rect>"
        )
    every = max(1, len(counts) // 8)
    for i in range(0, len(counts) + 1, every):
        parts.append(
            f'<text x="{LEFT + i * bar:.1f}" y="{base + 14}" text-anchor="middle">'
            f"{i * step:g}</text>"
        )
    parts += [
        f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - 10}" y2="{base}" class="axis"/>',
        f'<text x="{LEFT - 4}" y="{TOP + 8}" text-anchor="end">{top}</text>',
        f'<text x="{LEFT - 4}" y="{base}" text-anchor="end">0</text>',
        f'<text x="{(WIDTH + LEFT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">'
        f"{escape(label)}</text>",
        "</svg>",
    ]
    return Markup("".join(parts))


def _nice(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(step, 1e-3)))
    return next((power * s for s in _STEPS if power * s >= step), power * 10)
