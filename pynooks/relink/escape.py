# SPDX-License-Identifier: GPL-2.0-only
"""Which driver functions escape as pointers, and through which relocations.

A function escapes where its address is stored (ops tables, module init) or loaded (request_irq,
INIT_WORK). Each such relocation is pointed at the function's gate; branches are not, so that the
driver calls itself for free. What describes code to the kernel (unwinder, bug table, ...) keeps
the true address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

import capstone

from pynooks.relink.elf import (
    R_32,
    R_32S,
    R_64,
    R_NONE,
    R_PC32,
    R_PC64,
    R_PLT32,
    STT_FUNC,
    ElfModule,
    Reloc,
    Section,
    Symbol,
    refuse,
)
from pynooks.relink.plan import is_branch

THIS_MODULE = ".gnu.linkonce.this_module"
METADATA = frozenset((
    ".orc_unwind", ".orc_unwind_ip", "__mcount_loc", "__bug_table", "__ex_table",
    ".altinstructions", ".altinstr_aux", ".retpoline_sites", ".return_sites", ".call_sites",
    ".smp_locks", ".parainstructions", "__jump_table", ".static_call_sites", "__dyndbg",
    ".BTF", ".comment", ".ibt_endbr_seal", "__patchable_function_entries", ".codetag.alloc_tags",
    "_kprobe_blacklist", ".eh_frame",
))  # fmt: skip
METADATA_PREFIX = (".note", ".discard")
# Where the compiler puts a driver's own objects.
DATA = re.compile(
    r"\.(data|rodata|ref\.data|init\.data|init\.rodata|exit\.data|exit\.rodata)\b|__param\Z"
    r"|\.data\.|\.rodata\."
)


class GateKind(IntEnum):
    """enum nooks_gate_kind of kmod/nooks.h."""

    PLAIN = 0
    INIT = 1
    EXIT = 2


@dataclass(frozen=True, slots=True)
class Escape:
    """A relocation that holds a function's address.

    delta: what the relocation adds to the function's start, kept when it points at the gate
    """

    section: Section
    reloc: Reloc
    function: Symbol
    kind: GateKind
    delta: int


def is_metadata(name: str) -> bool:
    return name in METADATA or name.startswith(METADATA_PREFIX)


class Functions:
    """Function starts of a module, and the symbols that hold data, by place."""

    def __init__(self, elf: ElfModule) -> None:
        self.elf = elf
        self.start: dict[tuple[int, int], Symbol] = {}
        for sym in elf.symbols:
            if sym.type == STT_FUNC and 0 < sym.shndx < len(elf.sections):
                if not elf.sections[sym.shndx].exec:
                    raise refuse(
                        f"section {elf.sections[sym.shndx].name}: function {sym.name} in data"
                    )
                key = sym.shndx, sym.value
                old = self.start.get(key)
                if old is None or old.name in ("init_module", "cleanup_module"):
                    self.start[key] = sym
        self.addressable = {(s.shndx, s.value) for s in elf.symbols if "__addressable_" in s.name}
        self._ends: dict[int, list[tuple[int, int]]] = {}

    def target_section(self, sym: Symbol) -> Section | None:
        if 0 < sym.shndx < len(self.elf.sections):
            return self.elf.sections[sym.shndx]
        return None

    def containing(self, section: Section, offset: int) -> int:
        """Where the function around `offset` starts."""
        starts = self._ends.setdefault(
            section.index, sorted((v, v) for (i, v) in self.start if i == section.index)
        )
        best = 0
        for value, _ in starts:
            if value > offset:
                break
            best = value
        return best


def instruction_end(functions: Functions, section: Section, offset: int) -> int:
    """Where the instruction ends whose operand is at `offset`."""
    code = functions.elf.content(section)
    begin = functions.containing(section, offset)
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.skipdata = True
    for address, size, _, _ in engine.disasm_lite(code[begin : offset + 16], begin):
        if address <= offset < address + size:
            return int(address + size)
    raise refuse(f"section {section.name}: no instruction at {offset:#x}")


def find_escapes(elf: ElfModule) -> list[Escape]:
    """Every relocation to repoint, in file order. Refuses unknown sections by name."""
    functions = Functions(elf)
    out: list[Escape] = []
    for index in sorted(elf.relocs):
        section = elf.sections[index]
        if not section.alloc or is_metadata(section.name):
            continue
        for r in elf.relocs[index]:
            escape = _escape(functions, section, r)
            if escape is None:
                continue
            if not section.exec and section.name != THIS_MODULE and not DATA.match(section.name):
                raise refuse(
                    f"section {section.name} holds a pointer to {escape.function.name}, and what "
                    "the kernel does with it is unknown",
                    "drivers that export functions or define tracepoints cannot be isolated yet",
                )
            out.append(escape)
    return out


def _escape(functions: Functions, section: Section, r: Reloc) -> Escape | None:
    sym = functions.elf.symbols[r.sym]
    target = functions.target_section(sym)
    if target is None or not target.exec or r.type in (R_NONE, R_PLT32):
        return None
    value = sym.value + r.addend
    if section.exec:
        if r.type == R_PC32:
            if is_branch(functions.elf.content(section), r.offset):
                return None
            value += instruction_end(functions, section, r.offset) - r.offset
        elif r.type not in (R_32S, R_32, R_64):
            raise refuse(f"section {section.name}: relocation type {r.type} to code")
    elif r.type not in (R_64, R_PC32, R_PC64, R_32, R_32S):
        raise refuse(f"section {section.name}: relocation type {r.type} to code")
    function = functions.start.get((target.index, value))
    if function is None:
        return None
    if (section.index, r.offset) in functions.addressable:
        return None  # only keeps the compiler from dropping the function
    kind = GateKind.PLAIN
    if section.name == THIS_MODULE:
        names = {s.name for s in functions.elf.symbols
                 if s.shndx == target.index and s.value == value}  # fmt: skip
        if "init_module" in names and "cleanup_module" not in names:
            kind = GateKind.INIT
        elif "cleanup_module" in names:
            kind = GateKind.EXIT
        else:
            raise refuse(f"section {section.name}: neither init nor exit: {function.name}")
    return Escape(section, r, function, kind, sym.value + r.addend - function.value)
