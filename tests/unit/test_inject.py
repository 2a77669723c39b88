# SPDX-License-Identifier: GPL-2.0-only
"""Payloads are the machine code that they claim to be, and a seed is a promise."""

from __future__ import annotations

import capstone
import pytest

from pynooks.control.netlink import INJECT_MAX
from pynooks.errors import RefusedError, UsageError
from pynooks.inject import Function, Kind, choose_site, payload

ADDRESS = 0xFFFFFFFF82A0_1234
WANT = {
    Kind.WILD_WRITE: [
        "movabs rax, 0xffffffff82a01234",
        "mov qword ptr [rax], 0x4b4f4f4e",
        "xor eax, eax",
        "ret",
    ],
    Kind.NULL_DEREF: ["xor eax, eax", "mov rax, qword ptr [rax]", "ret"],
    Kind.UD2: ["ud2"],
    Kind.LOOP: ["jmp 0"],
    Kind.CLI_LOOP: ["cli", "jmp 1"],
    Kind.BAD_JUMP: ["mov eax, 0x4e4f0000", "jmp rax"],
    Kind.STACK_OVERFLOW: ["call 0"],
}


def listing(code: bytes) -> list[str]:
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    lines = list(disassembler.disasm_lite(code, 0))
    assert sum(size for _, size, _, _ in lines) == len(code)
    return [f"{name} {args}".strip() for _, _, name, args in lines]


@pytest.mark.parametrize("kind", list(Kind))
def test_payload(kind: Kind) -> None:
    code = payload(kind, ADDRESS)
    assert listing(code) == WANT[kind]
    assert len(code) <= INJECT_MAX
    assert kind.needs_entry == (code[-1:] == b"\xc3")


def test_wild_write_needs_an_address() -> None:
    with pytest.raises(UsageError):
        payload(Kind.WILD_WRITE)


# nop; push rbp; mov rbp, rsp; then twenty one-byte nops and ret
CODE = bytes.fromhex("0f1f440000554889e5") + b"\x90" * 20 + b"\xc3"
HAVE = {name: Function(name=name, code=CODE) for name in ("drv_xmit", "drv_poll", "drv_irq")} | {
    "drv_tiny": Function(name="drv_tiny", code=b"\xc3")
}


def test_prologue_ends_at_the_first_branch() -> None:
    assert HAVE["drv_xmit"].prologue()[:4] == [0, 5, 6, 9]
    # call __fentry__; push rbp; test edi, edi; je +2; nop
    code = bytes.fromhex("e8000000005585ff740290c3")
    assert Function(name="f", code=code).prologue() == [0, 5, 6, 8]


def test_equal_seeds_give_equal_sites() -> None:
    def pick(seed: int, names: list[str]) -> tuple[str, int]:
        site = choose_site(HAVE, names, size=2, at_entry=False, seed=seed)
        return site.symbol, site.offset

    names = list(HAVE)
    assert [pick(s, names) for s in range(40)] == [pick(s, names[::-1]) for s in range(40)]
    found = {pick(seed, names) for seed in range(40)}
    assert len(found) > 5
    assert all(offset in HAVE["drv_xmit"].prologue() for _, offset in found)


def test_only_functions_that_run_and_have_room() -> None:
    for seed in range(20):
        site = choose_site(HAVE, ["drv_tiny", "drv_irq"], size=2, at_entry=True, seed=seed)
        assert (site.symbol, site.offset) == ("drv_irq", 0)
    with pytest.raises(RefusedError, match="no function"):
        choose_site(HAVE, ["drv_tiny", "unknown"], size=2, at_entry=True, seed=1)
