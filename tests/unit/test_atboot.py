# SPDX-License-Identifier: GPL-2.0-only
"""What runs at boot isolates what fits, and gives the stock driver its devices back otherwise."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pynooks.agent import atboot

KERNEL = f"{os.uname().release} {os.uname().version}"


class Steps:
    """An agent that writes down what it is asked; `fails`: the step that does."""

    def __init__(self, loaded: dict[str, list[str]], fails: str = "", state: str = "RUNNING"):
        self.loaded, self.fails, self.state = loaded, fails, state
        self.did: list[str] = []

    def answer(self, line: str) -> dict[str, Any]:
        request = json.loads(line)
        method, params = request["method"], request["params"]
        if method == "modules":
            return {"result": self.loaded}
        if method == "nook":
            return {"result": {"state": self.state}}
        self.did.append(f"{method} {Path(params.get('path', params.get('name'))).name}")
        if self.did[-1] == self.fails:
            return {"error": {"errno": 5, "what": "no"}}
        return {"result": None}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(atboot, "HOME", tmp_path)
    monkeypatch.setattr(atboot, "UNLOAD_S", 0.0)
    (tmp_path / "nooks.ko").write_bytes(b"core")
    home = tmp_path / "e1000"
    home.mkdir()
    (home / "nook.ko").write_bytes(b"driver")
    sha256 = {name: hashlib.sha256(data).hexdigest()
              for name, data in (("nooks.ko", b"core"), ("nook.ko", b"driver"))}  # fmt: skip
    plan = {"name": "e1000", "kernel": KERNEL, "isolate": True, "sha256": sha256,
            "policy": {"level": 1}, "values": {"flags": 0}, "record": {}}  # fmt: skip
    (home / "plan.json").write_text(json.dumps(plan))
    return home


def boot(monkeypatch: pytest.MonkeyPatch, steps: Steps) -> int:
    monkeypatch.setattr(atboot, "Agent", lambda: steps)
    return atboot.main()


LOADED = ["insmod nooks.ko", "write nooks.sha256", "policy_set e1000", "rmmod e1000",
          "insmod nook.ko", "set e1000", "write e1000.json"]  # fmt: skip


def test_in_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps({"e1000": []})
    assert boot(monkeypatch, steps) == 0
    assert steps.did == LOADED
    steps = Steps({"nooks": []})
    assert boot(monkeypatch, steps) == 0
    assert steps.did == [s for s in LOADED if "nooks" not in s and s != "rmmod e1000"]


@pytest.mark.parametrize(
    ("fails", "state", "undone"),
    [
        ("insmod nooks.ko", "RUNNING", []),
        ("rmmod e1000", "RUNNING", []),
        ("insmod nook.ko", "RUNNING", ["modprobe e1000"]),
        ("", "STOPPED", ["release e1000", "rmmod e1000", "modprobe e1000"]),
        ("set e1000", "RUNNING", ["release e1000", "rmmod e1000", "modprobe e1000"]),
    ],
)
def test_what_fails_is_undone(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    fails: str, state: str, undone: list[str],
) -> None:  # fmt: skip
    steps = Steps({"e1000": []}, fails, state)
    assert boot(monkeypatch, steps) == 1
    last = LOADED.index(fails) if fails else LOADED.index("insmod nook.ko")
    assert steps.did[last + 1 :] == undone
    assert "e1000: stock driver: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kernel": "6.1.0-1-amd64 #1"}, "enabled for kernel 6.1.0-1-amd64"),
        ({"isolate": False}, "never_isolate"),
        ({"sha256": {"nooks.ko": "", "nook.ko": ""}}, "is not the file that was enabled"),
    ],
)
def test_what_does_not_fit_is_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    change: dict[str, Any], why: str,
) -> None:  # fmt: skip
    plan = json.loads((home / "plan.json").read_text()) | change
    (home / "plan.json").write_text(json.dumps(plan))
    steps = Steps({"e1000": []})
    assert boot(monkeypatch, steps) == 1
    assert steps.did == []
    assert why in capsys.readouterr().err


def test_one_bad_plan_does_not_keep_the_others(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.parent / "broken").mkdir()
    (home.parent / "broken" / "plan.json").write_text("{")
    steps = Steps({"e1000": []})
    assert boot(monkeypatch, steps) == 1
    assert steps.did == LOADED
