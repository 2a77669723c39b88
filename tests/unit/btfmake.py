# SPDX-License-Identifier: GPL-2.0-only
"""A little BTF, written byte by byte, that looks like a kernel's."""

from __future__ import annotations

import struct

KIND = {
    "int": 1, "ptr": 2, "array": 3, "struct": 4, "union": 5, "enum": 6, "fwd": 7, "typedef": 8,
    "const": 10, "func": 12, "proto": 13,
}  # fmt: skip


class Maker:
    """Types get ids in the order of the calls."""

    def __init__(self) -> None:
        self.types = bytearray()
        self.strings = bytearray(b"\0")
        self.count = 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        off = len(self.strings)
        self.strings += text.encode() + b"\0"
        return off

    def add(self, kind: str, name: str = "", word: int = 0, vlen: int = 0, tail: bytes = b"",
            kflag: bool = False) -> int:  # fmt: skip
        info = KIND[kind] << 24 | vlen | (1 << 31 if kflag else 0)
        self.types += struct.pack("<III", self.name(name), info, word) + tail
        self.count += 1
        return self.count

    def int(self, name: str, size: int, signed: bool = False) -> int:
        return self.add("int", name, size, tail=struct.pack("<I", signed << 24 | size * 8))

    def ptr(self, to: int) -> int:
        return self.add("ptr", word=to)

    def const(self, to: int) -> int:
        return self.add("const", word=to)

    def typedef(self, name: str, to: int) -> int:
        return self.add("typedef", name, to)

    def enum(self, name: str) -> int:
        return self.add("enum", name, 4)

    def array(self, of: int, n: int) -> int:
        return self.add("array", tail=struct.pack("<III", of, 1, n))

    def struct(self, name: str, size: int, *members: tuple[str, int, int], kind: str = "struct",
               bits: dict[str, int] | None = None) -> int:  # fmt: skip
        """Members: name, type, bit offset; bits: widths of bit-fields."""
        widths = bits or {}
        tail = b"".join(
            struct.pack("<III", self.name(n), t, off | widths.get(n, 0) << 24)
            for n, t, off in members
        )
        return self.add(kind, name, size, len(members), tail, kflag=bool(widths))

    def proto(self, ret: int, *params: tuple[str, int]) -> int:
        tail = b"".join(struct.pack("<II", self.name(n), t) for n, t in params)
        return self.add("proto", word=ret, vlen=len(params), tail=tail)

    def func(self, name: str, ret: int, *params: tuple[str, int]) -> int:
        return self.add("func", name, self.proto(ret, *params), 1)

    def bytes(self) -> bytes:
        head = struct.pack(
            "<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings)
        )
        return head + bytes(self.types) + bytes(self.strings)


def kernel() -> bytes:
    """net_device, pci_dev, ops structures and a few functions."""
    m = Maker()
    i, u, ul, ch = m.int("int", 4, True), m.int("unsigned int", 4), m.int("long unsigned int", 8), \
        m.int("char", 1, True)  # fmt: skip
    u16 = m.typedef("u16", m.int("unsigned short", 2))
    size_t = m.typedef("size_t", ul)
    void_p = m.ptr(0)
    stats = m.struct("net_device_stats", 16, ("rx_packets", ul, 0), ("tx_packets", ul, 64))
    inner = m.struct("", 8, ("pos", ul, 0), ("alias", u, 0), kind="union")
    name = m.array(ch, 16)
    ops_fwd = m.add("fwd", "net_device_ops")
    dev = m.struct(
        "net_device", 64, ("name", name, 0), ("stats", stats, 128), ("", inner, 256),
        ("netdev_ops", m.ptr(m.const(ops_fwd)), 320), ("low", u, 384), ("high", u, 387),
        bits={"low": 3, "high": 5},
    )  # fmt: skip
    pdev = m.struct("pci_dev", 32, ("devfn", u, 0))
    skb = m.struct("sk_buff", 32, ("len", u, 0))
    napi = m.struct("napi_struct", 8, ("state", ul, 0))
    regs = m.struct("ethtool_regs", 12, ("len", u, 64))
    pdev_p, dev_p, skb_p, regs_p = m.ptr(pdev), m.ptr(dev), m.ptr(skb), m.ptr(regs)
    str_p = m.ptr(m.const(ch))
    tx = m.typedef("netdev_tx_t", m.enum("netdev_tx"))
    open_ = m.ptr(m.proto(i, ("", dev_p)))
    xmit = m.ptr(m.proto(tx, ("", skb_p), ("", dev_p)))
    get_regs = m.ptr(m.proto(0, ("", dev_p), ("", regs_p), ("", void_p)))
    probe = m.ptr(m.proto(i, ("", pdev_p)))
    m.struct("net_device_ops", 24, ("ndo_open", open_, 0), ("ndo_start_xmit", xmit, 64),
             ("flags", u, 128))  # fmt: skip
    m.struct("ethtool_ops", 16, ("caps", u, 0), ("get_regs", get_regs, 64))
    for ops in ("pci_driver", "dev_pm_ops", "pci_error_handlers"):
        m.struct(ops, 8, ("probe", probe, 0))
    m.func("pci_read_config_word", i, ("dev", m.ptr(m.const(pdev))), ("where", i),
           ("val", m.ptr(u16)))  # fmt: skip
    m.func("skb_copy_bits", i, ("skb", skb_p), ("to", void_p), ("len", i))
    m.func("dev_name", str_p, ("dev", dev_p), ("suffix", str_p))
    m.func("_printk", i, ("fmt", str_p), ("", 0))
    m.func("napi_enable", 0, ("n", m.ptr(napi)))
    m.func("alloc_skb", skb_p, ("size", size_t))
    m.func("set_callback", 0, ("f", probe), ("x", i))
    m.func("by_value", 0, ("s", regs))
    m.func("by_enum", 0, ("which", tx))
    return m.bytes()
