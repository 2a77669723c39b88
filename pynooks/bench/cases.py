# SPDX-License-Identifier: GPL-2.0-only
"""The table of the hostile suite, tests/hostile/cases.toml: what is done, and what must follow."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import pynooks
from pynooks.control.records import VECTORS
from pynooks.errors import InfraError, RefusedError, UsageError

LIMITS = frozenset(("limit_ms", "stall_ms", "irq_rate", "tx_timeouts", "memory_mib"))
VALUES = {"junk": 0x5A5A5A5A5A5A5A50}  # no address: a pointer that is followed is an exception
_PLACE = re.compile(r"\{(\w+)\}")


class Class(StrEnum):
    """What a case breaks."""

    REGION = "region"
    CODE = "code"
    INTEGRITY = "integrity"
    PARAMETER = "parameter"
    CONVENTION = "convention"
    BUG = "bug"


class Expect(StrEnum):
    """What must become of it in a nook. IGNORED: nobody followed it, or it was put right."""

    FAULT = "fault"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row; what the fields mean stands at the head of cases.toml."""

    name: str
    cls: Class
    kind: str
    attack: str
    then: str = ""
    unload: bool = False
    module: str = "hostile"
    expect: Expect = Expect.FAULT
    vec: str = ""
    at: str = ""
    what: str = ""
    hole: str = ""
    limits: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if self.expect is Expect.FAULT and self.vec not in VECTORS.values():
            raise RefusedError(f"case {self.name}: vec = {self.vec!r}", hint="name its vector")
        if self.expect is Expect.REFUSED and not self.what:
            raise RefusedError(
                f"case {self.name}: refused why?", hint="say what the text must have"
            )
        if wrong := sorted(dict(self.limits).keys() - LIMITS):
            raise RefusedError(f"case {self.name}: {', '.join(wrong)}?", hint="no limit of a nook")
        if self.expect is not Expect.FAULT and (self.vec or self.at):
            raise RefusedError(f"case {self.name}: no fault is expected", hint="drop vec and at")

    @property
    def places(self) -> set[str]:
        """The names in braces."""
        return set(_PLACE.findall(self.attack))

    def command(self, addresses: Mapping[str, int]) -> str:
        """The attack with its addresses, hexadecimal."""
        known = {**addresses, **VALUES}
        return _PLACE.sub(lambda m: f"{known[m[1]]:x}", self.attack)


def hostile_dir() -> Path:
    """The sources of the suite, beside the package."""
    path = Path(pynooks.__file__).resolve().parents[1] / "tests" / "hostile"
    if not (path / "cases.toml").is_file():
        raise InfraError(f"{path} is not there", hint="run from a checkout")
    return path


def load_cases(path: Path | None = None) -> tuple[Case, ...]:
    """All cases, in the order of the file."""
    text = (path or hostile_dir() / "cases.toml").read_text(encoding="utf-8")
    out: list[Case] = []
    for cls, table in tomllib.loads(text).items():
        out += [_case(Class(cls), name, raw) for name, raw in table.items()]
    names = [case.name for case in out]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RefusedError(f"cases twice: {', '.join(twice)}", hint="give each its own name")
    return tuple(out)


def _case(cls: Class, name: str, raw: dict[str, Any]) -> Case:
    known = {f.name for f in fields(Case)} - {"name", "cls"}
    if unknown := sorted(set(raw) - known):
        raise RefusedError(f"case {name}: {', '.join(unknown)}?", hint="see the head of the file")
    expect, limits = Expect(raw.get("expect", Expect.FAULT)), tuple(raw.get("limits", {}).items())
    return Case(name=name, cls=cls, **{**raw, "expect": expect, "limits": limits})


def choose(cases: Iterable[Case], names: list[str] | None) -> list[Case]:
    """Those of these names or classes; all if none is given."""
    have = list(cases)
    wrong = set(names or ()) - {case.name for case in have} - set(Class)
    if wrong:
        raise UsageError(f"no case {', '.join(sorted(wrong))}", hint="see tests/hostile/cases.toml")
    return [case for case in have if not names or case.name in names or case.cls in names]
