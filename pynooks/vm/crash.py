# SPDX-License-Identifier: GPL-2.0-only
"""Find kernel crashes in console text, and give equal bugs equal titles.

Only lines that carry the kernel's time stamp count, so that text which user space prints does
not match. Titles lose addresses, PIDs, CPU and line numbers. Golden logs: tests/golden/console.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum


class VerdictKind(StrEnum):
    """What happened to a guest; the order is that of `severity`.

    LOST: QEMU itself ended, which says nothing about the guest.
    """

    WARN = "warn"
    HUNG_TASK = "hung-task"
    RCU_STALL = "rcu-stall"
    SOFT_LOCKUP = "soft-lockup"
    HARD_LOCKUP = "hard-lockup"
    BUG = "bug"
    OOPS = "oops"
    EXITED = "exited"
    HANG = "hang"
    NO_BOOT = "no-boot"
    RESET = "reset"
    PANIC = "panic"
    LOST = "lost"

    @property
    def severity(self) -> int:
        return list(VerdictKind).index(self)

    @property
    def fatal(self) -> bool:
        """The guest will not answer again."""
        return self.severity >= VerdictKind.EXITED.severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One thing that went wrong in a guest.

    source:    who saw it: serial, qmp, process or ssh
    title:     stable over runs, so it can be counted
    text:      the report's console lines, without time stamps
    truncated: the report has no end; its title may lack the function
    """

    kind: VerdictKind
    title: str
    source: str
    text: str = ""
    truncated: bool = False

    @property
    def fatal(self) -> bool:
        return self.kind.fatal

    @property
    def corrupted(self) -> str:
        """Why the title may name the wrong thing; empty if nothing says so."""
        if self.source != "serial" or self.kind is VerdictKind.PANIC:
            return ""
        if self.truncated:
            return "the report has no end"
        if len(_STARTED.findall(self.text)) > 1:
            return "two reports ran into each other"
        if self.kind is VerdictKind.OOPS and " in " not in self.title:
            return "the report names no function"
        return ""

    @property
    def frames(self) -> tuple[str, ...]:
        """Functions of the call trace, innermost first; what the unwinder doubts is left out."""
        found: list[str] = []
        for line in self.text.splitlines():
            if _END_STACK.match(line) and found:
                break
            if match := _FRAME.match(line):
                found.append(_place(match[1], match[2]))
        return tuple(found)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Titles that the same bug may have in another run: each driver function of the trace."""
        what = self.title.split(" in ")[0]
        drivers = [frame for frame in self.frames if frame.endswith("]")]
        titles = (f"{what} in {frame}" for frame in drivers)
        return tuple(t for t in dict.fromkeys(titles) if t != self.title)

    @property
    def signature(self) -> tuple[str, ...]:
        """Equal for equal bugs: the title, and three frames below it."""
        return (self.title, *self.frames[:3])


# An oops busts the console's lock, and then any character may come twice.
_STAMP = re.compile(r"\[ *\d+\.{1,2}\d{6,7}\](?:\[ *[TC]\d+\])? ?")
_RIP = re.compile(r"RI?P:+ +0{2,3}1{1,2}0{1,2}:+([^\s:]+)(?: +(\[\w+\]))?")
_DIE = re.compile(r": +[0-9a-f]{4,5} +\[#+\d+\]")
_END_TRACE = re.compile(r"-{3,4}\[+ +e+n+d+ +t+r+a+c+e+ +[0-9a-f]+ +\]+-+")
_FRAME = re.compile(r" (?!\? )(\S+\+0x[0-9a-f]+/0x[0-9a-f]+)(?: (\[\w+\]))?")
_STARTED = re.compile(r"^CPU: \d+ PID: \d+", re.MULTILINE)
_END_STACK = re.compile(r" ?</TASK>")
_LIMIT = 120  # lines; a report that is longer has lost its end

K = VerdictKind
# (kind, start of the message, title; {0} is the first group). First match wins.
_STARTS: tuple[tuple[VerdictKind, re.Pattern[str], str], ...] = tuple(
    (kind, re.compile(pattern), title)
    for kind, pattern, title in (
        (K.PANIC, r"Kernel panic - not syncing: (.*)", "panic: {0}"),
        (K.PANIC, r"(?:traps: )?PANIC: double fault", "double fault"),
        (K.OOPS, r"BUG: kernel NULL pointer dereference", "NULL pointer dereference"),
        (K.OOPS, r"BUG: unable to handle page fault", "page fault"),
        (K.OOPS, r"BUG: unable to handle kernel", "page fault"),
        (K.OOPS, r"BUG: (?:\w+ )?stack guard page was hit", "stack overflow"),
        (K.OOPS, r"general protection fault", "general protection fault"),
        (K.OOPS, r"stack segment: ", "stack segment fault"),
        (K.OOPS, r"invalid opcode: ", "invalid opcode"),
        (K.OOPS, r"divide error: ", "divide error"),
        (K.OOPS, r"int3: ", "int3"),
        (K.OOPS, r"alignment check: ", "alignment check"),
        (K.OOPS, r"kernel BUG at (\S+?):\d+!", "kernel BUG at {0}"),
        (K.OOPS, r"Oops: ", "oops"),
        (K.SOFT_LOCKUP, r"watchdog: BUG: soft lockup - CPU", "soft lockup"),
        (K.HARD_LOCKUP, r"(?:NMI )?[wW]atchdog: Watchdog detected hard LOCKUP", "hard lockup"),
        (K.RCU_STALL, r"rcu: INFO: rcu_\w+ (?:self-)?detected(?: expedited)? stall", "RCU stall"),
        (K.HUNG_TASK, r"INFO: task (\S+):\d+ blocked for more than", "hung task {0}"),
        (K.BUG, r"BUG: workqueue lockup", "workqueue lockup"),
        (K.BUG, r"BUG: (scheduling while atomic)", "BUG: {0}"),
        (K.BUG, r"BUG: (sleeping function called from invalid context)", "BUG: {0}"),
        (K.BUG, r"BUG: (Bad \S+ \S+)", "BUG: {0}"),
        (K.BUG, r"BUG: ([A-Za-z][^:]*)", "BUG: {0}"),
        (K.BUG, r"BUG (\S+) \([^)]*\): ([^.]*)", "slab {0}: {1}"),  # slub_debug
        # page_poison
        (K.BUG, r"pagealloc: (memory corruption|single bit error)", "free page: {0}"),
        (K.WARN, r"WARNING: CPU: \d+ PID: \d+ at \S+ (\S+)(?: \[\w+\])?", "WARNING in {0}"),
    )
)
# Printed through early_printk, before there is a time stamp.
_EARLY = re.compile(r"PANIC: early exception (0x[0-9a-f]+)")


@dataclass(slots=True)
class Report:
    """One crash while it is being read."""

    kind: VerdictKind
    title: str
    where: str = ""
    done: bool = False
    lines: list[str] = field(default_factory=list)

    def verdict(self) -> Verdict:
        title = f"{self.title} in {self.where}" if self.where else self.title
        return Verdict(
            kind=self.kind,
            title=title,
            source="serial",
            text="\n".join(self.lines),
            truncated=not self.done,
        )


class Parser:
    """Feed it console text as it arrives; `verdicts()` is what it has found so far."""

    def __init__(self) -> None:
        self._rest = ""
        self._reports: list[Report] = []
        self._open: Report | None = None

    def feed(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._line(line.rstrip("\r"))

    def close(self) -> None:
        """The text ends here: what is left of it counts as a line."""
        if self._rest:
            self._line(self._rest.rstrip("\r"))
            self._rest = ""

    def verdicts(self) -> list[Verdict]:
        return [report.verdict() for report in self._reports]

    def _line(self, line: str) -> None:
        if early := _EARLY.search(line):
            self._start(K.PANIC, f"early exception {early.group(1)}", line)
            self._finish()
            return
        # Two CPUs' lines can run together: every stamp starts a message.
        starts = [m.end() for m in _STAMP.finditer(line)]
        if not starts:
            if self._open:
                self._open.lines.append(line)
            return
        cuts = [*(m.start() for m in _STAMP.finditer(line)), len(line)][1:]
        for begin, end in zip(starts, cuts, strict=True):
            self._message(line[begin:end])

    def _message(self, message: str) -> None:
        for kind, pattern, title in _STARTS:
            match = pattern.match(message)
            if not match:
                continue
            report = self._open
            if report and report.kind is K.OOPS and not report.where and _DIE.search(message):
                break  # "Oops: 0002 [#1]" belongs to the BUG line above it
            groups = [normalise(group or "") for group in match.groups()]
            self._start(kind, title.format(*groups), message)
            if kind is K.PANIC and title != "double fault":
                self._finish()
            return
        if self._open:
            self._continue(self._open, message)

    def _start(self, kind: VerdictKind, title: str, line: str) -> None:
        self._open = Report(kind, title, lines=[line])
        self._reports.append(self._open)

    def _finish(self) -> None:
        if self._open:
            self._open.done = True
        self._open = None

    def _continue(self, report: Report, message: str) -> None:
        report.lines.append(message)
        if not report.where and report.kind is not K.WARN and (rip := _RIP.match(message)):
            report.where = _place(rip.group(1), rip.group(2))
        if _END_TRACE.match(message) or (
            report.kind not in (K.OOPS, K.WARN, K.PANIC) and _END_STACK.match(message)
        ):
            self._finish()
        elif len(report.lines) >= _LIMIT:
            self._open = None  # stays truncated


def _place(symbol: str, module: str | None) -> str:
    name = normalise(symbol)
    if name.startswith(("0x", "ADDR")):
        return "no known function"
    return f"{name} {module}" if module else name


def normalise(text: str) -> str:
    """Text without what differs between two runs of one bug."""
    text = re.sub(r"\+0x[0-9a-f]+/0x[0-9a-f]+", "", text)
    text = re.sub(r"\.(?:isra|constprop|part|cold)(?:\.\d+)*", "", text)
    text = re.sub(r"\b(?:0x)?[0-9a-f]{8,}\b", "ADDR", text)
    text = re.sub(r"(?<=[/:#-])\d+\b", "N", text)
    return text.strip()


def parse(text: str) -> list[Verdict]:
    """All crashes of a finished log."""
    parser = Parser()
    parser.feed(text)
    parser.close()
    return parser.verdicts()


def worst(verdicts: list[Verdict]) -> Verdict | None:
    """The most severe; the first one of equals."""
    return max(verdicts, key=lambda v: v.kind.severity, default=None)
