# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks watch`: rates, and lines of what happened."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from pynooks.cli.watch import EVENTS, View
from pynooks.control.records import Nook

STATS = dict.fromkeys(
    ("faults", "recoveries", "entries", "exits", "checked", "denied", "objects"), 0
)
FAULT = {"vec": 14, "err": 0, "ip": 1, "addr": 0, "sp": 0, "flags": 0, "time": 1, "cpu": 0,
         "pid": 1, "what": "NULL dereference", "entry": "irq_handler",
         "symbol": "e1000_intr+0x2/0xf0 [e1000]", "target": ""}  # fmt: skip


def nook(number: int = 1, **stats: int) -> Nook:
    raw: dict[str, Any] = {"name": "e1000", "id": number, "state": "RUNNING", "level": "pagetable",
                           "flags": [], "limit_ms": 1, "grace_ms": 0, "backoff_ms": 0, "burst": 0,
                           "stall_ms": 0, "irq_rate": 0, "tx_timeouts": 0, "memory_mib": 0,
                           "stats": STATS | stats, "fault": None}  # fmt: skip
    return Nook.of(raw)


def shown(view: View) -> str:
    console = Console(width=120, record=True)
    console.print(view.render())
    return console.export_text()


def test_rates_are_per_second_and_need_two_looks() -> None:
    view = View()
    view.look([nook(entries=100)], 10.0)
    assert view.rates == {}
    view.look([nook(entries=300)], 12.0)
    assert view.rates["e1000"]["entries"] == 100
    view.look([nook(2, entries=5)], 13.0)  # another nook of the same name
    assert view.rates == {}


def test_what_happened_is_told_and_the_oldest_forgotten() -> None:
    view = View()
    view.look([nook()], 1.0)
    for _ in range(EVENTS):
        view.tell({"event": "fault", "name": "e1000", "id": 1, "fault": FAULT}, "12:00:00")
    view.tell({"event": "state", "name": "e1000", "id": 1, "state": "RECOVERING"}, "12:00:01")
    text = shown(view)
    assert len(view.events) == EVENTS
    assert "12:00:01 e1000: RECOVERING" in text
    assert "NULL dereference" in text
    assert "RUNNING" in text
