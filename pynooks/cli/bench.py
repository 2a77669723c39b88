# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks bench`: the figures that the documents show."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pynooks.bench import endure, faults, fuzz, hostile, instructions, recovery, report, xpc
from pynooks.bench.cases import choose, load_cases
from pynooks.bench.faults import DRIVER
from pynooks.bench.lab import running_lab
from pynooks.bench.measure import Effort, compare
from pynooks.bench.plot import as_svg
from pynooks.cli.where import JsonOption, progress
from pynooks.errors import CheckError, UsageError
from pynooks.inject import Kind
from pynooks.modname import module_name
from pynooks.remote import LocalVm
from pynooks.vm.command import host
from pynooks.vm.machine import Vm, VmSpec
from pynooks.vm.nics import nics_of

app = typer.Typer(no_args_is_help=True, help="Measure what isolation costs, and what it saves.")

DriverOption = Annotated[str, typer.Option("--driver", help="One that QEMU has a NIC for.")]
IntoOption = Annotated[
    Path | None,
    typer.Option("--into", help="Replace the table between its two comments in this document."),
]


@app.command()
def traffic(
    rounds: Annotated[int, typer.Option(min=1, help="Native and isolated by turns.")] = 7,
    seconds: Annotated[float, typer.Option(min=1, help="Of each TCP stream.")] = 10,
    driver: DriverOption = DRIVER,
    into: IntoOption = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the ratios into this SVG file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Throughput, round trip, and work per packet of a stock driver, in a VM of its own."""
    effort = Effort(rounds=rounds, stream_s=seconds, flood_s=max(2, seconds / 2))
    driver = module_name(driver)
    with _guest(VmSpec(name="bench", nics=nics_of(driver))) as vm:
        target = LocalVm(vm, name="bench")
        target.run(["modprobe", driver])
        found = compare(target, driver, machine=_machine(vm), effort=effort, progress=progress())
        if bad := vm.verdict():
            raise CheckError(f"the guest complained: {bad.title}", hint="figures are void")
    _tell(report.as_markdown(found), into, "bench traffic")
    if plot:
        plot.write_text(as_svg(found))
    if as_json:
        typer.echo(json.dumps(report.as_json(found)))


@app.command("faults")
def faults_command(
    kind: Annotated[list[str] | None, typer.Option(help="Default: all.")] = None,
    seeds: Annotated[int, typer.Option(min=0, help="Isolated trials per kind, seeds 0...")] = 20,
    native_seeds: Annotated[int, typer.Option(min=0, help="Native trials per kind.")] = 1,
    keep: Annotated[
        Path | None, typer.Option(help="Directory for the consoles of native guests.")
    ] = None,
    into: IntoOption = None,
    as_json: JsonOption = False,
) -> None:
    """Each kind of fault: native, each in a fresh guest, and isolated, all in one guest."""
    kinds = _kinds(kind)
    say = progress()
    trials: list[faults.Trial] = []

    def take(trial: faults.Trial) -> None:
        trials.append(trial)
        where = f"{'native' if trial.native else 'isolated'} at {trial.site}"
        say(f"{trial.kind} seed {trial.seed} {where}: {trial.outcome}, {trial.detail}")
        if as_json:
            typer.echo(json.dumps(faults.as_json(trial)))

    with tempfile.TemporaryDirectory(prefix="pynooks-bench-") as scratch:
        work = Path(scratch)
        if native_seeds:
            base = faults.native_base(work / "native", say)
            for one in kinds:
                for seed in range(native_seeds):
                    log = keep / f"{one}-{seed}.log" if keep else None
                    take(faults.native_trial(base, work / "trial", one, seed=seed, keep=log))
        if seeds:
            base = faults.isolated_base(work / "isolated", say)
            plan = [(one, seed) for one in kinds for seed in range(seeds)]
            for trial in faults.isolated_trials(base, work / "trial", plan):
                take(trial)
    if not as_json:
        _tell(faults.as_markdown(trials), into, "bench faults")
    bad = [t for t in trials if not t.native and t.outcome is not faults.Outcome.RECOVERED]
    if bad:
        raise CheckError(
            f"{len(bad)} isolated trials did not recover: {bad[0]}", hint="run with --json"
        )


@app.command("hostile")
def hostile_command(
    case: Annotated[list[str] | None, typer.Option(help="A case or a class. Default: all.")] = None,
    native: Annotated[bool, typer.Option(help="Each in a fresh guest without nooks.ko.")] = True,
    isolated: Annotated[bool, typer.Option(help="All in one guest.")] = True,
    into: IntoOption = None,
    as_json: JsonOption = False,
) -> None:
    """Each case of the hostile suite (tests/hostile): native, and in a nook."""
    cases = choose(load_cases(), case)
    say = progress()
    trials: list[hostile.Trial] = []

    def take(trial: hostile.Trial) -> None:
        trials.append(trial)
        side = "native" if trial.native else "isolated"
        wrong = f" -- {trial.wrong}" if trial.wrong else ""
        say(f"{trial.case.name} {side}: {trial.outcome} {trial.detail}{wrong}")
        if as_json:
            typer.echo(json.dumps(hostile.as_json(trial)))

    with tempfile.TemporaryDirectory(prefix="pynooks-bench-") as scratch:
        work = Path(scratch)
        if isolated:
            for trial in hostile.isolated_trials(work / "isolated", cases, say):
                take(trial)
        if native:
            base = hostile.native_base(work / "native", say)
            for one in cases:
                take(hostile.native_trial(base, work / "trial", one))
    if into or not as_json:
        _tell(hostile.as_markdown(trials), into, "bench hostile")
    if bad := [t for t in trials if t.wrong and not t.case.hole]:
        names = ", ".join(t.case.name for t in bad)
        raise CheckError(f"{len(bad)} cases are not as expected: {names}", hint=bad[0].wrong)


@app.command("fuzz")
def fuzz_command(
    seconds: Annotated[float, typer.Option(min=0, help="Of calls.")] = 600,
    seed: Annotated[int | None, typer.Option(help="Default: another one each time.")] = None,
    first: Annotated[int, typer.Option(min=0, help="Number of the first program.")] = 0,
) -> None:
    """Random programs of calls of every import, in a nook; the kernel must not notice."""
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    typer.echo(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="pynooks-bench-") as scratch:
        found = fuzz.fuzz(Path(scratch), seed=seed, seconds=seconds, first=first, say=progress())
    for line in fuzz.as_text(found):
        typer.echo(line)
    if found.wrong:
        raise CheckError(
            f"program {found.next - 1} or one before it: {found.wrong}",
            hint=f"pynooks bench fuzz --seed {seed} --first {found.next - 1}",
        )


@app.command("recovery")
def recovery_command(
    count: Annotated[int, typer.Option("--faults", min=1, help="And as many down and up.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the first fault.")] = 0,
    driver: DriverOption = DRIVER,
    into: IntoOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pauses that applications see: faults of an isolated driver, and its interface down and up."""
    driver = module_name(driver)
    with _guest(VmSpec(name="bench-recovery", nics=nics_of(driver))) as vm:
        target = LocalVm(vm, name=vm.spec.name)
        found = recovery.measure(target, driver, faults=count, seed=seed, progress=progress())
        machine = _machine(vm)
        bad = vm.verdict()
    if into or not as_json:
        _tell(recovery.as_markdown(found, machine, driver), into, "bench recovery")
    if as_json:
        typer.echo(json.dumps(recovery.as_json(found)))
    if bad:
        raise CheckError(f"the guest complained: {bad.title}", hint="run with --json")
    if not (found.stream and found.stream.intact):
        raise CheckError("the TCP connection did not survive", hint=str(found.stream))


@app.command("endure")
def endure_command(
    count: Annotated[int, typer.Option("--faults", min=0)] = 50,
    every: Annotated[float, typer.Option(min=0, help="Seconds from a fault to the next.")] = 5,
    quiet: Annotated[float, typer.Option(min=0, help="Minutes before the first fault.")] = 0,
    copy_mb: Annotated[int, typer.Option(min=1, help="Of the file that scp copies.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the choice of functions.")] = 0,
    driver: DriverOption = DRIVER,
    into: IntoOption = None,
    as_json: JsonOption = False,
) -> None:
    """iperf3, an SSH session and copies by scp, while the driver fails again and again."""
    driver = module_name(driver)
    spec = VmSpec(name="bench-endure", memory_mib=1024 + 3 * copy_mb, nics=nics_of(driver))
    with _guest(spec) as vm:
        found = endure.endure(
            LocalVm(vm, name=vm.spec.name), driver, faults=count, every_s=every, quiet_s=60 * quiet,
            copy_mb=copy_mb, seed=seed, progress=progress(),
        )  # fmt: skip
        machine = _machine(vm)
        bad = vm.verdict()
    if into or not as_json:
        _tell(endure.as_markdown(found, machine, driver), into, "bench endure")
    if as_json:
        typer.echo(json.dumps(endure.as_json(found)))
    if bad:
        raise CheckError(f"the guest complained: {bad.title}", hint="run with --json")
    if not found.intact:
        raise CheckError("an application was hurt", hint=found.broken or "run with --json")


@app.command("xpc")
def xpc_command(into: IntoOption = None, as_json: JsonOption = False) -> None:
    """What one crossing costs, beside the two loads of CR3 that are the least of it."""
    with (
        tempfile.TemporaryDirectory(prefix="pynooks-bench-") as scratch,
        running_lab(VmSpec(name="bench-xpc"), Path(scratch), progress=progress()) as lab,
    ):
        found = xpc.measure(lab)
        machine = _machine(lab.vm)
    if into or not as_json:
        _tell(xpc.as_markdown(found, machine), into, "bench xpc")
    if as_json:
        typer.echo(json.dumps(xpc.as_json(found)))


@app.command("instructions")
def instructions_command(
    driver: DriverOption = DRIVER, into: IntoOption = None, as_json: JsonOption = False
) -> None:
    """What QEMU counts for a packet and for a crossing: the same on each host."""
    say = progress()
    driver = module_name(driver)
    spec = VmSpec(name="bench-icount", smp=1, accel="tcg", icount=instructions.SHIFT)
    with _guest(replace(spec, nics=nics_of(driver))) as vm:
        target = LocalVm(vm, name=spec.name)
        target.run(["modprobe", driver])
        loads = instructions.measure(target, driver, say)
        machine = _machine(vm)
        if bad := vm.verdict():
            raise CheckError(f"the guest complained: {bad.title}", hint="figures are void")
    with (
        tempfile.TemporaryDirectory(prefix="pynooks-bench-") as scratch,
        running_lab(spec, Path(scratch), progress=say) as lab,
    ):
        crossing = instructions.of_crossing(xpc.measure(lab))
    if into or not as_json:
        _tell(
            instructions.as_markdown(loads, crossing, machine, driver), into, "bench instructions"
        )
    if as_json:
        typer.echo(json.dumps(instructions.as_json(loads, crossing)))


def _kinds(words: list[str] | None) -> list[Kind]:
    try:
        return [Kind(word) for word in words] if words else list(Kind)
    except ValueError as e:
        raise UsageError(str(e), hint=f"choose from {', '.join(Kind)}") from e


def _tell(text: str, into: Path | None, name: str) -> None:
    if into:
        report.insert(into, name, text)
    else:
        typer.echo(text)


@contextmanager
def _guest(spec: VmSpec) -> Iterator[Vm]:
    """A VM that is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="pynooks-bench-") as scratch,
        Vm.start(spec, Path(scratch), progress()) as vm,
    ):
        yield vm


def _machine(vm: Vm) -> dict[str, str]:
    """What figures depend on."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    qemu = host(["qemu-system-x86_64", "--version"], timeout=10, hint="apt-get install qemu")
    version = re.search(r"version ([\d.]+)", qemu)
    return {
        "kernel": vm.image.kernel_release,
        "QEMU": f"{version[1] if version else '?'} ({vm.accel.upper()})",
        "guest CPUs": str(vm.spec.smp),
        "host CPUs": f"{info.count('processor	:')} ({model[1] if model else 'unknown'})",
    }
