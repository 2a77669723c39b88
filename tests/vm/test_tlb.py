# SPDX-License-Identifier: GPL-2.0-only
"""A TLB that keeps global entries: with CR4.PGE on, wild writes escape; nooks.ko turns it off.

The kernel writes a word and enters a nook, which writes the same word. The kernel's translation is
in the TLB, writable, and is not dropped with the domain's CR3 if it is global.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from bochs import make_initrd, make_iso, run_bochs
from hostilemake import TESTS, make_policy_tool

from pynooks.bench.lab import make_hostile
from pynooks.errors import InfraError
from pynooks.vm.image import ensure_image

pytestmark = [pytest.mark.tlb, pytest.mark.slow]
ATTEMPTS = 100
LIMIT_S = 600
LEG = re.compile(
    r"^TLB-LEG pge=(\w+) pings=(\d+) faults=(\d+) passed=(\d+) escaped=(\d+)", re.MULTILINE
)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> str:
    work = tmp_path_factory.mktemp("tlb")
    image = ensure_image("slim")
    made = make_hostile(image, work)
    busybox = shutil.which("busybox")
    if busybox is None:
        raise InfraError("no busybox", hint="apt-get install busybox-static")
    files = {
        "init": TESTS / "tlb" / "init",
        "bin/busybox": Path(busybox),
        "policy": make_policy_tool(work),
        "nooks.ko": made.nooks.ko,
        "victim.ko": made.victim,
        "hostile.nook.ko": made.relinked["hostile"],
    }
    make_iso(work, image.vmlinuz, make_initrd(files))
    return run_bochs(work, "TLB-END", LIMIT_S)


def _leg(console: str, pge: str) -> dict[str, int]:
    for leg in LEG.finditer(console):
        if leg[1] == pge:
            names = ("pings", "faults", "passed", "escaped")
            return dict(zip(names, map(int, leg.groups()[1:]), strict=True))
    pytest.fail(f"no attempts with CR4.PGE {pge}:\n" + "\n".join(console.splitlines()[-40:]))


def test_the_guest_said_nothing_wrong(console: str) -> None:
    bad = [x for x in console.splitlines() if re.search("TLB-FAILED|BUG|WARNING|Oops|panic:", x)]
    assert not bad, "\n".join(console.splitlines()[-40:])


def test_no_wild_write_escapes(console: str) -> None:
    leg = _leg(console, "off")
    assert leg == {"pings": ATTEMPTS, "faults": ATTEMPTS, "passed": 0, "escaped": 0}


def test_with_global_pages_they_do_escape(console: str) -> None:
    """So the test above can fail."""
    leg = _leg(console, "on")
    assert leg["faults"] + leg["passed"] == ATTEMPTS
    assert leg["escaped"] == leg["passed"]
    assert leg["escaped"] >= ATTEMPTS // 2
