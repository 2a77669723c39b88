# SPDX-License-Identifier: GPL-2.0-only
"""Files that a command writes for its user."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomic(path: Path, data: bytes) -> None:
    """A reader sees the old file or the new one, whole. Raises OSError, and leaves nothing then."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
