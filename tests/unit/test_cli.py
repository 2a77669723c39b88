# SPDX-License-Identifier: GPL-2.0-only
"""The command line parses, refuses and explains, without a VM."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pynooks.cli import main as cli
from pynooks.cli.where import open_target
from pynooks.errors import UsageError

VERBS = (
    "build", "campaign", "demo", "deploy", "doctor", "dump", "inject", "learn", "release", "relink",
    "restart", "set", "status", "trace", "vm",
)  # fmt: skip


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pynooks", *words])
    return cli.main()


@pytest.fixture(autouse=True)
def _no_vms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert call(monkeypatch, verb, "--help") == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "No such command"),
        (["status", "--frobnicate"], "No such option"),
        (["status"], "no VM runs"),
        (["deploy", "e1000", "--vm", "a", "--host", "b"], "exclude each other"),
        (["deploy", "e1000", "--level", "moat"], "moat is no level"),
        (["inject", "gremlin", "--driver", "e1000"], "no kind of fault"),
        (["inject", "bytes", "--driver", "e1000"], "needs --symbol"),
        (["inject", "bytes", "--driver", "e1000", "--symbol", "x", "--hex", "0"], "--hex 0"),
        (["set", "e1000"], "nothing to set"),
    ],
)
def test_usage_is_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    assert call(monkeypatch, *words) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""


def test_no_such_vm_is_infrastructure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "status", "--vm", "nowhere") == 4
    assert "hint:" in capsys.readouterr().err


def test_target_must_be_clear() -> None:
    with pytest.raises(UsageError, match="no VM runs"):
        open_target(None, None)


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("pynooks ")


def test_a_campaign_that_is_only_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plan = tmp_path / "p.toml"
    plan.write_text("[campaign]\nclasses = ['nop']\ntrials = 2\n")
    assert call(monkeypatch, "campaign", "run", str(plan), "--seed", "5", "--dry-run") == 0
    said = capsys.readouterr().out.splitlines()
    modes = ("native", "isolated")
    assert said == [f"e1000/nop/{seed}/{mode}" for seed in (5, 6) for mode in modes]


@pytest.mark.parametrize(
    "words",
    [("resume", "gone"), ("report", "gone"), ("repro", "gone", "e1000/nop/1/native"),
     ("minimize", "gone", "e1000/nop/1/native"), ("diff", "gone", "gone")],
)  # fmt: skip
def test_a_campaign_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert call(monkeypatch, "campaign", *words) == 2
    assert "give a campaign's directory" in capsys.readouterr().err
