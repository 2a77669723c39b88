# SPDX-License-Identifier: GPL-2.0-only
"""Write the relinked module: what is new goes behind the old file.

In place change only relocation entries, section headers (in their new table) and the five bytes
of `call __fentry__`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pynooks.relink.elf import (
    R_64,
    R_NONE,
    R_PLT32,
    RELA,
    SHDR,
    SHF_ALLOC,
    SHF_EXEC,
    SHT_PROGBITS,
    SHT_RELA,
    STB_GLOBAL,
    STT_FUNC,
    STT_OBJECT,
    SYM,
    ElfModule,
    Reloc,
    Section,
)
from pynooks.relink.escape import Escape, GateKind
from pynooks.relink.layout import PAGE, RENAMES, Layout, new_flags
from pynooks.relink.plan import GATE_ENTRY, PREFIX, Call, Export

MANIFEST = struct.Struct("<IIIIQQ")  # struct nooks_manifest
MANIFEST_MAGIC, MANIFEST_VERSION = 0x4B4F4F4E, 1
PAIR = struct.Struct("<QQ")  # struct nooks_range, struct nooks_gate_ent
GATE_SIZE = 16
# endbr64; lea rax, [rip - 11] (the gate itself); jmp nooks_xpc_gate
GATE_CODE = bytes.fromhex("f30f1efa488d05f5ffffffe900000000")
GATE_JMP = 12
NOP5 = bytes.fromhex("0f1f440000")
SHF_INFO_LINK = 0x40
VERSION = struct.Struct("<Q56s")


@dataclass(slots=True)
class SectionHeader:
    """A section header that is being written."""

    section: Section
    body: bytes | None = None


class ModuleWriter:
    """Edits collected over an ElfModule; finish() gives the new file."""

    def __init__(self, elf: ElfModule) -> None:
        self.elf = elf
        self.out = bytearray(elf.data)
        self.headers = [SectionHeader(s) for s in elf.sections]
        self.names = bytearray(elf.content(elf.sections[elf.shstrndx]))
        self.symbols = bytearray(elf.content(elf.symtab))
        self.strings = bytearray(elf.content(elf.strtab))
        self._imports: dict[str, int] = {}
        self._gates: dict[tuple[int, int, GateKind], int] = {}
        self._gate_list: list[tuple[Escape, int]] = []

    def add_symbol(self, name: str, kind: int, shndx: int, value: int, size: int) -> int:
        index = len(self.symbols) // SYM.size
        info = STB_GLOBAL << 4 | kind
        self.symbols += SYM.pack(len(self.strings), info, 0, shndx, value, size)
        self.strings += name.encode() + b"\0"
        return index

    def _import(self, name: str) -> int:
        if name not in self._imports:
            self._imports[name] = self.add_symbol(name, 0, 0, 0, 0)
        return self._imports[name]

    def patch(self, r: Reloc, kind: int, sym: int, addend: int) -> None:
        RELA.pack_into(self.out, r.pos, r.offset, sym << 32 | kind, addend)

    def redirect(self, call: Call) -> None:
        """Point a call at nooks.ko's symbol."""
        r = call.reloc
        self.patch(r, r.type, self._import(PREFIX + call.name), r.addend)

    def untrace(self, section: Section, r: Reloc) -> None:
        """Overwrite `call __fentry__`."""
        start = section.offset + r.offset - 1
        self.out[start : start + 5] = NOP5
        self.patch(r, R_NONE, 0, 0)

    def gate(self, escape: Escape, section: int) -> None:
        """Point an escaping address at the function's gate in the section of that index."""
        key = escape.function.shndx, escape.function.value, escape.kind
        if key not in self._gates:
            suffix = {GateKind.INIT: "_init", GateKind.EXIT: "_exit"}.get(escape.kind, "")
            name = f"nooks_gate{suffix}_{escape.function.name}"
            value = len(self._gate_list) * GATE_SIZE
            self._gates[key] = self.add_symbol(name, STT_FUNC, section, value, GATE_SIZE)
            self._gate_list.append((escape, self._gates[key]))
        self.patch(escape.reloc, escape.reloc.type, self._gates[key], escape.delta)

    @property
    def ngates(self) -> int:
        return len(self._gate_list)

    def append(self, name: str, kind: int, flags: int, align: int, entsize: int, body: bytes,
               link: int = 0, info: int = 0) -> int:  # fmt: skip
        index = len(self.headers)
        name_off = len(self.names)
        self.names += name.encode() + b"\0"
        s = Section(index, name, name_off, kind, flags, 0, len(body), link, info, align, entsize)
        self.headers.append(SectionHeader(s, body))
        return index

    def _relocs(self, target: int, entries: list[tuple[int, int, int, int]]) -> None:
        body = b"".join(RELA.pack(off, sym << 32 | kind, add) for off, kind, sym, add in entries)
        name = ".rela" + self.headers[target].section.name
        self.append(
            name, SHT_RELA, SHF_INFO_LINK, 8, RELA.size, body, self.elf.symtab.index, target
        )

    def add_gates(self, escapes: list[Escape]) -> None:
        """Append .text.nooks_gates and repoint every escaping address."""
        index = len(self.headers)
        for escape in escapes:
            self.gate(escape, index)
        code = GATE_CODE * self.ngates
        self.append(".text.nooks_gates", SHT_PROGBITS, SHF_ALLOC | SHF_EXEC, GATE_SIZE, 0, code)
        entry = self._import(GATE_ENTRY)
        self._relocs(
            index, [(i * GATE_SIZE + GATE_JMP, R_PLT32, entry, -4) for i in range(self.ngates)]
        )

    def add_manifest(self, layout: Layout) -> None:
        """Append .nooks.manifest, laid out as struct nooks_manifest of kmod/nooks.h."""
        index, nranges = len(self.headers), len(layout.ranges)
        body = bytearray(
            MANIFEST.pack(MANIFEST_MAGIC, MANIFEST_VERSION, self.ngates, nranges, 0, 0)
        )
        relocs: list[tuple[int, int, int, int]] = []
        if self._gate_list:
            relocs.append((16, R_64, self._gate_list[0][1], 0))
        for i, r in enumerate(layout.ranges):
            start = self.add_symbol(f"__nooks_range{i}", STT_OBJECT, r.first.index, 0, r.first.size)
            relocs.append((len(body), R_64, start, 0))
            body += PAIR.pack(0, r.size)
        for escape, _ in self._gate_list:
            relocs.append((len(body), R_64, escape.function.index, 0))
            body += PAIR.pack(0, escape.kind)
        self.append(".nooks.manifest", SHT_PROGBITS, SHF_ALLOC, 8, 0, bytes(body))
        self._relocs(index, relocs)
        self.add_symbol("__nooks_manifest", STT_OBJECT, index, 0, len(body))

    def apply_layout(self, layout: Layout) -> None:
        """Rename init sections, hide dropped ones, put owners on pages of their own."""
        for h in self.headers[: len(self.elf.sections)]:
            s = h.section
            change = replace(s, flags=new_flags(s))
            if s.index in layout.aligned:
                change = replace(change, align=PAGE)
            # the relocation table follows its section's name, so that tools show them as a pair
            old = s.name.removeprefix(".rela") if s.type == SHT_RELA else s.name
            if old in RENAMES:
                name = (".rela" if s.type == SHT_RELA else "") + RENAMES[old]
                change = replace(change, name=name, name_off=len(self.names))
                self.names += name.encode() + b"\0"
            h.section = change

    def set_versions(self, nooks: Mapping[str, Export]) -> None:
        """Append the CRCs of nooks.ko's symbols to __versions."""
        old = self.elf.by_name["__versions"]
        new = b"".join(
            VERSION.pack(nooks[name].crc, name.encode()) for name in sorted(self._imports)
        )
        self.headers[old.index].body = self.elf.content(old) + new

    def set_depends(self) -> None:
        """Put nooks first in depends=, so that modprobe loads it."""
        old = self.elf.by_name[".modinfo"]
        out, seen = [], False
        for raw in self.elf.content(old).split(b"\0")[:-1]:
            if raw.startswith(b"depends=") and not seen:
                rest = raw[len(b"depends=") :]
                raw, seen = b"depends=nooks" + (b"," + rest if rest else b""), True
            out.append(raw)
        if not seen:
            out.append(b"depends=nooks")
        self.headers[old.index].body = b"\0".join(out) + b"\0"

    def finish(self) -> bytes:
        elf = self.elf
        self.headers[elf.symtab.index].body = bytes(self.symbols)
        self.headers[elf.strtab.index].body = bytes(self.strings)
        self.headers[elf.shstrndx].body = bytes(self.names)
        for h in self.headers:
            if h.body is not None:
                self._pad(min(h.section.align or 1, 64))
                h.section = replace(h.section, offset=len(self.out), size=len(h.body))
                self.out += h.body
        self._pad(8)
        shoff = len(self.out)
        for h in self.headers:
            s = h.section
            self.out += SHDR.pack(
                s.name_off, s.type, s.flags, 0, s.offset, s.size, s.link, s.info, s.align, s.entsize
            )
        struct.pack_into("<Q", self.out, 40, shoff)
        struct.pack_into("<H", self.out, 60, len(self.headers))
        return bytes(self.out)

    def _pad(self, align: int) -> None:
        self.out += b"\0" * (-len(self.out) % align)
