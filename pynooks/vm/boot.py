# SPDX-License-Identifier: GPL-2.0-only
"""Which boots say nothing about the guest and are worth a second try. Pure.

QEMU's TCG can lose a timer interrupt of a CPU that is just going idle: the kernel boots, then one
CPU sleeps for ever, and RCU says so. Nothing of ours is loaded by then. Seen once, in a CI run.
"""

from __future__ import annotations

import re

TRIES = 2
_LOST_TIMER = re.compile(
    r"rcu: .*(?:kthread timer wakeup didn't happen|Possible timer handling issue)"
)


def lost_timer(console: str) -> bool:
    """Does this console of a guest that went silent while booting tell of a lost timer?"""
    return bool(_LOST_TIMER.search(console))
