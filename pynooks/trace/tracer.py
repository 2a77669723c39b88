# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the target: bcc programs to JSON lines, and checksums of kernel objects.

    tracer.py nooks [calls] [objects] [writes]     nooks:* tracepoints
    tracer.py witness FLAGS_OFFSET                 the kernel's own view; trusts nooks.ko in nothing
    tracer.py canary                               one line of checksums, without bcc
    tracer.py hold FLAGS_OFFSET PROGRAM ARG...     becomes PROGRAM, in which the witness lives on;
                                                   it has witness_counts()

Copied to the target beside its .bpf.c files. Says {"event": "ready"} when probes are in place,
and ends with its stdin, telling how many events were lost.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import select
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STATES = ("LOADING", "RUNNING", "FAILED", "RECOVERING", "STOPPED", "RELEASED")
STEPS = ("stop", "drain", "release", "restore", "init", "replay", "done", "failed")

# Objects that the running kernel does not change; the writable ones are what a wild write hits.
CANARIES = (
    "_ctype",
    "crc32table_le",
    "def_blk_fops",
    "idt_table",
    "inet_protos",
    "init_uts_ns",
    "linux_banner",
    "net_families",
    "panic_on_oops",
    "panic_timeout",
    "random_fops",
    "sys_call_table",
)
CANARY_MAX = 4096  # bytes of one object
CANARY_PARTS = {"init_uts_ns": 6 * 65}  # struct new_utsname; a reference count follows
WITNESS = (
    "", "oops", "warn", "panic", "netdev register", "netdev unregister", "netdev up",
    "netdev down", "module load", "module free",
)  # fmt: skip

ALARMS = ("oops", "warn", "panic")  # what a kernel that is well does not do
COUNTS = "NOOKS_COUNTS"  # in the environment of hold()'s program: the map, a file descriptor
BPF_SYSCALL, BPF_MAP_LOOKUP_ELEM = 321, 1  # asm/unistd_64.h, uapi/linux/bpf.h


def say(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")


# ---- nooks


def nooks_event(raw: bytes, name: Callable[[int], str]) -> dict[str, Any]:
    """struct small or struct record of nooks.bpf.c. name: address to symbol+offset."""
    when, kind, nook, a, b, c, d = struct.unpack_from("<QIIQQQQ", raw)
    event: dict[str, Any] = {"t": when, "nook": nook}
    if kind == 1:
        symbol, what, entry = (text(raw[at : at + 96]) for at in (48, 144, 240))
        return event | {
            "event": "fault", "vec": a, "err": b, "ip": c, "addr": d, "symbol": symbol,
            "what": what, "entry": entry,
        }  # fmt: skip
    if kind == 2:
        return event | {"event": "state", "old": STATES[a], "new": STATES[b]}
    if kind == 3:
        return event | {"event": "step", "step": STEPS[a], "ns": b}
    if kind == 4:
        return event | {"event": "entry", "fn": name(a)}
    if kind == 5:
        return event | {"event": "exit", "fn": name(a), "index": b}
    if kind == 6:
        op = "drop" if d else "add"
        return event | {"event": "object", "op": op, "addr": a, "size": b, "type": c}
    return event | {
        "event": "write", "ip": name(a), "addr": b, "type": c >> 32, "off": c & 0xFFFFFFFF,
        "allowed": bool(d),
    }  # fmt: skip


def witness_event(raw: bytes, name: Callable[[int], str]) -> dict[str, Any]:
    """struct record of witness.bpf.c."""
    when, kind, cpu, ip = struct.unpack_from("<QIIQ", raw)
    event = {"t": when, "event": WITNESS[kind], "cpu": cpu, "name": text(raw[24:88])}
    return event | ({"ip": name(ip)} if ip else {})


def load(program: str, flags: list[str]) -> Any:
    """A bcc program with its probes in place; None if that was not possible, which is told."""
    try:
        from bcc import BPF
    except ImportError as e:
        say({"event": "error", "what": f"{e}: the target needs python3-bpfcc"})
        return None
    try:
        return BPF(text=(HERE / program).read_text(), cflags=flags)
    except Exception as e:
        say({"event": "error", "what": f"{program}: {e}"})
        return None


def follow(program: str, flags: list[str], decode: Callable[..., dict[str, Any]]) -> None:
    """Load a program, tell its events until stdin ends, then what was lost."""
    bpf = load(program, flags)
    if bpf is None:
        return

    def name(address: int) -> str:
        return str(bpf.ksym(address, show_offset=True).decode())

    def take(_ctx: Any, data: Any, size: int) -> None:
        say(decode(ctypes.string_at(data, size), name))

    bpf["events"].open_ring_buffer(take)
    say({"event": "ready", "t": time.clock_gettime_ns(time.CLOCK_MONOTONIC)})
    while not select.select([sys.stdin], [], [], 0)[0]:
        bpf.ring_buffer_poll(100)
    bpf.ring_buffer_consume()
    say({"event": "lost", "count": bpf["lost"][ctypes.c_int(0)].value})


# ---- a witness that outlives its compiler


def hold(flags: list[str], argv: list[str]) -> None:
    """Load the witness and become another program, which takes a hundredth of bcc's memory."""
    bpf = load("witness.bpf.c", flags)
    if bpf is None:
        return
    probes = [fd for by_function in bpf.kprobe_fds.values() for fd in by_function.values()]
    counts = bpf["counts"].map_fd
    for fd in (counts, *probes, *bpf.tracepoint_fds.values()):
        os.set_inheritable(fd, True)
    os.environ[COUNTS] = str(counts)
    os.execvp(argv[0], argv)


def witness_counts() -> dict[str, int]:
    """How often each kind of event has been, in a program that hold() became."""
    libc = ctypes.CDLL(None, use_errno=True)
    key, value = ctypes.c_uint32(), ctypes.c_uint64()
    found = {}
    for kind, name in enumerate(WITNESS):
        key.value = kind
        attr = struct.pack(
            "=IIQQQ", int(os.environ[COUNTS]), 0,
            ctypes.addressof(key), ctypes.addressof(value), 0,
        )  # fmt: skip
        if libc.syscall(BPF_SYSCALL, BPF_MAP_LOOKUP_ELEM, attr, len(attr)):
            raise OSError(ctypes.get_errno(), f"bpf: {os.strerror(ctypes.get_errno())}")
        found[name] = value.value
    found.pop("")  # there is no kind 0
    return found


# ---- canaries


def kernel_symbols(wanted: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """name -> (address, size up to the next symbol, at most CANARY_MAX)."""
    table = []
    with Path("/proc/kallsyms").open() as lines:
        for line in lines:
            words = line.split()
            if len(words) == 3:  # the kernel itself
                table.append((int(words[0], 16), words[2]))
    table.sort()
    found = {}
    for i, (address, symbol) in enumerate(table):
        if symbol in wanted:
            end = next((a for a, _ in table[i + 1 :] if a > address), address + 4)
            found[symbol] = (address, min(end - address, CANARY_PARTS.get(symbol, CANARY_MAX)))
    return found


def read_kcore(regions: dict[str, tuple[int, int]]) -> dict[str, bytes]:
    """Kernel memory by /proc/kcore: an ELF core whose program headers map the address space."""
    found = {}
    with Path("/proc/kcore").open("rb", buffering=0) as core:
        header = core.read(64)
        phoff, phentsize, phnum = (
            struct.unpack_from("<Q", header, 32)[0],
            *struct.unpack_from("<HH", header, 54),
        )
        core.seek(phoff)
        table = core.read(phentsize * phnum)
        loads = []
        for i in range(phnum):
            kind, _, offset, vaddr, _, size = struct.unpack_from("<IIQQQQ", table, i * phentsize)
            if kind == 1:  # PT_LOAD
                loads.append((vaddr, size, offset))
        for name, (address, size) in regions.items():
            for vaddr, length, offset in loads:
                if vaddr <= address and address + size <= vaddr + length:
                    core.seek(offset + address - vaddr)
                    found[name] = core.read(size)
                    break
    return found


def checksums(places: dict[str, tuple[int, int]]) -> dict[str, str]:
    """sha256 of each object whose place kernel_symbols() told."""
    data = read_kcore(places)
    return {name: hashlib.sha256(raw).hexdigest() for name, raw in sorted(data.items())}


def canary() -> dict[str, str]:
    """Checksum of each canary that this kernel has."""
    return checksums(kernel_symbols(CANARIES))


def main(words: list[str]) -> None:
    match words:
        case ["nooks", *parts]:
            follow("nooks.bpf.c", [f"-D{part.upper()}" for part in parts], nooks_event)
        case ["witness", offset]:
            follow("witness.bpf.c", [f"-DNETDEV_FLAGS={int(offset)}"], witness_event)
        case ["hold", offset, *argv] if argv:
            hold([f"-DNETDEV_FLAGS={int(offset)}"], argv)
        case ["canary"]:
            say({"event": "canary", "sha256": canary()})
        case _:
            say({"event": "error", "what": f"tracer.py does not know {words}"})


if __name__ == "__main__":
    main(sys.argv[1:])
