# SPDX-License-Identifier: GPL-2.0-only
"""What each fault class does to machine code: places where it can strike, and new bytes there.

Each class is a pair of functions: `sites` gives (routine, position of an instruction) cheaply, and
`edit` the new bytes for one of them, or None if it cannot be done there. All pure.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from pynooks.inject.mutate.classes import (
    ALLOCATORS,
    ARGUMENTS,
    COMPILER_CALLS,
    COPIERS,
    FLAG_ARGUMENTS,
    FLAG_BITS,
    IRQ_ENABLERS,
    IRQ_RESTORERS,
    LOCKERS,
    OVERRUNS,
    RELEASERS,
    UNLOCKERS,
    FaultClass,
)
from pynooks.inject.mutate.code import Insn, Operand, Routine, decode_one, disassembler, family
from pynooks.inject.mutate.encode import Edit, always, flipped, lea, nops, one, short_move

K = FaultClass
LOCALS = frozenset({"rbx", "rbp", "r12", "r13", "r14", "r15"})
_MOVES = ("mov", "movabs", "movzx", "movsx", "movsxd", "lea", "xor")
# Low four bits of a condition code and of the one with "or equal" added or taken away.
_OR_EQUAL = {0x7: 0x3, 0x3: 0x7, 0x2: 0x6, 0x6: 0x2, 0xF: 0xD, 0xD: 0xF, 0xC: 0xE, 0xE: 0xC}


# ---- where


def sites(cls: FaultClass, routine: Routine) -> Iterator[int]:
    """Positions of the instructions that a fault of this class is about."""
    for position, insn in enumerate(routine.insns):
        if _fits(cls, routine, position, insn):
            yield position


def _fits(cls: FaultClass, routine: Routine, position: int, insn: Insn) -> bool:
    called = routine.called(insn)
    match cls:
        case K.ALLOC:
            return called in ALLOCATORS
        case K.FREE:
            return called in RELEASERS or _guards_release(routine, insn) is not None
        case K.UNLOCK:
            return called in UNLOCKERS
        case K.LOCK:
            return called in LOCKERS
        case K.FLAGS:
            return called in FLAG_ARGUMENTS
        case K.IRQ:
            if called in IRQ_RESTORERS or called in IRQ_ENABLERS:
                return True
            return insn.name in ("sti", "popfq", "popf") and not insn.fixed
        case K.COPY:
            return called in COPIERS or insn.name.startswith(("rep movs", "rep stos"))
        case K.INTERFACE:
            return insn.is_call and called not in COMPILER_CALLS
    if insn.fixed or insn.name in ("nop", "ud2", "int3", "endbr64"):
        return False
    match cls:
        case K.TEXT | K.NOP:
            return True
        case K.SOURCE:
            return not insn.ends_block and any(_about(cls, o) for o in insn.operands)
        case K.DESTINATION:
            return any(_about(cls, o) for o in insn.operands)
        case K.POINTER:
            return not insn.ends_block and any(_about(cls, o) for o in insn.operands)
        case K.BRANCH:
            return insn.is_jump and insn.target is not None
        case K.LOOP:
            return insn.is_conditional and _is_back(insn)
        case K.INIT:
            return _initialises(routine, position)
        case K.OFF_BY_ONE:
            at = _condition_at(insn)
            return at is not None and insn.raw[at] & 15 in _OR_EQUAL
    return False


def _is_back(insn: Insn) -> bool:
    return insn.target is not None and 0 <= insn.target <= insn.offset


def _guards_release(routine: Routine, insn: Insn) -> bool | None:
    """Whether a conditional jump releases something when it is taken, and only then. None: both
    ways do, or neither."""
    if not insn.is_conditional or insn.target is None or insn.fixed:
        return None
    falling, taken = (
        any(routine.called(i) in RELEASERS for i in routine.block(start))
        for start in (insn.end, insn.target)
    )
    return taken if taken != falling else None


def _initialises(routine: Routine, position: int) -> bool:
    """Gives a local (callee-saved register, stack slot) its first value in order of addresses."""
    insn = routine.insns[position]
    if insn.name not in _MOVES or not insn.operands:
        return False
    out = insn.operands[0]
    if out.kind == "reg":
        return family(out.what[0]) in LOCALS and not any(
            family(out.what[0]) in i.regs_written for i in routine.insns[:position]
        )
    on_stack = out.kind == "mem" and out.what[1] == "rsp" and not out.what[2]
    if not on_stack or not out.written:
        return False
    return not any(
        o.written and o.kind == "mem" and o.what == out.what
        for i in routine.insns[:position]
        for o in i.operands
    )


def _condition_at(insn: Insn) -> int | None:
    """Index of the byte whose low bits are a condition: jcc, setcc, cmovcc."""
    at = insn.opcode_at
    first = insn.raw[at]
    if insn.is_conditional and 0x70 <= first <= 0x7F:
        return at
    if first == 0x0F and insn.raw[at + 1] >> 4 in (4, 8, 9):
        return at + 1
    return None


# ---- what


def edit(cls: FaultClass, routine: Routine, position: int, dice: random.Random) -> Edit | None:
    """The fault at one of `sites`. dice: chooses where the class leaves a choice."""
    insn = routine.insns[position]
    match cls:
        case K.TEXT:
            return _flip(routine, insn, dice)
        case K.SOURCE | K.DESTINATION | K.POINTER:
            return _operand(cls, insn, dice)
        case K.BRANCH | K.NOP | K.INIT:
            return Edit(insn.offset, nops(len(insn.raw)))
        case K.LOOP:
            return _condition(insn, lambda low: low ^ 1)
        case K.OFF_BY_ONE:
            return _condition(insn, lambda low: _OR_EQUAL[low])
        case K.INTERFACE:
            return _interface(routine, position, dice)
        case K.IRQ:
            return _irq(routine, position)
        case K.ALLOC:
            return _skip_call(routine, position, b"\x31\xc0")  # xor eax, eax
        case K.FREE:
            return _release(routine, position)
        case K.UNLOCK:
            return _skip_call(routine, position, b"")
        case K.LOCK:
            return _skip_call(routine, position, LOCKERS[routine.called(insn)])
        case K.COPY:
            return _overrun(routine, position, dice)
        case K.FLAGS:
            return _flags(routine, position, dice)


def _flip(routine: Routine, insn: Insn, dice: random.Random) -> Edit | None:
    """One bit of an instruction; what stands there then must be some instruction."""
    engine = disassembler()
    bits = list(range(8 * len(insn.raw)))
    dice.shuffle(bits)
    for bit in bits:
        new = flipped(insn.raw, bit)
        if decode_one(new + routine.code[insn.end : insn.end + 16], engine=engine):
            return Edit(insn.offset, new)
    return None


def _operand(cls: FaultClass, insn: Insn, dice: random.Random) -> Edit | None:
    """One bit, so that exactly one operand changes and the operation does not."""
    engine = disassembler()
    bits = list(range(8 * len(insn.raw)))
    dice.shuffle(bits)
    for bit in bits:
        new = flipped(insn.raw, bit)
        now = decode_one(new, insn.offset, engine=engine)
        if now and len(now.raw) == len(insn.raw) and _changes(cls, insn, now):
            return Edit(insn.offset, new)
    return None


def _changes(cls: FaultClass, was: Insn, now: Insn) -> bool:
    if now.name != was.name or len(now.operands) != len(was.operands):
        return False
    pairs = list(zip(was.operands, now.operands, strict=True))
    different = [(a, b) for a, b in pairs if a.what != b.what or a.kind != b.kind]
    if len(different) != 1 or any(a.size != b.size or a.kind != b.kind for a, b in pairs):
        return False
    old, new = different[0]
    return _about(cls, old) and "rip" not in (*old.what, *new.what)


def _about(cls: FaultClass, o: Operand) -> bool:
    if cls is K.POINTER:
        return o.kind == "mem"
    if cls is K.DESTINATION:
        return o.kind == "reg" and o.written
    return o.kind != "mem" and o.read and not o.written


def _condition(insn: Insn, change: Callable[[int], int]) -> Edit | None:
    at = _condition_at(insn)
    if at is None:
        return None
    new = bytearray(insn.raw)
    new[at] = new[at] & 0xF0 | change(new[at] & 15)
    return Edit(insn.offset, bytes(new))


def _interface(routine: Routine, position: int, dice: random.Random) -> Edit | None:
    """An argument is not set: the callee gets what the register holds."""
    found: dict[str, Insn] = {}
    used: set[str] = set()
    for insn in routine.before(position):
        for register in ARGUMENTS:
            if register in insn.regs_written and register not in used | found.keys():
                if insn.regs_written == {register} and not insn.fixed and insn.name in _MOVES:
                    found[register] = insn
                used.add(register)
        used |= insn.regs_read  # whoever set it before did so for this instruction
    if not found:
        return None
    insn = found[dice.choice(sorted(found))]
    return Edit(insn.offset, nops(len(insn.raw)))


def _irq(routine: Routine, position: int) -> Edit | None:
    """Interrupts stay off: flags to restore become 0, or what enables them is not done."""
    insn = routine.insns[position]
    called = routine.called(insn)
    if not called:
        return Edit(insn.offset, nops(len(insn.raw)))
    if called in IRQ_ENABLERS:
        return _skip_call(routine, position, b"")
    flags = routine.setter(position, "rsi")
    if flags is None or flags.fixed or flags.name != "mov" or flags.regs_written != {"rsi"}:
        return None
    return Edit(flags.offset, b"\x31\xf6" + nops(len(flags.raw) - 2))  # xor esi, esi


def _release(routine: Routine, position: int) -> Edit | None:
    """Never: the call is left out. Too early: it no longer depends on a condition."""
    insn = routine.insns[position]
    if (taken := _guards_release(routine, insn)) is None:
        return _skip_call(routine, position, b"")
    return Edit(insn.offset, always(insn) if taken else nops(len(insn.raw)))


def _skip_call(routine: Routine, position: int, prologue: bytes) -> Edit | None:
    """Jump over a call. Its own bytes hold a relocation, so the jump stands before it, in place of
    instructions of the block that only set arguments."""
    call = routine.insns[position]
    need = len(prologue) + 2
    start = end = call.offset  # of the bytes to write
    for insn in routine.before(position):
        if not _only_sets_arguments(insn):
            return None
        start = insn.offset
        if insn.fixed:
            end = start  # stays as it is, and is jumped over
        elif end - start >= need:
            break
    rest = end - start - need
    over = call.end - start - need
    if rest < 0 or over > 127:
        return None
    return Edit(start, prologue + bytes([0xEB, over]) + nops(rest))


def _only_sets_arguments(insn: Insn) -> bool:
    return (
        insn.name in _MOVES
        and insn.regs_written <= set(ARGUMENTS)
        and not any(o.written and o.kind == "mem" for o in insn.operands)
    )


def _overrun(routine: Routine, position: int, dice: random.Random) -> Edit | None:
    """A copy is longer than its buffer, by as much as Rio's distribution says and fits."""
    insn = routine.insns[position]
    counter = "rdx" if routine.called(insn) else "rcx"
    setter = routine.setter(position, counter)
    if setter is None or setter.fixed or not setter.name.startswith("mov"):
        return None
    more = _overrun_bytes(dice)
    source = setter.operands[1]
    if source.kind == "imm":
        return _longer_constant(setter, more if counter == "rdx" else (more + 7) // 8)
    if source.kind == "reg" and source.size >= 4:
        return _longer_register(routine, setter, position, counter, more)
    return None


def _overrun_bytes(dice: random.Random) -> int:
    ranges = [(low, high) for _, low, high in OVERRUNS]
    (chosen,) = dice.choices(ranges, [share for share, _, _ in OVERRUNS])
    return dice.randint(*chosen)


def _longer_constant(setter: Insn, more: int) -> Edit | None:
    """mov r32, imm32: its constant is the last four bytes."""
    if setter.raw[setter.opcode_at] & 0xF8 != 0xB8 or len(setter.raw) - setter.opcode_at != 5:
        return None
    value = int.from_bytes(setter.raw[-4:], "little") + more
    return Edit(setter.offset, setter.raw[:-4] + (value & 0xFFFFFFFF).to_bytes(4, "little"))


def _longer_register(
    routine: Routine, setter: Insn, position: int, counter: str, more: int
) -> Edit | None:
    """mov counter, reg becomes lea counter, [reg+more]; what follows is written shorter for it."""
    after = [i for i in routine.insns[:position] if i.offset > setter.offset]
    room = routine.insns[position].offset - setter.offset
    if any(i.fixed or i.offset in routine.targets for i in after):
        return None
    rest = b"".join(short_move(i) or i.raw for i in after)
    if room - len(rest) < len(lea(counter, family(setter.operands[1].what[0]), more)):
        more = min(more, 127)
    code = lea(counter, family(setter.operands[1].what[0]), more)
    if room < len(code) + len(rest):
        return None
    return Edit(setter.offset, code + rest + nops(room - len(code) - len(rest)))


def _flags(routine: Routine, position: int, dice: random.Random) -> Edit | None:
    """One bit of a constant set of flags is wrong."""
    register = FLAG_ARGUMENTS[routine.called(routine.insns[position])]
    setter = routine.setter(position, register)
    if setter is None or setter.fixed:
        return None
    at = setter.opcode_at
    constant = setter.raw[at] & 0xF8 == 0xB8 and len(setter.raw) - at == 5
    if constant:
        return Edit(
            setter.offset,
            flipped(setter.raw, 8 * (at + 1) + dice.randrange(FLAG_BITS)),
        )
    if setter.name == "xor" and len(setter.operands) == 2:  # 0, in two or three bytes
        return Edit(setter.offset, one(register, len(setter.raw)))
    return None
