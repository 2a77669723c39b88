# SPDX-License-Identifier: GPL-2.0-only
"""What policy files say, as values. `load.py` reads them, `rules.py` resolves them with BTF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path

from pynooks.errors import RefusedError


class PolicyError(RefusedError):
    """A policy file is wrong, or says nothing where it must. Names the file and the key."""


class Kind(StrEnum):
    """How one import of a driver is treated (docs/design.md, "Which wrapper")."""

    DIRECT = "direct"  # pure: runs inside the domain, no crossing
    DOMAIN = "domain"  # the per-nook runtime does it inside the domain
    CROSS = "cross"  # generated wrapper
    WRAP = "wrap"  # hand-written wrapper
    DEFER = "defer"  # hand-written, queued until the driver returns
    DENY = "deny"  # refused, with the reason

    @property
    def leaves(self) -> bool:
        """The call is pointed at a symbol of nooks.ko."""
        return self not in (Kind.DIRECT, Kind.DENY)



class Value(IntEnum):
    """enum nooks_value of kmod/uapi/nooks.h: what a checked write may store."""

    ANY = 0
    RODATA = 1
    OWNED = 2
    OPS = 3
    SETUP = 4
    ASKED = 5


class Level(IntEnum):
    """enum nooks_level of kmod/uapi/nooks.h."""

    WRAP = 0
    PAGETABLE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPolicy:
    """What is done with the calls of one kernel function.

    args:    argument name -> annotation, for what BTF cannot say (build/annotate.py)
    ret:     annotation of the result, "obj:TYPE" to track it, or ""
    slow:    `domain` only: what the runtime cannot do inside is an exit, wrapped by hand
    file:    where it stands, for messages
    """

    name: str
    kind: Kind
    why: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    ret: str = ""
    slow: bool = False
    file: str = ""
    subsystem: str = ""

    @property
    def has_exit(self) -> bool:
        """It has a row in nooks_exits[]."""
        return self.slow or self.kind in (Kind.CROSS, Kind.WRAP, Kind.DEFER)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPolicy:
    """Parameters of one ops member: name -> C expression for the bytes lent; None: not lent."""

    name: str
    lend: Mapping[str, str | None]
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subsystem:
    """One file of policy/subsystem/.

    shadows: ops structure -> C function of the shadow driver that stands in for its members
    """

    name: str
    path: Path
    include: tuple[str, ...]
    imports: Mapping[str, ImportPolicy]
    objects: Mapping[str, str]
    ops: tuple[str, ...]
    entries: Mapping[str, EntryPolicy]
    shadows: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """All subsystems together. Names are unique over files."""

    subsystems: tuple[Subsystem, ...]
    imports: Mapping[str, ImportPolicy]
    objects: Mapping[str, str]
    ops: tuple[str, ...]
    entries: Mapping[str, EntryPolicy]
    shadows: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteAllow:
    """One line of a [write] table: the driver may store to `object`.`field`."""

    object: str
    field: str
    value: Value = Value.ANY
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverPolicy:
    """One file of policy/drivers/, merged with its class.

    driver:    module name, with _ for -
    limit_ms:  CPU time per entry
    reopen:    after a restart its devices are opened, stopped and opened again: for a driver whose
               open does not reset a device that an earlier one has left running
    """

    driver: str
    cls: str
    level: Level
    limit_ms: int
    reopen: bool = False
    use: tuple[str, ...]
    writes: tuple[WriteAllow, ...]

    def __post_init__(self) -> None:
        if not 10 <= self.limit_ms <= 60000:
            raise PolicyError(
                f"{self.driver}: limit_ms = {self.limit_ms}", hint="choose 10 to 60000"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRule:
    """A resolved rule, as NOOKS_CMD_POLICY_SET takes it. offset, size: bytes; 0, 0 for "*"."""

    object: str
    field: str
    offset: int
    size: int
    value: Value
