# SPDX-License-Identifier: GPL-2.0-only
"""relink(): a driver's bytes and a plan in, the module that lives in a nook out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from pynooks.relink.elf import R_NONE, ElfModule, Reloc, Section, refuse
from pynooks.relink.escape import Escape, GateKind, find_escapes
from pynooks.relink.fuse import fuse
from pynooks.relink.instructions import check_instructions
from pynooks.relink.layout import Layout, plan_layout
from pynooks.relink.plan import (
    FENTRY,
    Call,
    ImportUse,
    RelinkPlan,
    check_imports,
    check_target,
    plan_imports,
)
from pynooks.relink.write import ModuleWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class EscapedFunction:
    """A driver function that has a gate. where: the sections that hold its address."""

    name: str
    kind: GateKind
    where: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelinkReport:
    """What relinking does to a driver.

    sha256:     of the driver's file, signature included
    libraries:  (name, sha256) of the modules that were made part of it
    calls:      calls that leave the nook through nooks.ko
    fentry:     `call __fentry__` that were overwritten
    ranges:     (first section, bytes) of driver-owned memory
    """

    name: str
    sha256: str
    release: str
    imports: tuple[ImportUse, ...]
    escapes: tuple[EscapedFunction, ...]
    calls: int
    fentry: int
    ranges: tuple[tuple[str, int], ...]
    libraries: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Analysis:
    elf: ElfModule
    imports: list[ImportUse]
    calls: list[Call]
    escapes: list[Escape]
    fentry: list[tuple[Section, Reloc]]
    layout: Layout


def _analyse(data: bytes, plan: RelinkPlan, libraries: Sequence[bytes]) -> _Analysis:
    for raw in (data, *libraries):
        check_target(ElfModule.parse(raw), plan)
    elf = ElfModule.parse(fuse(data, libraries))
    imports, calls = plan_imports(elf, plan)
    escapes = find_escapes(elf)
    if not any(e.kind is GateKind.INIT for e in escapes):
        raise refuse("has no init function", "a library module cannot live in a nook")
    return _Analysis(elf, imports, calls, escapes, _fentry_calls(elf), plan_layout(elf))


def _fentry_calls(elf: ElfModule) -> list[tuple[Section, Reloc]]:
    found = []
    for index, relocs in elf.relocs.items():
        section = elf.sections[index]
        if not section.exec:
            continue
        code = elf.content(section)
        for r in relocs:
            if r.type != R_NONE and elf.symbols[r.sym].name == FENTRY:
                if r.offset < 1 or code[r.offset - 1] != 0xE8:
                    raise refuse(f"section {section.name}: {FENTRY} is used, but not called")
                found.append((section, r))
    return found


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _report(
    data: bytes, plan: RelinkPlan, a: _Analysis, libraries: Sequence[bytes]
) -> RelinkReport:
    where: dict[tuple[str, GateKind], dict[str, None]] = {}
    for e in a.escapes:
        where.setdefault((e.function.name, e.kind), {})[e.section.name] = None
    return RelinkReport(
        name=a.elf.info("name"),
        sha256=_sha256(data),
        release=plan.release,
        imports=tuple(a.imports),
        escapes=tuple(
            EscapedFunction(name=n, kind=k, where=tuple(w)) for (n, k), w in where.items()
        ),
        calls=len(a.calls),
        fentry=len(a.fentry),
        ranges=tuple((r.first.name, r.size) for r in a.layout.ranges),
        libraries=tuple((ElfModule.parse(d).info("name"), _sha256(d)) for d in libraries),
    )


def analyse(data: bytes, plan: RelinkPlan, libraries: Sequence[bytes] = ()) -> RelinkReport:
    """What relink() would do; imports without policy are in the report, not refused."""
    return _report(data, plan, _analyse(data, plan, libraries), libraries)


def relink(
    data: bytes, plan: RelinkPlan, libraries: Sequence[bytes] = ()
) -> tuple[bytes, RelinkReport]:
    """Make the module that runs in a nook. RefusedError if it cannot be done, with all reasons.

    libraries: modules that the driver depends on, each before those that it depends on itself
    """
    a = _analyse(data, plan, libraries)
    check_imports(a.imports, plan)
    check_instructions(a.elf)
    writer = ModuleWriter(a.elf)
    for call in a.calls:
        writer.redirect(call)
    for section, reloc in a.fentry:
        writer.untrace(section, reloc)
    writer.apply_layout(a.layout)
    writer.add_gates(a.escapes)
    writer.add_manifest(a.layout)
    writer.set_versions(plan.nooks)
    writer.set_depends()
    return writer.finish(), _report(data, plan, a, libraries)
