# SPDX-License-Identifier: GPL-2.0-only
"""pynooks/control/netlink.py says the same as kmod/uapi/nooks.h."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pynooks.control import netlink
from pynooks.control.netlink import nooksmsg

HEADER = (Path(__file__).parents[2] / "kmod/uapi/nooks.h").read_text()


def enum(name: str) -> list[str]:
    """Names of an enum of the header, in order, without its end marker."""
    body = re.search(rf"enum {name} \{{(.*?)\}};", HEADER, re.DOTALL)
    assert body, name
    text = re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL)
    return [word for word in re.findall(r"\w+", text) if not word.startswith("__")]


def define(name: str) -> str:
    found = re.search(rf"#define {name}\s+(\S+)", HEADER)
    assert found, name
    return found[1].strip('"')


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nooks_attr", nooksmsg),
        ("nooks_rule_attr", nooksmsg.rules.rule),
        ("nooks_stat_attr", nooksmsg.stats),
        ("nooks_fault_attr", nooksmsg.fault),
        ("nooks_count_attr", nooksmsg.count),
        ("nooks_learn_attr", nooksmsg.learn),
        ("nooks_frame_attr", nooksmsg.frame),
        ("nooks_crossing_attr", nooksmsg.crossing),
        ("nooks_object_attr", nooksmsg.object),
    ],
)
def test_attributes_are_in_the_headers_order(name: str, message: type) -> None:
    assert [row[0] for row in message.nla_map] == enum(name)


def test_rule_number_inside_the_nest() -> None:
    ((number, name, _),) = nooksmsg.rules.nla_map
    assert enum("nooks_attr")[number] == name


def test_commands() -> None:
    names = enum("nooks_cmd")
    ours = {key: value for key, value in vars(netlink).items() if key.startswith("CMD_")}
    assert ours == {name.removeprefix("NOOKS_"): i for i, name in enumerate(names) if i}


def test_enums() -> None:
    assert enum("nooks_level") == [f"NOOKS_LEVEL_{x.upper()}" for x in netlink.LEVELS]
    assert enum("nooks_state") == [f"NOOKS_{x}" for x in netlink.STATES]
    assert enum("nooks_count") == [f"NOOKS_COUNT_{x.upper()}" for x in netlink.COUNTS]
    for key, bit in netlink.FLAGS.items():
        assert define(f"NOOKS_F_{key.upper()}") == str(bit)


def test_names_and_limits() -> None:
    assert define("NOOKS_GENL_NAME") == netlink.FAMILY
    assert define("NOOKS_GENL_VERSION") == str(netlink.VERSION)
    assert define("NOOKS_GENL_MCGRP") == netlink.GROUP
    assert define("NOOKS_INJECT_MAX") == str(netlink.INJECT_MAX)
    for name in ("STALL_MS", "IRQ_RATE", "TX_TIMEOUTS", "MEMORY_MIB"):
        assert define(f"NOOKS_{name}") == str(getattr(netlink, name))


def test_message_survives_encoding() -> None:
    rule = {"object": "sk_buff", "field": "len", "offset": 112, "size": 4, "value": 0}
    msg = nooksmsg()
    msg["cmd"] = netlink.CMD_POLICY_SET
    msg["version"] = netlink.VERSION
    msg["attrs"] = [
        ["NOOKS_A_NAME", "e1000"],
        ["NOOKS_A_RULES", {"attrs": [["NOOKS_A_RULE", {"attrs": netlink._rule_attrs(rule)}]]}],
    ]
    msg.encode()
    back = nooksmsg(msg.data)
    back.decode()
    assert back.get_attr("NOOKS_A_NAME") == "e1000"
    nest = back.get_attr("NOOKS_A_RULES")
    assert netlink.plain(nest.get_attr("NOOKS_A_RULE")) == rule


def test_nests_are_flagged() -> None:
    """Strict validation in the kernel wants NLA_F_NESTED on the wire."""
    msg = nooksmsg()
    msg["attrs"] = [["NOOKS_A_RULES", {"attrs": [["NOOKS_A_RULE", {"attrs": []}]]}]]
    msg.encode()
    assert bytes((7, 0x80)) in bytes(msg.data)  # NOOKS_A_RULES | NLA_F_NESTED
    assert bytes((8, 0x80)) in bytes(msg.data)
