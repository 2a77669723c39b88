# SPDX-License-Identifier: GPL-2.0-only
"""Every import, with right and wrong arguments, in right and wrong order; at random."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pynooks.bench.fuzz import as_text, fuzz

pytestmark = pytest.mark.vm
SEED = int(os.environ.get("PYNOOKS_SEED", "1"))


@pytest.mark.parametrize("seconds", [20, pytest.param(600, marks=pytest.mark.slow)])
def test_no_call_hurts_the_kernel(tmp_path: Path, seconds: int) -> None:
    print(f"PYNOOKS_SEED={SEED}")
    found = fuzz(tmp_path, seed=SEED, seconds=seconds)
    print("\n".join(as_text(found)))
    assert not found.wrong
    assert found.programs >= seconds / 10
    assert len(found.faults) >= 3  # it does meet checks
