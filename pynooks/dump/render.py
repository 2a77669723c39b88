# SPDX-License-Identifier: GPL-2.0-only
"""A crash record as text, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from typing import Any

from pynooks.control.records import Crash
from pynooks.dump.disassemble import Instruction, disassemble

SCHEMA = 1
BEFORE, BEHIND = 16, 8  # instructions that are shown around the faulting one
# as an oops prints them
_ROWS = (
    ("ip", "sp", "flags"),
    ("ax", "bx", "cx"),
    ("dx", "si", "di"),
    ("bp", "r8", "r9"),
    ("r10", "r11", "r12"),
    ("r13", "r14", "r15"),
    ("orig_ax", "cs", "ss"),
)


def render(crash: Crash) -> str:
    """Sections of text; each has a line, even if it is to say that there is nothing."""
    sections = {
        "fault": _fault(crash),
        "registers": _registers(crash),
        "backtrace": _backtrace(crash),
        "entries and exits, newest last": _crossings(crash),
        "objects, newest first": _objects(crash),
        "disassembly": _disassembly(crash),
    }
    lines: list[str] = []
    for title, body in sections.items():
        lines += [f"{title}:", *(f"  {line}".rstrip() for line in body), ""]
    return "\n".join(lines)


def as_json(crash: Crash) -> dict[str, Any]:
    """All of it. Bytes are hex; addresses are numbers."""
    code = [{**asdict(i), "code": i.code.hex()} for i in disassemble(crash)]
    return {"schema": SCHEMA, **asdict(crash), "code": crash.code.hex(), "disassembly": code}


def _fault(crash: Crash) -> Iterator[str]:
    fault = crash.fault
    yield f"{crash.name}: {fault}"
    yield (
        f"error code {fault.err:#x}, CPU {fault.cpu}, PID {fault.pid}, "
        f"{fault.time / 1e9:.6f} s after boot"
    )


def _registers(crash: Crash) -> Iterator[str]:
    have = crash.registers
    for row in _ROWS:
        if cells := [f"{name:>7} {have[name]:016x}" for name in row if name in have]:
            yield " ".join(cells)
    if len(have) == 2:
        yield "no exception ended the entry: the other registers are not known"


def _backtrace(crash: Crash) -> Iterator[str]:
    """A question mark as in an oops: a word of the stack that may be left over."""
    lines = (f"{'? ' if f.at else '  '}{f.symbol}" for f in crash.frames if f.addr)
    for line, same in groupby(lines):  # a recursion fills the stack
        n = len(list(same))
        yield line if n == 1 else f"{line}, {n} times"
    if not any(frame.at for frame in crash.frames):
        yield "no return address is on its stack"


def _crossings(crash: Crash) -> Iterator[str]:
    last = crash.crossings[-1].tsc if crash.crossings else 0
    for c in crash.crossings:
        yield f"{c.tsc - last:>14} CPU {c.cpu} {c.kind:5} {c.name}"
    yield "cycles before the last one" if crash.crossings else "none"


def _objects(crash: Crash) -> Iterator[str]:
    for o in crash.objects:
        yield f"{o.addr:016x} {o.size:8} {o.type}{', published' if o.published else ''}"
    counts = sorted(crash.counts.items(), key=lambda item: (-item[1], item[0]))
    yield "in all: " + (", ".join(f"{n} {name}" for name, n in counts) or "none")


def _disassembly(crash: Crash) -> Iterator[str]:
    code = disassemble(crash)
    if not code:
        ip = crash.fault.ip
        yield f"there is no code at {ip:#x}" if ip else "which instruction did it is not known"
    at = next((i for i, insn in enumerate(code) if insn.faulting), 0)
    for insn in code[max(0, at - BEFORE) : at + BEHIND + 1]:
        yield _instruction(insn)


def _instruction(insn: Instruction) -> str:
    mark = "=>" if insn.faulting else "  "
    where = insn.where or f"{insn.addr:016x}"
    return f"{mark} {where:32} {insn.code.hex():22} {insn.text}"
