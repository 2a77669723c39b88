# SPDX-License-Identifier: GPL-2.0-only
"""Each class of failure has one exit status, and `pynooks.cli.main` alone maps them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from pynooks import errors
from pynooks.cli import main as cli

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.RefusedError("x", hint="y"), 1),
        (errors.CheckError("x", hint="y"), 1),
        (errors.UsageError("x", hint="y"), 2),
        (errors.GuestCrashError("x", hint="y", console="Oops"), 3),
        (errors.GuestHangError("x", hint="y"), 3),
        (errors.GuestBootError("x", hint="y"), 3),
        (errors.InfraError("x", hint="y"), 4),
        (ValueError("x"), 70),
    ],
)
def test_status(error: Exception, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise error

    assert cli.run(fail) == status
    told = capsys.readouterr()
    assert told.out == ""
    if status == 70:
        assert "Traceback" in told.err
    else:
        assert told.err.splitlines()[-1] == "hint: y"


def test_good_is_zero() -> None:
    assert cli.run(lambda: None) == 0


def test_nothing_else_exits() -> None:
    """sys.exit far from main hides a status."""
    offenders = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "pynooks").rglob("*.py"))
        if re.search(r"\b(sys\.exit|os\._exit|SystemExit|typer\.Exit)\b", path.read_text())
        and path.name not in ("main.py", "atboot.py")  # the latter runs in the target
    ]
    assert offenders == []


def test_an_end_of_file_is_not_taken_for_the_users(capsys: pytest.CaptureFixture[str]) -> None:
    """Click makes an Abort of each EOFError, as of Ctrl-C."""

    def ends() -> None:
        raise typer.Abort from EOFError("the channel is gone")

    assert cli.run(ends) == cli.BUG
    assert "EOFError: the channel is gone" in capsys.readouterr().err
