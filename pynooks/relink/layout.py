# SPDX-License-Identifier: GPL-2.0-only
"""Where the kernel will put the module's writable sections, and who owns them.

The nook's page table makes whole pages writable, so no page may hold both the driver's data and
the kernel's (struct module, bug table, dynamic debug). kernel/module/main.c:layout_sections()
lays out SHF_WRITE sections in header order; it begins on a page, the read-only-after-init ones
before, the kernel's copy of the symbols on a page of their own behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pynooks.relink.elf import SHF_ALLOC, ElfModule, Section, refuse

PAGE = 4096
# Kept after init so that init can run again; ro_after_init would be read-only by then.
RENAMES = {
    ".init.text": ".text.nooks_init",
    ".init.data": ".data.nooks_init",
    ".init.rodata": ".rodata.nooks_init",
    ".data..ro_after_init": ".data.nooks_ro_after_init",
}
# Static calls would be patched past our relocations; traced text would write kernel memory.
DROPPED = frozenset((".static_call_sites", "__mcount_loc"))
RO_AFTER_INIT = frozenset(("__jump_table",))
OWNED = re.compile(r"\.(data|bss|exit\.data|init\.data|ref\.data)(\..*)?\Z")
PERCPU = ".data..percpu"


@dataclass(frozen=True, slots=True)
class Range:
    """A run of driver-owned sections: from the start of `first`, `size` bytes."""

    first: Section
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """aligned: sections that must begin on a page; ranges: what the driver owns."""

    aligned: frozenset[int]
    ranges: tuple[Range, ...]


def driver_owned(name: str) -> bool:
    return bool(OWNED.match(name)) or name in RENAMES


def plan_layout(elf: ElfModule) -> Layout:
    """Separate driver-owned from kernel-owned pages."""
    order = [s for s in elf.sections if s.alloc and s.write and s.size]
    for s in order:
        if s.name == PERCPU:
            raise refuse(
                f"section {s.name}: per-CPU variables of a driver are not supported",
                "leave this driver to the kernel",
            )
        if s.name.startswith(".init") and s.name not in RENAMES:
            raise refuse(f"section {s.name}: unknown init data, it would be freed")
    return _runs(s for s in order if s.name not in RO_AFTER_INIT | DROPPED)


def _runs(order: Iterable[Section]) -> Layout:
    aligned: set[int] = set()
    ranges: list[Range] = []
    before: bool | None = None
    for s in order:
        owned = driver_owned(s.name)
        if owned is not before:
            aligned.add(s.index)
            if owned:
                ranges.append(Range(s, s.size))
        elif owned:
            # module_get_offset(): the run starts on a page, so offsets in it are known
            last = ranges[-1]
            align = s.align or 1
            end = (last.size + align - 1) & -align
            ranges[-1] = Range(last.first, end + s.size)
        before = owned
    return Layout(frozenset(aligned), tuple(ranges))


def new_flags(s: Section) -> int:
    """Dropped sections stay in the file but are not loaded, so nobody finds them."""
    return s.flags & ~SHF_ALLOC if s.name in DROPPED else s.flags
