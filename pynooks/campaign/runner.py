# SPDX-License-Identifier: GPL-2.0-only
"""A campaign from its plan to its last trial, or from where it stopped.

<root>/journal.jsonl    plan, then a line per trial
<root>/bases/           frozen guests, one per driver and mode; made again if they are gone
<root>/reach/           what the workload runs of each driver
<root>/logs/            consoles of the trials worth reading
<root>/workers/         what runs now
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pynooks.campaign.base import Base, make_base, read_base
from pynooks.campaign.cluster import Cluster
from pynooks.campaign.golden import (
    golden_run,
    known_reach,
    read_places,
    read_reach,
    run_registers,
    write_places,
    write_reach,
)
from pynooks.campaign.journal import NAME, Fault, Journal, Result, read_plan_of
from pynooks.campaign.outcome import Outcome
from pynooks.campaign.plan import Case, Mode, Plan
from pynooks.campaign.pool import Done, Pool
from pynooks.campaign.trial import reap, run_trial
from pynooks.errors import InfraError, RefusedError
from pynooks.inject.hardware import HardwareClass, Places, choose_hardware
from pynooks.inject.mutate import Reach, Text, choose
from pynooks.vm.image import read_image

_log = logging.getLogger(__name__)
NICS = 2  # of a base guest
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker needs for one trial."""

    case: Case
    base: Base
    faults: tuple[Fault, ...]
    observe_s: float
    log: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What all trials of a campaign share, by driver; bases by mode too."""

    bases: Mapping[tuple[str, Mode], Base]
    texts: Mapping[str, Text]
    reach: Mapping[str, Reach]
    registers: Mapping[str, Places]

    def faults(self, case: Case, count: int) -> tuple[Fault, ...]:
        if not count:
            return ()
        text, cls, seed = self.texts[case.driver], case.cls, case.seed
        if isinstance(cls, HardwareClass):
            places = self.registers.get(case.driver, ())
            return choose_hardware(
                text, cls, seed=seed, count=count, registers=places, devices=NICS
            )
        return choose(text, cls, seed=seed, count=count, reach=self.reach[case.driver])

    def job(self, case: Case, plan: Plan, root: Path) -> Job:
        return Job(
            case=case,
            base=self.bases[case.driver, case.mode],
            faults=self.faults(case, plan.faults),
            observe_s=plan.observe_s,
            log=root / "logs" / (case.key.replace("/", "-") + ".log"),
        )


def work(directory: Path, job: Job) -> Result:
    """In a worker: one trial."""
    return run_trial(
        job.case, job.base, job.faults, directory, observe_s=job.observe_s, keep=job.log
    )


def prepare(
    root: Path, plan: Plan, progress: Progress = _log.info, *, side_by_side: int = 1
) -> Ground:
    """Guests, so many at once, and golden runs; what is there from before is used."""
    wanted = [(driver, mode) for driver in plan.drivers for mode in plan.modes]
    with ThreadPoolExecutor(max_workers=side_by_side) as pool:
        made = list(pool.map(lambda want: _base(root, want[0], want[1], progress), wanted))
    bases = dict(zip(wanted, made, strict=True))
    texts: dict[str, Text] = {}
    reach: dict[str, Reach] = {}
    registers: dict[str, Places] = {}
    for driver in plan.drivers:
        image = read_image(bases[driver, plan.modes[0]].snapshot.image_root)
        text = texts[driver] = Text.of(image.module(driver).read_bytes())
        if not plan.faults:  # nothing is planted anywhere
            continue
        reach[driver] = _reach(root, driver, text, progress)
        if any(isinstance(c, HardwareClass) and c.is_of_register for c in plan.classes):
            registers[driver] = _registers(root, driver, text, reach[driver], progress)
    return Ground(bases=bases, texts=texts, reach=reach, registers=registers)


def _reach(root: Path, driver: str, text: Text, progress: Progress) -> Reach:
    """As this campaign had it, or an earlier one of this user, or of new golden runs."""
    own, shared = root / "reach" / f"{driver}.json", known_reach(driver, text)
    for path in (own, shared):
        if (found := read_reach(path, text)) is not None:
            break
    else:
        native = _base(root, driver, Mode.NATIVE, progress)
        progress(f"golden runs of {driver}")
        found = golden_run(native, text, root / "workers" / "golden", progress)
        write_reach(shared, text, found)
    if path != own:
        progress(f"the workload runs {len(found)} of {len(text.routines)} functions: {shared}")
        write_reach(own, text, found)
    return found


def _registers(root: Path, driver: str, text: Text, reach: Reach, progress: Progress) -> Places:
    cache = root / "reach" / f"{driver}-registers.json"
    found = read_places(cache, text)
    if found is None:
        native = _base(root, driver, Mode.NATIVE, progress)
        found = run_registers(native, text, reach, root / "workers" / "golden")
        progress(f"{driver} reads registers at {len(found)} places that the workload runs")
        write_places(cache, text, found)
    return found


def _base(root: Path, driver: str, mode: Mode, progress: Progress) -> Base:
    """As it was made before, or a new one."""
    directory = root / "bases" / f"{driver}-{mode}"
    base = read_base(directory)
    if base is None:
        shutil.rmtree(directory, ignore_errors=True)
        progress(f"making the base guest of {driver}, {mode}")
        base = make_base(driver, mode, directory, progress)
    return base


def run(
    root: Path,
    plan: Plan | None = None,
    *,
    progress: Progress = _log.info,
    workers: int | None = None,
    scheduler: str = "",
) -> Iterator[Result]:
    """Every trial that the journal has not: begin with a plan, go on without. Closes itself.

    scheduler: of pynooks.campaign.cluster; none: processes of our own
    """
    with Journal(root, plan) as journal:
        plan = journal.plan
        todo = [case for case in plan.cases() if case not in journal.done]
        if not todo:
            return
        count = workers or plan.workers
        ground = prepare(root, plan, progress, side_by_side=min(count, os.cpu_count() or 1))
        jobs = list(_jobs(ground, plan, todo, root, progress))
        if not jobs:
            return
        count = min(count, len(jobs))
        pool: Pool[Job, Result] | Cluster[Job, Result]
        if scheduler:
            pool = Cluster(scheduler, count, root / "workers", work, clean=reap)
        else:
            pool = Pool(count, root / "workers", work, clean=reap)
        with pool:
            for result in finish(pool, jobs, retries=plan.retries, progress=progress):
                journal.add(result)
                yield result


def _jobs(
    ground: Ground, plan: Plan, cases: list[Case], root: Path, progress: Progress
) -> Iterator[Job]:
    """Without those for which there is no fault: that is told once per driver and class."""
    told: set[tuple[str, str]] = set()
    for case in cases:
        try:
            yield ground.job(case, plan, root)
        except RefusedError as e:
            if (case.driver, case.cls) not in told:
                progress(f"{case.driver}/{case.cls}: no trials, because {e}")
                told.add((case.driver, case.cls))


def finish(
    pool: Pool[Job, Result] | Cluster[Job, Result],
    jobs: list[Job],
    *,
    retries: int,
    progress: Progress,
) -> Iterator[Result]:
    """One result per job: what the machinery breaks is tried again, then it is LOST."""
    attempts: dict[Case, int] = {}
    while jobs:
        again: list[Job] = []
        for done in pool.run(jobs):
            case = done.job.case
            attempts[case] = attempts.get(case, 0) + 1
            if done.answer is not None:
                yield replace(done.answer, attempts=attempts[case])
            elif attempts[case] <= retries:
                progress(f"{case.key}: once more, because {_last_line(done.why)}")
                again.append(done.job)
            else:
                yield _lost(done, attempts[case])
        jobs = again


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "nobody knows"


def _lost(done: Done[Job, Result], attempts: int) -> Result:
    return Result(
        case=done.job.case,
        outcome=Outcome.LOST,
        title=_last_line(done.why)[:200],
        corrupted="",
        others=(),
        mutations=done.job.faults,
        activated={},
        recovery_s=None,
        outage_s=0.0,
        cost_s=0.0,
        attempts=attempts,
        log="",
        detail=done.why[-1000:],
    )


def repeat(
    root: Path,
    case: Case,
    faults: tuple[Fault, ...] | None = None,
    *,
    progress: Progress = _log.info,
) -> Result:
    """One trial again, in this process, with its own faults or with these."""
    plan = read_plan_of(root / NAME)
    ground = prepare(root, plan, progress)
    if (case.driver, case.mode) not in ground.bases:
        raise InfraError(f"no base for {case.key}", hint="is it of this campaign?")
    job = ground.job(case, plan, root)
    if faults is not None:
        job = replace(job, faults=faults)
    directory = root / "workers" / "repro"
    reap(directory)
    return work(directory, job)
