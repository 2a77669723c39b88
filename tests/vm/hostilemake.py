# SPDX-License-Identifier: GPL-2.0-only
"""What a guest without Python needs to drive the hostile modules."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pynooks.errors import InfraError

TESTS = Path(__file__).resolve().parents[1]


def make_policy_tool(workdir: Path) -> Path:
    """tests/tlb/policy.c, static: it runs in a guest that has nothing else."""
    out = workdir / "policy"
    uapi = TESTS.parent / "kmod" / "uapi"
    source = TESTS / "tlb" / "policy.c"
    argv = ["gcc", "-static", "-O2", "-Wall", f"-I{uapi}", "-o", str(out), str(source)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InfraError(f"gcc failed: {done.stderr.strip()[-500:]}", hint="see what it says")
    return out
