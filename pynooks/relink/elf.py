# SPDX-License-Identifier: GPL-2.0-only
"""A kernel module as tables: read once, checked as a whole, never changed.

Everything after this file may index without fear: offsets lie in the file, links and indices are
in range, strings end. What is not so is refused here, by the section's name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS, SHN_INDICES
from elftools.elf.elffile import ELFFile

from pynooks.errors import RefusedError

EHDR_SIZE = 64
SHDR = struct.Struct("<IIQQQQIIQQ")
SYM = struct.Struct("<IBBHQQ")
RELA = struct.Struct("<QQq")

SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 0, 1, 2, 3, 4, 8, 9
SHT_SYMTAB_SHNDX = 18
SHF_WRITE: int = SH_FLAGS.SHF_WRITE
SHF_ALLOC: int = SH_FLAGS.SHF_ALLOC
SHF_EXEC: int = SH_FLAGS.SHF_EXECINSTR
SHN_UNDEF: int = SHN_INDICES.SHN_UNDEF
SHN_LORESERVE: int = SHN_INDICES.SHN_LORESERVE
SHN_ABS: int = SHN_INDICES.SHN_ABS
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION = 0, 1, 2, 3

R_NONE, R_64, R_PC32, R_PLT32, R_32, R_32S, R_PC64 = 0, 1, 2, 4, 10, 11, 24
# The kernel's apply_relocate_add() knows these and no others (arch/x86/kernel/module.c).
RELOC_WIDTH = {R_NONE: 0, R_64: 8, R_PC32: 4, R_PLT32: 4, R_32: 4, R_32S: 4, R_PC64: 8}
RELOC_NAME = {
    R_NONE: "NONE", R_64: "64", R_PC32: "PC32", R_PLT32: "PLT32", R_32: "32", R_32S: "32S",
    R_PC64: "PC64",
}  # fmt: skip

SIGNATURE_MAGIC = b"~Module signature appended~\n"
SIGNATURE_TRAILER = 12
MAX_ALIGN = 4096

HINT = "take the file from the distribution's kernel package again"


@dataclass(frozen=True, slots=True)
class Section:
    """One section header. `name_off` is where its name starts in .shstrtab."""

    index: int
    name: str
    name_off: int
    type: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entsize: int

    @property
    def alloc(self) -> bool:
        return bool(self.flags & SHF_ALLOC)

    @property
    def exec(self) -> bool:
        return bool(self.flags & SHF_EXEC)

    @property
    def write(self) -> bool:
        return bool(self.flags & SHF_WRITE)

    @property
    def file_size(self) -> int:
        """Bytes it has in the file."""
        return 0 if self.type in (SHT_NULL, SHT_NOBITS) else self.size


@dataclass(frozen=True, slots=True)
class Symbol:
    index: int
    name: str
    bind: int
    type: int
    shndx: int
    value: int
    size: int


@dataclass(frozen=True, slots=True)
class Reloc:
    """One RELA entry. `pos` is the entry's own offset in the file, `offset` is in the target."""

    pos: int
    offset: int
    type: int
    sym: int
    addend: int


def refuse(what: str, hint: str = HINT) -> RefusedError:
    return RefusedError(what, hint=hint)


def strip_signature(data: bytes) -> bytes:
    """Cut off the appended module signature: the relinked module is another one."""
    if not data.endswith(SIGNATURE_MAGIC):
        return data
    end = len(data) - len(SIGNATURE_MAGIC)
    if end < SIGNATURE_TRAILER:
        raise refuse("module signature: the trailer is cut off")
    (length,) = struct.unpack_from(">I", data, end - 4)
    if length > end - SIGNATURE_TRAILER:
        raise refuse(f"module signature: {length} bytes do not fit into the file")
    return data[: end - SIGNATURE_TRAILER - length]


@dataclass(frozen=True, slots=True)
class ElfModule:
    """A checked x86-64 kernel module, its signature stripped.

    relocs:   by index of the section that they apply to
    by_name:  first section of each name
    """

    data: bytes
    shoff: int
    shstrndx: int
    symtab: Section
    strtab: Section
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    relocs: dict[int, tuple[Reloc, ...]]
    by_name: dict[str, Section] = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> ElfModule:
        """Read and check; RefusedError names what is wrong."""
        data = strip_signature(data)
        shoff, shnum, shstrndx = _header(data)
        sections = _sections(data, shoff, shnum, shstrndx)
        _check_overlap(sections, shoff, shnum)
        symtab = _only(sections, SHT_SYMTAB)
        symbols = _symbols(data, sections, symtab)
        relocs: dict[int, tuple[Reloc, ...]] = {}
        for s in sections:
            if s.type == SHT_RELA:
                if s.info in relocs:
                    raise refuse(f"section {s.name}: a second relocation table for its section")
                relocs[s.info] = tuple(_relocs(data, sections, symtab, len(symbols), s))
        by_name: dict[str, Section] = {}
        for s in sections[1:]:
            by_name.setdefault(s.name, s)
        module = cls(
            data, shoff, shstrndx, symtab, sections[symtab.link], sections, symbols, relocs, by_name
        )
        module._check_module()
        return module

    def content(self, s: Section) -> bytes:
        return self.data[s.offset : s.offset + s.file_size]

    def modinfo(self) -> list[tuple[str, str]]:
        """The (key, value) pairs of .modinfo, in order."""
        pairs = []
        for raw in self.content(self.by_name[".modinfo"]).split(b"\0"):
            key, eq, value = raw.decode("utf-8", "replace").partition("=")
            if eq:
                pairs.append((key, value))
        return pairs

    def info(self, key: str) -> str:
        return next((v for k, v in self.modinfo() if k == key), "")

    def versions(self) -> dict[str, int]:
        """Symbol -> CRC of __versions."""
        content = self.content(self.by_name["__versions"])
        out = {}
        for pos in range(0, len(content), 64):
            (crc,) = struct.unpack_from("<Q", content, pos)
            name = content[pos + 8 : pos + 64]
            out[name.split(b"\0", 1)[0].decode("ascii", "replace")] = crc
        return out

    def _check_module(self) -> None:
        for name in (".modinfo", "__versions", ".gnu.linkonce.this_module"):
            if name not in self.by_name:
                raise refuse(
                    f"not a kernel module: no section {name}",
                    "give a .ko of a distribution kernel with CONFIG_MODVERSIONS",
                )
        for name in (".modinfo", "__versions", ".gnu.linkonce.this_module", ".static_call_sites"):
            if sum(s.name == name for s in self.sections) > 1:
                raise refuse(f"section {name} is there twice")
        for name in (".modinfo", "__versions", ".gnu.linkonce.this_module"):
            if self.by_name[name].type != SHT_PROGBITS:
                raise refuse(f"section {name} has no content")
        if self.by_name["__versions"].size % 64:
            raise refuse("section __versions: size is no multiple of 64")
        if not self.content(self.by_name[".modinfo"]).endswith(b"\0"):
            raise refuse("section .modinfo does not end with a NUL")


def _header(data: bytes) -> tuple[int, int, int]:
    if len(data) < EHDR_SIZE or data[:4] != b"\x7fELF":
        raise refuse("not an ELF file", "give the .ko file of a driver (decompress .ko.xz first)")
    if data[4] != 2 or data[5] != 1:
        raise refuse("not a 64-bit little-endian ELF file", "give an x86-64 kernel module")
    try:
        header = ELFFile(BytesIO(data)).header
    except (ELFError, ValueError, KeyError, AttributeError, IndexError, TypeError) as e:
        raise refuse("ELF header is damaged") from e
    if header["e_machine"] != "EM_X86_64":
        machine = str(header["e_machine"]).removeprefix("EM_").lower()
        raise refuse(f"built for {machine}, only x86-64 is possible", "give an x86-64 module")
    if header["e_type"] != "ET_REL":
        raise refuse("not a relocatable ELF file", "give the .ko file, not a linked program")
    shoff, shnum, shstrndx = header["e_shoff"], header["e_shnum"], header["e_shstrndx"]
    if header["e_shentsize"] != SHDR.size:
        raise refuse(f"section header size is {header['e_shentsize']}, not {SHDR.size}")
    if not 1 < shnum < SHN_LORESERVE - 16:
        raise refuse(f"{shnum} section headers")
    if shoff < EHDR_SIZE or shoff + shnum * SHDR.size > len(data):
        raise refuse("section header table lies outside of the file (truncated?)")
    if not 0 < shstrndx < shnum:
        raise refuse(f"section name table has index {shstrndx} of {shnum}")
    return shoff, shnum, shstrndx


def _sections(data: bytes, shoff: int, shnum: int, shstrndx: int) -> tuple[Section, ...]:
    raw = [SHDR.unpack_from(data, shoff + i * SHDR.size) for i in range(shnum)]
    if any(raw[0][i] for i in (1, 3, 5)):
        raise refuse("section 0 is not empty")
    _, kind, _, _, offset, size, *_ = raw[shstrndx]
    names = data[offset : offset + size]
    if kind != SHT_STRTAB or len(names) != size or not names.endswith(b"\0"):
        raise refuse("section name table is damaged")
    out = []
    for i, (name_off, kind, flags, _, offset, size, link, info, align, entsize) in enumerate(raw):
        if name_off >= len(names):
            raise refuse(f"section {i}: its name lies outside of the name table")
        text = names[name_off : names.index(b"\0", name_off)].decode("ascii", "backslashreplace")
        s = Section(
            i, text, name_off, kind, flags, offset, size, link, info, align, entsize
        )  # fmt: skip
        _check_section(s, len(data), shnum)
        out.append(s)
    return tuple(out)


def _check_section(s: Section, length: int, shnum: int) -> None:
    if s.type == SHT_NULL:
        return
    where = f"section {s.name or s.index}"
    if s.offset + s.file_size > length:
        raise refuse(f"{where}: content lies outside of the file (truncated?)")
    if s.size > 1 << 30:
        raise refuse(f"{where}: {s.size} bytes")
    if s.align & (s.align - 1) or s.align > MAX_ALIGN:
        raise refuse(f"{where}: alignment {s.align}")
    if s.link >= shnum:
        raise refuse(f"{where}: links to section {s.link} of {shnum}")
    if s.type == SHT_REL:
        raise refuse(f"{where}: relocations without addend")
    if s.type == SHT_SYMTAB_SHNDX:
        raise refuse(f"{where}: extended section indices")
    if s.alloc and s.write and s.exec:
        raise refuse(f"{where}: writable and executable")


def _check_overlap(sections: tuple[Section, ...], shoff: int, shnum: int) -> None:
    spans = [(0, EHDR_SIZE, "ELF header"), (shoff, shoff + shnum * SHDR.size, "section headers")]
    spans += [(s.offset, s.offset + s.file_size, s.name) for s in sections if s.file_size]
    spans.sort()
    for (_, end, first), (start, _, second) in pairwise(spans):
        if start < end:
            raise refuse(f"sections {first} and {second} overlap in the file")


def _only(sections: tuple[Section, ...], kind: int) -> Section:
    found = [s for s in sections if s.type == kind]
    if len(found) != 1:
        raise refuse(f"{len(found)} symbol tables", "give an unstripped .ko file")
    s = found[0]
    if s.entsize != SYM.size or s.size % SYM.size or not s.size:
        raise refuse(f"section {s.name}: entry size {s.entsize}, {s.size} bytes")
    if sections[s.link].type != SHT_STRTAB:
        raise refuse(f"section {s.name}: its string table is not one")
    if s.info > s.size // SYM.size:
        raise refuse(f"section {s.name}: {s.info} local symbols of {s.size // SYM.size}")
    return s


def _symbols(data: bytes, sections: tuple[Section, ...], symtab: Section) -> tuple[Symbol, ...]:
    st = sections[symtab.link]
    strings = data[st.offset : st.offset + st.size]
    if not strings.endswith(b"\0"):
        raise refuse(f"section {st.name} does not end with a NUL")
    out = []
    content = data[symtab.offset : symtab.offset + symtab.size]
    for i, (name_off, info, _, shndx, value, size) in enumerate(SYM.iter_unpack(content)):
        if name_off >= len(strings):
            raise refuse(f"section {symtab.name}: the name of symbol {i} lies outside of strings")
        name = strings[name_off : strings.index(b"\0", name_off)].decode(
            "ascii", "backslashreplace"
        )
        sym = Symbol(i, name, info >> 4, info & 15, shndx, value, size)
        if SHN_LORESERVE <= shndx != SHN_ABS or len(sections) <= shndx < SHN_LORESERVE:
            raise refuse(f"section {symtab.name}: symbol {name or i} is in section {shndx:#x}")
        if 0 < shndx < SHN_LORESERVE and value + size > sections[shndx].size:
            raise refuse(f"section {sections[shndx].name}: symbol {name or i} lies outside of it")
        out.append(sym)
    return tuple(out)


def _relocs(
    data: bytes, sections: tuple[Section, ...], symtab: Section, nsyms: int, s: Section
) -> Iterator[Reloc]:
    where = f"section {s.name}"
    if s.entsize != RELA.size or s.size % RELA.size:
        raise refuse(f"{where}: entry size {s.entsize}, {s.size} bytes")
    if s.link != symtab.index:
        raise refuse(f"{where}: its symbol table is section {s.link}")
    if not 0 < s.info < len(sections):
        raise refuse(f"{where}: applies to section {s.info} of {len(sections)}")
    target = sections[s.info]
    if target.type in (SHT_NULL, SHT_SYMTAB, SHT_STRTAB, SHT_RELA):
        raise refuse(f"{where}: applies to section {target.name or s.info}")
    content = data[s.offset : s.offset + s.size]
    for i, (offset, info, addend) in enumerate(RELA.iter_unpack(content)):
        sym, kind = info >> 32, info & 0xFFFFFFFF
        if sym >= nsyms:
            raise refuse(f"{where}: relocation {i} has symbol {sym} of {nsyms}")
        if target.alloc:
            if kind not in RELOC_WIDTH:
                raise refuse(f"{where}: relocation {i} has type {kind}, which modules cannot have")
            if offset + RELOC_WIDTH[kind] > target.file_size:
                raise refuse(f"{where}: relocation {i} lies outside of {target.name}")
        yield Reloc(s.offset + i * RELA.size, offset, kind, sym, addend)
