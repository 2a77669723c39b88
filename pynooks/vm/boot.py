# SPDX-License-Identifier: GPL-2.0-only
"""How a boot fails, and whether the guest deserves another one. Pure, but for the count.

Emulated CPUs lose a timer interrupt now and then: CPU 0 stays in its idle loop, the other waits
for it, RCU says so, and no NMI that the kernel sends ends it. When that happens before nooks.ko
is there, it says nothing about nooks.ko, so the guest is started once more from scratch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pynooks.errors import GuestStallError
from pynooks.vm.crash import Verdict, VerdictKind
from pynooks.vm.spec import VmSpec

BOOTS = 2
# What a kernel says whose timer is gone. Whatever else it reports is its own trouble.
_OF_A_STALL = frozenset(
    {
        VerdictKind.HUNG_TASK,
        VerdictKind.RCU_STALL,
        VerdictKind.SOFT_LOCKUP,
        VerdictKind.HARD_LOCKUP,
    }
)
# The kernel's own line about an out-of-tree module comes before the module's first code.
_OURS = re.compile(r"(?:^|\s)nooks: ", re.MULTILINE)

stalls: list[str] = []
"""Boots of this process that were tried again, and why: for whoever reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """What is known of a booting guest at one moment.

    failed:    what its start script complains of
    verdicts:  what console, monitor and process say
    console:   all text so far
    silent_s:  seconds since the last byte of it
    elapsed_s: seconds since QEMU's start
    """

    failed: str = ""
    verdicts: Sequence[Verdict] = ()
    console: str = ""
    silent_s: float = 0.0
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a boot has failed. `stalled`: the kernel stood still, and nothing of ours was in it."""

    why: str
    stalled: bool = False


def failure(boot: Boot, spec: VmSpec) -> Failure | None:
    """None while there is hope."""
    if boot.failed:
        return Failure(f"the guest's start script failed: {boot.failed}")
    for verdict in boot.verdicts:
        if verdict.fatal:
            return Failure(f"the guest died while booting: {verdict.title}")
    if boot.silent_s > spec.stall_s:
        said = "went silent" if boot.console.strip() else "never said a word"
        why = f"the guest {said} while booting (for {spec.stall_s:.0f} s)"
        return Failure(why, stalled=_innocent(boot))
    if boot.elapsed_s > spec.boot_s:
        why = f"the guest did not reach its boot marker within {spec.boot_s:.0f} s"
        # Without a report of a stall the host may just be slow; twice would not be faster.
        return Failure(why, stalled=bool(boot.verdicts) and _innocent(boot))
    return None


def _innocent(boot: Boot) -> bool:
    """Neither nooks.ko nor a report that a lost timer does not explain."""
    return not _OURS.search(boot.console) and all(v.kind in _OF_A_STALL for v in boot.verdicts)


def again(error: BaseException, boots: int) -> bool:
    """After so many boots, of which the last ended with `error`: one more?"""
    return isinstance(error, GuestStallError) and boots < BOOTS
