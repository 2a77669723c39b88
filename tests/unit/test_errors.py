# SPDX-License-Identifier: GPL-2.0-only
"""Every expected failure says what the reader can do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pynooks import errors

PACKAGE = Path(errors.__file__).parent


def test_hint_is_needed() -> None:
    with pytest.raises(TypeError):
        errors.RefusedError("what")  # type: ignore[call-arg]


def test_console_is_kept() -> None:
    error = errors.GuestCrashError("what", hint="how", console="Oops")
    assert (str(error), error.hint, error.console) == ("what", "how", "Oops")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.stem)
def test_failures_are_caught_narrowly(path: Path) -> None:
    """No bare except; no assert on input; `except Exception` only where all must be answered."""
    tree = ast.parse(path.read_text())
    broad = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path}:{node.lineno}: bare except"
            ends = any(isinstance(x, ast.Raise) and x.exc is None for x in ast.walk(node))
            broad += isinstance(node.type, ast.Name) and node.type.id == "Exception" and not ends
        assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}: assert"
    assert broad <= (
        path.name in ("main.py", "agent.py", "tracer.py", "workload.py", "pool.py")
    )
