# SPDX-License-Identifier: GPL-2.0-only
"""Fields, prototypes and C types from BTF."""

from __future__ import annotations

from pathlib import Path

import btfmake
import pytest

from pynooks.btf import Btf, BtfError, c_type, field_at, function, ops_members, struct_field

RAW = btfmake.kernel()
BTF = Btf(RAW)


@pytest.mark.parametrize(
    ("path", "offset", "size"),
    [
        ("name", 0, 16),
        ("name[3]", 3, 1),
        ("stats", 16, 16),
        ("stats.tx_packets", 24, 8),
        ("pos", 32, 8),
        ("alias", 32, 4),
        ("low", 48, 1),
        ("high", 48, 1),
    ],
)
def test_field(path: str, offset: int, size: int) -> None:
    field = struct_field(BTF, "net_device", path)
    assert (field.offset, field.size) == (offset, size)


@pytest.mark.parametrize("path", ["nothing", "stats.nothing", "name[16]", "stats[0]", "low.x", ""])
def test_no_such_field(path: str) -> None:
    with pytest.raises(BtfError, match="net_device"):
        struct_field(BTF, "net_device", path)


def test_no_such_struct() -> None:
    with pytest.raises(BtfError, match="struct nothing: not in this kernel"):
        struct_field(BTF, "nothing", "x")


@pytest.mark.parametrize(
    ("offset", "name"), [(0, "name"), (24, "stats.tx_packets"), (33, "pos"), (48, "low")]
)
def test_field_at(offset: int, name: str) -> None:
    assert field_at(BTF, "net_device", offset) == name


def test_prototypes() -> None:
    proto = function(BTF, "pci_read_config_word")
    assert proto
    assert [c_type(BTF, p.type, p.name) for p in proto.params] == [
        "const struct pci_dev *dev",
        "int where",
        "u16 *val",
    ]
    assert c_type(BTF, proto.ret) == "int"
    printk = function(BTF, "_printk")
    assert printk
    assert printk.varargs
    assert function(BTF, "nothing") is None


def test_c_type_of_function_pointer() -> None:
    proto = function(BTF, "set_callback")
    assert proto
    assert c_type(BTF, proto.params[0].type, "f") == "int (*f)(struct pci_dev *)"


def test_ops_members() -> None:
    members = ops_members(BTF, "ethtool_ops")
    assert [(name, offset, len(p.params)) for name, offset, p in members] == [("get_regs", 8, 3)]


def test_split() -> None:
    module = Btf(btfmake.Maker().bytes(), BTF)
    assert struct_field(module, "net_device", "pos").offset == 32


@pytest.mark.parametrize("cut", [0, 10, 23, 30, 400, len(RAW) - 1])
def test_truncated(cut: int) -> None:
    with pytest.raises(BtfError, match="BTF"):
        Btf(RAW[:cut])


def test_damaged_never_breaks_us() -> None:
    for pos in range(24, len(RAW), 3):
        data = bytearray(RAW)
        data[pos] ^= 0xFF
        try:
            btf = Btf(bytes(data))
            for struct in ("net_device", "ethtool_ops"):
                struct_field(btf, struct, "stats.tx_packets")
        except BtfError:
            continue


def test_running_kernel_if_it_has_btf() -> None:
    source = Path("/sys/kernel/btf/vmlinux")
    if not source.exists():
        pytest.skip("this kernel has no BTF")
    btf = Btf(source.read_bytes())
    assert struct_field(btf, "page", "_refcount").size == 4
