# SPDX-License-Identifier: GPL-2.0-only
"""Registers that are not the driver's: vector and floating point ones hold the process's values.

The kernel is compiled without them, and a nook does not save them. So code that touches one is
refused, whatever it does around it.
"""

from __future__ import annotations

import re

import capstone

from pynooks.relink.elf import STT_FUNC, ElfModule, Section, refuse

_OPERAND = re.compile(r"\b[xyz]mm\d+\b|\bmm[0-7]\b|\bst\(\d\)|\bk[0-7]\b")
_STATE = re.compile(r"f|xsave|xrstor|v?(ld|st)mxcsr|emms|vzero")  # f: all of x87


def check_registers(elf: ElfModule) -> None:
    """Refuse a driver with such an instruction; names the first function that has one."""
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.skipdata = True
    for section in elf.sections:
        if not (section.alloc and section.exec):
            continue
        code = elf.content(section)
        starts = _starts(elf, section)
        for begin, end in zip(starts, [*starts[1:], len(code)], strict=True):
            for address, _, word, operands in engine.disasm_lite(code[begin:end], begin):
                if _OPERAND.search(operands) or _STATE.match(word):
                    raise refuse(
                        f"section {section.name}: `{word} {operands}` at {address:#x}"
                        f"{_function(elf, section, address)} uses registers of the process",
                        "a nook does not save vector and floating point registers",
                    )


def _starts(elf: ElfModule, section: Section) -> list[int]:
    """Where to begin to decode: the section's start, and each function's."""
    found = {
        s.value for s in elf.symbols if s.type == STT_FUNC and s.shndx == section.index
    }  # fmt: skip
    return sorted({0} | {value for value in found if value < section.size})


def _function(elf: ElfModule, section: Section, address: int) -> str:
    best = max(
        (s for s in elf.symbols
         if s.type == STT_FUNC and s.shndx == section.index and s.value <= address),
        key=lambda s: s.value,
        default=None,
    )  # fmt: skip
    return f" in {best.name}" if best else ""
