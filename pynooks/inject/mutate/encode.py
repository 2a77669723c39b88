# SPDX-License-Identifier: GPL-2.0-only
"""The few instructions that faults are made of, as bytes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pynooks.inject.mutate.code import Insn

# Recommended multi-byte NOPs (Intel SDM, volume 2B, NOP).
_NOPS = {
    1: "90", 2: "6690", 3: "0f1f00", 4: "0f1f4000", 5: "0f1f440000", 6: "660f1f440000",
    7: "0f1f8000000000", 8: "0f1f840000000000", 9: "660f1f840000000000",
}  # fmt: skip
_ENCODED = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
            *(f"r{n}" for n in range(8, 16)))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Edit:
    """New bytes from the start of an instruction on, as many as there were."""

    offset: int
    new: bytes


def nops(size: int) -> bytes:
    out = b""
    while size:
        step = min(size, 9)
        out += bytes.fromhex(_NOPS[step])
        size -= step
    return out


def always(jump: Insn) -> bytes:
    """A conditional jump without its condition."""
    head, tail = jump.raw[: jump.opcode_at], jump.raw[jump.opcode_at :]
    return head + (b"\x90\xe9" + tail[2:] if tail[0] == 0x0F else b"\xeb" + tail[1:])


def flipped(raw: bytes, bit: int) -> bytes:
    out = bytearray(raw)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def lea(to: str, base: str, add: int) -> bytes:
    """lea to32, [base+add]"""
    reg, rm = _ENCODED.index(to), _ENCODED.index(base)
    rex = 0x40 | (reg >> 3) << 2 | rm >> 3
    short = -128 <= add <= 127
    modrm = (0x40 if short else 0x80) | (reg & 7) << 3 | rm & 7
    sib = b"\x24" if rm & 7 == 4 else b""
    head = bytes([rex]) if rex != 0x40 else b""
    return head + bytes([0x8D, modrm]) + sib + add.to_bytes(1 if short else 4, "little")


def short_move(insn: Insn) -> bytes:
    """mov r64, r64 as push and pop if that is shorter; else nothing."""
    if insn.name != "mov" or any(o.kind != "reg" or o.size != 8 for o in insn.operands):
        return b""
    code = b""
    for base, register in ((0x50, insn.operands[1]), (0x58, insn.operands[0])):
        number = _ENCODED.index(register.what[0])
        code += (b"\x41" if number > 7 else b"") + bytes([base | number & 7])
    return code if len(code) < len(insn.raw) else b""


def one(register: str, size: int) -> bytes:
    """A nonzero constant in the place of xor r, r: the register's lowest byte is set."""
    number = _ENCODED.index(register)
    rex = b"\x41" if number > 7 else b"\x40" if number > 3 else b""
    code = rex + bytes([0xB0 | number & 7, 1])
    return code + nops(size - len(code)) if len(code) <= size else nops(size)
