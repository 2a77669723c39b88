# SPDX-License-Identifier: GPL-2.0-only
"""Recovery policies: the file, what is refused, and what nooks.ko is told."""

from __future__ import annotations

import pytest

from pynooks.control.netlink import FLAGS, IRQ_RATE, MEMORY_MIB, STALL_MS, TX_TIMEOUTS
from pynooks.errors import UsageError
from pynooks.health import Health
from pynooks.health.policy import parse, text_of

CAREFUL = Health(grace_period=60000, backoff=500, burst=5)
UNLIMITED = Health(stall=0, irq_rate=0, tx_timeouts=0, memory=0)


def test_the_file_says_what_was_written() -> None:
    known = {
        "e1000": CAREFUL, "e100": Health(isolate=False), "tulip": Health(auto_recover=False),
        "vmxnet3": UNLIMITED,
    }  # fmt: skip
    assert parse(text_of(known)) == known
    assert parse("") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[e1000", "recovery.toml"),
        ("e1000 = 1", "no table"),
        ("[e1000]\nburts = 1", "burts"),
        ("[e1000]\nburst = true", "burst = True"),
        ("[e1000]\nauto_recover = 1", "auto_recover = 1"),
        ("[e1000]\nburst = 65\ngrace_period = 1", "burst = 65"),
        ("[e1000]\nbackoff = 100", "grace period"),
        ("[e1000]\nstall = -1", "stall = -1"),
        ("[e1000]\nirq_rate = 5000000000", "irq_rate = 5000000000"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(text)


def test_what_nooks_ko_is_told() -> None:
    learn = FLAGS["learn"]
    told = CAREFUL.values(learn | FLAGS["no_recover"])
    assert told == {
        "flags": learn, "grace_ms": 60000, "backoff_ms": 500, "burst": 5,
        "stall_ms": STALL_MS, "irq_rate": IRQ_RATE, "tx_timeouts": TX_TIMEOUTS,
        "memory_mib": MEMORY_MIB,
    }  # fmt: skip
    off = UNLIMITED.values(0)
    limits = ("stall_ms", "irq_rate", "tx_timeouts", "memory_mib")
    assert [off[name] for name in limits] == [0] * len(limits)
    assert Health(auto_recover=False).values(learn)["flags"] == learn | FLAGS["no_recover"]
