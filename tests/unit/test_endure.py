# SPDX-License-Identifier: GPL-2.0-only
"""What an endurance run makes of a fault that nobody planted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pynooks.bench import endure
from pynooks.bench.endure import Endured, as_json, as_markdown

MACHINE = {"kernel": "6.1"}


class Nook:
    """Answers as Agent and as Session."""

    def __init__(self, faults: int) -> None:
        self.faults, self.lines = faults, 0

    def nook(self, driver: str) -> Any:
        return SimpleNamespace(stats={"faults": self.faults})

    def exchange(self) -> None:
        self.lines += 1


@pytest.mark.parametrize("faults", [0, 1])
def test_a_quiet_time(faults: int, monkeypatch: pytest.MonkeyPatch) -> None:
    held = iter([{"objects": 7, "heap, bytes": 4096}, {"objects": 9, "heap, bytes": 4096}])
    monkeypatch.setattr(endure, "_held", lambda *_: next(held))
    monkeypatch.setattr(endure, "LOOK_S", 0.01)
    nook = Nook(faults)
    found = Endured(copies=["whole"])
    endure._be_quiet(nook, "e1000", nook, found, 0.1, lambda _: None)
    assert nook.lines > 1, "the session is used all the time"
    assert found.grown_quiet == {"objects": 2, "heap, bytes": 0}
    assert found.quiet_s >= 0.1
    assert (found.alarms, found.intact) == (faults, not faults)
    assert as_json(found)["intact"] == (not faults)
    assert f"| false alarms meanwhile | {faults} |" in as_markdown(found, MACHINE, "e1000")


def test_without_a_quiet_time_nothing_is_said_of_it() -> None:
    assert "meanwhile" not in as_markdown(Endured(copies=["whole"]), MACHINE, "e1000")
