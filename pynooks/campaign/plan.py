# SPDX-License-Identifier: GPL-2.0-only
"""What a campaign runs: a TOML file as values, and the trials that follow from it. Pure."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from pynooks.errors import UsageError
from pynooks.inject.hardware import HardwareClass
from pynooks.inject.mutate import FaultClass
from pynooks.modname import module_name

ALL = "all"
HARDWARE = "hardware"
MAX_FAULTS = 64
AnyClass = FaultClass | HardwareClass
EVERY: tuple[AnyClass, ...] = (*FaultClass, *HardwareClass)


def class_of(name: str) -> AnyClass:
    """Raises ValueError if there is none of that name."""
    return HardwareClass(name) if name in tuple(HardwareClass) else FaultClass(name)


class Mode(StrEnum):
    """How the driver of a trial runs."""

    NATIVE = "native"
    ISOLATED = "isolated"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Case:
    """One trial's inputs: with the driver's sha256 and the plan they make its faults."""

    driver: str
    cls: AnyClass
    seed: int
    mode: Mode

    @property
    def key(self) -> str:
        """Its name in journals, reports and on the command line."""
        return f"{self.driver}/{self.cls}/{self.seed}/{self.mode}"

    @classmethod
    def of(cls, key: str) -> Self:
        """Raises UsageError if it is no key."""
        words = key.split("/")
        try:
            driver, fault_class, seed, mode = words
            return cls(driver=driver, cls=class_of(fault_class), seed=int(seed), mode=Mode(mode))
        except ValueError as e:
            raise UsageError(
                f"{key} names no trial", hint="as in the report: e1000/nop/17/isolated"
            ) from e


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A campaign.

    drivers:   stock drivers by module name, each with the workload of pynooks.campaign.workload
    classes:   fault classes; in the file "all" for every one of the driver's code, "hardware" for
               those of its device
    trials:    per driver and class, native and isolated each
    seed:      of the first trial of each class; the next ones count up
    faults:    planted at once in a trial (5 in Swift et al., SOSP 2003); 0 is the control group
    modes:     native, isolated or both; a pair has the same faults
    workers:   guests side by side
    observe_s: seconds of workload after the faults, before anybody judges
    retries:   of a trial whose machinery failed, before it counts as lost
    """

    name: str
    seed: int
    drivers: tuple[str, ...] = ("e1000",)
    classes: tuple[AnyClass, ...] = tuple(FaultClass)
    trials: int = 10
    faults: int = 5
    modes: tuple[Mode, ...] = tuple(Mode)
    workers: int = 1
    observe_s: float = 3.0
    retries: int = 2

    def __post_init__(self) -> None:
        for what, value, low, high in (
            ("trials", self.trials, 1, 1_000_000),
            ("faults", self.faults, 0, MAX_FAULTS),
            ("workers", self.workers, 1, 256),
            ("retries", self.retries, 0, 10),
            ("observe_s", self.observe_s, 0.5, 600),
        ):
            if not low <= value <= high:
                raise UsageError(f"{what} is {value}", hint=f"allowed: {low} to {high}")
        for what, values in (
            ("drivers", self.drivers),
            ("classes", self.classes),
            ("modes", self.modes),
        ):
            if not values or len(set(values)) != len(values):
                raise UsageError(f"{what}: {list(values)}", hint="at least one, each once")

    def cases(self) -> Iterator[Case]:
        """All trials; the two of a pair follow each other, and classes take turns."""
        for number in range(self.trials):
            for driver in self.drivers:
                for cls in self.classes:
                    for mode in self.modes:
                        yield Case(driver=driver, cls=cls, seed=self.seed + number, mode=mode)

    def as_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        """From a TOML table or a journal. Raises UsageError."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(raw) - known):
            raise UsageError(
                f"the plan has no key {', '.join(unknown)}", hint=f"one of: {', '.join(known)}"
            )
        values = dict(raw)
        try:
            if classes := values.get("classes"):
                values["classes"] = tuple(_classes(classes))
            if modes := values.get("modes"):
                values["modes"] = tuple(map(Mode, modes))
        except ValueError as e:
            raise UsageError(
                f"the plan says {e}",
                hint=f"classes: {', '.join(EVERY)}, or {ALL}, or {HARDWARE}",
            ) from e
        if drivers := values.get("drivers"):
            values["drivers"] = tuple(module_name(name) for name in drivers)
        if missing := sorted({"name", "seed"} - values.keys()):
            raise UsageError(f"the plan has no {', '.join(missing)}", hint="see docs/campaigns.md")
        return cls(**values)


def _classes(names: str | Iterable[str]) -> Iterator[AnyClass]:
    for name in [names] if isinstance(names, str) else names:
        if name == ALL:
            yield from FaultClass
        elif name == HARDWARE:
            yield from HardwareClass
        else:
            yield class_of(name)


def read_plan(path: Path, *, seed: int | None = None, workers: int | None = None) -> Plan:
    """The [campaign] table of a file. A seed that nobody gives is drawn. Raises UsageError."""
    try:
        raw = dict(tomllib.loads(path.read_text())["campaign"])
    except (OSError, tomllib.TOMLDecodeError, KeyError) as e:
        raise UsageError(
            f"{path}: no plan: {e!r}", hint="a TOML file with a table [campaign]"
        ) from e
    raw.setdefault("name", path.stem)
    raw.setdefault("seed", random.SystemRandom().randrange(1 << 31))
    if seed is not None:
        raw["seed"] = seed
    if workers is not None:
        raw["workers"] = workers
    return Plan.of(raw)
