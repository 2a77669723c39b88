# SPDX-License-Identifier: GPL-2.0-only
"""See what happens on a target: nooks:* tracepoints, and a witness that trusts nobody."""

from __future__ import annotations

from pynooks.trace.session import (
    Tracer,
    canaries,
    trace_nooks,
    trace_witness,
    witness_argument,
)
from pynooks.trace.verdict import Testimony, judge

__all__ = [
    "Testimony",
    "Tracer",
    "canaries",
    "judge",
    "trace_nooks",
    "trace_witness",
    "witness_argument",
]
