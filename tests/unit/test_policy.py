# SPDX-License-Identifier: GPL-2.0-only
"""Policy files: what is read, what is refused, what becomes a rule."""

from __future__ import annotations

from pathlib import Path

import btfmake
import pytest

from pynooks.btf import Btf
from pynooks.policy import (
    Kind,
    Level,
    PolicyError,
    Value,
    driver_rules,
    load_driver,
    load_policies,
)

BTF = Btf(btfmake.kernel())


def files(base: Path, **texts: str) -> Path:
    """Write policy files: subsystem__pci="..." becomes subsystem/pci.toml."""
    for name in ("subsystem", "class", "drivers"):
        (base / name).mkdir(exist_ok=True)
    for name, text in texts.items():
        (base / (name.replace("__", "/") + ".toml")).write_text(text)
    return base


def test_subsystem(tmp_path: Path) -> None:
    base = files(
        tmp_path,
        subsystem__pci="""
            include = ["linux/pci.h"]
            ops = ["pci_driver"]
            [import]
            strlen = { policy = "direct" }
            skb_copy_bits = { policy = "cross", args = { to = "out:len" } }
            [object]
            thing = { struct = "pci_dev" }
            [entry."ethtool_ops.get_regs"]
            p = "((struct ethtool_regs *)a[1])->len"
        """,
    )
    policies = load_policies(base)
    assert policies.imports["strlen"].kind is Kind.DIRECT
    assert policies.imports["skb_copy_bits"].args == {"to": "out:len"}
    assert policies.ops == ("pci_driver",)
    assert policies.objects == {"thing": "pci_dev"}
    assert "len" in str(policies.entries["ethtool_ops.get_regs"].lend["p"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[import]\nf = 1", r"pci\.toml: import\.f: must be a table"),
        ("[import]\nf = {}", r"import\.f\.policy: is missing"),
        ('[import]\nf = { policy = "magic" }', r"import\.f\.policy: 'magic' is none of"),
        ('[import]\nf = { policy = "deny" }', r"import\.f\.why: is missing"),
        ('[import]\nf = { policy = "cross", args = { p = "opaque" } }', r"import\.f\.why"),
        ('[import]\nf = { policy = "cross", args = { p = "magic" } }', r"import\.f\.args\.p"),
        ('[import]\nf = { policy = "wrap", args = { p = "out" } }', "only a generated wrapper"),
        ('[import]\nf = { policy = "wrap", colour = 1 }', r"import\.f\.colour: is not a known key"),
        ('[import]\n"f g" = { policy = "wrap" }', "is not a symbol name"),
        (f'[import]\n{"f" * 50} = {{ policy = "wrap" }}', "is longer than"),
        ("colour = 1", "colour: is not a known key"),
        ("[import", "not TOML"),
        ('[entry."a.b"]\np = 3', r"entry\.a\.b\.p"),
    ],
)
def test_bad_subsystem(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says) as e:
        load_policies(files(tmp_path, subsystem__pci=text))
    assert "pci.toml" in str(e.value)


def test_two_files_with_one_import(tmp_path: Path) -> None:
    line = '[import]\nf = { policy = "wrap" }'
    with pytest.raises(PolicyError, match=r"b\.toml: import\.f: stands in a\.toml too"):
        load_policies(files(tmp_path, subsystem__a=line, subsystem__b=line))


def test_driver_rules(tmp_path: Path) -> None:
    base = files(
        tmp_path,
        class__net='[write]\nnet_device = ["stats.rx_packets"]\nbuffer = ["*"]',
        drivers__e1000="""
            driver = "e1000"
            class = "net"
            level = "wrap"
            limit_ms = 500
            reopen = true
            use = ["net"]
            [write]
            net_device = [{ field = "netdev_ops", value = "ops" }]
            ethtool_regs = ["*"]
            percpu = ["__preempt_count"]
        """,
    )
    policy = load_driver("e1000", base)
    assert (policy.level, policy.limit_ms, policy.reopen) == (Level.WRAP, 500, True)
    rules = [(r.object, r.field, r.offset, r.size, r.value) for r in driver_rules(policy, BTF)]
    assert rules == [
        ("net_device", "stats.rx_packets", 16, 8, Value.ANY),
        ("buffer", "*", 0, 0, Value.ANY),
        ("net_device", "netdev_ops", 40, 8, Value.OPS),
        ("ethtool_regs", "*", 0, 12, Value.ANY),
        ("percpu", "__preempt_count", 0, 4, Value.ANY),
    ]


def test_unknown_driver_gets_its_class(tmp_path: Path) -> None:
    base = files(tmp_path, class__net='[write]\nnet_device = ["name"]')
    policy = load_driver("some-nic", base)
    assert (policy.driver, policy.cls, len(policy.writes)) == ("some_nic", "net", 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('driver = "other"', r"e1000\.toml: driver: must be 'e1000'"),
        ('driver = "e1000"\nlevel = "moat"', "'moat' is no level"),
        ('driver = "e1000"\nlimit_ms = 5', "limit_ms = 5"),
        ('driver = "e1000"\nreopen = 1', "reopen: must be true or false"),
        ('driver = "e1000"\n[write]\nnet_device = ["a b"]', r"write\.net_device"),
        ('driver = "e1000"\n[write]\nnet_device = [{ field = "name", value = "x" }]', "'x'"),
        ('driver = "e1000"\nuse = ["nothing"]', "cannot be read"),
    ],
)
def test_bad_driver(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        load_driver("e1000", files(tmp_path, class__net="", drivers__e1000=text))


def test_field_that_this_kernel_has_not(tmp_path: Path) -> None:
    base = files(tmp_path, class__net='[write]\nnet_device = ["colour"]')
    with pytest.raises(PolicyError, match=r"net\.toml: write\.net_device: net_device\.colour"):
        driver_rules(load_driver("x", base), BTF)


def test_installed_policy_is_sound() -> None:
    load_policies()
    policy = load_driver("e1000")
    assert policy.level is Level.PAGETABLE
    whole = {w.object for w in policy.writes if w.field == "*"}
    assert not whole & {"net_device", "pci_dev", "sk_buff", "netdev_queue", "page", "task_struct"}
