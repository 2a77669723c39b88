# SPDX-License-Identifier: GPL-2.0-only
"""fuse(): a driver and the library modules that it depends on become one module.

A library (mii, 8390) is helper code without devices of its own. A nook gets a copy: its sections
go behind the driver's file as they are, its tables for the kernel (unwinder, bug table, ...) behind
the driver's tables, and the driver's undefined symbols are defined. The driver's own bytes stay.
What makes the library a module (its name, exports, parameters) is left out, so nothing is exported
twice, and its parameters keep their defaults. Its init runs before the driver's, its exit after.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pynooks.modname import module_name
from pynooks.relink.elf import (
    R_64,
    R_PLT32,
    RELA,
    SHF_ALLOC,
    SHF_EXEC,
    SHN_UNDEF,
    SHT_NOBITS,
    SHT_PROGBITS,
    SHT_RELA,
    STB_GLOBAL,
    STT_FUNC,
    STT_SECTION,
    SYM,
    ElfModule,
    Reloc,
    Section,
    Symbol,
    refuse,
)
from pynooks.relink.escape import THIS_MODULE
from pynooks.relink.layout import DROPPED, RENAMES
from pynooks.relink.write import SHF_INFO_LINK, VERSION, ModuleWriter, SectionHeader

# Arrays for the kernel: one per module, so a library's elements go behind the driver's.
TABLES = frozenset((
    ".orc_unwind", ".orc_unwind_ip", "__bug_table", "__ex_table", ".altinstructions",
    ".retpoline_sites", ".return_sites", ".call_sites", ".smp_locks", ".parainstructions",
    "__jump_table", "__dyndbg", ".ibt_endbr_seal",
))  # fmt: skip
LEFT_OUT = re.compile(
    r"__ksymtab|__kcrctab|\.note|\.modinfo\Z|__versions\Z|__param\Z|\.gnu\.linkonce\.this_module\Z"
)
BODY = re.compile(r"\.(text|rodata|data|bss|init|exit|ref|altinstr_replacement|altinstr_aux)\b")
EXPORT = "__ksymtab_"
INIT, EXIT, RETURN = "init_module", "cleanup_module", "__x86_return_thunk"
NOP5 = bytes.fromhex("0f1f440000")
# init: endbr64; push rbx; call LIBRARY; test eax, eax; jnz out; call DRIVER; test eax, eax; jz out;
# mov ebx, eax; call LIBRARY_EXIT; mov eax, ebx; out: pop rbx; jmp __x86_return_thunk
CHAIN_INIT = bytes.fromhex(
    "f30f1efa53 e800000000 85c0 7512 e800000000 85c0 7409 89c3 e800000000 89d8 5b e900000000"
)
# exit: endbr64; push rbx; call DRIVER; call LIBRARY; pop rbx; jmp __x86_return_thunk
CHAIN_EXIT = bytes.fromhex("f30f1efa53 e800000000 e800000000 5b e900000000")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a section of a library has gone: section of the fused module, offset in it."""

    index: int
    base: int


def exports(elf: ElfModule) -> dict[str, Symbol]:
    """What a module exports, by name."""
    names = {s.name.removeprefix(EXPORT) for s in elf.symbols if s.name.startswith(EXPORT)}
    return {s.name: s for s in elf.symbols if s.name in names and s.shndx != SHN_UNDEF}


def depends(elf: ElfModule) -> tuple[str, ...]:
    return tuple(name for name in elf.info("depends").split(",") if name)


def fuse(data: bytes, libraries: Sequence[bytes]) -> bytes:
    """The driver with its libraries in it. A library comes before those that it depends on."""
    for raw in libraries:
        data = _Fusion(ElfModule.parse(data), ElfModule.parse(raw)).run()
    return data


class _Fusion:
    """One library into one module."""

    def __init__(self, elf: ElfModule, lib: ElfModule) -> None:
        self.elf, self.lib = elf, lib
        self.name = lib.info("name")
        self.writer = ModuleWriter(elf)
        self.places: dict[int, Place] = {}
        self.undefined = {
            s.name: s.index for s in elf.symbols if s.shndx == SHN_UNDEF and s.name
        }  # fmt: skip
        self.renumbered: dict[int, int] = {}
        self.used = exports(lib).keys() & self.undefined.keys()

    def run(self) -> bytes:
        if module_name(self.name) not in (module_name(d) for d in depends(self.elf)):
            raise refuse(f"does not depend on {self.name}", "give libraries that it needs only")
        for s in self.lib.sections[1:]:
            if s.alloc and s.name not in DROPPED and not LEFT_OUT.match(s.name):
                self._place(s)
        for sym in self.lib.symbols[1:]:
            self._add_symbol(sym)
        for target in self.places:
            self._add_relocs(self.lib.sections[target])
        self._chain()
        self._add_versions()
        self._set_depends()
        return self.writer.finish()

    def _place(self, s: Section) -> None:
        body = self.lib.content(s)
        mine = self.elf.by_name.get(s.name)
        if s.name in TABLES and mine:
            old = self.elf.content(mine)
            if len(old) % max(s.align, 1) or mine.flags != s.flags or mine.type != s.type:
                raise refuse(f"section {s.name}: not the same in {self.name}")
            self.writer.headers[mine.index].body = old + body
            self.places[s.index] = Place(mine.index, len(old))
            return
        if (s.name not in TABLES and not BODY.match(s.name)) or s.name.startswith(".data..percpu"):
            raise refuse(f"section {s.name} of library {self.name}: its meaning is unknown")
        if s.type not in (SHT_PROGBITS, SHT_NOBITS):
            raise refuse(f"section {s.name} of library {self.name}: type {s.type}")
        # the module loader frees what begins with .init, and shows sections by name
        name = RENAMES.get(s.name, s.name)
        self._append(name if s.name in TABLES else f"{name}.{self.name}", s, body)

    def _append(self, name: str, s: Section, body: bytes) -> None:
        new = replace(
            s, index=len(self.writer.headers), name=name, name_off=len(self.writer.names),
            offset=0, link=0, info=0,
        )  # fmt: skip
        self.writer.names += name.encode() + b"\0"
        nobits = s.type == SHT_NOBITS
        self.writer.headers.append(SectionHeader(new, None if nobits else body))
        self.places[s.index] = Place(new.index, 0)

    def _add_symbol(self, sym: Symbol) -> None:
        """Defined in what was taken: a new symbol, or the driver's undefined one."""
        place = self.places.get(sym.shndx)
        if place is None:
            return
        value = sym.value + place.base
        if sym.name in self.used:
            index = self.undefined[sym.name]
            at = index * SYM.size
            name_off, *_ = SYM.unpack_from(self.writer.symbols, at)
            info = STB_GLOBAL << 4 | sym.type
            SYM.pack_into(self.writer.symbols, at, name_off, info, 0, place.index, value, sym.size)
            self.renumbered[sym.index] = index
            return
        kind = 0 if sym.type == STT_SECTION else sym.type  # an offset in a table is no section
        name = f"{self.name}_{sym.name}" if sym.name in (INIT, EXIT) else sym.name
        self.renumbered[sym.index] = self.writer.add_symbol(
            name, kind, place.index, value, sym.size
        )

    def _symbol(self, section: Section, index: int) -> int:
        """The number that a library's symbol has in the fused module."""
        if not index:
            return 0
        new = self.renumbered.get(index)
        if new is not None:
            return new
        sym = self.lib.symbols[index]
        where = self.lib.sections[sym.shndx].name if sym.shndx < len(self.lib.sections) else ""
        if where == THIS_MODULE and sym.name == "__this_module":
            new = next(s.index for s in self.elf.symbols if s.name == sym.name)
        elif sym.shndx == SHN_UNDEF and sym.name:
            new = self._import(sym.name)
        else:
            raise refuse(
                f"section {section.name} of library {self.name} needs "
                f"{sym.name or where or 'an absolute symbol'}, which was left out"
            )
        self.renumbered[index] = new
        return new

    def _import(self, name: str) -> int:
        if name not in self.undefined:
            self.undefined[name] = self.writer.add_symbol(name, 0, SHN_UNDEF, 0, 0)
        return self.undefined[name]

    def _entry_points(self) -> dict[str, Reloc]:
        """The relocations of the driver's struct module that hold its init and its exit."""
        names: dict[tuple[int, int], set[str]] = {}
        for s in self.elf.symbols:
            names.setdefault((s.shndx, s.value), set()).add(s.name)
        out = {}
        for r in self.elf.relocs.get(self.elf.by_name[THIS_MODULE].index, ()):
            sym = self.elf.symbols[r.sym]
            for name in {INIT, EXIT} & names[sym.shndx, sym.value + r.addend]:
                out[name] = r
        return out

    def _chain(self) -> None:
        """Put the library's init before the driver's, and its exit behind."""
        mine = self._entry_points()
        its = {
            s.name: self.renumbered[s.index]
            for s in self.lib.symbols
            if s.name in (INIT, EXIT) and s.index in self.renumbered
        }
        if not its:
            return
        if not mine.keys() >= its.keys():
            raise refuse(f"has no {'exit' if INIT in mine else 'init'}, but {self.name} has one")
        if INIT not in its:
            raise refuse(f"library {self.name} has an exit and no init")
        at = len(self.writer.headers)
        code = bytearray(CHAIN_INIT)
        calls = [(6, its[INIT], 0), (15, mine[INIT].sym, mine[INIT].addend)]
        if EXIT in its:
            calls.append((26, its[EXIT], 0))
        else:
            code[25:30] = NOP5
        calls.append((34, self._import(RETURN), 0))
        self._chain_link(mine[INIT], INIT, at, 0, len(code))
        if EXIT in its:
            base = len(code)
            code += CHAIN_EXIT
            calls += [
                (base + 6, mine[EXIT].sym, mine[EXIT].addend),
                (base + 11, its[EXIT], 0),
                (base + 17, self._import(RETURN), 0),
            ]
            self._chain_link(mine[EXIT], EXIT, at, base, len(CHAIN_EXIT))
        self.writer.append(
            f".text.nooks_chain.{self.name}", SHT_PROGBITS, SHF_ALLOC | SHF_EXEC, 16, 0, bytes(code)
        )
        body = b"".join(
            RELA.pack(offset, sym << 32 | R_PLT32, addend - 4) for offset, sym, addend in calls
        )
        self.writer.append(
            f".rela.text.nooks_chain.{self.name}", SHT_RELA, SHF_INFO_LINK, 8, RELA.size, body,
            self.elf.symtab.index, at,
        )  # fmt: skip

    def _chain_link(self, r: Reloc, name: str, section: int, value: int, size: int) -> None:
        """struct module holds the chain's function, by the name that marks it as such."""
        self.writer.patch(r, R_64, self.writer.add_symbol(name, STT_FUNC, section, value, size), 0)

    def _add_relocs(self, s: Section) -> None:
        relocs = self.lib.relocs.get(s.index, ())
        if not relocs:
            return
        place = self.places[s.index]
        body = b"".join(
            RELA.pack(r.offset + place.base, self._symbol(s, r.sym) << 32 | r.type, r.addend)
            for r in relocs
        )
        for header in self.writer.headers:
            if header.section.type == SHT_RELA and header.section.info == place.index:
                header.body = self.elf.content(header.section) + body
                return
        self.writer.append(
            ".rela" + self.writer.headers[place.index].section.name, SHT_RELA, SHF_INFO_LINK, 8,
            RELA.size, body, self.elf.symtab.index, place.index,
        )  # fmt: skip

    def _add_versions(self) -> None:
        """The CRCs of both; the kernel asks only for those of undefined symbols."""
        old, mine = self.elf.by_name["__versions"], self.elf.versions()
        self.writer.headers[old.index].body = self.elf.content(old) + b"".join(
            VERSION.pack(crc, name.encode())
            for name, crc in self.lib.versions().items()
            if name not in mine
        )

    def _set_depends(self) -> None:
        """The library is in it; what the library depends on is needed now."""
        mine = [d for d in depends(self.elf) if module_name(d) != module_name(self.name)]
        both = ",".join(dict.fromkeys((*mine, *depends(self.lib))))
        info = self.elf.by_name[".modinfo"]
        text = self.elf.content(info).split(b"\0")
        for i, raw in enumerate(text):
            if raw.startswith(b"depends="):
                # as long as before: symbols name places behind it
                text[i] = (b"depends=" + both.encode()).ljust(len(raw), b"\0")
        self.writer.headers[info.index].body = b"\0".join(text)
