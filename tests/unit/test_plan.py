# SPDX-License-Identifier: GPL-2.0-only
"""What is refused before a byte is changed, and how a plan is printed."""

from __future__ import annotations

from dataclasses import replace

import elfmake
import pytest
from elfmake import driver, plan

from pynooks.errors import RefusedError
from pynooks.policy import Kind
from pynooks.relink import Export, analyse, parse_symvers, relink

GOOD = driver().build()


def test_wrong_kernel() -> None:
    with pytest.raises(
        RefusedError, match=r"built for kernel 6\.1\.0-other, target is 6\.1\.0-test"
    ):
        relink(driver("6.1.0-other").build(), plan())


def test_wrong_crc_names_the_symbols() -> None:
    wrong = {n: Export(c + (n == "jiffies"), "vmlinux", False) for n, c in elfmake.IMPORTS.items()}
    with pytest.raises(RefusedError, match=r"versions differ.*: jiffies$"):
        relink(GOOD, replace(plan(), symvers=wrong))


def test_missing_policy_lists_all() -> None:
    with pytest.raises(RefusedError, match="no policy for 1 imports: kfree"):
        relink(GOOD, replace(plan(), imports={}))


def test_denied() -> None:
    with pytest.raises(RefusedError, match=r"kfree \(because\)"):
        relink(GOOD, plan(kfree=Kind.DENY))


def test_nooks_lacks_a_symbol() -> None:
    with pytest.raises(RefusedError, match="does not export nooks_kfree, nooks_xpc_gate"):
        relink(GOOD, replace(plan(), nooks={}))


def test_private_abi_is_never_renamed() -> None:
    m = driver()
    m.symbol("__get_user_4", None)
    m.relocs[".text"][1] = (6, 4, "__get_user_4", -4)
    with pytest.raises(RefusedError, match="private register ABI: __get_user_4"):
        relink(m.build(), plan(__get_user_4=Kind.CROSS))


def test_not_gpl() -> None:
    m = driver()
    info = next(s for s in m.sections if s.name == ".modinfo")
    info.body = info.body.replace(b"license=GPL\0", b"license=Mine\0")
    with pytest.raises(RefusedError, match="license 'Mine'"):
        relink(m.build(), plan())


def test_library_has_no_init() -> None:
    m = driver()
    del m.relocs[".gnu.linkonce.this_module"]
    with pytest.raises(RefusedError, match="no init"):
        relink(m.build(), plan())


def test_plan_shows_uses() -> None:
    report = analyse(GOOD, replace(plan(), imports={}, nooks={}))
    uses = {u.name: u for u in report.imports}
    assert (uses["kfree"].kind, uses["kfree"].calls, uses["kfree"].others) == (None, 2, 1)
    assert uses["jiffies"].calls == 0
    assert uses["__fentry__"].kind is Kind.DIRECT
    assert "PLT32" in uses["kfree"].relocs


def test_symvers() -> None:
    text = "0x12\tkfree\tvmlinux\tEXPORT_SYMBOL_GPL\tMYNS\n"
    assert parse_symvers(text, "x") == {"kfree": Export(0x12, "vmlinux", True, "MYNS")}
    with pytest.raises(RefusedError, match="x: line 1"):
        parse_symvers("garbage\n", "x")
