# SPDX-License-Identifier: GPL-2.0-only
"""A stock driver's machine code as routines: what may be changed, and what may not.

Untouchable are the bytes that the module loader or the kernel writes itself: relocations, and the
instructions that alternatives, static calls, static keys, thunks, tracing and lock prefixes name.
So a mutation fits the stock module and the relinked one alike.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import capstone
from capstone import x86

from pynooks.relink import ElfModule
from pynooks.relink.elf import RELOC_WIDTH, STT_FUNC, Reloc, Section

# Sections whose entries name code that the kernel patches: entry size, where in an entry the code's
# address is, where its length is (None: one instruction).
PATCH_SITES: dict[str, tuple[int, int, int | None]] = {
    "__jump_table": (16, 0, None),
    "__mcount_loc": (8, 0, None),
    ".altinstructions": (12, 0, 10),
    ".ibt_endbr_seal": (4, 0, None),
    ".parainstructions": (16, 0, 9),
    ".retpoline_sites": (4, 0, None),
    ".return_sites": (4, 0, None),
    ".smp_locks": (4, 0, None),
    ".static_call_sites": (8, 0, None),
}
_NO_TARGETS = (".orc_unwind_ip", ".return_sites", ".retpoline_sites", "__mcount_loc", ".smp_locks")
_FAMILY = {
    **{
        name: f"r{a}x"
        for a in "abcd"
        for name in (f"{a}l", f"{a}h", f"{a}x", f"e{a}x", f"r{a}x")
    },
    **{
        name: f"r{r}"
        for r in ("si", "di", "bp", "sp")
        for name in (f"{r}l", r, f"e{r}", f"r{r}")
    },
    **{f"r{n}{tail}": f"r{n}" for n in range(8, 16) for tail in ("", "d", "w", "b")},
}
_ENDS = ("jmp", "ret", "ud2", "int3")


def disassembler() -> Any:
    found = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    found.detail = True
    return found


@dataclass(frozen=True, slots=True)
class Operand:
    """What an instruction works on. kind: reg, imm or mem; what: as a comparable value."""

    kind: str
    what: tuple[Any, ...]
    size: int
    read: bool
    written: bool


@dataclass(frozen=True, slots=True)
class Insn:
    """One instruction. offset: from the routine's start; target: of a direct branch or call.

    regs_read, regs_written: 64-bit names, implicit ones and those of addresses included
    fixed: a byte of it is not ours to change
    """

    offset: int
    raw: bytes
    name: str
    args: str
    operands: tuple[Operand, ...]
    regs_read: frozenset[str]
    regs_written: frozenset[str]
    opcode_at: int
    target: int | None
    fixed: bool

    @property
    def end(self) -> int:
        return self.offset + len(self.raw)

    @property
    def is_jump(self) -> bool:
        return self.name.startswith("j")

    @property
    def is_conditional(self) -> bool:
        return self.is_jump and self.name not in ("jmp", "jrcxz", "jecxz")

    @property
    def is_call(self) -> bool:
        return self.name == "call"

    @property
    def ends_block(self) -> bool:
        return self.is_jump or self.is_call or self.name.startswith(_ENDS)

    def __str__(self) -> str:
        return f"{self.name} {self.args}".strip()


def decode_one(code: bytes, at: int = 0, *, fixed: bool = False, engine: Any = None) -> Insn | None:
    """The instruction at the start of `code`, None if there is none."""
    for raw in (engine or disassembler()).disasm(code[:16], at, 1):
        return _insn(raw, fixed)
    return None


def family(register: str) -> str:
    """rax of al, eax and so on; a name without family is its own."""
    return _FAMILY.get(register, register)


def _insn(raw: Any, fixed: bool) -> Insn:
    read, written = raw.regs_access()
    operands = tuple(_operand(raw, op) for op in raw.operands)
    target = None
    if raw.mnemonic.startswith(("j", "call")) and operands and operands[0].kind == "imm":
        target = operands[0].what[0]
    return Insn(
        offset=raw.address,
        raw=bytes(raw.bytes),
        name=raw.mnemonic,
        args=raw.op_str,
        operands=operands,
        regs_read=frozenset(family(raw.reg_name(r)) for r in read),
        regs_written=frozenset(family(raw.reg_name(r)) for r in written),
        opcode_at=_opcode_at(raw),
        target=target,
        fixed=fixed,
    )


def _opcode_at(raw: Any) -> int:
    """Offset of the opcode: behind legacy prefixes and REX."""
    at = 0
    while raw.bytes[at] in b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3":
        at += 1
    return at + 1 if 0x40 <= raw.bytes[at] <= 0x4F else at


def _operand(raw: Any, op: Any) -> Operand:
    read, written = bool(op.access & capstone.CS_AC_READ), bool(op.access & capstone.CS_AC_WRITE)
    if op.type == x86.X86_OP_REG:
        return Operand("reg", (raw.reg_name(op.reg),), op.size, read, written)
    if op.type == x86.X86_OP_IMM:
        return Operand("imm", (op.imm,), op.size, True, False)
    m = op.mem
    names = tuple(raw.reg_name(r) if r else "" for r in (m.segment, m.base, m.index))
    return Operand("mem", (*names, m.scale, m.disp), op.size, read, written)


@dataclass(frozen=True)
class Routine:
    """A function of the driver.

    fixed:   offsets of bytes that are not ours
    imports: offset of a call's opcode -> name of what it calls, as far as a relocation tells
    entered: offsets inside that other sections point to, such as targets of static keys
    """

    name: str
    code: bytes
    fixed: frozenset[int]
    imports: Mapping[int, str]
    entered: frozenset[int]

    @cached_property
    def insns(self) -> tuple[Insn, ...]:
        """All of it in order; decoding stops where capstone does not know an instruction."""
        engine = disassembler()
        out = []
        for raw in engine.disasm(self.code, 0):
            covered = any(at in self.fixed for at in range(raw.address, raw.address + raw.size))
            out.append(_insn(raw, covered))
        return tuple(out)

    @cached_property
    def targets(self) -> frozenset[int]:
        """Offsets that a branch, or another section, leads to."""
        own = {i.target for i in self.insns if i.is_jump and i.target is not None}
        return frozenset(own | self.entered)

    @cached_property
    def index(self) -> dict[int, int]:
        """Offset -> position in insns."""
        return {insn.offset: i for i, insn in enumerate(self.insns)}

    def called(self, insn: Insn) -> str:
        """What a call calls; empty if it stays in the driver without a relocation."""
        return self.imports.get(insn.offset, "")

    def before(self, position: int) -> Iterator[Insn]:
        """Instructions of the same block, backwards from insns[position] without it."""
        here = self.insns[position]
        for insn in reversed(self.insns[:position]):
            if here.offset in self.targets or insn.ends_block:
                return
            yield insn
            here = insn

    def block(self, start: int) -> Iterator[Insn]:
        """Instructions from this offset to where the block ends; calls do not end it."""
        for position in range(self.index.get(start, len(self.insns)), len(self.insns)):
            insn = self.insns[position]
            if insn.offset != start and insn.offset in self.targets:
                return
            yield insn
            if insn.ends_block and not insn.is_call:
                return

    def setter(self, position: int, register: str) -> Insn | None:
        """What gives `register` its value in the block before insns[position]."""
        for insn in self.before(position):
            if register in insn.regs_written:
                return insn
        return None


@dataclass(frozen=True)
class Text:
    """A driver's routines by name; sha256 of the file they are from."""

    sha256: str
    routines: Mapping[str, Routine] = field(repr=False)

    @classmethod
    def of(cls, module: bytes) -> Text:
        """Of a stock .ko. Functions that share their name, and init and exit code, are left out."""
        elf = ElfModule.parse(module)
        fixed, entered = _patched(elf)
        routines: dict[str, Routine] = {}
        twice: set[str] = set()
        for symbol in elf.symbols:
            if symbol.type != STT_FUNC or not 0 < symbol.shndx < len(elf.sections):
                continue
            section = elf.sections[symbol.shndx]
            if not section.exec or not symbol.size or section.name.startswith((".init", ".exit")):
                continue
            if symbol.name in routines:
                twice.add(symbol.name)
            start, end = symbol.value, symbol.value + symbol.size
            routines[symbol.name] = Routine(
                name=symbol.name,
                code=bytes(elf.content(section)[start:end]),
                fixed=_inside(fixed.get(section.index, set()), start, end),
                imports={
                    at - 1 - start: name
                    for at, name in _names(elf, section)
                    if start <= at - 1 < end and elf.content(section)[at - 1] == 0xE8
                },
                entered=_inside(entered.get(section.index, set()), start, end),
            )
        have = {name: r for name, r in routines.items() if name not in twice}
        return cls(hashlib.sha256(module).hexdigest(), have)


def _inside(offsets: set[int], start: int, end: int) -> frozenset[int]:
    return frozenset(at - start for at in offsets if start <= at < end)


def _names(elf: ElfModule, section: Section) -> Iterator[tuple[int, str]]:
    for r in elf.relocs.get(section.index, ()):
        yield r.offset, elf.symbols[r.sym].name


def _place(elf: ElfModule, r: Reloc) -> tuple[int, int]:
    """Section and offset that a relocation of a data section means."""
    symbol = elf.symbols[r.sym]
    return symbol.shndx, symbol.value + r.addend


def _patched(elf: ElfModule) -> tuple[dict[int, set[int]], dict[int, set[int]]]:
    """By section of code: offsets of bytes that are not ours, and of places that data points to."""
    fixed: dict[int, set[int]] = {}
    entered: dict[int, set[int]] = {}
    starts: dict[int, list[tuple[int, int]]] = {}
    for index, relocs in elf.relocs.items():
        section = elf.sections[index]
        if section.exec:
            for r in relocs:
                fixed.setdefault(index, set()).update(
                    range(r.offset, r.offset + RELOC_WIDTH.get(r.type, 8))
                )
            continue
        site = PATCH_SITES.get(section.name)
        for r in relocs:
            where, at = _place(elf, r)
            if not 0 < where < len(elf.sections) or not elf.sections[where].exec:
                continue
            if site and r.offset % site[0] == site[1]:
                length = 1
                if site[2] is not None:
                    entry = r.offset - site[1]
                    (length,) = struct.unpack_from("B", elf.content(section), entry + site[2])
                starts.setdefault(where, []).append((at, length))
            elif section.name not in _NO_TARGETS:
                entered.setdefault(where, set()).add(at)
    for where, sites in starts.items():
        for at, length in sites:
            fixed.setdefault(where, set()).update(range(at, at + length))
    return fixed, entered
