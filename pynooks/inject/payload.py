# SPDX-License-Identifier: GPL-2.0-only
"""Machine code of each kind of fault. Pure; a unit test disassembles it with capstone.

Where a fault can be survived natively (a wild write), the code returns 0 afterwards, so that the
damage, and not a crash in left-over bytes, is what the kernel goes on with.
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import assert_never

from pynooks.errors import UsageError

MARK = 0x4B4F4F4E  # "NOOK", the value that wild-write stores
BAD_TARGET = 0x4E4F0000  # nothing is mapped there in a kernel thread, and SMEP forbids it anyway


class Kind(StrEnum):
    """A closed list; `bytes` is for whatever else."""

    WILD_WRITE = "wild-write"
    NULL_DEREF = "null-deref"
    UD2 = "ud2"
    LOOP = "loop"
    CLI_LOOP = "cli-loop"
    BAD_JUMP = "bad-jump"
    STACK_OVERFLOW = "stack-overflow"

    @property
    def needs_entry(self) -> bool:
        """Its code returns, so it must stand where nothing has been pushed yet."""
        return self in (Kind.WILD_WRITE, Kind.NULL_DEREF)


def payload(kind: Kind, address: int = 0) -> bytes:
    """address: what wild-write stores to."""
    match kind:
        case Kind.WILD_WRITE:
            if not 0 < address < 1 << 64:
                raise UsageError("wild-write needs an address", hint="--address SYMBOL or hex")
            return (
                b"\x48\xb8" + struct.pack("<Q", address)  # mov $address, %rax
                + b"\x48\xc7\x00" + struct.pack("<I", MARK)  # movq $MARK, (%rax)
                + b"\x31\xc0\xc3"  # xor %eax, %eax; ret
            )  # fmt: skip
        case Kind.NULL_DEREF:
            return b"\x31\xc0\x48\x8b\x00\xc3"  # xor %eax, %eax; mov (%rax), %rax; ret
        case Kind.UD2:
            return b"\x0f\x0b"
        case Kind.LOOP:
            return b"\xeb\xfe"  # jmp .
        case Kind.CLI_LOOP:
            return b"\xfa\xeb\xfe"  # cli; jmp .
        case Kind.BAD_JUMP:
            return b"\xb8" + struct.pack("<I", BAD_TARGET) + b"\xff\xe0"  # mov, jmp *%rax
        case Kind.STACK_OVERFLOW:
            return b"\xe8\xfb\xff\xff\xff"  # call .
    assert_never(kind)
