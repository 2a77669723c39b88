# SPDX-License-Identifier: GPL-2.0-only
"""Programs of calls for tests/hostile/orders.c: what a driver does, but for what is wrong in it.

Sequences of tests/hostile/orders.toml side by side; calls are left out, done twice, put between
others, and get arguments that are not theirs. Most are as they should be, so that what is wrong
meets objects in all their states.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from pynooks.bench.cases import hostile_dir
from pynooks.btf import Btf, BtfKind, Param, function, struct_field
from pynooks.build.annotate import default_note, pointee
from pynooks.policy import ImportPolicy, Kind

ARGS, SLOTS = 8, 64
FIRST_FREE, PACKET = 8, SLOTS - 1
PDEV, DEV, NETDEV, REGS, NAPI, IRQ, HEAP, RESULT = range(FIRST_FREE)
START = {
    "PDEV": PDEV, "DEV": DEV, "NETDEV": NETDEV, "REGS": REGS, "NAPI": NAPI, "IRQ": IRQ,
    "HEAP": HEAP, "RESULT": RESULT,
}  # fmt: skip
OWN = {PDEV: "pci_dev", DEV: "device", NETDEV: "net_device", NAPI: "napi_struct"}
ARENA = 0x8000
# as in caller.c
PLACES = (
    "arena", "slot", "net_device_ops", "other_ops", "ethtool_ops", "pci_driver", "pci_device_id",
    "irq", "poll", "timer", "work", "tasklet", "delayed_work_timer_fn", "strings",
)  # fmt: skip
HANDLERS = ("irq", "poll", "timer", "work", "tasklet")
# Not calls, but the driver's own access to memory: name -> C type.
INSIDE = {"load": "", "store": "word", "store32": "unsigned int", "store16": "unsigned short"}
# What BTF has without parameters.
BARE = {
    "memcpy": "memory memory int", "memmove": "memory memory int", "memset": "memory int int",
    "__sw_hweight32": "int", "__sw_hweight64": "int",
}  # fmt: skip
# Nothing is learned from them but what the hostile suite shows already, and each is a fault.
LEFT_OUT = frozenset({"__stack_chk_fail", "fortify_panic", "__warn_printk", "__fentry__"})
GFP = (0xCC0, 0xA20, 0x400, 0x800)
SMALL = (0, 1, 2, 3, 4, 8, 16, 64, 100, 256, 1500, 2048, 4096)
ODD = (
    0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 2**64 - 1,
    2**64 - 8, 0x10000, 0x100000, 0x40000000, 0xBADBADBADBAD,
)  # fmt: skip
WAITS = ("msec", "usec", "timeout", "nsec", "secs", "min", "max", "delay")
WHEN = ("attack", "attack", "attack", "later", "poll", "irq", "xmit")
CHAOS = (0.05, 0.1, 0.2, 0.4)  # of the steps


@dataclass(frozen=True, slots=True)
class Callee:
    """One function: name, types of the arguments (name, what it is), struct it returns or ""."""

    name: str
    args: tuple[tuple[str, str], ...]
    returns: str


@dataclass(frozen=True, slots=True)
class Line:
    """file: a parameter of caller.ko, "" for a shell line; text: what it gets; told: for people."""

    file: str
    text: str
    told: str

    def shell(self) -> str:
        """For a shell in the directory of the parameters; it fails if the call did not return."""
        if self.file:
            return f"echo '{self.text}' >{self.file}"
        return f"timeout 5 {self.text.removeprefix('$ ')} >/dev/null 2>&1 ||:"


def callees(
    btf: Btf, imports: Mapping[str, ImportPolicy], exported: Container[str]
) -> tuple[Callee, ...]:
    """All that a driver may import and this kernel exports; in an order that does not change."""
    out = [
        Callee(name, (("at", "struct any"), *((("value", "int"),) if ctype else ())), "")
        for name, ctype in INSIDE.items()
    ]
    for name, policy in sorted(imports.items()):
        proto = function(btf, name)
        if name in LEFT_OUT or policy.kind is Kind.DENY or name not in exported or proto is None:
            continue
        args = tuple((p.name, _what(btf, p)) for p in proto.params[:ARGS])
        args = args or tuple((what, what) for what in BARE.get(name, "").split())
        if proto.varargs:
            args += tuple((f"more{i}", "any") for i in range(min(3, ARGS - len(args))))
        target = pointee(btf, proto.ret)
        returns = target[0].name if target and target[0].kind is BtfKind.STRUCT else ""
        out.append(Callee(name, args, returns or ("void" if target else "")))
    return tuple(out)


def _what(btf: Btf, p: Param) -> str:
    target = pointee(btf, p.type)
    if target is None:
        return "int"
    match default_note(btf, p.type):
        case "obj":
            return f"struct {target[0].name}"
        case "gate":
            return "function"
        case "str":
            return "str"
    return "memory"


def source(functions: Iterable[Callee]) -> str:
    """functions.c of caller.ko."""
    params = ", ".join(["word"] * ARGS)
    values = ", ".join(f"v[{i}]" for i in range(ARGS))
    lines = ["typedef unsigned long word;", ""]
    cases = []
    for number, callee in enumerate(functions):
        if callee.name == "load":
            cases.append(f"\tcase {number}:\n\t\treturn *(volatile word *)v[0];")
        elif ctype := INSIDE.get(callee.name):
            cases.append(f"\tcase {number}:\n\t\t*(volatile {ctype} *)v[0] = v[1];\n\t\treturn 0;")
        else:
            lines.append(f'extern word call_{number}({params}) __asm__("{callee.name}");')
            cases.append(f"\tcase {number}:\n\t\treturn call_{number}({values});")
    head = "word caller_function(unsigned int number, const word *v);\n\n"
    head += "word caller_function(unsigned int number, const word *v)\n{\n\tswitch (number) {"
    return "\n".join([*lines, "", head, *cases, "\t}\n\treturn 0;\n}", ""])


class Wrong(Enum):
    """What becomes of a step that is not done as it stands."""

    BEFORE = auto()
    MISSING = auto()
    TWICE = auto()
    AMONG = auto()
    SPOILT = auto()


@dataclass(frozen=True, slots=True)
class Word:
    """One argument. text: what is written; told: for people."""

    text: str
    told: str


@dataclass(frozen=True, slots=True)
class Call:
    """Of functions[function]; its result goes to slot dst."""

    dst: int
    function: int
    args: tuple[Word, ...]


Step = Line | tuple[str, list[Call]]  # file and calls of one entry


@dataclass
class Author:
    """Writes programs for a driver that is loaded.

    rng: dice; the same ones write the same program
    sequences: of orders.toml; kernel: addresses that are not the driver's; btf: sizes, fields
    """

    rng: random.Random
    functions: tuple[Callee, ...]
    sequences: Mapping[str, list[str]]
    places: Mapping[str, int]
    texts: tuple[int, ...]
    kernel: Mapping[str, int]
    btf: Btf
    chaos: float = 0.0
    types: dict[int, str] = field(default_factory=dict)
    embedded: dict[str, list[int]] = field(default_factory=dict)
    used: int = 0
    results: int = 0

    def program(self) -> list[list[Line]]:
        """For a driver as new: some sequences side by side, and what is wrong in them.

        As many lists as there are processes that do it at the same time.
        """
        self.chaos = self.rng.choice(CHAOS)
        self.types = {**OWN, PACKET: "sk_buff"}
        self.embedded, self.used, self.results = {}, 0, 0
        count = min(self.rng.randrange(2, 6), len(self.sequences))
        names = self.rng.sample(sorted(self.sequences), count)
        parts = [self._sequence(name) for name in names]
        half = self.rng.choice((0, len(parts) // 2))
        ours, others = parts[:half], parts[half:]
        if ours and self.rng.random() < 0.5:  # both do the end of the same
            steps = self.rng.choice(ours)
            others.append(steps[self.rng.randrange(len(steps)) :])
        return [self._mixed(some) for some in (ours, others) if some]

    def _mixed(self, parts: list[list[Step]]) -> list[Line]:
        out: list[Line] = []
        while parts:
            out += self._step(self.rng.choice(parts).pop(0))
            parts = [part for part in parts if part]
        return out

    def _step(self, step: Step) -> Iterator[Line]:
        """As it stands; or left out, twice, spoilt, with another call before it or among it."""
        wrong = self.rng.choice(list(Wrong)) if self.rng.random() < self.chaos else None
        if wrong is Wrong.BEFORE:
            yield self._entry(self.rng.choice(WHEN), [self._any()])
        if isinstance(step, Line):
            yield step
            return
        file, calls = step
        match wrong:
            case Wrong.MISSING:
                return
            case Wrong.TWICE:
                yield self._entry(file, calls)
            case Wrong.AMONG:
                at = self.rng.randrange(len(calls) + 1)
                calls = [*calls[:at], self._any(), *calls[at:]]
            case Wrong.SPOILT:
                calls = [self._spoilt(call) for call in calls]
        yield self._entry(file, calls)

    def _spoilt(self, call: Call) -> Call:
        """With one argument that is another."""
        if not call.args:
            return call
        i = self.rng.randrange(len(call.args))
        return Call(call.dst, call.function, (*call.args[:i], self._wild(), *call.args[i + 1 :]))

    def _any(self) -> Call:
        """A call of any function, as often as not with good arguments."""
        dice = self.rng.random()
        if dice < 0.05:  # a result that no callback has
            at = Word(f"{self.places['slot'] + 8 * RESULT:x}", "result")
            return Call(FIRST_FREE, self._number_of("store"), (at, self._odd()))
        if dice < 0.1:
            number = self._number_of(self.rng.choice(list(INSIDE)))
        else:
            number = self.rng.randrange(len(self.functions))
        callee = self.functions[number]
        dst = self.rng.randrange(FIRST_FREE, PACKET)
        args = tuple(self._arg(name, what) for name, what in callee.args)
        self.types[dst] = callee.returns
        return Call(dst, number, args)

    def _entry(self, file: str, calls: list[Call]) -> Line:
        text = ";".join(
            f"{c.dst:x} {c.function:x} {' '.join(w.text for w in c.args)}".strip() for c in calls
        )
        told = "; ".join(
            f"s{c.dst:x} = {self.functions[c.function].name}({', '.join(w.told for w in c.args)})"
            for c in calls
        )
        return Line(file, text, f"{file}: {told}")

    # -- sequences of orders.toml

    def _sequence(self, name: str) -> list[Step]:
        names: dict[str, tuple[Word, str]] = {}  # variables: word and struct
        out: list[Step] = []
        for line in self.sequences[name]:
            if line.startswith("$ "):
                out.append(Line("", line, line))
            else:
                file, colon, rest = line.partition(": ")
                file, rest = (file, rest) if colon else ("attack", line)
                out.append((file, [self._read(call.split(), names) for call in rest.split(";")]))
        return out

    def _read(self, words: list[str], names: dict[str, tuple[Word, str]]) -> Call:
        dst, name = FIRST_FREE + self.results % (PACKET - FIRST_FREE), ""
        self.results += 1
        if words[1:2] == ["="]:
            name, words = words[0], words[2:]
        number = self._number_of(words[0])
        args = tuple(self._word(word, names) for word in words[1:])
        if name:
            self.types[dst] = self.functions[number].returns
            names[name] = (Word(f"s{dst:x}", name), self.types[dst])
        return Call(dst, number, args)

    def _word(self, word: str, names: dict[str, tuple[Word, str]]) -> Word:
        base, _, path = word.partition(".")
        path, _, more = path.partition("+")
        if not path:
            base, _, more = word.partition("+")
        word_, struct = self._base(base, names)
        offset = int(more or "0", 16)
        if path:
            offset += struct_field(self.btf, struct, path).offset
        if not offset:
            return word_
        text = f"{word_.text}+{offset:x}" if word_.text.startswith("s") else ""
        return Word(text or f"{int(word_.text, 16) + offset:x}", word)

    def _base(self, base: str, names: dict[str, tuple[Word, str]]) -> tuple[Word, str]:
        if base in names:
            return names[base]
        if base.startswith("&"):
            name, _, struct = base.partition(":")
            names[name] = (self._embedded(struct), struct)
            return names[name]
        if base.startswith("@"):
            return self._place(base[1:]), ""
        if base.startswith("#"):
            return self._text(int(base[1:])), ""
        if base in START:
            return self._slot(START[base]), OWN.get(START[base], "")
        value = {"GFP": GFP[0], "ATOMIC": GFP[1]}.get(base)
        if value is None and base.startswith("s"):
            return self._slot(int(base[1:], 16)), "sk_buff"
        value = int(base, 16) if value is None else value
        return Word(f"{value:x}", f"{value:x}"), ""

    def _number_of(self, name: str) -> int:
        return next(i for i, callee in enumerate(self.functions) if callee.name == name)

    # -- arguments

    def _arg(self, name: str, what: str) -> Word:
        if self.rng.random() < self.chaos or what == "any":
            return self._wild()
        if what == "int":
            return self._number(name)
        if what == "function":
            return self._place(self.rng.choice(HANDLERS))
        if what == "str":
            return self._text(self.rng.randrange(len(self.texts)))
        if what == "memory":
            return self._memory()
        return self._struct(what.removeprefix("struct "))

    def _struct(self, name: str) -> Word:
        if name in self.places:
            return self._place(name)
        if name == "any":
            slot = self.rng.choice([s for s, t in self.types.items() if t])
            return self._slot(slot, 8 * self.rng.randrange(self._size(self.types[slot]) // 8))
        have = [slot for slot, t in self.types.items() if t == name]
        if have and self.rng.random() < 0.85:
            return self._slot(self.rng.choice(have))
        if name in self.embedded and self.rng.random() < 0.85:
            return self._in_arena(self.rng.choice(self.embedded[name]), name)
        return self._embedded(name)

    def _embedded(self, struct: str) -> Word:
        """A structure in the driver's memory that was not used yet."""
        at = self.used % (ARENA - 0x1000)
        self.used += max(64, -(-self._size(struct) // 64) * 64)
        self.embedded.setdefault(struct, []).append(at)
        return self._in_arena(at, struct)

    def _size(self, struct: str) -> int:
        t = self.btf.find(struct, BtfKind.STRUCT, BtfKind.UNION)
        return t.size if t else 512

    def _in_arena(self, at: int, what: str) -> Word:
        return Word(f"{self.places['arena'] + at:x}", f"own {what} {at:x}")

    def _memory(self) -> Word:
        slots = [slot for slot, t in self.types.items() if t == "void"]
        if slots and self.rng.random() < 0.5:
            return self._slot(self.rng.choice(slots))
        if self.rng.random() < 0.5:
            return self._slot(HEAP, self.rng.choice((0, 0, 64, 2048)))
        return self._in_arena(64 * self.rng.randrange((ARENA - 0x1000) // 64), "memory")

    def _number(self, name: str) -> Word:
        if name in ("flags", "gfp", "gfp_mask", "gfp_flags") and self.rng.random() < 0.8:
            value = self.rng.choice(GFP)
        elif "irq" in name and self.rng.random() < 0.8:
            return self._slot(IRQ)
        elif any(word in name for word in WAITS):
            value = self.rng.randrange(6)
        else:
            value = self.rng.choice(SMALL)
        return Word(f"{value:x}", f"{value:x}")

    def _wild(self) -> Word:
        match self.rng.randrange(6):
            case 0:
                name = self.rng.choice(sorted(self.kernel))
                return Word(f"{self.kernel[name]:x}", f"kernel's {name}")
            case 1:
                return self._odd()
            case 2:
                return self._place(self.rng.choice(PLACES))
            case 3:
                return self._slot(self.rng.randrange(SLOTS), self.rng.choice((1, 8, 64, 4096)))
            case 4:
                return self._memory()
        return self._slot(self.rng.randrange(SLOTS))

    def _odd(self) -> Word:
        value = self.rng.choice((*ODD, *SMALL))
        return Word(f"{value:x}", f"{value:x}")

    def _place(self, name: str) -> Word:
        return Word(f"{self.places[name]:x}", name)

    def _text(self, number: int) -> Word:
        return Word(f"{self.texts[number]:x}", f"text {number}")

    def _slot(self, slot: int, more: int = 0) -> Word:
        what = OWN.get(slot, f"s{slot:x}")
        if not more:
            return Word(f"s{slot:x}", what)
        return Word(f"s{slot:x}+{more:x}", f"{what}+{more:x}")


def read_sequences() -> dict[str, list[str]]:
    """Of tests/hostile/orders.toml; its head says how a line is written."""
    text = (hostile_dir() / "orders.toml").read_text(encoding="utf-8")
    found: dict[str, list[str]] = tomllib.loads(text)["sequence"]
    return found


def script(program: Iterable[list[Line]], directory: str) -> str:
    """For a shell: each list in a process of its own, up to a call that does not return.

    It prints for each how many lines that were.
    """
    out = [f"cd {directory} || exit 255"]
    for lines in program:
        steps = [f"{line.shell()} || {{ echo {i}; exit; }}" for i, line in enumerate(lines, 1)]
        out += ["(", *steps, f"echo {len(lines)}", ") &"]
    return "\n".join([*out, "wait"])


def told(program: Iterable[list[Line]]) -> Iterator[str]:
    """For people, and for who has to find out."""
    for process, lines in enumerate(program):
        yield f"process {process}:"
        yield from (f"{i:4} {line.told}" for i, line in enumerate(lines, 1))
