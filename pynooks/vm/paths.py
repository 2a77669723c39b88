# SPDX-License-Identifier: GPL-2.0-only
"""Where things lie: the user's cache, and the recipe beside the package."""

from __future__ import annotations

import os
from pathlib import Path

from pynooks.errors import InfraError


def cache_dir() -> Path:
    """Everything pynooks keeps between runs; safe to delete when no VM runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pynooks"


def recipe_dir() -> Path:
    """vm/ of the checkout: what images are made from."""
    path = Path(__file__).resolve().parents[2] / "vm"
    if not (path / "images.toml").is_file():
        raise InfraError(
            f"no image recipe at {path}",
            hint="install pynooks from its checkout: pip install -e .",
        )
    return path
