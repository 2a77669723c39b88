# SPDX-License-Identifier: GPL-2.0-only
"""Instructions that no driver needs, and that a nook could not bear.

Vector and floating point registers hold the process's values: the kernel is compiled without
them, and a nook does not save them. Control registers, descriptor tables and model-specific
registers are what isolation is made of. Nothing traps in ring 0, so code that has one of these is
refused, whatever it does around it. A wild jump may still find one: docs/limits.md.
"""

from __future__ import annotations

import re

import capstone

from pynooks.relink.elf import STT_FUNC, ElfModule, Section, refuse

_VECTOR = re.compile(r"\b[xyz]mm\d+\b|\bmm[0-7]\b|\bst\(\d\)|\bk[0-7]\b")
_X87 = re.compile(r"f|xsave|xrstor|v?(ld|st)mxcsr|emms|vzero")  # f: all of x87, and fxsave
_CONTROL = re.compile(r"(cr|dr)\d+,")  # the target of a mov; reading one changes nothing
_PRIVILEGED = frozenset((
    "wrmsr", "xsetbv", "lgdt", "lidt", "lldt", "ltr", "lmsw", "clts", "swapgs", "wrgsbase",
    "wrfsbase", "hlt", "invd", "invlpg", "invpcid", "iretq", "iretd", "iret", "sysretq", "sysret",
    "sysexit", "sysexitq", "syscall", "sysenter", "int", "rsm", "vmcall", "vmlaunch", "vmresume",
    "vmxon", "vmxoff", "vmrun", "vmload", "vmsave", "stgi", "clgi", "wrpkru", "setssbsy",
))  # fmt: skip


def check_instructions(elf: ElfModule) -> None:
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
                if why := _forbidden(word, operands):
                    raise refuse(
                        f"section {section.name}: `{f'{word} {operands}'.strip()}` at {address:#x}"
                        f"{_function(elf, section, address)} {why}",
                        "nothing stops it once it runs; a driver like this cannot be isolated",
                    )


def _forbidden(word: str, operands: str) -> str:
    """What is wrong with an instruction; "" if nothing."""
    if _VECTOR.search(operands) or _X87.match(word):
        return "uses registers of the process"
    if word in _PRIVILEGED or (word == "mov" and _CONTROL.match(operands)):
        return "changes the state of the CPU"
    return ""


def _starts(elf: ElfModule, section: Section) -> list[int]:
    """Where to begin to decode: the section's start, and each function's."""
    found = {s.value for s in elf.symbols if s.type == STT_FUNC and s.shndx == section.index}
    return sorted({0} | {value for value in found if value < section.size})


def _function(elf: ElfModule, section: Section, address: int) -> str:
    best = max(
        (
            s
            for s in elf.symbols
            if s.type == STT_FUNC and s.shndx == section.index and s.value <= address
        ),
        key=lambda s: s.value,
        default=None,
    )
    return f" in {best.name}" if best else ""
