# SPDX-License-Identifier: GPL-2.0-only
"""Any import, called with anything, in any order: the kernel must live, unchanged.

What the programs are: calls.py. One after the other in one guest; the nook fails again and again.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pynooks.bench.calls import PLACES, Author, Line, read_sequences, script, told
from pynooks.bench.hostile import VALIDATE
from pynooks.bench.lab import CALLER, PARAMETERS, Lab, Progress, running_lab
from pynooks.errors import NooksError
from pynooks.vm.cmdline import WITNESS
from pynooks.vm.machine import VmSpec

LOOKS = 10  # programs from a look at the kernel to the next
PROGRAM_S = 120
STUCK_S, CONSOLE_LINES = 40.0, 200
MEMORY_MIB, STALL_MS = 16, 4000
KERNEL = ("data", "slab", "page", "pte", "text", "percpu", "idt", "bystander")


@dataclass
class Fuzzed:
    """What came of it. faults: rule or vector -> how many; wrong: what the kernel suffered.

    console: its end
    last:    the last programs
    """

    seed: int
    first: int
    programs: int = 0
    lines: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    stopped: int = 0
    wrong: str = ""
    console: str = ""
    last: list[list[list[Line]]] = field(default_factory=list)

    @property
    def next(self) -> int:
        """Number of the next program."""
        return self.first + self.programs


def fuzz(
    workdir: Path, *, seed: int, seconds: float, first: int = 0, say: Progress = lambda _: None
) -> Fuzzed:
    """For so long; first: number of the program to begin with. Ends at the first harm."""
    spec = VmSpec(name="fuzz", extra_cmdline=WITNESS)
    with running_lab(spec, workdir, driver=CALLER, progress=say) as lab:
        found = Fuzzed(seed, first)
        author = _loaded(lab)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not found.wrong:
            try:
                author = _program(lab, found, author)
                if found.programs % LOOKS == 0:
                    lab.shell(VALIDATE)
                    found.wrong = ", ".join(lab.harm())
            except NooksError as e:
                # the kernel's own detectors need some twenty seconds
                lab.vm.wait_verdict(STUCK_S, fatal=True)
                verdict = lab.vm.verdict()
                found.wrong = f"{e}; {verdict.title}" if verdict else str(e)
            if found.programs % (10 * LOOKS) == 0:
                say(f"{found.programs} programs, {sum(found.faults.values())} faults")
        found.console = lab.vm.console_tail(CONSOLE_LINES)
        return found


def _loaded(lab: Lab) -> Author:
    """Who writes programs for the driver as it is loaded now, and its limits."""
    lab.agent.call("set", name=CALLER, memory_mib=MEMORY_MIB, stall_ms=STALL_MS)
    read = lab.shell(f"cd {PARAMETERS.format(CALLER)}; cat places texts")[1].split()
    places, texts = ([int(v) for v in line.split(",")] for line in read)
    return Author(
        rng=random.Random(),
        functions=lab.made.callees,
        sequences=read_sequences(),
        places=dict(zip(PLACES, places, strict=True)),
        texts=tuple(texts),
        kernel={name: lab.address(name) for name in KERNEL},
        btf=lab.made.btf,
    )


def _program(lab: Lab, found: Fuzzed, author: Author) -> Author:
    """The next one, with dice of its own. Return: who writes the one after it."""
    author.rng = random.Random(f"{found.seed} {found.next}")
    program = author.program()
    found.programs += 1
    found.last = [*found.last[-LOOKS:], program]
    before = lab.nook().stats["faults"]
    _, done = lab.shell(script(program, PARAMETERS.format(CALLER)), timeout=PROGRAM_S)
    found.lines += sum(map(int, done.split()))
    nook = lab.nook()
    if nook.state == "STOPPED":
        found.stopped += 1
        lab.reload()
        author = _loaded(lab)
    elif nook.stats["faults"] == before:
        lab.agent.call("restart", name=CALLER)
    lab.await_running()
    if nook.fault and nook.stats["faults"] > before:
        found.faults[f"{nook.fault.vector}: {nook.fault.what}"] += 1
    return author


def as_text(found: Fuzzed) -> Iterator[str]:
    """What was done, and what of; if the kernel suffered, what was done last."""
    yield (
        f"{found.programs} programs, {found.lines} lines, {sum(found.faults.values())} faults of "
        f"{len(found.faults)} kinds, {found.stopped} times stopped"
    )
    for what, count in found.faults.most_common():
        yield f"{count:6} {what}"
    if found.wrong:
        for number, program in enumerate(found.last, found.next - len(found.last)):
            yield f"program {number}:"
            yield from told(program)
        yield found.console
        yield f"wrong: {found.wrong}"
