# SPDX-License-Identifier: GPL-2.0-only
"""The relinked module: calls, gates, manifest, layout."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import elfmake
import pytest
from elfmake import plan

from pynooks.errors import RefusedError
from pynooks.policy import ImportPolicy, Kind
from pynooks.relink import (
    ElfModule,
    Export,
    GateKind,
    RelinkPlan,
    find_symvers,
    load_symvers,
    relink,
)
from pynooks.relink.elf import Reloc

GOOD = elfmake.driver().build()


def relinked(data: bytes = GOOD) -> ElfModule:
    return ElfModule.parse(relink(data, plan())[0])


def reloc(elf: ElfModule, section: str, offset: int) -> tuple[str, Reloc]:
    r = next(r for r in elf.relocs[elf.by_name[section].index] if r.offset == offset)
    return elf.symbols[r.sym].name, r


def test_calls_go_to_nooks() -> None:
    elf = relinked()
    assert reloc(elf, ".text", 6)[0] == "nooks_kfree"
    assert reloc(elf, ".text.nooks_init", 1)[0] == "nooks_kfree"
    assert reloc(elf, ".rodata", 8)[0] == "kfree", "a stored address stays"
    assert reloc(elf, ".text", 18)[0] == "helper", "the driver calls itself for free"


def test_fentry_is_a_nop() -> None:
    elf = relinked()
    assert elf.content(elf.by_name[".text"])[:5] == bytes.fromhex("0f1f440000")
    assert reloc(elf, ".text", 1)[1].type == 0


def test_direct_stays() -> None:
    out, report = relink(GOOD, plan(kfree=Kind.DIRECT))
    assert reloc(ElfModule.parse(out), ".text", 6)[0] == "kfree"
    assert report.calls == 0


def test_a_table_that_nooks_has_goes_to_nooks() -> None:
    """What is policy `domain`, stored in data: parameters' operations."""
    out, report = relink(GOOD, plan(kfree=Kind.DOMAIN))
    assert reloc(ElfModule.parse(out), ".rodata", 8)[0] == "nooks_kfree"
    assert report.calls == 3


PROCESS, CPU = "uses registers of the process", "changes the state of the CPU"


def with_code(code: str) -> bytes:
    """The driver with these bytes in helper()."""
    module, body, at = elfmake.driver(), bytes.fromhex(code), elfmake.HELPER + 1
    module.sections[0].body = elfmake.TEXT[:at] + body + elfmake.TEXT[at + len(body) :]
    return module.build()


@pytest.mark.parametrize(
    ("code", "word", "why"),
    [
        ("660f6ec0", "movd", PROCESS),
        ("c5fd6fc1", "vmovdqa", PROCESS),
        ("d9e8", "fld1", PROCESS),
        ("0fae00", "fxsave", PROCESS),
        ("0f22c0", "mov cr0", CPU),
        ("0f22e0", "mov cr4", CPU),
        ("0f23f8", "mov dr7", CPU),
        ("0f30", "wrmsr", CPU),
        ("0f0118", "lidt", CPU),
        ("0f01f8", "swapgs", CPU),
        ("f4", "hlt", CPU),
    ],
)
def test_instructions_of_others_are_refused(code: str, word: str, why: str) -> None:
    """In a function, by its name."""
    with pytest.raises(RefusedError, match=f"`{word}.*in helper {why}"):
        relink(with_code(code), plan())


@pytest.mark.parametrize("code", ["0f20d8", "fa", "fb", "9c", "0f01ca", "ee", "0f31"])
def test_instructions_of_drivers_are_not(code: str) -> None:
    """mov from cr3, cli, sti, pushf, clac, out, rdtsc."""
    relink(with_code(code), plan())


def test_gates() -> None:
    elf = relinked()
    assert reloc(elf, ".rodata", 0)[0] == "nooks_gate_ping"
    assert reloc(elf, ".data", 16)[0] == "nooks_gate_ping"
    name, r = reloc(elf, ".text", 13)
    assert (name, r.addend) == ("nooks_gate_helper", -4)
    module = ".gnu.linkonce.this_module"
    assert reloc(elf, module, 24)[0] == "nooks_gate_init_tiny_init"
    assert reloc(elf, module, 64)[0] == "nooks_gate_exit_cleanup_module"
    assert reloc(elf, ".data.nooks_init", 0)[0] == "init_module", "only keeps it linked"
    assert reloc(elf, "__bug_table", 0)[0] == "ping", "metadata keeps the true address"
    gates = elf.by_name[".text.nooks_gates"]
    code = elf.content(gates)
    assert len(code) == 4 * 16
    for i in range(4):
        assert code[i * 16 :][:11].hex() == "f30f1efa488d05f5ffffff"
        name, r = reloc(elf, gates.name, i * 16 + 12)
        assert (name, r.type, r.addend) == ("nooks_xpc_gate", 4, -4)


def test_address_with_immediate_behind_it() -> None:
    """cmpl $imm, sym(%rip)-like operands end 4 bytes before the instruction does."""
    m = elfmake.driver()
    code = bytearray(m.sections[0].body)
    code[10:20] = bytes.fromhex("48c7050000000001000000")[:10]  # movq $1, helper(%rip)
    code[20:24] = bytes.fromhex("00909090")
    m.sections[0].body = bytes(code)
    m.relocs[".text"] = [
        (1, 4, "__fentry__", -4), (6, 4, "kfree", -4), (13, 2, "helper", -8),
    ]  # fmt: skip
    name, r = reloc(relinked(m.build()), ".text", 13)
    assert (name, r.addend) == ("nooks_gate_helper", -8)


def test_manifest() -> None:
    elf = relinked()
    section = elf.by_name[".nooks.manifest"]
    assert section.flags == 2
    body = elf.content(section)
    magic, version, ngates, nranges, _, _ = struct.unpack_from("<IIIIQQ", body)
    assert (magic, version, ngates, nranges) == (0x4B4F4F4E, 1, 4, 2)
    assert len(body) == 32 + 16 * (nranges + ngates)
    assert (
        reloc(elf, section.name, 16)[0]
        == elf.symbols[
            next(s.index for s in elf.symbols if s.name.startswith("nooks_gate_") and not s.value)
        ].name
    )
    sizes = [struct.unpack_from("<Q", body, 32 + 16 * i + 8)[0] for i in range(nranges)]
    assert sizes == [24 + 8, 100], ".data with .init.data behind it; .bss"
    gates = {}
    for pos in range(32 + 16 * nranges, len(body), 16):
        gates[reloc(elf, section.name, pos)[0]] = struct.unpack_from("<Q", body, pos + 8)[0]
    assert gates == {
        "ping": GateKind.PLAIN, "helper": GateKind.PLAIN, "tiny_init": GateKind.INIT,
        "cleanup_module": GateKind.EXIT,
    }  # fmt: skip
    assert any(s.name == "__nooks_manifest" and s.shndx == section.index for s in elf.symbols)


def kernel_layout(elf: ElfModule) -> list[tuple[str, int, int]]:
    """layout_sections() of kernel/module/main.c: writable sections, read-only-after-init before."""
    out, at = [], 0
    for late in (False, True):
        for s in elf.sections:
            if s.alloc and s.write and (s.name != "__jump_table") is late:
                at = -(-at // max(s.align, 1)) * max(s.align, 1)
                out.append((s.name, at, at + s.size))
                at += s.size
        at = -(-at // 4096) * 4096
    return out


def test_no_page_has_two_owners() -> None:
    elf = relinked()
    owners: dict[int, set[bool]] = {}
    for name, start, end in kernel_layout(elf):
        for page in range(start // 4096, (end + 4095) // 4096):
            owners.setdefault(page, set()).add(name.startswith((".data", ".bss")))
    assert all(len(o) == 1 for o in owners.values())


def test_sections_and_modinfo() -> None:
    elf = relinked()
    assert not any(s.name.startswith(".init") for s in elf.sections)
    for name in ("__mcount_loc", ".static_call_sites"):
        assert not elf.by_name[name].alloc
    assert elf.info("depends") == "nooks,mii"
    assert elf.info("name") == "tiny"
    versions = elf.versions()
    assert versions["nooks_kfree"] == 0x99
    assert versions["nooks_xpc_gate"] == 0x98
    assert versions["kfree"] == elfmake.IMPORTS["kfree"]


def test_only_appended() -> None:
    """Old bytes differ only in relocation entries, fentry calls and the ELF header."""
    out = relink(GOOD, plan())[0]
    old = ElfModule.parse(GOOD)
    allowed = set(range(40, 64))
    for s in old.sections:
        if s.type == 4:
            allowed |= set(range(s.offset, s.offset + s.size))
    text = old.by_name[".text"].offset
    allowed |= set(range(text, text + 5))
    assert all(out[i] == GOOD[i] for i in range(len(GOOD)) if i not in allowed)


def test_pure() -> None:
    assert relink(GOOD, plan()) == relink(GOOD, plan())


def test_unknown_section_with_pointer() -> None:
    m = elfmake.driver()
    m.sections.append(elfmake.Section("__ksymtab", bytes(8)))
    m.relocs["__ksymtab"] = [(0, 2, "ping", 0)]
    with pytest.raises(RefusedError, match="section __ksymtab holds a pointer to ping"):
        relink(m.build(), plan())


def test_percpu_is_refused() -> None:
    m = elfmake.driver()
    m.sections.append(elfmake.Section(".data..percpu", bytes(8), flags=3))
    with pytest.raises(RefusedError, match=r"section \.data\.\.percpu"):
        relink(m.build(), plan())


def test_twice_is_refused() -> None:
    out = relink(GOOD, plan())[0]
    with pytest.raises(RefusedError):
        relink(out, plan())


@pytest.mark.skipif(not shutil.which("readelf"), reason="needs binutils")
def test_readelf_is_content(tmp_path: Path) -> None:
    path = tmp_path / "x.ko"
    path.write_bytes(relink(GOOD, plan())[0])
    done = subprocess.run(["readelf", "-aW", path], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def stock_driver(name: str) -> Path:
    """A distribution's module, from $PYNOOKS_TEST_MODULES or the installed kernels."""
    roots = [os.environ.get("PYNOOKS_TEST_MODULES", ""), "/lib/modules"]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pynooks"
    for root in (*(Path(r) for r in roots if r), cache):
        for path in root.glob(f"**/{name}.ko"):
            return path
    pytest.skip(f"no stock {name}.ko: set PYNOOKS_TEST_MODULES to a directory that has one")


def test_stock_e1000(tmp_path: Path) -> None:
    path = stock_driver("e1000")
    data = path.read_bytes()
    elf = ElfModule.parse(data)
    release = elf.info("vermagic").split()[0]
    try:
        symvers = load_symvers(find_symvers(release))
    except RefusedError as e:
        pytest.skip(f"{e}: {e.hint}")
    names = [s.name for s in elf.symbols if s.shndx == 0 and s.name]
    private = ("__x86_", "__fentry__", "__SCK__")
    out, report = relink(
        data,
        RelinkPlan(
            release=release,
            symvers=symvers,
            nooks={n: Export(1, "nooks", True)
                   for n in [*(f"nooks_{x}" for x in names), "nooks_xpc_gate"]},
            imports={n: ImportPolicy(name=n, kind=Kind.CROSS)
                     for n in names if not n.startswith(private)},
        ),
    )  # fmt: skip
    assert len(report.escapes) == 60
    assert {e.kind for e in report.escapes} == set(GateKind)
    assert report.fentry == elf.by_name["__mcount_loc"].size // 8
    done = tmp_path / "e1000.ko"
    done.write_bytes(out)
    if shutil.which("readelf"):
        said = subprocess.run(["readelf", "-aW", done], capture_output=True, text=True, check=True)
        assert said.stderr == ""
