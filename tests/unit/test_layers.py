# SPDX-License-Identifier: GPL-2.0-only
"""A stage imports earlier stages only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pynooks

PACKAGE = Path(pynooks.__file__).parent
ORDER = (
    "errors",
    "modname",
    "btf",
    "policy",
    "relink",
    "vm",
    "build",
    "remote",
    "control",
    "agent",
    "health",
    "deploy",
    "trace",
    "inject",
    "learn",
    "dump",
    "doctor",
    "demo",
    "bench",
    "campaign",
    "report",
    "pytestplugin",
    "cli",
)
# In the target there is no package; the codec is copied beside it.
TARGET_ONLY = {"netlink.py": (), "agent.py": ("control",), "atboot.py": ("agent",),
               "tracer.py": (), "udp.py": (), "outage.py": (), "requests.py": (),
               "workload.py": ("bench", "campaign", "trace")}  # fmt: skip
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE)


def imported(path: Path) -> set[str]:
    """Parts of pynooks that a module imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            if node.module == "pynooks":
                names |= {f"pynooks.{alias.name}" for alias in node.names}
    parts = {name.split(".")[1] for name in names if name.startswith("pynooks.")}
    return parts - {"__version__"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_imports_earlier_stages(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0]
    assert part in ORDER, f"{part} has no place in the order"
    later = {name for name in imported(path) if ORDER.index(name) > ORDER.index(part)}
    assert not later


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.name in TARGET_ONLY], ids=lambda p: p.stem
)
def test_target_files_stand_alone(path: Path) -> None:
    assert imported(path) <= set(TARGET_ONLY[path.name])


def test_modules_stay_readable() -> None:
    """About 300 lines; generated tables would be data, not code."""
    long = {str(p.relative_to(PACKAGE)): n for p in MODULES
            if (n := len(p.read_text().splitlines())) > 450}  # fmt: skip
    assert not {k: v for k, v in long.items() if k != "vm/machine.py"}
