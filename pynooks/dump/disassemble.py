# SPDX-License-Identifier: GPL-2.0-only
"""Instructions around a fault, from bytes whose first may be the middle of one."""

from __future__ import annotations

import re
from dataclasses import dataclass

import capstone

from pynooks.control.records import Crash

RULE = 257  # the exit that a check refused: the call before ip
_SYMBOL = re.compile(r"(\S+?)\+0x([0-9a-f]+)/0x([0-9a-f]+)(?: \[(\S+)\])?")
_HUGE = re.compile(r"\$(\d{2,})\b")  # capstone writes 64-bit constants in decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """text: in AT&T syntax; where: function+offset, "" if unknown; faulting: what failed."""

    addr: int
    code: bytes
    text: str
    where: str
    faulting: bool


def disassemble(crash: Crash) -> list[Instruction]:
    """What the record's bytes say; one instruction begins at ip. Empty if it has no bytes."""
    ip, rule = crash.fault.ip, crash.fault.vec == RULE
    function, start = _function(crash)
    code = crash.code
    begin = _begin(code, ip - crash.code_at, start - crash.code_at if function else None)
    return [
        Instruction(
            addr=addr,
            code=code[addr - crash.code_at :][:size],
            text=_HUGE.sub(lambda m: f"${int(m[1]):#x}", f"{word} {operands}".strip()),
            where=f"{function}+{addr - start:#x}" if function and addr >= start else "",
            faulting=addr + size == ip if rule else addr == ip,
        )
        for addr, size, word, operands in _decode(code[begin:], crash.code_at + begin)
    ]


def _function(crash: Crash) -> tuple[str, int]:
    """The function that ip lies in and its address; "" if there is none."""
    frame = next((f for f in crash.frames if f.at == 0), None)
    found = _SYMBOL.fullmatch(frame.symbol) if frame else None
    return (found[1], crash.fault.ip - int(found[2], 16)) if found else ("", 0)


def _begin(code: bytes, ip: int, start: int | None) -> int:
    """Where to begin to decode. ip, start: places in code.

    The function's start if it was copied. Else the earliest place from where decoding, one
    instruction after the other, comes to ip: x86 falls into step soon, so most places do, and the
    latest instructions are right whatever the first ones are.
    """
    if start is not None and 0 <= start <= ip and _reaches(code, start, ip):
        return start
    return next((at for at in range(ip) if _reaches(code, at, ip)), max(ip, 0))


def _reaches(code: bytes, at: int, ip: int) -> bool:
    ends = (addr + size for addr, size, word, _ in _decode(code[at:ip], at) if word != ".byte")
    return at == ip or ip in ends


def _decode(code: bytes, addr: int) -> list[tuple[int, int, str, str]]:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.syntax = capstone.CS_OPT_SYNTAX_ATT  # as objdump writes it
    engine.skipdata = True
    return list(engine.disasm_lite(code, addr))
