# SPDX-License-Identifier: GPL-2.0-only
"""What isolation costs, measured: the same traffic native and isolated, in one boot."""

from __future__ import annotations

from pynooks.bench.measure import Comparison, compare
from pynooks.bench.traffic import Datagrams, datagrams, ping_times, stream, udp_flood

__all__ = ["Comparison", "Datagrams", "compare", "datagrams", "ping_times", "stream", "udp_flood"]
