# SPDX-License-Identifier: GPL-2.0-only
"""Questions to BTF: where is a field, what does a function take, how is a type written in C."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pynooks.btf.parse import Btf, BtfError, BtfKind, Param, Type

_STEP = re.compile(r"(\w+)((?:\[\d+\])*)\Z")
COMPOUND = (BtfKind.STRUCT, BtfKind.UNION)


@dataclass(frozen=True, slots=True)
class Field:
    """Where a member is. offset, size: bytes; type: BTF id. A bit-field is rounded to bytes."""

    offset: int
    size: int
    type: int


@dataclass(frozen=True, slots=True)
class Proto:
    """A function's type. ret: BTF id."""

    name: str
    ret: int
    params: tuple[Param, ...]
    varargs: bool


def struct_type(btf: Btf, name: str) -> Type:
    """The struct (or typedef'd or plain union) called `name`."""
    t = btf.find(name, *COMPOUND)
    if t is None and (alias := btf.find(name, BtfKind.TYPEDEF)):
        t = btf.strip(alias.id)
    if t is None or t.kind not in COMPOUND:
        raise BtfError(f"struct {name}: not in this kernel", hint="correct the policy file")
    return t


def _step(btf: Btf, t: Type, name: str, depth: int = 0) -> tuple[int, int, int] | None:
    """(bit offset, bit-field width, type) of a member, through anonymous structs and unions."""
    if depth > 32:
        raise BtfError(f"BTF: struct {t.name or t.id} lies in itself")
    for m in btf.members(t):
        if m.name == name:
            return m.bits, m.width, m.type
        if not m.name and (inner := btf.strip(m.type)).kind in COMPOUND:
            found = _step(btf, inner, name, depth + 1)
            if found:
                return m.bits + found[0], found[1], found[2]
    return None


def struct_field(btf: Btf, struct: str, path: str) -> Field:
    """Find `path`, such as "stats.rx_packets" or "perm_addr[2]", in a struct."""
    t, bits, width, type_id = struct_type(btf, struct), 0, 0, 0
    type_id = t.id
    for part in path.split("."):
        match = _STEP.match(part)
        t = btf.strip(type_id)
        found = _step(btf, t, match[1]) if match and t.kind in COMPOUND else None
        if match is None or found is None:
            raise BtfError(f"{struct}.{path}: no such field", hint="correct the policy file")
        bits, width, type_id = bits + found[0], found[1], found[2]
        for index in re.findall(r"\d+", match[2]):
            t = btf.strip(type_id)
            if t.kind is not BtfKind.ARRAY:
                raise BtfError(f"{struct}.{path}: not an array", hint="correct the policy file")
            type_id, count = btf.array_of(t)
            if int(index) >= max(count, 1):
                raise BtfError(f"{struct}.{path}: {count} elements", hint="correct the policy file")
            bits += int(index) * btf.size(type_id) * 8
    if width:
        first, last = bits // 8, (bits + width - 1) // 8
        return Field(first, last - first + 1, type_id)
    return Field(bits // 8, btf.size(type_id), type_id)


def field_at(btf: Btf, struct: str, offset: int, size: int = 1) -> str:
    """The innermost named field that covers [offset, offset + size): for learning runs."""
    return _field_at(btf, struct_type(btf, struct), offset, size)


def _field_at(btf: Btf, t: Type, offset: int, size: int) -> str:
    for m in btf.members(t):
        start = m.bits // 8
        length = (m.bits % 8 + m.width + 7) // 8 if m.width else btf.size(m.type)
        if not start <= offset < start + length:
            continue
        inner = btf.strip(m.type)
        if inner.kind in COMPOUND:
            rest = _field_at(btf, inner, offset - start, size)
            if m.name and rest:
                return f"{m.name}.{rest}"
            if m.name or rest:
                return m.name or rest
            continue
        if inner.kind is BtfKind.ARRAY and m.name:
            elem, _ = btf.array_of(inner)
            each = btf.size(elem)
            if each and size <= each and btf.strip(elem).kind in COMPOUND:
                index, within = divmod(offset - start, each)
                rest = _field_at(btf, btf.strip(elem), within, size)
                return f"{m.name}[{index}]" + (f".{rest}" if rest else "")
        if m.name:
            return m.name
    return ""


def proto_of(btf: Btf, name: str, type_id: int) -> Proto:
    """The prototype behind a FUNC_PROTO or a pointer to one."""
    t = btf.strip(type_id)
    if t.kind is BtfKind.PTR:
        t = btf.strip(t.ref)
    if t.kind is not BtfKind.FUNC_PROTO:
        raise BtfError(f"{name}: is not a function")
    params = btf.params(t)
    varargs = bool(params) and not params[-1].type and not params[-1].name
    return Proto(name, t.ref, tuple(params[:-1] if varargs else params), varargs)


def function(btf: Btf, name: str) -> Proto | None:
    """The prototype of a kernel function; None if BTF has none."""
    t = btf.find(name, BtfKind.FUNC)
    return proto_of(btf, name, t.ref) if t else None


def ops_members(btf: Btf, struct: str) -> list[tuple[str, int, Proto]]:
    """(member, byte offset, prototype) of each function pointer, nested structs included."""
    return _ops_members(btf, struct_type(btf, struct), "", 0)


def _ops_members(btf: Btf, t: Type, prefix: str, base: int) -> list[tuple[str, int, Proto]]:
    out: list[tuple[str, int, Proto]] = []
    for m in btf.members(t):
        inner = btf.strip(m.type)
        name, offset = prefix + m.name, base + m.bits // 8
        if inner.kind in COMPOUND:
            if not m.name:
                out += _ops_members(btf, inner, prefix, offset)
        elif inner.kind is BtfKind.PTR and btf.strip(inner.ref).kind is BtfKind.FUNC_PROTO:
            out.append((name, offset, proto_of(btf, name, inner.ref)))
    return out


def c_type(btf: Btf, type_id: int, name: str = "") -> str:
    """Write a type in C, declaring `name`."""
    t = btf.type(type_id)
    space = " " if name and not name.startswith("[") else ""
    match t.kind:
        case BtfKind.PTR:
            inner = btf.type(t.ref)
            if inner.kind in (BtfKind.FUNC_PROTO, BtfKind.ARRAY):
                return c_type(btf, t.ref, f"(*{name})")
            return c_type(btf, t.ref, "*" + name)
        case BtfKind.CONST | BtfKind.VOLATILE | BtfKind.RESTRICT:
            word = {BtfKind.CONST: "const", BtfKind.VOLATILE: "volatile"}.get(t.kind, "restrict")
            if btf.type(t.ref).kind is BtfKind.PTR:
                return c_type(btf, t.ref, f"{word}{space}{name}")
            return f"{word} {c_type(btf, t.ref, name)}"
        case BtfKind.TYPE_TAG:
            return c_type(btf, t.ref, name)
        case BtfKind.ARRAY:
            elem, count = btf.array_of(t)
            return c_type(btf, elem, f"{name}[{count}]")
        case BtfKind.FUNC_PROTO:
            proto = proto_of(btf, name, type_id)
            args = [c_type(btf, p.type) for p in proto.params] + ["..."] * proto.varargs
            return c_type(btf, t.ref, f"{name}({', '.join(args) or 'void'})")
        case BtfKind.STRUCT | BtfKind.UNION | BtfKind.ENUM | BtfKind.ENUM64 | BtfKind.FWD:
            word = {BtfKind.STRUCT: "struct", BtfKind.UNION: "union"}.get(t.kind, "enum")
            if t.kind is BtfKind.FWD:
                word = "union" if t.kflag else "struct"
            if not t.name:
                raise BtfError("a type without a name cannot be written in C")
            return f"{word} {t.name}{space}{name}"
        case _:
            return f"{t.name}{space}{name}"
