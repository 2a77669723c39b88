# SPDX-License-Identifier: GPL-2.0-only
"""Does a CPU run in circles through the breakpoint handler?"""

from __future__ import annotations

import pytest

from pynooks.vm.stale import gate_offset, stuck

HANDLER = 0xFFFFFFFF81C00BA0
SCHEDULE = 0xFFFFFFFF81A5258C
HALT = 0xFFFFFFFF81A592EB
USER = 0x7F7967AB4040


def test_the_handler_of_a_gate() -> None:
    # of a running guest: __KERNEL_CS, an interrupt gate, DPL 3
    assert gate_offset(0x81C0EE0000100BA0, 0x00000000FFFFFFFF) == HANDLER


def test_a_cpu_in_circles() -> None:
    looks = [(HANDLER, HALT), (SCHEDULE, HALT), (HANDLER + 3, HALT), (SCHEDULE, USER)]
    assert stuck(looks, HANDLER) == {HANDLER & -4096, SCHEDULE & -4096, HALT & -4096}


@pytest.mark.parametrize(
    "looks",
    [
        [(SCHEDULE, HALT), (HALT, HALT)],
        [(HANDLER, HALT), (SCHEDULE, HALT)],  # once: it was on its way
        [(HANDLER,), (HANDLER,), (HANDLER,)],  # the guest is stopped
        [(USER, USER)] * 4,
    ],
)
def test_by_chance(looks: list[tuple[int, ...]]) -> None:
    assert not stuck(looks, HANDLER)
