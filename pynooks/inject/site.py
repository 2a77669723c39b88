# SPDX-License-Identifier: GPL-2.0-only
"""Where a fault goes: functions of a driver, their instructions, and a choice by seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import capstone

from pynooks.errors import RefusedError
from pynooks.relink import ElfModule

STT_FUNC = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function of the driver, as its .ko has it. code: before relocation."""

    name: str
    code: bytes

    def prologue(self) -> list[int]:
        """Offsets of the instructions that every call runs: up to the first that may branch."""
        disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        found = []
        for start, size, name, _ in disassembler.disasm_lite(self.code, 0):
            found.append(start)
            # The first call, at 0, is the tracer's and is patched away.
            if name.startswith(("j", "ret", "loop")) or (name == "call" and start + size > 5):
                break
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place in a driver. seed: that chose it, None if the user named it."""

    symbol: str
    offset: int
    seed: int | None


def functions(module: bytes) -> dict[str, Function]:
    """All functions of a .ko by name."""
    elf = ElfModule.parse(module)
    found = {}
    for symbol in elf.symbols:
        if symbol.type != STT_FUNC or not 0 < symbol.shndx < len(elf.sections):
            continue
        section = elf.sections[symbol.shndx]
        if section.exec and symbol.size and not section.name.startswith((".init", ".exit")):
            code = elf.content(section)[symbol.value : symbol.value + symbol.size]
            found[symbol.name] = Function(name=symbol.name, code=bytes(code))
    return found


def choose_site(
    have: Mapping[str, Function], running: Iterable[str], *, size: int, at_entry: bool, seed: int
) -> Site:
    """One of the functions that the workload runs, and an instruction of it.

    Equal arguments give an equal site. size: bytes that must fit into the function.
    """
    names = sorted(name for name in set(running) if name in have and len(have[name].code) >= size)
    if not names:
        raise RefusedError(
            "no function of the driver that runs has room for this fault",
            hint="make traffic first, or name one with --symbol",
        )
    dice = random.Random(f"{seed}:{size}:{at_entry}")
    function = have[dice.choice(names)]
    offset = 0
    if not at_entry:
        offset = dice.choice([at for at in function.prologue() if at + size <= len(function.code)])
    return Site(symbol=function.name, offset=offset, seed=seed)
