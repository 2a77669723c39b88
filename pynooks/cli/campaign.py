# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks campaign`: fault-injection campaigns."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pynooks.campaign import Case, Mode, Outcome, Plan, Result, read_plan, results, runner
from pynooks.campaign.compare import compare
from pynooks.campaign.journal import NAME, Fault, read_plan_of
from pynooks.campaign.minimize import minimize as minimize_trial
from pynooks.cli.where import JsonOption, progress
from pynooks.errors import CheckError
from pynooks.inject.mutate import Mutation
from pynooks.report import document, write_report

app = typer.Typer(no_args_is_help=True, help="Many faults, native and isolated, each judged.")

RootArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A campaign's directory.")]
TrialArgument = Annotated[str, typer.Argument(metavar="TRIAL", help="As e1000/nop/17/isolated.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Guests side by side. Default: as planned.")
]
SchedulerOption = Annotated[
    str,
    typer.Option(
        "--scheduler", metavar="ADDR", help="dask.distributed's, as tcp://HOST:8786, or local."
    ),
]


@app.command()
def run(
    plan: Annotated[Path, typer.Argument(exists=True, help="Campaign plan (TOML).")],
    into: Annotated[
        Path | None, typer.Option("--dir", help="Default: campaigns/NAME, as the plan says.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Drawn, told and kept if not given.")] = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only name the trials.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run every trial of PLAN."""
    chosen = read_plan(plan, seed=seed, workers=workers)
    root = into or Path("campaigns") / chosen.name
    if dry_run:
        for case in chosen.cases():
            typer.echo(case.key)
        return
    typer.echo(f"{root}: {len(list(chosen.cases()))} trials, seed {chosen.seed}", err=True)
    _follow(root, chosen, chosen, as_json, None, scheduler)


@app.command()
def resume(
    root: RootArgument,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Go on where a campaign was stopped, by whatever."""
    _follow(root, None, read_plan_of(root / NAME), as_json, workers, scheduler)


def _follow(
    root: Path,
    begin: Plan | None,
    plan: Plan,
    as_json: bool,
    workers: int | None,
    scheduler: str,
) -> None:
    console = Console(stderr=True)
    total = len(list(plan.cases()))
    have = results(root) if begin is None else []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(
        *columns,
        console=console,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),  # a pipe gets the results, and nothing else
    ) as bar:
        task = bar.add_task("trials", total=total, completed=len(have))
        for result in runner.run(
            root, begin, progress=progress(), workers=workers, scheduler=scheduler
        ):
            have.append(result)
            bar.update(task, advance=1, description=_short(have))
            typer.echo(json.dumps(result.as_json()) if as_json else _line(result))
    for line in summary(have):
        typer.echo(line, err=True)
    _complain(have, root)


def _short(have: Iterable[Result]) -> str:
    bad = sum(r.outcome.is_kernel_failure for r in have if r.case.mode is Mode.ISOLATED)
    return f"trials, {bad} isolated kernel failures" if bad else "trials"


def _line(result: Result) -> str:
    title = f": {result.title}" if result.title else ""
    reached = f"{len(result.activated)}/{len(result.mutations)}"
    return (
        f"{result.case.key:40} {result.outcome}{title} ({reached} reached, {result.cost_s:.1f} s)"
    )


def summary(have: Iterable[Result]) -> list[str]:
    """Counts of each outcome, native and isolated."""
    found = list(have)
    lines = [f"{'outcome':34}{'native':>8}{'isolated':>10}"]
    counts = {mode: Counter(r.outcome for r in found if r.case.mode is mode) for mode in Mode}
    for outcome in Outcome:
        native, isolated = (counts[mode][outcome] for mode in Mode)
        if native or isolated:
            lines.append(f"{outcome:34}{native:8}{isolated:10}")
    return lines


def _complain(have: Iterable[Result], root: Path) -> None:
    bad = [r for r in have if r.case.mode is Mode.ISOLATED and r.outcome.is_kernel_failure]
    if bad:
        raise CheckError(
            f"{len(bad)} isolated trials harmed the kernel, the first: {bad[0].case.key}: "
            f"{bad[0].outcome}: {bad[0].title}",
            hint=f"pynooks campaign repro {root} {bad[0].case.key}",
        )


@app.command()
def report(
    root: RootArgument,
    into: Annotated[
        Path | None, typer.Option("--into", help="Directory. Default: DIR/report.")
    ] = None,
    into_document: Annotated[
        Path | None,
        typer.Option(
            "--document", exists=True, help="Only replace the figures between two comments in it."
        ),
    ] = None,
) -> None:
    """HTML, JUnit XML and JSON lines of what is done so far."""
    if into_document:
        document(root, into_document)
    if into or not into_document:
        for path in write_report(root, into or root / "report"):
            typer.echo(path)


@app.command()
def repro(
    root: RootArgument,
    trial: TrialArgument,
    console: Annotated[bool, typer.Option(help="Print the guest's console.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Run one trial again. 1 if its outcome is another one now."""
    case = Case.of(trial)
    before = next((r for r in results(root) if r.case == case), None)
    mutations = before.mutations if before else None
    result = runner.repeat(root, case, mutations, progress=progress())
    for m in result.mutations:
        typer.echo(f"  {m}", err=True)
    if console:
        log = root / "workers" / "repro" / "console.log"
        typer.echo(log.read_text(errors="replace"), err=True)
    typer.echo(json.dumps(result.as_json()) if as_json else _line(result))
    if before and before.outcome is not result.outcome:
        raise CheckError(
            f"{trial}: {before.outcome} before, {result.outcome} now",
            hint="timing differs between runs; try again",
        )


@app.command()
def minimize(root: RootArgument, trial: TrialArgument) -> None:
    """Drop faults of a trial as long as its outcome and title stay."""
    case = Case.of(trial)
    before = next((r for r in results(root) if r.case == case), None)
    if before is None:
        raise CheckError(f"{trial} is not done yet", hint=f"pynooks campaign resume {root}")

    def again(mutations: tuple[Fault, ...]) -> Result:
        return runner.repeat(root, case, mutations, progress=progress())

    for m in minimize_trial(before, again, progress=progress()):
        if isinstance(m, Mutation):
            typer.echo(f"{m.symbol} {m.offset:#x} {m.old.hex()} {m.new.hex()}  # {m}")
        else:
            typer.echo(str(m))


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="A campaign's directory: as it was.")],
    new: Annotated[Path, typer.Argument(help="As it is.")],
    as_json: JsonOption = False,
) -> None:
    """What changed between two campaigns. 1 if an isolated trial is worse than before."""
    found = compare(results(old), results(new))
    for change in found.changes:
        line = f"{change.case.key:40} {change.old} -> {change.new}"
        typer.echo(json.dumps(change.as_json()) if as_json else f"{line}{change.mark}")
    typer.echo(
        f"{found.both} trials in both; {found.same_faults} with the same faults,"
        f" {found.both - len(found.changes)} with the same outcome",
        err=True,
    )
    worse = [c for c in found.changes if c.regression]
    if worse:
        raise CheckError(
            f"{len(worse)} isolated trials are worse, the first: {worse[0].case.key}",
            hint=f"pynooks campaign repro {new} {worse[0].case.key}",
        )
