# SPDX-License-Identifier: GPL-2.0-only
"""What nooks.ko tells, as values. The JSON form has the same names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from pynooks.btf import Btf, BtfError, field_at

VECTORS = {
    0: "#DE", 1: "#DB", 3: "#BP", 6: "#UD", 8: "#DF", 13: "#GP", 14: "#PF",
    256: "watchdog", 257: "rule", 258: "killed",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What a driver did: struct nooks_fault. time: CLOCK_MONOTONIC of the target, ns."""

    vec: int
    err: int
    ip: int
    addr: int
    sp: int
    flags: int
    time: int
    cpu: int
    pid: int
    what: str
    entry: str
    symbol: str
    target: str

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        return cls(**{name: raw.get(name, 0) for name in _NUMBERS},
                   **{name: raw.get(name, "") for name in _TEXTS})  # fmt: skip

    @property
    def vector(self) -> str:
        """Its name, as in the manuals."""
        return VECTORS.get(self.vec, f"vector {self.vec}")

    def with_field(self, btf: Btf) -> Self:
        """A target that the kernel gave as struct+offset, named struct.field if types tell."""
        if not (found := _OFFSET.fullmatch(self.target)):
            return self
        try:
            field = field_at(btf, found[1], int(found[2], 16))
        except BtfError:
            return self  # a symbol of the kernel, or an object that is no struct
        return replace(self, target=f"{found[1]}.{field}") if field else self

    def __str__(self) -> str:
        where = f" in {self.entry}" if self.entry else ""
        target = f" at {self.addr:#x}" if self.vec == 14 or self.addr else ""
        named = f" ({self.target})" if self.target else ""
        what = f": {self.what}" if self.what else ""
        return f"{self.vector} at {self.symbol or hex(self.ip)}{where}{target}{named}{what}"


_OFFSET = re.compile(r"(\w+)\+(0x[0-9a-f]+|0)")
_NUMBERS = ("vec", "err", "ip", "addr", "sp", "flags", "time", "cpu", "pid")
_TEXTS = ("what", "entry", "symbol", "target")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nook:
    """A nook as it is now. state: name of enum nooks_state; stats: NOOKS_S_* by name."""

    name: str
    id: int
    state: str
    level: str
    flags: tuple[str, ...]
    limit_ms: int
    grace_ms: int
    backoff_ms: int
    burst: int
    stall_ms: int
    irq_rate: int
    tx_timeouts: int
    memory_mib: int
    stats: Mapping[str, int]
    fault: Fault | None

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            name=raw["name"],
            id=raw["id"],
            state=raw["state"],
            level=raw["level"],
            flags=tuple(raw["flags"]),
            limit_ms=raw["limit_ms"],
            grace_ms=raw["grace_ms"],
            backoff_ms=raw["backoff_ms"],
            burst=raw["burst"],
            stall_ms=raw["stall_ms"],
            irq_rate=raw["irq_rate"],
            tx_timeouts=raw["tx_timeouts"],
            memory_mib=raw["memory_mib"],
            stats=dict(raw["stats"]),
            fault=Fault.of(raw["fault"]) if raw["fault"] else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """One counter. kind: object, write, exit, entry; field: writes only."""

    kind: str
    name: str
    field: str
    value: int

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            kind=raw["kind"], name=raw["name"], field=raw.get("field", ""), value=raw["value"]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A store without a rule. ip: symbol+offset; symbol: what was hit if no object is known."""

    object: str
    offset: int
    size: int
    ip: str
    count: int
    symbol: str

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            object=raw["object"],
            offset=raw["offset"],
            size=raw["size"],
            ip=raw["ip"],
            count=raw["count"],
            symbol=raw.get("symbol", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What an injection changed: address, bytes before and after."""

    module: str
    symbol: str
    offset: int
    addr: int
    old: bytes
    new: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A word of the domain stack that stands behind a call, or the instruction that failed.

    at: its place on the stack, 0 for the instruction; symbol: as symbol+offset/size [module]
    """

    at: int
    addr: int
    symbol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """An entry or exit. tsc: the CPU's time stamp; kind: entry, exit; name: of the function."""

    cpu: int
    tsc: int
    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """An object that the nook held. published: the kernel used it already."""

    type: str
    addr: int
    size: int
    published: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """The crash record of a nook: its last fault, as things were before recovery began.

    registers: by pt_regs' names; only ip and sp where no exception ended the entry
    code:      bytes from code_at on, as they ran: with what was injected; empty if none were there
    stack:     words from sp on, as far as the nook owned them
    frames:    innermost first; what is not the first may be left over from an earlier call
    crossings: of all CPUs, oldest first
    objects:   newest first, a few of each type; counts: all, by type
    """

    name: str
    fault: Fault
    registers: Mapping[str, int]
    code_at: int
    code: bytes
    sp: int
    stack: tuple[int, ...]
    frames: tuple[Frame, ...]
    crossings: tuple[Crossing, ...]
    objects: tuple[Tracked, ...]
    counts: Mapping[str, int]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        fault = Fault.of(raw["fault"])
        return cls(
            name=raw["name"],
            fault=fault,
            registers=raw["registers"] or {"ip": fault.ip, "sp": fault.sp},
            code_at=raw["code_at"],
            code=bytes.fromhex(raw["code"]),
            sp=raw["sp"],
            stack=tuple(raw["stack"]),
            frames=tuple(Frame(**frame) for frame in raw["frames"]),
            crossings=tuple(sorted((Crossing(**c) for c in raw["crossings"]), key=lambda c: c.tsc)),
            objects=tuple(Tracked(**t) for t in raw["objects"]),
            counts=dict(raw["counts"]),
        )
