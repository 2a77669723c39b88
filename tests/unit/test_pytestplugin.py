# SPDX-License-Identifier: GPL-2.0-only
"""The plugin is there, offers what it says, and refuses markers that it does not understand."""

from __future__ import annotations

import pytest

from pynooks.policy import Level
from pynooks.pytestplugin import wanted

pytest_plugins = ["pytester"]


def loaded(pytester: pytest.Pytester, *words: str) -> str:
    """By its entry point, as whoever has installed pynooks gets it."""
    return pytester.runpytest_subprocess(*words).stdout.str()


def test_fixtures_options_and_marker(pytester: pytest.Pytester) -> None:
    said = loaded(pytester, "--fixtures")
    assert "nook_vm [session scope]" in said
    assert "isolated_driver" in said
    assert '@pytest.mark.nook(driver="e1000", level="pagetable")' in loaded(pytester, "--markers")
    assert "--nook-accel" in loaded(pytester, "--help")


def test_markers() -> None:
    def mark(*args: object, **words: object) -> tuple[str, Level | None]:
        return wanted(pytest.Mark("nook", args, words, _ispytest=True))

    assert wanted(None) == ("e1000", None)
    assert mark(driver="e1000e", level="wrap") == ("e1000e", Level.WRAP)
    for bad in ({"level": "pks"}, {"colour": 1}, {"driver": 5}):
        with pytest.raises(pytest.UsageError, match="nook"):
            mark(**bad)
    with pytest.raises(pytest.UsageError):
        mark("e1000")
