# SPDX-License-Identifier: GPL-2.0-only
"""Events are decoded as the BPF programs lay them out, and the verdict forgets nothing."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from pynooks.control import netlink
from pynooks.demo.net import parse_ping
from pynooks.trace import judge, tracer

ROOT = Path(__file__).parents[2]


def kinds(program: str) -> list[str]:
    body = re.search(r"enum \{(.*?)\}", (ROOT / "pynooks/trace" / program).read_text(), re.DOTALL)
    assert body
    return re.findall(r"KIND_(\w+)", body[1])


def name(address: int) -> str:
    return f"f+{address:#x}"


def test_names_follow_the_headers() -> None:
    assert tracer.STATES == netlink.STATES
    header = (ROOT / "kmod/trace/nooks_trace.h").read_text()
    body = re.search(r"enum recov_step \{(.*?)\};", header, re.DOTALL)
    assert body
    assert [s.lower() for s in re.findall(r"RECOV_STEP_(\w+)", body[1])] == list(tracer.STEPS)


def test_every_kind_is_decoded() -> None:
    raw = bytearray(400)
    seen = set()
    for i, kind in enumerate(kinds("nooks.bpf.c"), 1):
        struct.pack_into("<QI", raw, 0, 5, i)
        seen.add(tracer.nooks_event(bytes(raw), name)["event"])
        assert kind.lower() in seen
    for i, kind in enumerate(kinds("witness.bpf.c"), 1):
        struct.pack_into("<QI", raw, 0, 5, i)
        event = tracer.witness_event(bytes(raw), name)["event"]
        assert event.split()[-1] == kind.lower()


def test_fault() -> None:
    raw = struct.pack("<QIIQQQQ96s96s96s", 9, 1, 3, 14, 2, 0x10, 0x20, b"f+0x1", b"", b"ops.x")
    assert tracer.nooks_event(raw, name) == {
        "t": 9, "nook": 3, "event": "fault", "vec": 14, "err": 2, "ip": 16, "addr": 32,
        "symbol": "f+0x1", "what": "", "entry": "ops.x",
    }  # fmt: skip


DONE = {"event": "lost", "count": 0}
SAME = {"a": "1", "b": "2"}


def test_good_testimony() -> None:
    found = judge(SAME, SAME, [{"event": "netdev up", "name": "eth0"}, DONE])
    assert found.good
    assert found.netdevs == ("eth0 up",)


@pytest.mark.parametrize(
    ("after", "events"),
    [
        ({"a": "1", "b": "3"}, [DONE]),
        ({"a": "1"}, [DONE]),
        (SAME, [{"event": "oops", "name": ""}, DONE]),
        (SAME, [{"event": "warn", "name": "x.c", "ip": "f+1"}, DONE]),
        (SAME, [{"event": "lost", "count": 1}]),
        (SAME, []),
    ],
)
def test_bad_testimony(after: dict[str, str], events: list[dict[str, object]]) -> None:
    assert not judge(SAME, after, events).good


def test_nothing_checked_is_not_good() -> None:
    assert not judge({}, {}, [DONE]).good


def test_ping() -> None:
    text = (
        "20 packets transmitted, 19 received, 5% packet loss, time 1006ms\n"
        "rtt min/avg/max/mdev = 0.873/1.421/5.212/0.9 ms\n"
    )
    found = parse_ping(text)
    assert (found.sent, found.received, found.avg_ms, found.max_ms) == (20, 19, 1.421, 5.212)
    assert not found.whole
    assert not parse_ping("").whole
    duplicates = text.replace("19 received,", "19 received, +2 duplicates,")
    assert parse_ping(duplicates).received == 19
