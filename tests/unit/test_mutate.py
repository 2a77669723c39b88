# SPDX-License-Identifier: GPL-2.0-only
"""Mutations respect what the kernel patches, say truly what they replace, and follow the seed."""

from __future__ import annotations

import random
import struct
from functools import cache

import pytest
from elfmake import ALLOC, R_PC32, WRITE, Section, driver

from pynooks.errors import RefusedError
from pynooks.inject.mutate import FaultClass, Mutation, Routine, Text, choose
from pynooks.inject.mutate.classes import OVERRUNS
from pynooks.inject.mutate.code import decode_one
from pynooks.inject.mutate.edits import edit, sites
from pynooks.inject.mutate.encode import nops
from pynooks.relink import ElfModule
from pynooks.relink.elf import RELOC_WIDTH
from pynooks.vm import paths

K = FaultClass
SEEDS = range(12)
HOT = ("e1000_clean", "e1000_clean_rx_irq", "e1000_intr", "e1000_xmit_frame")


@cache
def stock(name: str = "e1000") -> bytes:
    """The distribution's .ko from the cache of unpacked kernels."""
    found = sorted(paths.cache_dir().glob(f"kernels/*/lib/modules/*/kernel/**/{name}.ko"))
    if not found:
        pytest.skip(f"no {name}.ko is cached: `pynooks vm build` unpacks the kernel")
    return found[-1].read_bytes()


@cache
def text() -> Text:
    return Text.of(stock())


def everywhere(of: Text) -> dict[str, None]:
    return dict.fromkeys(of.routines)


def routine(code: str, **calls: int) -> Routine:
    """Machine code; calls: name -> offset of the call, whose four last bytes are relocated."""
    raw = bytes.fromhex(code)
    fixed = {at for start in calls.values() for at in range(start + 1, start + 5)}
    return Routine("f", raw, frozenset(fixed), {at: name for name, at in calls.items()},
                   frozenset())  # fmt: skip


def strike(cls: FaultClass, where: Routine, seed: int = 0) -> list[str]:
    """Every fault of a class there, as the whole routine reads afterwards."""
    out = []
    for position in sites(cls, where):
        if done := edit(cls, where, position, random.Random(seed)):
            code = bytearray(where.code)
            code[done.offset : done.offset + len(done.new)] = done.new
            now = Routine("f", bytes(code), where.fixed, where.imports, frozenset())
            out.append("; ".join(str(i) for i in now.insns if i.name != "nop"))
    return out


# ---- the real driver


def test_all_of_the_driver_decodes() -> None:
    assert len(text().routines) > 150
    assert all(r.insns[-1].end == len(r.code) for r in text().routines.values())


@pytest.mark.parametrize("cls", list(K))
def test_mutations_of_the_stock_driver(cls: FaultClass) -> None:
    for seed in range(2):
        found = choose(text(), cls, seed=seed, count=25, reach=everywhere(text()))
        assert len(found) == 25 or cls in (K.ALLOC, K.COPY, K.UNLOCK, K.LOCK)
        for i, m in enumerate(found):
            where = text().routines[m.symbol]
            assert where.code[m.offset : m.end] == m.old
            assert len(m.old) == len(m.new)
            assert m.offset in where.index, "an instruction starts there"
            assert m.end == len(where.code) or m.end in where.index, "and there"
            changed = {m.offset + k for k in range(len(m.old)) if m.old[k] != m.new[k]}
            assert changed
            assert not changed & where.fixed
            assert decode_one(m.new + where.code[m.end : m.end + 16])
            assert not any(m.overlaps(other) for other in found[:i])
            assert Mutation.of(m.as_json()) == m


def test_no_relocated_byte_is_touched_by_the_elf_files_own_count() -> None:
    """The same, asking the relocation tables and not the mutator."""
    elf = ElfModule.parse(stock())
    relocated = {
        (section, r.offset + k)
        for section, relocs in elf.relocs.items()
        for r in relocs
        for k in range(RELOC_WIDTH[r.type])
    }
    by_name = {s.name: s for s in elf.symbols if s.size}
    for cls in K:
        for m in choose(text(), cls, seed=77, count=80, reach=everywhere(text())):
            symbol = by_name[m.symbol]
            touched = {
                (symbol.shndx, symbol.value + m.offset + k)
                for k in range(len(m.old))
                if m.old[k] != m.new[k]
            }
            assert not touched & relocated, m


def test_equal_seeds_give_equal_faults_and_others_do_not() -> None:
    again = Text.of(stock())

    def pick(of: Text, seed: int) -> tuple[Mutation, ...]:
        return choose(of, K.NOP, seed=seed, count=5, reach=dict.fromkeys(HOT))

    assert [pick(text(), s) for s in SEEDS] == [pick(again, s) for s in SEEDS]
    assert len({pick(text(), s) for s in SEEDS}) == len(SEEDS)


def test_code_that_one_golden_run_has_not_seen_changes_no_other_fault() -> None:
    whole = everywhere(text())
    faults = choose(text(), K.NOP, seed=3, count=5, reach=whole)
    hit = {m.symbol for m in faults}
    less = {name: ran for name, ran in whole.items() if name in hit}
    assert choose(text(), K.NOP, seed=3, count=5, reach=less) == faults


def test_only_code_that_runs() -> None:
    ran = frozenset(i.offset for i in text().routines["e1000_clean"].insns[:40])
    for seed in SEEDS:
        for m in choose(text(), K.TEXT, seed=seed, count=5, reach={"e1000_clean": ran}):
            assert m.symbol == "e1000_clean"
            assert m.offset in ran
    with pytest.raises(RefusedError, match="copy"):
        choose(text(), K.COPY, seed=1, count=5, reach={"e1000_clean": ran})


# ---- each class, on code that shows it


def test_patch_sites_are_fixed() -> None:
    """A static key's NOP, an alternative of four bytes, a lock prefix."""
    m = driver()
    m.sections.insert(0, Section(".smp_locks", bytes(4)))
    m.sections.insert(0, Section(".altinstructions", struct.pack("<iiHBB", 0, 0, 1, 4, 0)))
    m.symbols = [(n, i, s + 2 if s else 0, v, z) for n, i, s, v, z in m.symbols]
    m.relocs[".smp_locks"] = [(0, R_PC32, "ping", 22)]
    m.relocs[".altinstructions"] = [(0, R_PC32, "helper", -4), (4, R_PC32, "helper", 0)]
    m.relocs["__jump_table"] = [(0, R_PC32, "helper", 0), (4, R_PC32, "helper", 0)]
    found = Text.of(m.build()).routines
    assert 22 in found["ping"].fixed
    assert 10 not in found["ping"].fixed
    assert found["helper"].fixed == {0}
    assert {1, 2, 3, 4, 6, 9, 13, 18} <= found["ping"].fixed
    assert found["ping"].imports == {0: "__fentry__", 5: "kfree", 17: "helper"}
    assert ALLOC | WRITE  # flags of such sections are not looked at


def test_branch_and_loop() -> None:
    code = routine("4883e801" "75fa" "c3")  # sub rax, 1; jne -6; ret
    assert strike(K.BRANCH, code) == ["sub rax, 1; ret"]
    assert strike(K.LOOP, code) == ["sub rax, 1; je 0; ret"]
    forward = routine("7501" "90" "c3")
    assert strike(K.LOOP, forward) == []


def test_off_by_one() -> None:
    code = routine("4839c3" "7602" "0f97c0" "480f4cc1" "7400" "c3")
    found = strike(K.OFF_BY_ONE, code)
    assert [line.split("; ")[1:4] for line in found] == [
        ["jb 7", "seta al", "cmovl rax, rcx"],
        ["jbe 7", "setae al", "cmovl rax, rcx"],
        ["jbe 7", "seta al", "cmovle rax, rcx"],
    ]


def test_source_destination_and_pointer_change_one_operand() -> None:
    code = routine("488b4708" "89c3" "c3")  # mov rax, [rdi+8]; mov ebx, eax; ret
    for seed in SEEDS:
        (source,) = strike(K.SOURCE, code, seed)
        assert source.startswith("mov rax, qword ptr [rdi + 8]; mov ebx, ")
        assert "eax; ret" not in source
        for line in strike(K.DESTINATION, code, seed):
            assert "[rdi + 8]" in line
            assert line.endswith("eax; ret")
        (pointer,) = strike(K.POINTER, code, seed)
        assert pointer.startswith("mov rax, qword ptr [")
        assert "[rdi + 8]" not in pointer


def test_init_deletes_the_first_value_of_a_local() -> None:
    # xor ebx, ebx; mov dword [rsp+8], 0; mov ebx, 1; mov eax, 2; ret
    code = routine("31db" "c744240800000000" "bb01000000" "b802000000" "c3")
    assert strike(K.INIT, code) == [
        "mov dword ptr [rsp + 8], 0; mov ebx, 1; mov eax, 2; ret",
        "xor ebx, ebx; mov ebx, 1; mov eax, 2; ret",
    ]


def test_interface_deletes_one_argument() -> None:
    # mov rdi, rbx; mov rsi, [rdi]; mov edx, 1; call f
    code = routine("4889df" "488b37" "ba01000000" "e800000000" "c3", f=11)
    found = {strike(K.INTERFACE, code, seed)[0] for seed in SEEDS}
    assert found == {
        "mov rdi, rbx; mov edx, 1; call 0x10; ret",
        "mov rdi, rbx; mov rsi, qword ptr [rdi]; call 0x10; ret",
    }, "rdi is used before the call: it is not only an argument"


def test_an_allocation_gives_null() -> None:
    # mov esi, 0xcc0; mov rdi, rbx; call __kmalloc; ret
    code = routine("bec00c0000" "4889df" "e800000000" "c3", __kmalloc=8)
    assert strike(K.ALLOC, code) == ["xor eax, eax; jmp 0xd; call 0xd; ret"]
    assert strike(K.ALLOC, routine("4889df" "e800000000" "c3", __kmalloc=3)) == []


@pytest.mark.parametrize(
    ("cls", "name"), [(K.FREE, "kfree"), (K.UNLOCK, "mutex_unlock"),
                      (K.IRQ, "_raw_spin_unlock_irq")]
)  # fmt: skip
def test_a_call_is_left_out(cls: FaultClass, name: str) -> None:
    code = routine("4889df" "e800000000" "c3", **{name: 3})
    assert strike(cls, code) == ["jmp 8; call 8; ret"]


def test_a_jump_over_a_call_leaves_relocated_bytes_alone() -> None:
    # mov rsi, rbp; mov rdi, OFFSET lock (relocated); call
    raw = bytes.fromhex("4889ee" "48c7c700000000" "e800000000" "c3")
    fixed = frozenset({6, 7, 8, 9, 11, 12, 13, 14})
    code = Routine("f", raw, fixed, {10: "_raw_spin_unlock_irqrestore"}, frozenset())
    (found,) = strike(K.UNLOCK, code)
    assert found.startswith("jmp 0xf; ")
    assert strike(K.IRQ, code) == ["xor esi, esi; mov rdi, 0; call 0xf; ret"]


def test_no_jump_over_a_call_that_other_code_relies_on() -> None:
    # mov [rbx], rdi is more than an argument; and a branch target may not be overwritten
    assert strike(K.FREE, routine("48893b" "e800000000" "c3", kfree=3)) == []
    into = routine("eb03" "4889df" "e800000000" "c3", kfree=5)
    assert strike(K.FREE, into) == []


def test_a_release_comes_too_early() -> None:
    # test eax, eax; je over; mov rdi, rbx; call kfree; over: ret
    over = routine("85c0" "7408" "4889df" "e800000000" "c3", kfree=7)
    assert strike(K.FREE, over) == [
        "test eax, eax; mov rdi, rbx; call 0xc; ret",
        "test eax, eax; je 0xc; jmp 0xc; call 0xc; ret",
    ]
    # jne there, in two lengths; ret; there: call kfree
    for jump, at in (("7501", 5), ("0f8501000000", 9)):
        there = routine("85c0" + jump + "c3" "e800000000" "c3", kfree=at)
        assert strike(K.FREE, there) == [f"test eax, eax; jmp {at}; ret; call {at + 5:#x}; ret"]
    both = routine("7406" "e800000000" "c3" "e800000000" "c3", kfree=2, vfree=8)
    assert strike(K.FREE, both) == [], "no condition keeps the release back"


def test_a_lock_is_not_taken_and_its_flags_are_kept() -> None:
    code = routine("488d7b0c" "e800000000" "c3", _raw_spin_lock_irqsave=4)
    assert strike(K.LOCK, code) == ["pushfq; pop rax; jmp 9; call 9; ret"]
    code = routine("488d7b0c" "e800000000" "c3", _raw_spin_lock=4)
    assert strike(K.LOCK, code) == ["jmp 9; call 9; ret"]


def test_a_copy_is_longer() -> None:
    constant = routine("ba20000000" "e800000000" "c3", memcpy=5)  # mov edx, 32
    found = {int(strike(K.COPY, constant, seed)[0].split("; ")[0].split(", ")[1], 16) - 32
             for seed in range(60)}  # fmt: skip
    assert 8 in found
    assert any(8 < more <= 1024 for more in found)
    assert all(any(low <= more <= high for _, low, high in OVERRUNS) for more in found)
    # mov rdx, r13; mov rdi, rax: the second is written shorter so that lea fits
    register = routine("4c89ea" "4889c7" "e800000000" "c3", memcpy=6)
    for seed in SEEDS:
        (line,) = strike(K.COPY, register, seed)
        assert line.startswith("lea edx, [r13 + ")
        assert line.endswith("push rax; pop rdi; call 0xb; ret")


def test_one_flag_is_wrong() -> None:
    code = routine("bec00c0000" "e800000000" "c3", __kmalloc=5)
    for seed in SEEDS:
        value = int(strike(K.FLAGS, code, seed)[0].split("; ")[0].split(", ")[1], 16)
        assert (value ^ 0xCC0).bit_count() == 1
    zero = routine("31c9" "e800000000" "c3", dma_unmap_page_attrs=2)
    assert strike(K.FLAGS, zero) == ["mov cl, 1; call 7; ret"]


@pytest.mark.parametrize("size", range(1, 30))
def test_nops(size: int) -> None:
    code = nops(size)
    assert len(code) == size
    assert all(i.name == "nop" for i in routine(code.hex()).insns)
