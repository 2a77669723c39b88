# SPDX-License-Identifier: GPL-2.0-only
"""Faults of a device, by seed: what its registers say, and whether it interrupts and answers. Pure.

They mean the same to a native driver and to an isolated one: pynooks/campaign/hardware.py makes
them from outside of the guest. docs/fault-classes.md, "Faults of the hardware".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from pynooks.errors import RefusedError
from pynooks.inject.mutate import Reach, Text
from pynooks.inject.mutate.code import Insn, Routine, family

LATEST_S = 2.0  # after the start of the workload
SHORTEST_S, LONGEST_S = 0.2, 1.5
READS_MAX = 8
BURST_MAX = 50  # below what the kernel takes for a broken line: 99,900 of 100,000
_WORDS = (1, 2, 4)  # bytes that one read of a register has


class HardwareClass(StrEnum):
    """What is wrong with the device."""

    REGISTER = "register"
    STUCK_BIT = "stuck-bit"
    IRQ_LOST = "irq-lost"
    IRQ_SPURIOUS = "irq-spurious"
    DMA_LOST = "dma-lost"
    VANISH = "vanish"
    UNPLUG = "unplug"

    @property
    def is_of_register(self) -> bool:
        return self in (HardwareClass.REGISTER, HardwareClass.STUCK_BIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterFault:
    """What the instruction at `symbol`+`offset` reads from the device is another value.

    code:  the instruction's bytes
    clear, set, flip: bits, in this order
    reads: so many times, 0 for ever
    """

    cls: HardwareClass
    symbol: str
    offset: int
    code: bytes
    clear: int
    set: int
    flip: int
    reads: int

    def of_value(self, value: int, size: int) -> int:
        """size: bytes that are read"""
        mask = (1 << 8 * size) - 1
        changed = ((value & ~self.clear) | self.set) ^ self.flip
        return (value & ~mask) | (changed & mask)

    def __str__(self) -> str:
        how = f"clear {self.clear:#x}, set {self.set:#x}, flip {self.flip:#x}"
        often = f"{self.reads} times" if self.reads else "always"
        return f"{self.symbol}+{self.offset:#x}: {how}, {often}"

    def as_json(self) -> dict[str, Any]:
        return {**_as_json(self), "code": self.code.hex()}

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        return cls(**{**_values(raw), "code": bytes.fromhex(raw["code"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFault:
    """What happens to the driver's NIC number `device`.

    after_s: seconds after the workload's start
    for_s:   seconds until it is over; 0: never
    count:   of interrupts, else 0
    """

    cls: HardwareClass
    device: int
    after_s: float
    for_s: float
    count: int

    def __str__(self) -> str:
        much = f"{self.count} at once" if self.count else ""
        lasts = f"for {self.for_s} s" if self.for_s else "" if much else "for ever"
        return f"{self.cls} of device {self.device} after {self.after_s} s, {much or lasts}"

    def as_json(self) -> dict[str, Any]:
        return _as_json(self)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Self:
        return cls(**_values(raw))


HardwareFault = RegisterFault | DeviceFault


def _as_json(fault: HardwareFault) -> dict[str, Any]:
    raw = asdict(fault)
    return {"class": str(raw.pop("cls")), **raw}


def _values(raw: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(raw)
    return {"cls": HardwareClass(values.pop("class")), **values}


def hardware_fault_of(raw: Mapping[str, Any]) -> HardwareFault:
    """From a journal."""
    kind = RegisterFault if HardwareClass(raw["class"]).is_of_register else DeviceFault
    return kind.of(raw)


def loads(routine: Routine) -> Iterator[Insn]:
    """Instructions that could read a register of a device."""
    for insn in routine.insns:
        if insn.name not in ("mov", "movzx") or len(insn.operands) != 2:
            continue
        to, source = insn.operands
        if to.kind != "reg" or source.kind != "mem" or source.size not in _WORDS:
            continue
        segment, base = source.what[:2]
        if not segment and base and family(base) not in ("rsp", "rip"):
            yield insn


def address_of(insn: Insn, register: Callable[[str], int]) -> int:
    """Where a load reads. register: a 64-bit register's value by its name"""
    (operand,) = (o for o in insn.operands if o.kind == "mem")
    _, base, index, scale, disp = operand.what
    at = register(family(base)) + disp
    if index:
        at += register(family(index)) * scale
    return int(at) % (1 << 64)


Places = Sequence[tuple[str, int]]
"""Places in a driver's code: function and offset."""


def candidates(text: Text, reach: Reach) -> Places:
    """Loads that the workload runs."""
    return [
        (name, insn.offset)
        for name in sorted(set(reach) & set(text.routines))
        for insn in loads(text.routines[name])
        if (ran := reach[name]) is None or insn.offset in ran
    ]


def choose_hardware(
    text: Text, cls: HardwareClass, *, seed: int, count: int, registers: Places, devices: int
) -> tuple[HardwareFault, ...]:
    """`count` faults of one class; a device vanishes once. Equal arguments give equal faults.

    registers: those of candidates() that read one; devices: how many NICs it has
    Raises RefusedError if the workload reads no register.
    """
    dice = random.Random(f"{text.sha256}:{cls}:{seed}")
    if not cls.is_of_register:
        faults = [_device_fault(cls, dice, devices) for _ in range(count)]
        if cls is HardwareClass.VANISH:
            faults = faults[:1]
        return tuple(sorted(faults, key=lambda f: f.after_s))
    if not registers:
        raise RefusedError(
            f"the workload reads no register, so there is no fault of class {cls}",
            hint="choose another class, or a workload that runs more of the driver",
        )
    chosen = dice.sample(sorted(registers), min(count, len(registers)))
    return tuple(_register_fault(cls, dice, text.routines[name], at) for name, at in chosen)


def _register_fault(
    cls: HardwareClass, dice: random.Random, routine: Routine, offset: int
) -> RegisterFault:
    bit = 1 << dice.randrange(32)
    everything = (1 << 32) - 1
    if cls is HardwareClass.STUCK_BIT:
        clear, to_set, flip = dice.choice([(bit, 0, 0), (0, bit, 0)])
        reads = 0
    else:
        clear, to_set, flip = dice.choice(
            [
                (0, 0, bit),
                (0, 0, dice.randrange(1, 1 << 32)),
                (everything, 0, 0),
                (0, everything, 0),
            ]
        )
        reads = dice.randint(1, READS_MAX)
    return RegisterFault(
        cls=cls,
        symbol=routine.name,
        offset=offset,
        code=routine.insns[routine.index[offset]].raw,
        clear=clear,
        set=to_set,
        flip=flip,
        reads=reads,
    )


def _device_fault(cls: HardwareClass, dice: random.Random, devices: int) -> DeviceFault:
    burst = cls is HardwareClass.IRQ_SPURIOUS
    ends = cls in (HardwareClass.IRQ_LOST, HardwareClass.DMA_LOST, HardwareClass.UNPLUG)
    return DeviceFault(
        cls=cls,
        device=dice.randrange(devices),
        after_s=round(dice.uniform(0.1, LATEST_S), 2),
        for_s=round(dice.uniform(SHORTEST_S, LONGEST_S), 2) if ends else 0.0,
        count=dice.randint(1, BURST_MAX) if burst else 0,
    )
