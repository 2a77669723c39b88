# SPDX-License-Identifier: GPL-2.0-only
"""Generate the C that policy and BTF imply: wrappers, stubs, entry and type tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import count

from jinja2 import Environment, PackageLoader, StrictUndefined

from pynooks.btf import Btf, BtfKind, function
from pynooks.build.annotate import Wrapper, error, make_wrapper
from pynooks.build.entries import EntryTable, entry_table
from pynooks.policy import Kind, Policies
from pynooks.relink import Export

# enum obj_type of kmod/nooks.h, by struct name; all others are generated.
CORE_OBJECTS = {
    "pci_dev": "OBJ_PCI_DEV", "device": "OBJ_DEVICE", "net_device": "OBJ_NET_DEVICE",
    "sk_buff": "OBJ_SK_BUFF", "napi_struct": "OBJ_NAPI_STRUCT",
    "work_struct": "OBJ_WORK_STRUCT", "delayed_work": "OBJ_DELAYED_WORK",
    "timer_list": "OBJ_TIMER_LIST", "netdev_queue": "OBJ_NETDEV_QUEUE", "page": "OBJ_PAGE",
    "task_struct": "OBJ_TASK_STRUCT", "workqueue_struct": "OBJ_WORKQUEUE", "mutex": "OBJ_MUTEX",
    "tasklet_struct": "OBJ_TASKLET_STRUCT", "pci_config": "OBJ_PCI_CONFIG",
    "pci_driver": "OBJ_PCI_DRIVER", "buffer": "OBJ_BUFFER", "": "OBJ_NONE",
}  # fmt: skip
# kmod/nooks.h declares these whatever the policy says.
REQUIRED_OPS = (
    "net_device_ops", "ethtool_ops", "pci_driver", "dev_pm_ops", "pci_error_handlers",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ObjectType:
    """A generated row of the type table. size: bytes in this kernel."""

    struct: str
    enum: str
    size: int


@dataclass(frozen=True, slots=True)
class Exit:
    """A row of nooks_exits[]."""

    name: str
    kind: Kind
    why: str

    @property
    def inside(self) -> bool:
        """kmod/runtime has the function that the driver calls, and comes here if it must."""
        return self.kind in (Kind.DOMAIN, Kind.DEFER)

    @property
    def stub(self) -> str:
        """The symbol of its stub."""
        return f"nooks_slow_{self.name}" if self.inside else f"nooks_{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What the templates see, and what came out of them. skipped: not in this kernel's image."""

    files: Mapping[str, str]
    exits: tuple[Exit, ...]
    types: tuple[ObjectType, ...]
    skipped: tuple[str, ...]


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("pynooks.build", "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,
    )


def _object_types(btf: Btf, names: Iterable[str], structs: Mapping[str, str]) -> list[ObjectType]:
    out = []
    for name in sorted(set(names) - set(CORE_OBJECTS)):
        struct = structs.get(name, name)
        t = btf.find(struct, BtfKind.STRUCT, BtfKind.UNION)
        out.append(ObjectType(name, "OBJ_" + name.upper(), t.size if t else 0))
    return out


def _wrappers(btf: Btf, policies: Policies, names: set[str]) -> dict[str, list[Wrapper]]:
    """The generated wrappers, by subsystem."""
    out: dict[str, list[Wrapper]] = {}
    for sub in policies.subsystems:
        for name, policy in sorted(sub.imports.items()):
            if policy.kind is Kind.CROSS and name in names:
                proto = function(btf, name)
                if proto is None:
                    raise error(policy, "BTF has no prototype", "make it `wrap`, by hand")
                out.setdefault(sub.name, []).append(make_wrapper(btf, proto, policy))
    return out


def generate(btf: Btf, policies: Policies, symvers: Mapping[str, Export]) -> Generated:
    """All generated files by name, for one kernel.

    Imports that this kernel's image does not export are skipped: another kernel has them, or a
    module that nooks.ko must not depend on.
    """
    wanted = {n: p for n, p in policies.imports.items() if p.has_exit}
    here = {n for n in wanted if n in symvers and symvers[n].module == "vmlinux"}
    here |= {n for n in wanted if n.startswith("__SCT__")}
    wrappers = _wrappers(btf, policies, here)
    tables = [
        entry_table(btf, ops, policies.entries)
        for ops in dict.fromkeys((*REQUIRED_OPS, *policies.ops))
    ]
    used = {a.object for ws in wrappers.values() for w in ws for a in w.args}
    used |= {w.ret_object for ws in wrappers.values() for w in ws}
    used |= {p.object for t in tables for e in t.entries for p in e.params}
    types = _object_types(btf, used | set(policies.objects), policies.objects)
    exits = tuple(Exit(n, wanted[n].kind, wanted[n].why) for n in sorted(here))
    return Generated(
        files=_render(policies, wrappers, tables, types, exits, symvers),
        exits=exits,
        types=tuple(types),
        skipped=tuple(sorted(set(wanted) - here)),
    )


def _render(
    policies: Policies,
    wrappers: Mapping[str, list[Wrapper]],
    tables: list[EntryTable],
    types: list[ObjectType],
    exits: tuple[Exit, ...],
    symvers: Mapping[str, Export],
) -> dict[str, str]:
    env = _environment()
    enums = CORE_OBJECTS | {t.struct: t.enum for t in types}
    includes = list(dict.fromkeys(i for s in policies.subsystems for i in s.include))
    spaces = sorted({symvers[e.name].namespace for e in exits if e.name in symvers} - {""})
    common = {"enums": enums, "first": count}
    files = {
        "types.h": env.get_template("types.h.j2").render(common, types=types),
        "types.c": env.get_template("types.c.j2").render(common, types=types),
        "wrap.h": env.get_template("wrap.h.j2").render(common, exits=exits),
        "exits.h": env.get_template("exits.h.j2").render(common, exits=exits),
        "exits.c": env.get_template("exits.c.j2").render(common, exits=exits, spaces=spaces),
        "stubs.c": env.get_template("stubs.c.j2").render(common, exits=exits),
        "entries.c": env.get_template("entries.c.j2").render(
            common, tables=tables, includes=includes, shadows=policies.shadows
        ),
    }
    for sub in policies.subsystems:
        if sub.name in wrappers:
            files[f"cross_{sub.name}.c"] = env.get_template("cross.c.j2").render(
                common, subsystem=sub, wrappers=wrappers[sub.name]
            )
    return files
