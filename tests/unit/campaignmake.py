# SPDX-License-Identifier: GPL-2.0-only
"""Campaign values for tests, and work for pools that needs no guest."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from pynooks.campaign.journal import Result
from pynooks.campaign.outcome import Outcome
from pynooks.campaign.plan import Case, Mode, Plan
from pynooks.errors import InfraError
from pynooks.inject.mutate import FaultClass, Mutation

PLAN = Plan(name="test", seed=7, classes=(FaultClass.NOP, FaultClass.TEXT), trials=5)


def case(seed: int = 7, mode: Mode = Mode.ISOLATED, cls: FaultClass = FaultClass.NOP) -> Case:
    return Case(driver="e1000", cls=cls, seed=seed, mode=mode)


def mutation(offset: int = 4, cls: FaultClass = FaultClass.NOP) -> Mutation:
    return Mutation(cls=cls, symbol="e1000_clean", offset=offset, old=b"\x55", new=b"\x90")


def result(
    of: Case, outcome: Outcome = Outcome.NO_EFFECT, title: str = "", **more: object
) -> Result:
    values: dict[str, object] = {
        "corrupted": "",
        "others": (),
        "mutations": (mutation(cls=of.cls),),
        "activated": {0: 0.25},
        "recovery_s": 1.5 if outcome is Outcome.RECOVERED else None,
        "outage_s": 0.5,
        "cost_s": 4.0,
        "attempts": 1,
        "log": "",
    }
    return Result(case=of, outcome=outcome, title=title, **(values | more))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Task:
    """A stand-in for runner.Job. The word decides what its worker does."""

    case: Case
    word: str = "good"
    faults: tuple[Mutation, ...] = ()


def play(directory: Path, task: Task) -> Result:
    """In a worker."""
    (directory / "seen").open("a").write(f"{task.case.key}\n")
    if task.word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    before = directory.parent / task.case.key.replace("/", "-")
    if task.word == "die-once" and not before.exists():
        before.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if task.word == "infra":
        raise InfraError("QEMU is not there", hint="none")
    if task.word == "bug":
        raise KeyError("ours")
    if task.word == "slow":
        time.sleep(0.02)
    return result(task.case)


def nothing(_: Path) -> None:
    """For a pool without guests."""
