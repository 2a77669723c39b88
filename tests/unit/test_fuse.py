# SPDX-License-Identifier: GPL-2.0-only
"""A driver and the library modules it depends on become one module."""

from __future__ import annotations

import struct
from dataclasses import replace

import elfmake
import pytest
from elfmake import ALLOC, EXEC, IMPORTS, R_64, R_PC32, R_PLT32, RELEASE, Module, Section

from pynooks.errors import RefusedError
from pynooks.relink import ElfModule, Export, GateKind, RelinkPlan, analyse, depends, fuse, relink

HELP = bytes.fromhex("e800000000c3") + bytes(10)


def driver() -> Module:
    """The tiny driver, which calls mii_help() where it called kfree()."""
    m = elfmake.driver()
    m.symbol("mii_help", None)
    m.symbol("__x86_return_thunk", None)
    m.relocs[".text"][1] = (6, R_PLT32, "mii_help", -4)
    m.relocs[".data"][1] = (16, R_64, "mii_help", 0)
    return m


def library(name: str = "mii", init: bool = False, needs: str = "") -> Module:
    """mii_help(), which calls kfree(), exported as a module does."""
    m = Module()
    info = f"license=GPL\0depends={needs}\0name={name}\0vermagic={RELEASE} SMP mod_unload \0"
    m.sections = [
        Section(".text", HELP, flags=ALLOC | EXEC, align=16),
        Section(".init.text", bytes.fromhex("31c0c3") + bytes(5), flags=ALLOC | EXEC),
        Section(".exit.text", bytes.fromhex("c3") + bytes(7), flags=ALLOC | EXEC),
        Section("__ksymtab", bytes(12), align=4),
        Section("__bug_table", bytes(12), flags=ALLOC | elfmake.WRITE, align=1),
        Section(".data", b"own data", flags=ALLOC | elfmake.WRITE),
        Section(".bss", b"", 8, ALLOC | elfmake.WRITE, 16, size=40),
        Section(".modinfo", info.encode(), align=1),
        Section("__versions", elfmake.version("kfree", IMPORTS["kfree"]), align=32),
        Section(".gnu.linkonce.this_module", bytes(128), flags=ALLOC | elfmake.WRITE, align=64),
    ]
    m.symbol("mii_help", ".text", 0, 6)
    m.symbol("__ksymtab_mii_help", "__ksymtab", 0, 12, elfmake.OBJECT)
    m.symbol("kfree", None)
    if init:
        m.symbol("init_module", ".init.text", 0, 3)
        m.symbol("cleanup_module", ".exit.text", 0, 1)
    m.relocs = {
        ".text": [(1, R_PLT32, "kfree", -4)],
        "__bug_table": [(0, R_PC32, "mii_help", 1)],
        "__ksymtab": [(0, R_PC32, "mii_help", 0)],
    }
    return m


def plan() -> RelinkPlan:
    base = elfmake.plan()
    extra = {"mii_help": Export(0x77, "drivers/net/mii", False)}
    return replace(base, symvers={**base.symvers, **extra})


def where(elf: ElfModule, section: str, offset: int) -> str:
    r = next(r for r in elf.relocs[elf.by_name[section].index] if r.offset == offset)
    return elf.symbols[r.sym].name


def test_the_driver_and_the_library_stand_unchanged() -> None:
    mine, its = driver().build(), library().build()
    old, lib, elf = ElfModule.parse(mine), ElfModule.parse(its), ElfModule.parse(fuse(mine, [its]))
    for name in (".text", ".rodata", ".data", ".init.text"):
        assert elf.content(elf.by_name[name]) == old.content(old.by_name[name])
    for name in (".text", ".data"):
        assert elf.content(elf.by_name[f"{name}.mii"]) == lib.content(lib.by_name[name])
    assert elf.by_name[".bss.mii"].size == 40


def test_imports_are_resolved_and_exports_are_gone() -> None:
    elf = ElfModule.parse(fuse(driver().build(), [library().build()]))
    found = [s for s in elf.symbols if s.name == "mii_help"]
    assert [s.shndx for s in found] == [elf.by_name[".text.mii"].index]
    assert where(elf, ".text", 6) == "mii_help"
    assert where(elf, ".text.mii", 1) == "kfree"
    assert len([s for s in elf.symbols if s.name == "kfree"]) == 1
    assert not [s for s in elf.sections if s.name.startswith("__ksymtab")]
    assert depends(elf) == ()


def test_tables_for_the_kernel_are_joined() -> None:
    elf = ElfModule.parse(fuse(driver().build(), [library().build()]))
    table = elf.by_name["__bug_table"]
    assert table.size == 24
    assert [r.offset for r in elf.relocs[table.index]] == [0, 12]


def test_a_library_function_in_a_table_has_a_gate() -> None:
    out, report = relink(driver().build(), plan(), [library().build()])
    assert "mii_help" in {e.name for e in report.escapes}
    assert where(ElfModule.parse(out), ".data", 16) == "nooks_gate_mii_help"
    assert where(ElfModule.parse(out), ".text.mii", 1) == "nooks_kfree"
    assert [name for name, _ in report.libraries] == ["mii"]


def test_without_its_library_the_import_is_named() -> None:
    with pytest.raises(RefusedError, match="no policy for 1 imports: mii_help"):
        relink(driver().build(), plan())


def test_a_librarys_init_runs_before_the_drivers() -> None:
    data = fuse(driver().build(), [library(init=True).build()])
    elf = ElfModule.parse(data)
    chain = ".text.nooks_chain.mii"
    assert [where(elf, chain, at) for at in (6, 15, 26, 34)] == [
        "mii_init_module", "init_module", "mii_cleanup_module", "__x86_return_thunk",
    ]  # fmt: skip
    code = elf.content(elf.by_name[chain])
    (jump,) = struct.unpack_from("b", code, 13)
    assert code[14 + jump] == 0x5B, "pop rbx"
    report = analyse(driver().build(), plan(), [library(init=True).build()])
    kinds = {e.kind: e.name for e in report.escapes if e.kind is not GateKind.PLAIN}
    assert set(kinds) == {GateKind.INIT, GateKind.EXIT}
    assert not [s for s in elf.sections if s.name == ".init.text.mii"], "would be freed"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("not needed", "does not depend on mdio"),
        ("unknown section", "its meaning is unknown"),
        ("per-CPU", "its meaning is unknown"),
        ("left out", "which was left out"),
        ("other kernel", "built for kernel"),
    ],
)
def test_what_cannot_be_fused_is_refused(spoil: str, said: str) -> None:
    m = library("mdio" if spoil == "not needed" else "mii")
    match spoil:
        case "unknown section":
            m.sections.append(Section("__tracepoints", bytes(8)))
        case "per-CPU":
            m.sections.append(Section(".data..percpu", bytes(8), flags=ALLOC | elfmake.WRITE))
        case "left out":
            m.relocs[".text"][0] = (1, R_PLT32, "__ksymtab_mii_help", -4)
        case "other kernel":
            info = next(s for s in m.sections if s.name == ".modinfo")
            info.body = info.body.replace(RELEASE.encode(), b"6.9.0-test")
    with pytest.raises(RefusedError, match=said):
        analyse(driver().build(), plan(), [m.build()])
