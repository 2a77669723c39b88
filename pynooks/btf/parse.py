# SPDX-License-Identifier: GPL-2.0-only
"""BTF, the kernel's own type information (Documentation/bpf/btf.rst), read lazily.

One pass finds where each type starts; a type is decoded when somebody asks for it. A kernel has
some 130,000 types in 4 MB and is indexed in a fraction of a second.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from io import BytesIO
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from pynooks.errors import RefusedError

MAGIC = 0xEB9F
HEADER = struct.Struct("<HBBIIIII")
TYPE = struct.Struct("<III")
HINT = "give /sys/kernel/btf/vmlinux of the target, or an uncompressed vmlinux"


class BtfKind(IntEnum):
    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


TRANSPARENT = frozenset(
    (BtfKind.TYPEDEF, BtfKind.VOLATILE, BtfKind.CONST, BtfKind.RESTRICT, BtfKind.TYPE_TAG)
)
# Bytes that follow the three words of a type: fixed, and per vlen.
_TAIL = {
    BtfKind.INT: (4, 0), BtfKind.ARRAY: (12, 0), BtfKind.STRUCT: (0, 12), BtfKind.UNION: (0, 12),
    BtfKind.ENUM: (0, 8), BtfKind.FUNC_PROTO: (0, 8), BtfKind.VAR: (4, 0),
    BtfKind.DATASEC: (0, 12), BtfKind.DECL_TAG: (4, 0), BtfKind.ENUM64: (0, 12),
}  # fmt: skip


class BtfError(RefusedError):
    """The type information is damaged, or has not what is asked for."""

    def __init__(self, what: str, *, hint: str = HINT) -> None:
        super().__init__(what, hint=hint)


@dataclass(frozen=True, slots=True)
class Member:
    """A struct or union member. bits: offset in bits; width: of a bit-field, else 0."""

    name: str
    type: int
    bits: int
    width: int


@dataclass(frozen=True, slots=True)
class Param:
    name: str
    type: int


@dataclass(frozen=True, slots=True)
class Type:
    """One decoded type. ref: what it points at, names, or returns; size: bytes, 0 if none."""

    id: int
    kind: BtfKind
    name: str
    size: int
    ref: int
    vlen: int
    kflag: bool
    pos: int


class Btf:
    """The types of a kernel, or of a module on top of its kernel's (split BTF)."""

    def __init__(self, data: bytes, base: Btf | None = None) -> None:
        if len(data) < HEADER.size:
            raise BtfError("BTF: cut off")
        magic, version, _, hdr_len, t_off, t_len, s_off, s_len = HEADER.unpack_from(data)
        if magic != MAGIC or version != 1:
            raise BtfError("BTF: bad magic or version")
        if hdr_len + t_off + t_len > len(data) or hdr_len + s_off + s_len > len(data):
            raise BtfError("BTF: cut off")
        self.base = base
        self.raw = data
        self._types = data[hdr_len + t_off : hdr_len + t_off + t_len]
        self._strings = data[hdr_len + s_off : hdr_len + s_off + s_len]
        if not self._strings.endswith(b"\0"):
            raise BtfError("BTF: the strings do not end")
        self.first: int = base.count if base else 1
        self.first_string: int = base.end_string if base else 0
        self.end_string: int = self.first_string + s_len
        self._pos = array("I", self._scan())
        self.count: int = self.first + len(self._pos)

    def _scan(self) -> list[int]:
        types, pos, out, end = self._types, 0, [], len(self._types)
        tail = {int(k): v for k, v in _TAIL.items()}
        unpack = struct.Struct("<I").unpack_from
        nothing = (0, 0)
        while pos + 12 <= end:
            out.append(pos)
            (info,) = unpack(types, pos + 4)
            kind = info >> 24 & 31
            if not 0 < kind <= BtfKind.ENUM64:
                raise BtfError(f"BTF: type {len(out)} has unknown kind {kind}")
            fixed, each = tail.get(kind, nothing)
            pos += 12 + fixed + each * (info & 0xFFFF)
        if pos != end:
            raise BtfError("BTF: the last type is cut off")
        return out

    def string(self, off: int) -> str:
        if off < self.first_string and self.base:
            return self.base.string(off)
        off -= self.first_string
        end = self._strings.find(b"\0", off)
        if off >= len(self._strings) or end < 0:
            raise BtfError("BTF: a name lies outside of the strings")
        return self._strings[off:end].decode("ascii", "replace")

    def type(self, type_id: int) -> Type:
        if type_id == 0:
            return Type(0, BtfKind.VOID, "void", 0, 0, 0, False, 0)
        if type_id < self.first and self.base:
            return self.base.type(type_id)
        if not self.first <= type_id < self.count:
            raise BtfError(f"BTF: no type {type_id}")
        pos = self._pos[type_id - self.first]
        name, info, word = TYPE.unpack_from(self._types, pos)
        kind = BtfKind(info >> 24 & 31)
        sized = kind in _SIZED
        return Type(
            type_id, kind, self.string(name), word if sized else 0, 0 if sized else word,
            info & 0xFFFF, bool(info >> 31), pos + 12,
        )  # fmt: skip

    @cached_property
    def _index(self) -> dict[str, list[tuple[int, int]]]:
        """name -> (kind, id), own types only."""
        out: dict[str, list[tuple[int, int]]] = {}
        types, strings, unpack = self._types, self._strings, struct.Struct("<II").unpack_from
        for i, pos in enumerate(self._pos, self.first):
            name, info = unpack(types, pos)
            if name < self.first_string or not name:
                text = self.base.string(name) if name and self.base else ""
            else:
                start = name - self.first_string
                if start >= len(strings):
                    raise BtfError(f"BTF: the name of type {i} lies outside of the strings")
                text = strings[start : strings.index(b"\0", start)].decode("ascii", "replace")
            if text:
                out.setdefault(text, []).append((info >> 24 & 31, i))
        return out

    def find(self, name: str, *kinds: BtfKind) -> Type | None:
        for kind, type_id in self._index.get(name, ()):
            if kind in kinds:
                return self.type(type_id)
        return self.base.find(name, *kinds) if self.base else None

    def data(self, t: Type) -> bytes:
        """The bytes behind the three words of `t`."""
        if t.id < self.first and self.base:
            return self.base.data(t)
        fixed, each = _TAIL.get(t.kind, (0, 0))
        return self._types[t.pos : t.pos + fixed + each * t.vlen]

    def members(self, t: Type) -> list[Member]:
        out = []
        for name, type_id, off in TYPE.iter_unpack(self.data(t)):
            width = off >> 24 if t.kflag else 0
            out.append(
                Member(self.string(name), type_id, off & 0xFFFFFF if t.kflag else off, width)
            )
        return out

    def params(self, t: Type) -> list[Param]:
        """Parameters of a FUNC_PROTO; a last one without type and name means varargs."""
        words = struct.iter_unpack("<II", self.data(t))
        return [Param(self.string(name), type_id) for name, type_id in words]

    def array_of(self, t: Type) -> tuple[int, int]:
        """Element type and count of an ARRAY."""
        elem, _, count = TYPE.unpack(self.data(t))
        return elem, count

    def int_signed(self, t: Type) -> bool:
        (word,) = struct.unpack("<I", self.data(t))
        return bool(word >> 24 & 1)

    def strip(self, type_id: int) -> Type:
        """Follow typedefs and qualifiers."""
        t = self.type(type_id)
        for _ in range(32):
            if t.kind not in TRANSPARENT:
                return t
            t = self.type(t.ref)
        raise BtfError(f"BTF: typedefs of {t.name or t.id} go round in a circle")

    def size(self, type_id: int, depth: int = 0) -> int:
        """Bytes of a type, 0 if it has none."""
        t = self.strip(type_id)
        if depth > 32:
            raise BtfError(f"BTF: array {t.id} goes round in a circle")
        if t.kind is BtfKind.PTR:
            return 8
        if t.kind is BtfKind.ARRAY:
            elem, count = self.array_of(t)
            return self.size(elem, depth + 1) * count
        return t.size


_SIZED = frozenset(
    (BtfKind.INT, BtfKind.STRUCT, BtfKind.UNION, BtfKind.ENUM, BtfKind.ENUM64, BtfKind.FLOAT,
     BtfKind.DATASEC)
)  # fmt: skip


def load_btf(path: Path, base: Btf | None = None) -> Btf:
    """Read raw BTF, or the .BTF section of a vmlinux or module."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise BtfError(f"{path}: cannot be read: {e.strerror}") from e
    if data[:4] == b"\x7fELF":
        try:
            section = ELFFile(BytesIO(data)).get_section_by_name(".BTF")
            if section is None:
                raise BtfError(f"{path}: has no section .BTF")
            data = section.data()
        except (ELFError, ValueError, KeyError) as e:
            raise BtfError(f"{path}: not a sound ELF file") from e
    return Btf(data, base)
