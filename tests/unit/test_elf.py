# SPDX-License-Identifier: GPL-2.0-only
"""What is no sound kernel module is refused in one line."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import elfmake
import pytest

from pynooks.errors import RefusedError
from pynooks.relink import ElfModule, analyse, relink

GOOD = elfmake.driver().build()


def shdr(data: bytes, name: str) -> int:
    """Offset of a section's header in the file."""
    elf = ElfModule.parse(data)
    return elf.shoff + elf.by_name[name].index * 64


def put(data: bytes, offset: int, fmt: str, value: int) -> bytes:
    out = bytearray(data)
    struct.pack_into(fmt, out, offset, value)
    return bytes(out)


def test_parse_good() -> None:
    elf = ElfModule.parse(GOOD)
    assert elf.info("name") == "tiny"
    assert elf.versions() == elfmake.IMPORTS
    assert {s.name for s in elf.symbols} >= {"ping", "kfree"}


def test_signature_is_stripped() -> None:
    signed = GOOD + b"x" * 300 + struct.pack(">8xI", 300) + b"~Module signature appended~\n"
    assert ElfModule.parse(signed).data == GOOD


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not an ELF"),
        (b"garbage" * 100, "not an ELF"),
        (GOOD[:2000], "section header table"),
        (put(GOOD, 4, "<B", 1), "64-bit"),
        (put(GOOD, 18, "<H", 183), "aarch64"),
        (put(GOOD, 16, "<H", 2), "relocatable"),
        (put(GOOD, 62, "<H", 999), "section name table"),
        (put(GOOD, 60, "<H", 0), "section headers"),
        (GOOD[:-28] + b"~Module signature appended~\n", "module signature"),
    ],
)
def test_bad_header(data: bytes, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        ElfModule.parse(data)


SH_NAME, SH_OFFSET, SH_SIZE, SH_LINK, SH_INFO, SH_ALIGN, SH_ENT = 0, 24, 32, 40, 44, 48, 56


@pytest.mark.parametrize(
    ("section", "field", "fmt", "value", "says"),
    [
        (".text", SH_OFFSET, "<Q", 1 << 40, "section .text.*outside"),
        (".text", SH_SIZE, "<Q", (1 << 64) - 1, "section .text.*outside"),
        (".text", SH_ALIGN, "<Q", 3, "section .text: alignment"),
        (".text", SH_NAME, "<I", 1 << 30, "name lies outside"),
        (".rela.text", SH_LINK, "<I", 77, "section .rela.text: links"),
        (".rela.text", SH_LINK, "<I", 1, "section .rela.text: its symbol table"),
        (".rela.text", SH_INFO, "<I", 5000, "section .rela.text: applies"),
        (".rela.text", SH_ENT, "<Q", 7, "section .rela.text: entry size"),
        (".rela.text", SH_SIZE, "<Q", 25, "section .rela.text: entry size"),
        (".symtab", SH_LINK, "<I", 1, "section .symtab: its string table"),
        (".symtab", SH_ENT, "<Q", 0, "section .symtab: entry size"),
        (".symtab", SH_INFO, "<I", 1 << 20, "section .symtab"),
        (".bss", SH_SIZE, "<Q", 1 << 40, "section .bss"),
        (".rodata", SH_OFFSET, "<Q", 64, "overlap"),
    ],
)
def test_bad_section(section: str, field: int, fmt: str, value: int, says: str) -> None:
    data = put(GOOD, shdr(GOOD, section) + field, fmt, value)
    with pytest.raises(RefusedError, match=says):
        ElfModule.parse(data)


@pytest.mark.parametrize(
    ("section", "entry_field", "fmt", "value", "says"),
    [
        (".rela.text", 0, "<Q", 1 << 50, "relocation 0 lies outside of .text"),
        (".rela.text", 8, "<Q", 4000 << 32 | 4, "relocation 0 has symbol 4000"),
        (".rela.text", 8, "<Q", 1 << 32 | 250, "relocation 0 has type 250"),
        (".symtab", 24, "<I", 1 << 30, "name of symbol 1"),
        (".symtab", 30, "<H", 500, "symbol ping is in section"),
        (".symtab", 30, "<H", 0xFFF2, "symbol ping is in section"),
        (".symtab", 32, "<Q", 1 << 33, "section .text: symbol ping"),
    ],
)
def test_bad_entry(section: str, entry_field: int, fmt: str, value: int, says: str) -> None:
    pos = ElfModule.parse(GOOD).by_name[section].offset
    with pytest.raises(RefusedError, match=says):
        ElfModule.parse(put(GOOD, pos + entry_field, fmt, value))


@pytest.mark.parametrize("name", [".modinfo", "__versions", ".gnu.linkonce.this_module"])
def test_not_a_module(name: str) -> None:
    m = elfmake.driver()
    next(s for s in m.sections if s.name == name).name = ".other"
    m.relocs.pop(name, None)
    with pytest.raises(RefusedError, match="not a kernel module"):
        ElfModule.parse(m.build())


def mutations(rng: random.Random) -> list[Callable[[bytearray], None]]:
    def flip(data: bytearray) -> None:
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)

    def word(data: bytearray) -> None:
        pos = rng.randrange(len(data) - 8)
        struct.pack_into("<Q", data, pos, rng.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))

    def header(data: bytearray) -> None:
        data[-rng.randint(1, 64 * 25)] = rng.randrange(256)

    def cut(data: bytearray) -> None:
        del data[rng.randrange(len(data)) :]

    return [flip, word, header, cut]


@pytest.mark.parametrize("seed", range(4))
def test_hostile_input_never_breaks_us(seed: int) -> None:
    """Refused or relinked, and what is relinked is sound again: nothing else may happen."""
    rng = random.Random(seed)
    kinds, plan, done = mutations(rng), elfmake.plan(), 0
    refusals: list[RefusedError] = []
    for _ in range(600):
        data = bytearray(GOOD)
        rng.choice(kinds)(data)
        try:
            analyse(bytes(data), plan)
            out, _ = relink(bytes(data), plan)
        except RefusedError as e:
            refusals.append(e)
        else:
            done += 1
            ElfModule.parse(out)
    assert 0 < done < 600
    assert all(e.hint and "\n" not in str(e) for e in refusals)
