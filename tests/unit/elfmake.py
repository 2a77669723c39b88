# SPDX-License-Identifier: GPL-2.0-only
"""A small kernel module, written byte by byte, for tests of the relinker."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from pynooks.policy import ImportPolicy, Kind
from pynooks.relink import Export, RelinkPlan

RELEASE = "6.1.0-test"
ALLOC, WRITE, EXEC = 2, 1, 4
R_64, R_PC32, R_PLT32, R_32S = 1, 2, 4, 11
FUNC, OBJECT, SECTION = 2, 1, 3

# ping(): call __fentry__; call kfree; lea helper(%rip), %rax; call helper; ret
TEXT = (
    bytes.fromhex("e800000000e800000000488d0500000000e800000000c3")
    + b"\x90" * 10
    + bytes.fromhex("c3")  # helper() at 32
    + b"\x90" * 15
)
HELPER = 32


@dataclass
class Section:
    name: str
    body: bytes
    kind: int = 1
    flags: int = ALLOC
    align: int = 8
    link: int = 0
    info: int = 0
    entsize: int = 0
    size: int | None = None


@dataclass
class Module:
    """Sections, symbols (name, info, shndx, value, size), relocations by section name."""

    sections: list[Section] = field(default_factory=list)
    symbols: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    relocs: dict[str, list[tuple[int, int, str, int]]] = field(default_factory=dict)

    def index(self, name: str) -> int:
        return next(i for i, s in enumerate(self.sections, 1) if s.name == name)

    def symbol(self, name: str, section: str | None, value: int = 0, size: int = 0,
               kind: int = FUNC) -> None:  # fmt: skip
        shndx = self.index(section) if section else 0
        self.symbols.append((name, (1 << 4) | (kind if section else 0), shndx, value, size))

    def build(self) -> bytes:
        sections = list(self.sections)
        names = {name: i for i, (name, *_) in enumerate(self.symbols, 1)}
        nsym = len(sections) + len(self.relocs) + 1
        for target, entries in self.relocs.items():
            body = b"".join(
                struct.pack("<QQq", off, names[sym] << 32 | kind, add)
                for off, kind, sym, add in entries
            )
            sections.append(
                Section(".rela" + target, body, 4, 0x40, 8, nsym, self.index(target), 24)
            )
        strings, syms = bytearray(b"\0"), bytearray(24)
        for name, info, shndx, value, size in self.symbols:
            syms += struct.pack("<IBBHQQ", len(strings), info, 0, shndx, value, size)
            strings += name.encode() + b"\0"
        sections.append(Section(".symtab", bytes(syms), 2, 0, 8, nsym + 1, 1, 24))
        sections.append(Section(".strtab", bytes(strings), 3, 0, 1))
        sections.append(Section(".shstrtab", b"", 3, 0, 1))
        shstr = bytearray(b"\0")
        offs = []
        for s in sections:
            offs.append(len(shstr))
            shstr += s.name.encode() + b"\0"
        sections[-1].body = bytes(shstr)
        out = bytearray(64)
        heads = [bytes(64)]
        for s, name_off in zip(sections, offs, strict=True):
            out += b"\0" * (-len(out) % max(s.align, 1))
            size = len(s.body) if s.size is None else s.size
            heads.append(
                struct.pack("<IIQQQQIIQQ", name_off, s.kind, s.flags, 0, len(out), size,
                            s.link, s.info, s.align, s.entsize)
            )  # fmt: skip
            out += s.body if s.kind != 8 else b""
        out += b"\0" * (-len(out) % 8)
        struct.pack_into(
            "<4sBBB9xHHIQQQIHHHHHH", out, 0, b"\x7fELF", 2, 1, 1, 1, 62, 1, 0, 0, len(out), 0,
            64, 0, 0, 64, len(heads), len(heads) - 1,
        )  # fmt: skip
        return bytes(out) + b"".join(heads)


def version(name: str, crc: int) -> bytes:
    return struct.pack("<Q56s", crc, name.encode())


IMPORTS = {"kfree": 0x11, "__fentry__": 0x22, "jiffies": 0x33, "module_layout": 0x44}


def driver(release: str = RELEASE) -> Module:
    """ping() and helper(), an ops table that holds ping(), init and exit."""
    m = Module()
    info = f"license=GPL\0depends=mii\0name=tiny\0vermagic={release} SMP mod_unload \0"
    m.sections = [
        Section(".text", TEXT, flags=ALLOC | EXEC, align=16),
        Section(".init.text", bytes.fromhex("e800000000c3") + bytes(2), flags=ALLOC | EXEC),
        Section(".exit.text", bytes.fromhex("c3") + bytes(7), flags=ALLOC | EXEC),
        Section(".rodata", bytes(16)),
        Section("__mcount_loc", bytes(8)),
        Section(".modinfo", info.encode(), align=1),
        Section("__versions", b"".join(version(n, c) for n, c in IMPORTS.items()), align=32),
        Section("__bug_table", bytes(12), flags=ALLOC | WRITE, align=1),
        Section("__jump_table", bytes(16), flags=ALLOC | WRITE),
        Section(".data", bytes(24), flags=ALLOC | WRITE, align=32),
        Section(".init.data", bytes(8), flags=ALLOC | WRITE),
        Section(".static_call_sites", bytes(8), flags=ALLOC | WRITE, align=1),
        Section(".gnu.linkonce.this_module", bytes(128), flags=ALLOC | WRITE, align=64),
        Section(".bss", b"", 8, ALLOC | WRITE, 16, size=100),
    ]
    m.symbol("ping", ".text", 0, 23)
    m.symbol("helper", ".text", HELPER, 1)
    m.symbol("init_module", ".init.text", 0, 6)
    m.symbol("tiny_init", ".init.text", 0, 6)
    m.symbol("cleanup_module", ".exit.text", 0, 1)
    m.symbol("ops", ".rodata", 0, 16, OBJECT)
    m.symbol("__UNIQUE_ID___addressable_init_module1", ".init.data", 0, 8, OBJECT)
    for name in ("kfree", "__fentry__", "jiffies"):
        m.symbol(name, None)
    m.relocs = {
        ".text": [
            (1, R_PLT32, "__fentry__", -4),
            (6, R_PLT32, "kfree", -4),
            (13, R_PC32, "helper", -4),
            (18, R_PLT32, "helper", -4),
        ],
        ".init.text": [(1, R_PLT32, "kfree", -4)],
        ".rodata": [(0, R_64, "ping", 0), (8, R_64, "kfree", 0)],
        "__mcount_loc": [(0, R_64, "ping", 0)],
        "__bug_table": [(0, R_PC32, "ping", 5)],
        ".data": [(8, R_64, "jiffies", 0), (16, R_64, "ping", 0)],
        ".init.data": [(0, R_64, "init_module", 0)],
        ".gnu.linkonce.this_module": [
            (24, R_64, "init_module", 0),
            (64, R_64, "cleanup_module", 0),
        ],
    }
    return m


def plan(**kinds: Kind) -> RelinkPlan:
    """A plan that knows the driver's imports; kfree is wrapped unless said otherwise."""
    kinds.setdefault("kfree", Kind.WRAP)
    return RelinkPlan(
        release=RELEASE,
        symvers={n: Export(c, "vmlinux", False) for n, c in IMPORTS.items()},
        nooks={
            "nooks_kfree": Export(0x99, "nooks", True),
            "nooks_xpc_gate": Export(0x98, "nooks", True),
        },
        imports={
            n: ImportPolicy(name=n, kind=k, why="because") for n, k in kinds.items()
        },
    )  # fmt: skip
