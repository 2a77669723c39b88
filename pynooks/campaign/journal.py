# SPDX-License-Identifier: GPL-2.0-only
"""A campaign's memory: one JSON line per finished trial, on disk before anything else happens.

The first line is the plan. Whatever kills the runner, at worst the last line is cut off; it is
dropped then, and its trial runs again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pynooks.campaign.outcome import Outcome
from pynooks.campaign.plan import Case, Plan
from pynooks.errors import InfraError, UsageError
from pynooks.inject.hardware import HardwareClass, HardwareFault, hardware_fault_of
from pynooks.inject.mutate import Mutation

SCHEMA = 1
Fault = Mutation | HardwareFault
NAME = "journal.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finished trial.

    title:       stable over runs; empty if nothing happened
    corrupted:   why the title may be wrong, empty if it is not
    others:      titles of what else went wrong in that guest
    alternatives: titles that the same bug may have in another run
    frames:      the innermost of the call trace, to tell bugs with equal titles apart
    mutations:   as planted
    activated:   indices of those that were reached, with seconds after the start
    recovery_s:  from the first fault to RUNNING; None if that did not happen
    outage_s:    longest time that no right packet arrived
    cost_s:      wall clock, restore included
    attempts:    1 if the machinery worked at once
    log:         console log below the campaign's directory, empty if it was not kept
    """

    case: Case
    outcome: Outcome
    title: str
    corrupted: str
    others: tuple[str, ...]
    mutations: tuple[Fault, ...]
    activated: Mapping[int, float]
    recovery_s: float | None
    outage_s: float
    cost_s: float
    attempts: int
    log: str
    detail: str = ""
    alternatives: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        raw = asdict(self)
        del raw["case"]
        raw["mutations"] = [m.as_json() for m in self.mutations]
        raw["activated"] = {str(k): v for k, v in self.activated.items()}
        return {"schema": SCHEMA, "trial": self.case.key, **raw}

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        values = {k: v for k, v in raw.items() if k not in ("schema", "trial")}
        values["case"] = Case.of(raw["trial"])
        values["outcome"] = Outcome(raw["outcome"])
        for name in ("others", "alternatives", "frames"):
            values[name] = tuple(raw.get(name, ()))
        values["mutations"] = tuple(map(_fault_of, raw["mutations"]))
        values["activated"] = {int(k): v for k, v in raw["activated"].items()}
        return cls(**values)


def _fault_of(raw: Mapping[str, Any]) -> Fault:
    if raw["class"] in tuple(HardwareClass):
        return hardware_fault_of(raw)
    return Mutation.of(raw)


class Journal:
    """Open for one runner at a time; a context manager."""

    def __init__(self, root: Path, plan: Plan | None = None) -> None:
        """With a plan: begin. Without: go on. Raises UsageError if that is not possible."""
        self.path = root / NAME
        if plan is None and not self.path.exists():
            raise UsageError(f"{root} holds no campaign", hint="pynooks campaign run PLAN")
        if plan is not None and self.path.exists():
            raise UsageError(
                f"{root} holds a campaign already", hint=f"pynooks campaign resume {root}"
            )
        root.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab+")
        try:
            self._lock(root)
            if plan is not None:
                self.plan = plan
                self._write({"schema": SCHEMA, "plan": plan.as_json()})
            else:
                self._cut_tail()
                self.plan = read_plan_of(self.path)
        except BaseException:
            self._file.close()
            raise
        self.done = {result.case for result in results(root)}

    def _lock(self, root: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise InfraError(
                f"another runner works on {root}", hint="wait for it, or end it"
            ) from e

    def _cut_tail(self) -> None:
        """Drop a line that was being written when the runner died."""
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole != len(data):
            self._file.truncate(whole)
            os.fsync(self._file.fileno())

    def add(self, result: Result) -> None:
        """Raises InfraError if the disk is full: then nothing of the line stays."""
        if result.case in self.done:
            raise UsageError(f"{result.case.key} is in the journal", hint="report this")
        self._write(result.as_json())
        self.done.add(result.case)

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.seek(0, os.SEEK_END)
        before = self._file.tell()
        try:
            self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as e:
            os.ftruncate(self._file.fileno(), before)
            raise InfraError(
                f"cannot write {self.path}: {e.strerror}",
                hint="make room, then pynooks campaign resume",
            ) from e

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        data = path.read_bytes()
    except OSError as e:
        raise UsageError(f"{path}: {e.strerror}", hint="give a campaign's directory") from e
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            yield json.loads(line)
        except ValueError as e:
            raise InfraError(
                f"{path}: line {number} is damaged", hint="delete that line, then resume"
            ) from e


def read_plan_of(path: Path) -> Plan:
    """The plan that a journal begins with."""
    for line in _lines(path):
        if "plan" in line:
            return Plan.of(line["plan"])
        break
    raise UsageError(f"{path} does not begin with a plan", hint="start the campaign anew")


def results(root: Path) -> list[Result]:
    """All finished trials of a campaign's directory."""
    return [Result.of(line) for line in _lines(root / NAME) if "trial" in line]
