# SPDX-License-Identifier: GPL-2.0-only
"""How the kernel calls a driver: entry descriptors for ops structures, from BTF and policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pynooks.btf import Btf, BtfKind, Proto, c_type, ops_members, struct_type
from pynooks.build.annotate import pointee
from pynooks.policy import EntryPolicy, PolicyError

PARAMS = 6  # struct entry_desc.param
ENTRY_ARGS = 12  # NOOKS_ARGS


@dataclass(frozen=True, slots=True)
class EntryParam:
    """What one parameter lends. object: struct name, "buffer", or "" for nothing."""

    object: str
    size: str = ""
    function: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One member. proto: its C type, for the reader of the generated file."""

    name: str
    offset: int
    nargs: int
    ret: str
    params: tuple[EntryParam, ...]
    proto: str


@dataclass(frozen=True, slots=True)
class EntryTable:
    """size: of the structure, bytes."""

    struct: str
    size: int
    entries: tuple[Entry, ...]


def ret_class(btf: Btf, type_id: int) -> str:
    """enum entry_ret: what a caller is told when the driver cannot answer."""
    t = btf.strip(type_id)
    match t.kind:
        case BtfKind.VOID:
            return "RET_VOID"
        case BtfKind.PTR:
            target = pointee(btf, type_id)
            is_stats = target is not None and target[0].name == "net_device_stats"
            return "RET_STATS" if is_stats else "RET_PTR"
        case BtfKind.ENUM if t.name == "netdev_tx":
            return "RET_NETDEV_TX"
        case BtfKind.ENUM if t.name == "irqreturn":
            return "RET_IRQ"
        case BtfKind.INT if btf.int_signed(t) and t.name not in ("_Bool", "bool"):
            return "RET_INT"
    return "RET_SCALAR"


def _params(
    btf: Btf, table: str, member: str, proto: Proto, policy: EntryPolicy | None
) -> tuple[EntryParam, ...]:
    """Structures are lent whole; raw buffers only if policy gives their size."""
    out: list[EntryParam] = []
    left = dict(policy.lend) if policy else {}
    for i, p in enumerate(proto.params[:PARAMS]):
        target = pointee(btf, p.type)
        is_struct = target is not None and target[0].kind in (BtfKind.STRUCT, BtfKind.FWD)
        keys = [f"arg{i}", p.name]
        if target is not None and not is_struct and target[0].kind is not BtfKind.FUNC_PROTO:
            keys.append("p")  # members' parameters have no names: the first raw pointer
        key = next((k for k in keys if k in left), None)
        if key is not None:
            size = left.pop(key)
            function = f"size_{table}_{member}_{i}"
            out.append(EntryParam("buffer", size, function) if size else EntryParam(""))
        elif is_struct and target is not None and target[0].name:
            out.append(EntryParam(target[0].name))
        else:
            out.append(EntryParam(""))
    if left:
        raise PolicyError(
            f"{policy.file if policy else ''}: entry.{table}.{member}: no parameter "
            f"{', '.join(left)}",
            hint='name it "p" (the raw buffer) or "arg0" to "arg5"',
        )
    return tuple(out)


def entry_table(btf: Btf, struct: str, policies: Mapping[str, EntryPolicy]) -> EntryTable:
    """Describe every function pointer of an ops structure."""
    entries = []
    for member, offset, proto in ops_members(btf, struct):
        if len(proto.params) > ENTRY_ARGS:
            continue  # cannot be entered: the gate has no descriptor and refuses
        name = f"{struct}.{member}"
        params = _params(btf, struct, member, proto, policies.get(name))
        args = ", ".join(c_type(btf, p.type) for p in proto.params) or "void"
        entries.append(
            Entry(
                name, offset, len(proto.params), ret_class(btf, proto.ret), params,
                f"{c_type(btf, proto.ret)} (*)({args})",
            )
        )  # fmt: skip
    return EntryTable(struct, struct_type(btf, struct).size, tuple(entries))
