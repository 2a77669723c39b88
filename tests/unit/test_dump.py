# SPDX-License-Identifier: GPL-2.0-only
"""A crash record: from netlink's answer to text, with code that is decoded from its middle."""

from __future__ import annotations

import errno
import json
import struct
import sys
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import btfmake
import pytest

from pynooks.btf import Btf
from pynooks.cli import dump as command
from pynooks.cli import main as cli
from pynooks.control import netlink
from pynooks.control.client import AgentError
from pynooks.control.netlink import crash_dict, nooksmsg
from pynooks.control.records import Crash, Crossing, Fault, Frame, Tracked
from pynooks.dump import as_json, disassemble, render

BASE = 0xFFFFFFFFC0A00000
PUSH = b"\x55"  # push %rbp
MOV = b"\x48\xb8" + struct.pack("<Q", 0xFFFFFFFF82BFB000)  # mov $address, %rax
STORE = b"\x48\xc7\x00NOOK"  # movq $MARK, (%rax)
RET = b"\xc3"
CALL = b"\xe8\x10\x00\x00\x00"
STACK = 0xFFFF888004003F00


def fault(ip: int, vec: int = 14) -> Fault:
    return Fault(
        vec=vec, err=3, ip=ip, addr=0xFFFFFFFF82BFB000, sp=STACK, flags=0x10202, time=12500000000,
        cpu=1, pid=77, what="write to memory it does not own",
        entry="net_device_ops.ndo_start_xmit", symbol="e1000_xmit_frame+0xa/0xfc0 [e1000]",
        target="init_uts_ns+0x0/0x1b0",
    )  # fmt: skip


def crash(code: bytes, at: int, *, offset: int = 0xA, vec: int = 14) -> Crash:
    """One whose faulting instruction stands at code[at], that far into its function."""
    ip = BASE + at
    registers = dict.fromkeys(netlink.REGISTERS, 0) | {"ip": ip, "sp": STACK}
    return Crash(
        name="e1000", fault=fault(ip, vec), registers=registers, code_at=BASE, code=code, sp=STACK,
        stack=(1, BASE + 0x500),
        frames=(
            Frame(at=0, addr=ip, symbol=f"e1000_xmit_frame+{offset:#x}/0xfc0 [e1000]"),
            Frame(at=STACK + 8, addr=BASE + 0x500, symbol="xpc_enter+0xd2/0x123 [nooks]"),
        ),
        crossings=(
            Crossing(cpu=0, tsc=1000, kind="exit", name="napi_complete_done"),
            Crossing(cpu=1, tsc=1500, kind="entry", name="e1000_xmit_frame"),
        ),
        objects=(Tracked(type="net_device", addr=BASE + 0x9000, size=2432, published=True),),
        counts={"heap": 3, "net_device": 1, "dma_map": 255},
    )  # fmt: skip


# ---- disassembly


def test_decoding_begins_with_the_function() -> None:
    before = b"\x00" * 3  # padding that would swallow the function's first bytes
    found = disassemble(crash(before + MOV + STORE + RET, 3 + len(MOV)))
    (insn,) = [i for i in found if i.faulting]
    assert insn.text == "movq $0x4b4f4f4e, (%rax)"
    assert insn.where == "e1000_xmit_frame+0xa"
    assert insn.code == STORE
    assert found[0].text == "movabsq $0xffffffff82bfb000, %rax"
    assert [i.where for i in found] == [f"e1000_xmit_frame+{n:#x}" for n in (0, 0xA, 0x11)]


def test_decoding_falls_into_step_with_ip() -> None:
    """The copy begins within the mov's constant, and the function is far away."""
    code = (MOV + PUSH * 4)[5:] + STORE + RET
    at = len(code) - len(STORE) - 1
    found = disassemble(crash(code, at, offset=0x700))
    assert [i.code for i in found if i.faulting] == [STORE]
    assert [i.text for i in found][-3:] == ["pushq %rbp", "movq $0x4b4f4f4e, (%rax)", "retq"]
    assert b"".join(i.code for i in found) == code[found[0].addr - BASE :]


@pytest.mark.parametrize("cut", range(len(MOV) + len(STORE)))
def test_an_instruction_begins_at_ip_wherever_the_copy_begins(cut: int) -> None:
    code = (MOV + STORE)[cut:] + STORE + RET
    at = len(code) - len(STORE) - 1
    (insn,) = [i for i in disassemble(crash(code, at, offset=0x700)) if i.faulting]
    assert (insn.addr, insn.code) == (BASE + at, STORE)


def test_a_refused_call_is_marked_before_ip() -> None:
    code = MOV + CALL + RET
    found = disassemble(crash(code, len(MOV + CALL), offset=len(MOV + CALL), vec=257))
    assert [i.code for i in found if i.faulting] == [CALL]


def test_a_jump_to_nowhere_has_no_code() -> None:
    nowhere = replace(crash(b"", 0), frames=(Frame(at=0, addr=0x4E4F0000, symbol="0x4e4f0000"),),
                      code_at=0x4E4F0000, fault=fault(0x4E4F0000))  # fmt: skip
    assert disassemble(nowhere) == []
    assert "there is no code at 0x4e4f0000" in render(nowhere)


def test_code_without_a_symbol() -> None:
    unknown = replace(crash(MOV + STORE, len(MOV)), frames=())
    (insn,) = [i for i in disassemble(unknown) if i.faulting]
    assert (insn.code, insn.where) == (STORE, "")
    assert f"=> {insn.addr:016x}" in render(unknown)


# ---- text and JSON


def test_text() -> None:
    text = render(crash(MOV + STORE + RET, len(MOV)))
    titles = [line for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == ["fault:", "registers:", "backtrace:", "entries and exits, newest last:",
                      "objects, newest first:", "disassembly:"]  # fmt: skip
    assert "e1000: #PF at e1000_xmit_frame+0xa/0xfc0 [e1000] in net_device_ops.ndo_start" in text
    assert "     ip ffffffffc0a0000a      sp ffff888004003f00" in text
    assert "    e1000_xmit_frame+0xa/0xfc0 [e1000]\n  ? xpc_enter+0xd2/0x123 [nooks]\n" in text
    assert "          -500 CPU 0 exit  napi_complete_done" in text
    assert "             0 CPU 1 entry e1000_xmit_frame" in text
    assert "ffffffffc0a09000     2432 net_device, published" in text
    assert "in all: 255 dma_map, 3 heap, 1 net_device" in text
    assert "  => e1000_xmit_frame+0xa " in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_recursion_is_one_line() -> None:
    record = crash(MOV + STORE, len(MOV))
    here, back = record.frames
    again = [Frame(at=STACK + 8 * n, addr=BASE, symbol="f+0x5/0x9 [e1000]") for n in range(1, 200)]
    text = render(replace(record, frames=(here, *again, back)))
    assert "  ? f+0x5/0x9 [e1000], 199 times\n  ? xpc_enter+0xd2/0x123 [nooks]\n" in text


def test_only_what_is_known_of_the_registers() -> None:
    partial = Crash.of(as_answer() | {"registers": {}})
    assert partial.registers == {"ip": partial.fault.ip, "sp": partial.fault.sp}
    assert "the other registers are not known" in render(partial)


def test_an_unknown_place_is_said_to_be_unknown() -> None:
    unknown = replace(crash(b"", 0), code_at=0, fault=fault(0, vec=257))
    assert "which instruction did it is not known" in render(unknown)


def test_nothing_is_said_to_be_nothing() -> None:
    empty = replace(crash(b"", 0), frames=(), crossings=(), objects=(), counts={})
    text = render(empty)
    assert "no return address is on its stack" in text
    assert "in all: none" in text


def test_json_has_all() -> None:
    record = crash(MOV + STORE + RET, len(MOV))
    raw = json.loads(json.dumps(as_json(record)))
    assert raw["schema"] == 1
    assert raw["code"] == record.code.hex()
    assert raw["fault"] == asdict(record.fault)
    assert raw["frames"][1]["symbol"] == "xpc_enter+0xd2/0x123 [nooks]"
    assert [i["addr"] for i in raw["disassembly"] if i["faulting"]] == [record.fault.ip]


# ---- netlink


def message(*attrs: list[Any]) -> Any:
    msg = nooksmsg()
    msg["cmd"] = netlink.CMD_DUMP_GET
    msg["version"] = netlink.VERSION
    msg["attrs"] = list(attrs)
    msg.encode()
    back = nooksmsg(msg.data)
    back.decode()
    return back


def nest(attribute: str, prefix: str, /, **values: Any) -> Any:
    return message([attribute, {"attrs": [[f"{prefix}{k.upper()}", v] for k, v in values.items()]}])


def as_answer() -> dict[str, Any]:
    """As the agent gives it, by way of what the kernel sends."""
    record = crash(MOV + STORE + RET, len(MOV))
    told = {f"NOOKS_F_A_{k.upper()}": v for k, v in asdict(record.fault).items()}
    head = message(
        ["NOOKS_A_NAME", "e1000"],
        ["NOOKS_A_FAULT", {"attrs": [list(item) for item in told.items()]}],
        ["NOOKS_A_REGS", struct.pack("<21Q", *(record.registers[r] for r in netlink.REGISTERS))],
        ["NOOKS_A_CODE", record.code],
        ["NOOKS_A_CODE_AT", record.code_at],
        ["NOOKS_A_STACK", struct.pack("<2Q", *record.stack)],
        ["NOOKS_A_SP", record.sp],
    )
    kinds = {kind: netlink.COUNTS.index(kind) for kind in ("entry", "exit")}
    return crash_dict([
        head,
        *(nest("NOOKS_A_FRAME", "NOOKS_B_", **asdict(f)) for f in record.frames),
        *(nest("NOOKS_A_CROSSING", "NOOKS_X_", **asdict(c) | {"kind": kinds[c.kind]})
          for c in reversed(record.crossings)),
        *(nest("NOOKS_A_OBJECT", "NOOKS_O_", **asdict(o)) for o in record.objects),
        *(nest("NOOKS_A_COUNT", "NOOKS_C_", kind=0, name=k, value=v)
          for k, v in record.counts.items()),
    ])  # fmt: skip


def test_the_kernels_answer_is_the_record() -> None:
    raw = json.loads(json.dumps(as_answer()))  # as it comes from the agent
    assert Crash.of(raw) == crash(MOV + STORE + RET, len(MOV))


# ---- the command


class Target:
    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def btf_file(self) -> None:
        pass


class Peer:
    """An agent with or without a record."""

    record: Crash | None = None

    def dump(self, name: str) -> Crash:
        if self.record is None:
            raise AgentError(
                f"vm: {name} has had no fault", hint="make it fail", number=errno.ENODATA
            )
        return self.record


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Peer:
    found = Peer()
    monkeypatch.setattr(command, "open_target", lambda vm, host: Target())
    monkeypatch.setattr(command, "Agent", lambda target: nullcontext(found))
    monkeypatch.setattr(command, "read_btf", lambda path: Btf(btfmake.kernel()))
    return found


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pynooks", "dump", *words])
    return cli.main()


def test_without_a_fault_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], peer: Peer, tmp_path: Path
) -> None:
    assert call(monkeypatch, "e1000", "-o", str(tmp_path / "record")) == 1
    told = capsys.readouterr()
    assert "e1000 has had no fault" in told.err
    assert "hint: " in told.err
    assert told.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_file_has_what_stdout_would(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], peer: Peer, tmp_path: Path
) -> None:
    peer.record = crash(MOV + STORE + RET, len(MOV))
    path = tmp_path / "record"
    for words in ([], ["--json"]):
        assert call(monkeypatch, "e1000", *words) == 0
        said = capsys.readouterr().out
        assert call(monkeypatch, "e1000", "-o", str(path), *words) == 0
        assert capsys.readouterr().out == ""
        assert path.read_text() == said
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_text())["name"] == "e1000"


def test_a_file_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], peer: Peer, tmp_path: Path
) -> None:
    peer.record = crash(MOV + STORE + RET, len(MOV))
    assert call(monkeypatch, "e1000", "-o", str(tmp_path / "gone" / "record")) == 2
    assert "No such file" in capsys.readouterr().err
