# SPDX-License-Identifier: GPL-2.0-only
"""The golden run: which of the driver's code the workload runs, natively and without faults.

Functions are what the kernel's function tracer names. Of those, the blocks are what QEMU's GDB stub
sees reached: the guest does not notice, and each block is told once. No run sees all that may run,
so there are some, until one sees nothing new; and what they saw is kept, for every campaign of the
same driver and workload to choose its faults from.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pynooks.campaign.base import ANSWER_S, Base, open_agent, open_workload
from pynooks.campaign.hardware import reads_register, registers_at
from pynooks.campaign.trial import ALIVE_S, as_load
from pynooks.errors import GuestError, InfraError
from pynooks.inject.hardware import Places, candidates
from pynooks.inject.mutate import Reach, Routine, Text
from pynooks.inject.mutate.code import Insn
from pynooks.remote import LocalVm
from pynooks.vm import paths
from pynooks.vm.gdb import Reached, Stop
from pynooks.vm.machine import Vm

_log = logging.getLogger(__name__)
Progress = Callable[[str], None]
Prepare = Callable[[Vm, Reached], None]
T = TypeVar("T")
TRACE_S = 6.0
TRACER_S = 2.0  # until the kernel's tracer is on
BATCH = 250  # breakpoints at once: QEMU looks through all of them again and again
RUNS = 5  # of the workload, at most, in search of blocks that no run before has seen
SIDE_BY_SIDE = 4  # guests, at most
TRIES = 3
SLOW_S = 60.0  # a run with breakpoints is slow
SCHEMA = 1


def workload_id() -> str:
    """Changes with the workload, and with the guests that it runs in."""
    names = ("base.py", "requests.py", "workload.py")
    files = (resources.files("pynooks.campaign") / name for name in names)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _key(text: Text) -> dict[str, object]:
    return {"schema": SCHEMA, "sha256": text.sha256, "workload": workload_id()}


def _read(path: Path, text: Text) -> dict[str, Any] | None:
    """What an earlier golden run kept; None if driver or workload are others now."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text())
        return raw if {name: raw[name] for name in _key(text)} == _key(text) else None
    except (OSError, ValueError, KeyError):
        return None


def _write(path: Path, text: Text, **found: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps({**_key(text), **found}))
    os.replace(part, path)


def known_reach(driver: str, text: Text) -> Path:
    """Where this user's golden runs of a driver are kept, for all campaigns."""
    return paths.cache_dir() / "reach" / f"{driver}-{text.sha256[:16]}.json"


def read_reach(path: Path, text: Text) -> Reach | None:
    """What golden_run() gave before, if it still holds."""
    if (raw := _read(path, text)) is None:
        return None
    found: dict[str, list[int] | None] = raw["reach"]
    return {name: None if ran is None else frozenset(ran) for name, ran in found.items()}


def write_reach(path: Path, text: Text, reach: Reach) -> None:
    ran = {name: None if ran is None else sorted(ran) for name, ran in sorted(reach.items())}
    _write(path, text, reach=ran)


def read_places(path: Path, text: Text) -> Places | None:
    """What run_registers() gave before, if it still holds."""
    raw = _read(path, text)
    return None if raw is None else [(str(name), int(at)) for name, at in raw["places"]]


def write_places(path: Path, text: Text, places: Places) -> None:
    _write(path, text, places=list(places))


def golden_run(base: Base, text: Text, workdir: Path, progress: Progress = _log.info) -> Reach:
    """Raises InfraError if the workload is not well without any fault."""
    ours = text.routines.keys() & base.symbols.keys()
    ran: set[str] = set()
    reach: Reach = {}
    for number in range(RUNS):
        ran |= ours & set(patiently(lambda: _traced(base, workdir / "functions")))
        routines = {name: text.routines[name] for name in sorted(ran)}
        before, reach = reach, run_blocks(base, routines, workdir, seen=reach)
        found = _size(reach) - _size(before)
        progress(f"golden run {number + 1}: {found} more instructions of {len(reach)} functions")
        if not found or None in reach.values():
            break
    return reach


def _size(reach: Reach) -> int:
    """How many instructions that is; a function of which only that it runs is known has none."""
    return sum(len(ran or ()) for ran in reach.values())


def _traced(base: Base, workdir: Path) -> list[str]:
    """Functions of the driver that one run calls."""
    with Vm.restore(base.snapshot, workdir) as vm:
        target = LocalVm(vm, name="golden")
        with open_agent(target) as agent, open_workload(target) as load:
            load.call("start", after_s=TRACER_S, timeout=ANSWER_S)
            ran: list[str] = agent.call(
                "running", module=base.driver, seconds=TRACE_S + TRACER_S, native=True
            )
            _check(vm, load.call("report", timeout=ANSWER_S))
    return ran


def run_blocks(
    base: Base, routines: Mapping[str, Routine], workdir: Path, seen: Reach | None = None
) -> Reach:
    """Which blocks of these functions run, and those that were seen before."""
    ran: dict[str, set[int]] = {name: set(known or ()) for name, known in (seen or {}).items()}
    places = {
        base.symbols[name] + start: (name, block)
        for name, routine in routines.items()
        for start, block in blocks(routine).items()
        if start not in ran.get(name, ())
    }
    for hits in _in_batches(base, sorted(places), workdir / "blocks", _watch):
        if hits is None:
            return dict.fromkeys(routines)  # too few breakpoints here: functions it is
        for address in hits:
            name, block = places[address]
            ran.setdefault(name, set()).update(block)
    return {name: frozenset(offsets) for name, offsets in sorted(ran.items())}


def run_registers(base: Base, text: Text, reach: Reach, workdir: Path) -> Places:
    """Where the driver reads registers of its device, of the code that the workload runs."""
    insns: dict[int, Insn] = {}
    places: dict[int, tuple[str, int]] = {}
    for name, offset in candidates(text, reach):
        routine, address = text.routines[name], base.symbols[name] + offset
        insns[address] = routine.insns[routine.index[offset]]
        places[address] = (name, offset)
    found: set[int] = set()

    def look_at(batch: list[int]) -> Prepare:
        def prepare(vm: Vm, reached: Reached) -> None:
            regions = registers_at(vm.monitor)

            def look(stop: Stop) -> bool:
                if reads_register(vm.monitor, regions, stop, insns[stop["rip"]]):
                    found.add(stop["rip"])
                return False

            for address in batch:
                reached.hook(address, look)

        return prepare

    for _ in _in_batches(base, sorted(insns), workdir / "registers", look_at):
        pass
    return sorted(places[address] for address in found)


def _in_batches(
    base: Base, addresses: list[int], workdir: Path, prepare: Callable[[list[int]], Prepare]
) -> Iterator[set[int] | None]:
    """As _run_with() for each batch; guests side by side, one for each CPU. Who stops asking stops
    those that have not begun."""
    batches = [addresses[first : first + BATCH] for first in range(0, len(addresses), BATCH)]

    def run(number: int) -> set[int] | None:
        batch = batches[number]
        return _run_with(base, batch, workdir / str(number), prepare(batch))

    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, SIDE_BY_SIDE)) as pool:
        yield from pool.map(run, range(len(batches)))


def _watch(addresses: list[int]) -> Prepare:
    return lambda _, reached: reached.watch(addresses)


def patiently(run: Callable[[], T], tries: int = TRIES) -> T:
    """A guest that is traced, or has many breakpoints, may seem dead on a busy host."""
    try:
        return run()
    except (GuestError, InfraError) as e:
        if tries == 1:
            raise InfraError(f"the golden run failed: {e}", hint="is the host busy?") from e
        _log.warning("golden run, once more: %s", e)
    return patiently(run, tries - 1)


def _run_with(
    base: Base, addresses: list[int], workdir: Path, prepare: Prepare
) -> set[int] | None:
    return patiently(lambda: _reached(base, addresses, workdir, prepare))


def _reached(base: Base, addresses: list[int], workdir: Path, prepare: Prepare) -> set[int] | None:
    """Those that one run reaches; None if there are not enough breakpoints."""
    with Vm.restore(base.snapshot, workdir) as vm:
        target = LocalVm(vm, name="golden")
        with open_workload(target) as load, vm.reached() as reached:
            prepare(vm, reached)
            if len(reached.watched) < len(addresses):
                return None
            reached.go()
            load.call("start", timeout=SLOW_S)
            deadline = time.monotonic() + SLOW_S
            time.sleep(TRACE_S)
            raw = load.call("report", timeout=SLOW_S)
            while not as_load(raw).alive(ALIVE_S) and time.monotonic() < deadline:
                time.sleep(1)
                raw = load.call("report", timeout=SLOW_S)
            _check(vm, raw)
            return set(reached.hits)


def blocks(routine: Routine) -> dict[int, tuple[int, ...]]:
    """Offsets of the instructions of each basic block, by its first."""
    found: dict[int, tuple[int, ...]] = {}
    position = 0
    while position < len(routine.insns):
        start = routine.insns[position].offset
        found[start] = tuple(insn.offset for insn in routine.block(start))
        position += len(found[start])
    return found


def _check(vm: Vm, raw: dict[str, object]) -> None:
    load = as_load(raw)
    if (found := vm.verdict()) or not load.alive(2 * ALIVE_S):
        why = found.title if found else f"traffic stopped: {_idle(load.flows)}"
        raise InfraError(f"the golden run failed: {why}", hint="the workload must run by itself")


def _idle(flows: Iterable[object]) -> str:
    return ", ".join(map(str, flows))
