# SPDX-License-Identifier: GPL-2.0-only
"""The generic netlink family of kmod/uapi/nooks.h, with pyroute2 0.7 or later.

Runs in the target too, where the rest of pynooks is not: it imports nothing of it. Attribute
tables and numbers stand in the header's order; tests/unit/test_netlink.py compares them.
Answers are plain dicts, ready for JSON; pynooks/control/records.py gives them types.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

from pyroute2.netlink import NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, genlmsg, nla
from pyroute2.netlink.generic import GenericNetlinkSocket

FAMILY = "nooks"
VERSION = 1
GROUP = "events"
INJECT_MAX = 64  # bytes
ANSWER_TIMEOUT = 120  # seconds; a restart waits for the driver's probe

CMD_POLICY_SET = 1
CMD_NOOK_GET = 2
CMD_COUNT_GET = 3
CMD_LEARN_GET = 4
CMD_RESTART = 5
CMD_RELEASE = 6
CMD_SET = 7
CMD_INJECT = 8
CMD_EVENT_FAULT = 9
CMD_EVENT_STATE = 10
CMD_DUMP_GET = 11

LEVELS = ("wrap", "pagetable")
STATES = ("LOADING", "RUNNING", "FAILED", "RECOVERING", "STOPPED", "RELEASED")
COUNTS = ("object", "write", "exit", "entry")
FLAGS = {"learn": 1, "no_recover": 2, "reopen": 4, "debug_heap": 8}
REGISTERS = (
    "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di",
    "orig_ax", "ip", "cs", "flags", "sp", "ss",
)  # fmt: skip  # struct pt_regs
# of a nook that nobody has told otherwise
STALL_MS, IRQ_RATE, TX_TIMEOUTS, MEMORY_MIB = 120000, 100000, 3, 256


class nooksmsg(genlmsg):  # type: ignore[misc]  # named as pyroute2 does
    """enum nooks_attr."""

    prefix = "NOOKS_A_"
    nla_map = (
        ("NOOKS_A_UNSPEC", "none"),
        ("NOOKS_A_NAME", "asciiz"),
        ("NOOKS_A_ID", "uint32"),
        ("NOOKS_A_LEVEL", "uint32"),
        ("NOOKS_A_STATE", "uint32"),
        ("NOOKS_A_FLAGS", "uint32"),
        ("NOOKS_A_LIMIT_MS", "uint32"),
        ("NOOKS_A_RULES", "rules"),
        ("NOOKS_A_RULE", "none"),
        ("NOOKS_A_STATS", "stats"),
        ("NOOKS_A_FAULT", "fault"),
        ("NOOKS_A_COUNT", "count"),
        ("NOOKS_A_LEARN", "learn"),
        ("NOOKS_A_SYMBOL", "asciiz"),
        ("NOOKS_A_OFFSET", "uint32"),
        ("NOOKS_A_BYTES", "cdata"),
        ("NOOKS_A_ADDR", "uint64"),
        ("NOOKS_A_OLD", "cdata"),
        ("NOOKS_A_GRACE_MS", "uint32"),
        ("NOOKS_A_BACKOFF_MS", "uint32"),
        ("NOOKS_A_BURST", "uint32"),
        ("NOOKS_A_REGS", "cdata"),
        ("NOOKS_A_CODE", "cdata"),
        ("NOOKS_A_CODE_AT", "uint64"),
        ("NOOKS_A_STACK", "cdata"),
        ("NOOKS_A_SP", "uint64"),
        ("NOOKS_A_FRAME", "frame"),
        ("NOOKS_A_CROSSING", "crossing"),
        ("NOOKS_A_OBJECT", "object"),
        ("NOOKS_A_STALL_MS", "uint32"),
        ("NOOKS_A_IRQ_RATE", "uint32"),
        ("NOOKS_A_TX_TIMEOUTS", "uint32"),
        ("NOOKS_A_MEMORY_MIB", "uint32"),
        ("NOOKS_A_PAD", "none"),
    )

    class rules(nla):  # type: ignore[misc]
        """NOOKS_A_RULE, repeated."""

        nla_flags = NLA_F_NESTED
        prefix = "NOOKS_A_"
        nla_map = ((8, "NOOKS_A_RULE", "rule"),)

        class rule(nla):  # type: ignore[misc]
            """enum nooks_rule_attr."""

            nla_flags = NLA_F_NESTED
            prefix = "NOOKS_R_"
            nla_map = (
                ("NOOKS_R_UNSPEC", "none"),
                ("NOOKS_R_OBJECT", "asciiz"),
                ("NOOKS_R_FIELD", "asciiz"),
                ("NOOKS_R_OFFSET", "uint32"),
                ("NOOKS_R_SIZE", "uint32"),
                ("NOOKS_R_VALUE", "uint32"),
            )

    class stats(nla):  # type: ignore[misc]
        """enum nooks_stat_attr."""

        nla_flags = NLA_F_NESTED
        prefix = "NOOKS_S_"
        nla_map = (
            ("NOOKS_S_UNSPEC", "none"),
            ("NOOKS_S_FAULTS", "uint64"),
            ("NOOKS_S_RECOVERIES", "uint64"),
            ("NOOKS_S_ENTRIES", "uint64"),
            ("NOOKS_S_EXITS", "uint64"),
            ("NOOKS_S_CHECKED", "uint64"),
            ("NOOKS_S_DENIED", "uint64"),
            ("NOOKS_S_WARNS", "uint64"),
            ("NOOKS_S_INSIDE", "uint64"),
            ("NOOKS_S_OBJECTS", "uint64"),
            ("NOOKS_S_HEAP", "uint64"),
            ("NOOKS_S_PGT_PAGES", "uint64"),
            ("NOOKS_S_CR3_LOADS", "uint64"),
            ("NOOKS_S_DEFERRED", "uint64"),
            ("NOOKS_S_RESUMED", "uint64"),
            ("NOOKS_S_MEMORY", "uint64"),
        )

    class fault(nla):  # type: ignore[misc]
        """enum nooks_fault_attr."""

        nla_flags = NLA_F_NESTED
        prefix = "NOOKS_F_A_"
        nla_map = (
            ("NOOKS_F_A_UNSPEC", "none"),
            ("NOOKS_F_A_VEC", "uint64"),
            ("NOOKS_F_A_ERR", "uint64"),
            ("NOOKS_F_A_IP", "uint64"),
            ("NOOKS_F_A_ADDR", "uint64"),
            ("NOOKS_F_A_SP", "uint64"),
            ("NOOKS_F_A_FLAGS", "uint64"),
            ("NOOKS_F_A_TIME", "uint64"),
            ("NOOKS_F_A_CPU", "uint32"),
            ("NOOKS_F_A_PID", "uint32"),
            ("NOOKS_F_A_WHAT", "asciiz"),
            ("NOOKS_F_A_ENTRY", "asciiz"),
            ("NOOKS_F_A_SYMBOL", "asciiz"),
            ("NOOKS_F_A_TARGET", "asciiz"),
        )

    class count(nla):  # type: ignore[misc]
        """enum nooks_count_attr."""

        nla_flags = NLA_F_NESTED
        prefix = "NOOKS_C_"
        nla_map = (
            ("NOOKS_C_UNSPEC", "none"),
            ("NOOKS_C_KIND", "uint32"),
            ("NOOKS_C_NAME", "asciiz"),
            ("NOOKS_C_FIELD", "asciiz"),
            ("NOOKS_C_VALUE", "uint64"),
        )

    class learn(nla):  # type: ignore[misc]
        """enum nooks_learn_attr."""

        nla_flags = NLA_F_NESTED
        prefix = "NOOKS_L_"
        nla_map = (
            ("NOOKS_L_UNSPEC", "none"),
            ("NOOKS_L_OBJECT", "asciiz"),
            ("NOOKS_L_OFFSET", "uint32"),
            ("NOOKS_L_SIZE", "uint32"),
            ("NOOKS_L_IP", "asciiz"),
            ("NOOKS_L_COUNT", "uint64"),
            ("NOOKS_L_SYMBOL", "asciiz"),
        )

    class frame(nla):  # type: ignore[misc]
        """enum nooks_frame_attr."""

        nla_flags = NLA_F_NESTED
        prefix = "NOOKS_B_"
        nla_map = (
            ("NOOKS_B_UNSPEC", "none"),
            ("NOOKS_B_AT", "uint64"),
            ("NOOKS_B_ADDR", "uint64"),
            ("NOOKS_B_SYMBOL", "asciiz"),
        )

    class crossing(nla):  # type: ignore[misc]
        """enum nooks_crossing_attr."""

        nla_flags = NLA_F_NESTED
        prefix = "NOOKS_X_"
        nla_map = (
            ("NOOKS_X_UNSPEC", "none"),
            ("NOOKS_X_CPU", "uint32"),
            ("NOOKS_X_TSC", "uint64"),
            ("NOOKS_X_KIND", "uint32"),
            ("NOOKS_X_NAME", "asciiz"),
        )

    class object(nla):  # type: ignore[misc]
        """enum nooks_object_attr."""

        nla_flags = NLA_F_NESTED
        prefix = "NOOKS_O_"
        nla_map = (
            ("NOOKS_O_UNSPEC", "none"),
            ("NOOKS_O_TYPE", "asciiz"),
            ("NOOKS_O_ADDR", "uint64"),
            ("NOOKS_O_SIZE", "uint64"),
            ("NOOKS_O_PUBLISHED", "uint32"),
        )


class NooksSocket(GenericNetlinkSocket):  # type: ignore[misc]
    """The family; one method per command. Errors are NetlinkError with the kernel's text.

    Needs CAP_NET_ADMIN in the initial user namespace, and nooks.ko.
    """

    module_err_level = "debug"  # the caller tells, with the remedy

    def __init__(self) -> None:
        super().__init__(ext_ack=True)
        self.get_timeout = ANSWER_TIMEOUT
        try:
            self.bind(FAMILY, nooksmsg)
        except Exception:
            self.close()
            raise

    def policy_set(
        self, name: str, *, level: int, limit_ms: int, flags: int, rules: list[dict[str, Any]]
    ) -> None:
        """rules: dicts with object, field, offset, size, value."""
        nest = [["NOOKS_A_RULE", {"attrs": _rule_attrs(rule)}] for rule in rules]
        attrs: list[list[Any]] = [
            ["NOOKS_A_NAME", name],
            ["NOOKS_A_LEVEL", level],
            ["NOOKS_A_LIMIT_MS", limit_ms],
            ["NOOKS_A_FLAGS", flags],
        ]
        if nest:
            attrs.append(["NOOKS_A_RULES", {"attrs": nest}])
        self._command(CMD_POLICY_SET, attrs)

    def nooks(self) -> list[dict[str, Any]]:
        """All nooks."""
        return [nook_dict(msg) for msg in self._dump(CMD_NOOK_GET, [])]

    def nook(self, name: str) -> dict[str, Any]:
        """One nook."""
        return nook_dict(self._ask(CMD_NOOK_GET, [["NOOKS_A_NAME", name]]))

    def counts(self, name: str) -> list[dict[str, Any]]:
        """Counters of a nook; objects and exits that are 0 are left out."""
        found = []
        for msg in self._dump(CMD_COUNT_GET, [["NOOKS_A_NAME", name]]):
            count = plain(msg.get_attr("NOOKS_A_COUNT"))
            count["kind"] = COUNTS[count["kind"]]
            found.append(count)
        return found

    def learned(self, name: str) -> list[dict[str, Any]]:
        """The learning log of a nook."""
        dump = self._dump(CMD_LEARN_GET, [["NOOKS_A_NAME", name]])
        return [plain(msg.get_attr("NOOKS_A_LEARN")) for msg in dump]

    def crash(self, name: str) -> dict[str, Any]:
        """The crash record of a nook's last fault. ENODATA if it has had none."""
        return crash_dict(self._dump(CMD_DUMP_GET, [["NOOKS_A_NAME", name]]))

    def restart(self, name: str) -> None:
        """Stop, release, init again; returns when done."""
        self._command(CMD_RESTART, [["NOOKS_A_NAME", name]])

    def release(self, name: str) -> None:
        """Stop and release; the module can be removed then."""
        self._command(CMD_RELEASE, [["NOOKS_A_NAME", name]])

    def set(self, name: str, **values: int | None) -> None:
        """Change what is given: level, limit_ms, flags, grace_ms, backoff_ms, burst, stall_ms,
        irq_rate, tx_timeouts, memory_mib.
        """
        attrs: list[list[Any]] = [["NOOKS_A_NAME", name]]
        for key, value in values.items():
            if value is not None:
                attrs.append([f"NOOKS_A_{key.upper()}", value])
        self._command(CMD_SET, attrs)

    def inject(self, module: str, symbol: str, *, offset: int, code: bytes) -> dict[str, Any]:
        """Patch text of a loaded module. Gives addr, and old and new bytes as hex."""
        msg = self._ask(
            CMD_INJECT,
            [
                ["NOOKS_A_NAME", module],
                ["NOOKS_A_SYMBOL", symbol],
                ["NOOKS_A_OFFSET", offset],
                ["NOOKS_A_BYTES", code],
            ],
        )
        return {
            "addr": msg.get_attr("NOOKS_A_ADDR"),
            "old": bytes(msg.get_attr("NOOKS_A_OLD")).hex(),
            "new": bytes(msg.get_attr("NOOKS_A_BYTES")).hex(),
        }

    def listen(self) -> None:
        """From here on events() has something to say."""
        self.add_membership(GROUP)

    def events(self) -> Iterator[dict[str, Any]]:
        """Waits for one batch of events."""
        for msg in self.get():
            yield event_dict(msg)

    def _message(self, cmd: int, attrs: list[list[Any]]) -> nooksmsg:
        msg = nooksmsg()
        msg["cmd"] = cmd
        msg["version"] = VERSION
        msg["attrs"] = attrs
        return msg

    def _command(self, cmd: int, attrs: list[list[Any]]) -> None:
        tuple(
            self.nlm_request(
                self._message(cmd, attrs), msg_type=self.prid, msg_flags=NLM_F_REQUEST | NLM_F_ACK
            )
        )

    def _ask(self, cmd: int, attrs: list[list[Any]]) -> nooksmsg:
        answer = self.nlm_request(
            self._message(cmd, attrs), msg_type=self.prid, msg_flags=NLM_F_REQUEST
        )
        answers: tuple[nooksmsg, ...] = tuple(answer)
        return answers[0]

    def _dump(self, cmd: int, attrs: list[list[Any]]) -> tuple[nooksmsg, ...]:
        answer = self.nlm_request(
            self._message(cmd, attrs), msg_type=self.prid, msg_flags=NLM_F_REQUEST | NLM_F_DUMP
        )
        return tuple(answer)


def flags_of(names: Iterable[str]) -> int:
    """NOOKS_F_* of some of FLAGS."""
    return sum(FLAGS[name] for name in names)


def _rule_attrs(rule: dict[str, Any]) -> list[list[Any]]:
    return [
        [f"NOOKS_R_{key.upper()}", rule[key]]
        for key in ("object", "field", "offset", "size", "value")
    ]


def plain(nest: Any) -> dict[str, Any]:
    """A nest as a dict; keys are the header's names without prefix, in lower case."""
    return {name[len(nest.prefix) :].lower(): value for name, value in nest["attrs"]}


def nook_dict(msg: Any) -> dict[str, Any]:
    """NOOKS_CMD_NOOK_GET's answer."""
    fault = msg.get_attr("NOOKS_A_FAULT")
    return {
        "name": msg.get_attr("NOOKS_A_NAME"),
        "id": msg.get_attr("NOOKS_A_ID"),
        "state": STATES[msg.get_attr("NOOKS_A_STATE")],
        "level": LEVELS[msg.get_attr("NOOKS_A_LEVEL")],
        "flags": [key for key, bit in FLAGS.items() if msg.get_attr("NOOKS_A_FLAGS") & bit],
        "limit_ms": msg.get_attr("NOOKS_A_LIMIT_MS"),
        "grace_ms": msg.get_attr("NOOKS_A_GRACE_MS"),
        "backoff_ms": msg.get_attr("NOOKS_A_BACKOFF_MS"),
        "burst": msg.get_attr("NOOKS_A_BURST"),
        "stall_ms": msg.get_attr("NOOKS_A_STALL_MS"),
        "irq_rate": msg.get_attr("NOOKS_A_IRQ_RATE"),
        "tx_timeouts": msg.get_attr("NOOKS_A_TX_TIMEOUTS"),
        "memory_mib": msg.get_attr("NOOKS_A_MEMORY_MIB"),
        "stats": plain(msg.get_attr("NOOKS_A_STATS")),
        "fault": plain(fault) if fault else None,
    }


def crash_dict(answer: Iterable[Any]) -> dict[str, Any]:
    """NOOKS_CMD_DUMP_GET's answer; bytes as hex."""
    head, *rest = answer
    regs = head.get_attr("NOOKS_A_REGS")
    stack = bytes(head.get_attr("NOOKS_A_STACK") or b"")
    found: dict[str, Any] = {
        "name": head.get_attr("NOOKS_A_NAME"),
        "fault": plain(head.get_attr("NOOKS_A_FAULT")),
        "registers": dict(zip(REGISTERS, struct.unpack("<21Q", regs), strict=True)) if regs else {},
        "code_at": head.get_attr("NOOKS_A_CODE_AT") or 0,
        "code": bytes(head.get_attr("NOOKS_A_CODE") or b"").hex(),
        "sp": head.get_attr("NOOKS_A_SP"),
        "stack": list(struct.unpack(f"<{len(stack) // 8}Q", stack)),
        "frames": [],
        "crossings": [],
        "objects": [],
        "counts": {},
    }
    for msg in rest:
        if frame := msg.get_attr("NOOKS_A_FRAME"):
            found["frames"].append(plain(frame))
        elif crossing := msg.get_attr("NOOKS_A_CROSSING"):
            values = plain(crossing)
            found["crossings"].append({**values, "kind": COUNTS[values["kind"]]})
        elif tracked := msg.get_attr("NOOKS_A_OBJECT"):
            values = plain(tracked)
            found["objects"].append({**values, "published": bool(values["published"])})
        elif count := msg.get_attr("NOOKS_A_COUNT"):
            values = plain(count)
            found["counts"][values["name"]] = values["value"]
    return found


def event_dict(msg: Any) -> dict[str, Any]:
    """A multicast message: event is "fault" or "state"."""
    found: dict[str, Any] = {
        "name": msg.get_attr("NOOKS_A_NAME"),
        "id": msg.get_attr("NOOKS_A_ID"),
    }
    if msg["cmd"] == CMD_EVENT_FAULT:
        return found | {"event": "fault", "fault": plain(msg.get_attr("NOOKS_A_FAULT"))}
    return found | {"event": "state", "state": STATES[msg.get_attr("NOOKS_A_STATE")]}
