# SPDX-License-Identifier: GPL-2.0-only
"""What to do with each import: decided from policy and symbol CRCs before a byte is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pynooks.errors import RefusedError
from pynooks.policy import ImportPolicy, Kind, Policies, load_policies
from pynooks.relink.elf import (
    R_64,
    R_PC32,
    R_PLT32,
    RELOC_NAME,
    SHN_UNDEF,
    ElfModule,
    Reloc,
    Section,
    refuse,
)

PREFIX = "nooks_"
GATE_ENTRY = "nooks_xpc_gate"
FENTRY = "__fentry__"
# Private register ABI: a C stub in between would break them (facts: "Never rename").
PRIVATE_ABI = (
    FENTRY, "__x86_indirect_", "__x86_return_thunk", "__SCT__", "__SCK__", "__get_user_",
    "__put_user_",
)  # fmt: skip
# Static calls whose plain function the per-nook runtime replaces.
RENAMED_SCT = frozenset(
    (
        "__SCT__cond_resched",
        "__SCT__might_resched",
        "__SCT__preempt_schedule",
        "__SCT__preempt_schedule_notrace",
    )
)
TOOLCHAIN = (FENTRY, "__x86_indirect_", "__x86_return_thunk")
GPL_LICENSES = frozenset(
    ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
)


@dataclass(frozen=True, slots=True)
class Export:
    """One line of Module.symvers."""

    crc: int
    module: str
    gpl: bool
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelinkPlan:
    """The target: its kernel, nooks.ko's symbols, and the policy of imports.

    symvers, nooks: symbol -> export; an empty `nooks` allows planning only
    """

    release: str
    symvers: Mapping[str, Export]
    nooks: Mapping[str, Export] = field(default_factory=dict)
    imports: Mapping[str, ImportPolicy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """A relocation to repoint: a call of an import, or a table of it in data."""

    section: Section
    reloc: Reloc
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportUse:
    """One import: its policy and how the driver uses it. kind None: no policy, none is needed."""

    name: str
    kind: Kind | None
    calls: int
    others: int
    relocs: str
    why: str


def parse_symvers(text: str, where: str) -> dict[str, Export]:
    """Read Module.symvers: crc, symbol, module, export type, namespace."""
    out = {}
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split("\t")
        try:
            space = parts[4] if len(parts) > 4 else ""
            out[parts[1]] = Export(int(parts[0], 16), parts[2], "GPL" in parts[3], space)
        except (IndexError, ValueError) as e:
            raise refuse(
                f"{where}: line {number} is no symbol version", "build the kernel's headers again"
            ) from e
    return out


def load_symvers(path: Path) -> dict[str, Export]:
    try:
        return parse_symvers(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as e:
        raise RefusedError(
            f"{path}: cannot be read", hint="install linux-headers of the target's kernel"
        ) from e


def find_symvers(release: str) -> Path:
    """Module.symvers of an installed kernel's headers."""
    for base in (Path("/lib/modules", release, "build"), Path(f"/usr/src/linux-headers-{release}")):
        if (base / "Module.symvers").is_file():
            return base / "Module.symvers"
    raise RefusedError(
        f"no Module.symvers for kernel {release}", hint=f"apt install linux-headers-{release}"
    )


def load_plan(
    release: str,
    *,
    symvers: Path | None = None,
    nooks_symvers: Path | None = None,
    policies: Policies | None = None,
) -> RelinkPlan:
    """Collect the plan for kernel `release` from its headers, a built nooks.ko and the policy."""
    return RelinkPlan(
        release=release,
        symvers=load_symvers(symvers or find_symvers(release)),
        nooks=load_symvers(nooks_symvers) if nooks_symvers else {},
        imports=(policies or load_policies()).imports,
    )


def check_target(elf: ElfModule, plan: RelinkPlan) -> None:
    """The module is for the plan's kernel, by version and by CRC of every import."""
    built = elf.info("vermagic").split(" ", 1)[0]
    if built != plan.release:
        raise refuse(
            f"built for kernel {built or '(none)'}, target is {plan.release}",
            f"take the driver from the target's /lib/modules/{plan.release}",
        )
    if elf.info("license") not in GPL_LICENSES:
        raise refuse(
            f"license {elf.info('license') or '(none)'!r}: nooks.ko offers its functions to "
            "GPL-compatible modules only",
            "a driver like this cannot be isolated",
        )
    if elf.info("depends").split(",")[0] == "nooks":
        raise refuse("already relinked", "give the distribution's own file")
    wrong = [
        name
        for name, crc in elf.versions().items()
        if name not in plan.symvers or plan.symvers[name].crc != crc
    ]
    if wrong:
        raise refuse(
            f"symbol versions differ from the target's: {_some(wrong)}",
            "take the driver and the headers from the same kernel package",
        )


def _some(names: list[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(sorted(names)[:limit]) + more


def is_branch(code: bytes, offset: int) -> bool:
    """The 4 bytes at `offset` are the target of a call, jmp or jcc."""
    if offset >= 1 and code[offset - 1] in (0xE8, 0xE9):
        return True
    return offset >= 2 and code[offset - 2] == 0x0F and code[offset - 1] & 0xF0 == 0x80


def _uses(elf: ElfModule) -> Iterator[tuple[Section, Reloc, str, bool]]:
    """(section, relocation, import, is it a call) of every use of an import."""
    undef = {s.index: s.name for s in elf.symbols if s.shndx == SHN_UNDEF and s.name}
    for index, relocs in elf.relocs.items():
        section = elf.sections[index]
        if not section.alloc:
            continue
        code = elf.content(section) if section.exec else b""
        for r in relocs:
            name = undef.get(r.sym)
            if name:
                call = section.exec and (
                    r.type == R_PLT32 or (r.type == R_PC32 and is_branch(code, r.offset))
                )
                yield section, r, name, call


def _is_table(section: Section, r: Reloc, policy: ImportPolicy | None) -> bool:
    """A pointer in data to what nooks.ko has a counterpart of, such as param_ops_charp."""
    table = policy is not None and policy.kind is Kind.DOMAIN and not policy.slow
    return not section.exec and r.type == R_64 and table


def toolchain(name: str) -> bool:
    return name.startswith(TOOLCHAIN)


def plan_imports(elf: ElfModule, plan: RelinkPlan) -> tuple[list[ImportUse], list[Call]]:
    """Every import with what is done to it, and the calls to repoint. Refuses nothing."""
    calls: list[Call] = []
    counts: dict[str, dict[str, int]] = {
        s.name: {} for s in elf.symbols if s.shndx == SHN_UNDEF and s.name
    }
    ncalls = dict.fromkeys(counts, 0)
    for section, r, name, call in _uses(elf):
        if section.name in (".static_call_sites", "__mcount_loc"):
            continue
        label = RELOC_NAME[r.type] if section.exec else f"{RELOC_NAME[r.type]}@{section.name}"
        counts[name][label] = counts[name].get(label, 0) + 1
        policy = plan.imports.get(name)
        if call or _is_table(section, r, policy):
            ncalls[name] += 1
            if policy and policy.kind.leaves and not toolchain(name):
                calls.append(Call(section, r, name))
    uses = []
    for name in sorted(counts):
        policy = plan.imports.get(name)
        kind, why = (policy.kind, policy.why) if policy else (None, "")
        if toolchain(name):
            kind, why = Kind.DIRECT, "compiler"
        total = sum(counts[name].values())
        uses.append(
            ImportUse(
                name=name, kind=kind, calls=ncalls[name], others=total - ncalls[name],
                relocs=" ".join(f"{k}×{n}" for k, n in counts[name].items()), why=why,  # noqa: RUF001
            )
        )  # fmt: skip
    return uses, calls


def check_imports(uses: list[ImportUse], plan: RelinkPlan) -> None:
    """Refuse what may not be called; all names at once."""
    missing = [u.name for u in uses if u.calls and u.kind is None]
    denied = [f"{u.name} ({u.why})" for u in uses if u.calls and u.kind is Kind.DENY]
    private = [
        u.name
        for u in uses
        if u.calls
        and u.kind
        and u.kind.leaves
        and u.name.startswith(PRIVATE_ABI)
        and u.name not in RENAMED_SCT
    ]
    if denied:
        raise refuse(f"calls what no nook may call: {_some(denied)}", "it cannot be isolated")
    if missing:
        raise refuse(
            f"no policy for {len(missing)} imports: {_some(missing, 200)}",
            "add them to a file in pynooks/policy/subsystem/",
        )
    if private:
        raise refuse(
            f"policy would wrap functions with a private register ABI: {_some(private)}",
            "make them direct or deny",
        )
    absent = [
        PREFIX + u.name
        for u in uses
        if u.calls and u.kind and u.kind.leaves and PREFIX + u.name not in plan.nooks
    ]
    if GATE_ENTRY not in plan.nooks:
        absent.append(GATE_ENTRY)
    if absent:
        raise refuse(
            f"nooks.ko does not export {_some(absent)}", "run `pynooks build` for this kernel"
        )
