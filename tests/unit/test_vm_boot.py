# SPDX-License-Identifier: GPL-2.0-only
"""Which boots have failed, and which of them are tried again."""

from __future__ import annotations

import pytest

from pynooks.errors import GuestBootError, GuestHangError, GuestStallError, InfraError
from pynooks.vm import boot
from pynooks.vm.boot import Boot, failure
from pynooks.vm.crash import Parser, Verdict, VerdictKind
from pynooks.vm.spec import VmSpec

SPEC = VmSpec(stall_s=25, boot_s=120)
SILENT = 25.1
# As a guest said it that stood still for good, before a module was loaded.
STALL = """\
[   64.455133] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[   64.455581] rcu: \t0-...!: (0 ticks this GP) idle=11a8/0/0x0 softirq=36/36 fqs=0
[   64.456061] \t(detected by 1, t=5252 jiffies, g=-1151, q=366 ncpus=2)
[   64.456340] Sending NMI from CPU 1 to CPUs 0:
[   43.464520] NMI backtrace for cpu 0 skipped: idling at native_safe_halt+0xb/0x10
[   64.457556] rcu: rcu_preempt kthread timer wakeup didn't happen for 5251 jiffies! g-1151 f0x0
[   64.458398] rcu: \tPossible timer handling issue on cpu=0 timer-softirq=6
"""


def verdict(kind: VerdictKind) -> Verdict:
    return Verdict(kind=kind, title=f"{kind} somewhere", source="serial")


def parsed(text: str) -> list[Verdict]:
    parser = Parser()
    parser.feed(text)
    parser.close()
    return parser.verdicts()


@pytest.mark.parametrize(
    "seen",
    [
        Boot(),
        Boot(console="Linux", silent_s=24.9, elapsed_s=119.9),
        Boot(verdicts=[verdict(VerdictKind.WARN), verdict(VerdictKind.RCU_STALL)]),
    ],
)
def test_there_is_hope(seen: Boot) -> None:
    assert failure(seen, SPEC) is None


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (Boot(silent_s=SILENT), "never said a word"),
        (Boot(console="Linux version 6.1", silent_s=SILENT), "went silent"),
        (Boot(console=STALL, verdicts=parsed(STALL), silent_s=SILENT), "went silent"),
        (Boot(console=STALL, verdicts=parsed(STALL), elapsed_s=120.1), "boot marker"),
        (Boot(verdicts=[verdict(VerdictKind.SOFT_LOCKUP)], silent_s=SILENT), "never said"),
    ],
)
def test_a_guest_that_stands_still_has_stalled(seen: Boot, said: str) -> None:
    found = failure(seen, SPEC)
    assert found
    assert found.stalled
    assert said in found.why


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (Boot(failed="no virtio NIC", silent_s=SILENT), "start script failed: no virtio NIC"),
        (Boot(verdicts=[verdict(VerdictKind.PANIC)], silent_s=SILENT), "died while booting"),
        (Boot(verdicts=[verdict(VerdictKind.RESET)], silent_s=SILENT), "died while booting"),
        (Boot(verdicts=[verdict(VerdictKind.EXITED)], silent_s=SILENT), "died while booting"),
        (Boot(verdicts=[verdict(VerdictKind.OOPS)], silent_s=SILENT), "silent|never said|died"),
        (Boot(verdicts=[verdict(VerdictKind.BUG)], silent_s=SILENT), "silent|never said|died"),
        (Boot(verdicts=[verdict(VerdictKind.WARN)], silent_s=SILENT), "never said"),
        (Boot(console="slow", elapsed_s=120.1), "boot marker"),
        (Boot(console="[ 9.1] nooks: loaded: 4-level paging", silent_s=SILENT), "went silent"),
        (
            Boot(console="[ 9.0] nooks: loading out-of-tree module taints kernel.\n" + STALL,
                 verdicts=parsed(STALL), silent_s=SILENT),
            "went silent",
        ),
        (Boot(console="nooks: loaded", verdicts=parsed(STALL), elapsed_s=120.1), "boot marker"),
    ],
)  # fmt: skip
def test_what_the_kernel_or_nooks_may_have_done_has_not(seen: Boot, said: str) -> None:
    found = failure(seen, SPEC)
    assert found
    assert not found.stalled
    assert any(part in found.why for part in said.split("|"))


def test_a_stall_is_parsed_as_one() -> None:
    assert [v.kind for v in parsed(STALL)] == [VerdictKind.RCU_STALL]


def test_only_a_stall_is_tried_again_and_only_once() -> None:
    stall = GuestStallError("silent", hint="")
    assert boot.again(stall, 1)
    assert not boot.again(stall, 2)
    for other in (GuestBootError, GuestHangError, InfraError):
        assert not boot.again(other("x", hint=""), 1)
    assert not boot.again(KeyboardInterrupt(), 1)
