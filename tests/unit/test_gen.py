# SPDX-License-Identifier: GPL-2.0-only
"""Generated C: wrappers, stubs, entries, types."""

from __future__ import annotations

from pathlib import Path

import btfmake
import pytest

from pynooks.btf import Btf
from pynooks.build.builder import check_written
from pynooks.build.generate import Generated, generate
from pynooks.errors import RefusedError
from pynooks.policy import Policies, PolicyError, load_policies
from pynooks.relink import Export

BTF = Btf(btfmake.kernel())
NAMES = (
    "pci_read_config_word", "skb_copy_bits", "dev_name", "_printk", "napi_enable", "alloc_skb",
    "set_callback", "by_value", "by_enum", "kfree",
)  # fmt: skip
SYMVERS = {n: Export(1, "vmlinux", False, "SPACE" if n == "alloc_skb" else "") for n in NAMES}


def policies(tmp_path: Path, imports: str, rest: str = "") -> Policies:
    (tmp_path / "subsystem").mkdir()
    text = f'include = ["linux/pci.h"]\n[import]\n{imports}\n{rest}\n'
    (tmp_path / "subsystem" / "pci.toml").write_text(text)
    return load_policies(tmp_path)


def made(tmp_path: Path, imports: str, rest: str = "") -> Generated:
    return generate(BTF, policies(tmp_path, imports, rest), SYMVERS)


def test_wrapper_reads_like_a_written_one(tmp_path: Path) -> None:
    out = made(tmp_path, 'pci_read_config_word = { policy = "cross", why = "Configuration." }')
    text = out.files["cross_pci.c"]
    assert "#include <linux/pci.h>\n" in text
    assert text.endswith("""
/* Configuration. */
u64 wrap_pci_read_config_word(struct xpc *x, const u64 *a)
{
	const struct pci_dev *dev = (const struct pci_dev *)a[0];
	int where = (int)a[1];
	u16 *val = (u16 *)a[2];
	int ret;

	if (!arg_obj(x, "pci_read_config_word", "dev", OBJ_PCI_DEV, dev))
		return 0;
	val = arg_writable(x, "pci_read_config_word", "val", val, sizeof(*val));
	if (!val)
		return 0;
	ret = (pci_read_config_word)(dev, where, val);
	return (u64)ret;
}
""")


def test_annotations(tmp_path: Path) -> None:
    text = made(
        tmp_path,
        """
        skb_copy_bits = { policy = "cross", args = { to = "in:len", skb = "obj?" } }
        dev_name = { policy = "cross", args = { suffix = "str?" } }
        set_callback = { policy = "cross" }
        alloc_skb = { policy = "cross", ret = "obj:sk_buff" }
        by_enum = { policy = "cross", args = { which = "max:LAST - 1" } }
        pci_read_config_word = { policy = "cross", args = { val = "out?" } }
        """,
    ).files["cross_pci.c"]
    assert (
        """
	if (val) {
		val = arg_writable(x, "pci_read_config_word", "val", val, sizeof(*val));
		if (!val)
			return 0;
	}
"""
        in text
    )
    assert 'if (!arg_readable(x, "skb_copy_bits", "to", to, len))' in text
    assert 'if (!arg_obj_or_null(x, "skb_copy_bits", "skb", OBJ_SK_BUFF, skb))' in text
    assert 'if (suffix && !arg_string(x, "dev_name", "suffix", suffix))' in text
    assert 'if (!arg_gate(x, "set_callback", "f", f))' in text
    assert 'if (!arg_max(x, "by_enum", "which", (u64)(s64)which, LAST - 1))' in text
    assert "int (*f)(struct pci_dev *) = (int (*)(struct pci_dev *))a[0];" in text
    assert "int x_ = (int)a[1];" in text, "a parameter may not hide the wrapper's own"
    assert "if (objtrack_add(x->nook, OBJ_SK_BUFF, ret, sizeof(*ret), GFP_ATOMIC))" in text


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('skb_copy_bits = { policy = "cross" }', r"argument to \(void \*\) needs an annotation"),
        ('skb_copy_bits = { policy = "cross", args = { into = "out" } }', "has no argument into"),
        ('_printk = { policy = "cross" }', "variable arguments"),
        ('napi_enable = { policy = "cross" }', "has a twin"),
        ('by_value = { policy = "cross" }', "argument s"),
        ('by_enum = { policy = "cross" }', r"argument which \(netdev_tx_t\) needs an annotation"),
        ('dev_name = { policy = "cross", args = { dev = "max:3" } }', "argument dev is a pointer"),
        ('kfree = { policy = "cross" }', "BTF has no prototype"),
        ('alloc_skb = { policy = "cross", args = { size = "out" } }', "is no pointer"),
    ],
)
def test_refused(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(PolicyError, match=r"pci\.toml: import\.\w+: .*" + says):
        made(tmp_path, line)


def test_exits_and_stubs_agree(tmp_path: Path) -> None:
    out = made(
        tmp_path,
        """
        kfree = { policy = "wrap" }
        alloc_skb = { policy = "cross" }
        strlen = { policy = "direct" }
        other_module_function = { policy = "wrap" }
        """,
    )
    assert [e.name for e in out.exits] == ["alloc_skb", "kfree"]
    assert out.skipped == ("other_module_function",)
    exits, stubs = out.files["exits.c"], out.files["stubs.c"]
    assert exits.index("wrap_alloc_skb") < exits.index("wrap_kfree")
    assert "nooks_nexits = 2;" in exits
    assert "MODULE_IMPORT_NS(SPACE);" in exits
    assert (
        '"nooks_kfree:\\n"\n    "	movl	$1, %eax\\n"\n    "	jmp	nooks_xpc_exit' in stubs
    )
    assert "EXPORT_SYMBOL_GPL(nooks_kfree);" in stubs
    assert "u64 wrap_kfree(struct xpc *x, const u64 *a);" in out.files["wrap.h"]


def test_entries(tmp_path: Path) -> None:
    rest = '[entry."ethtool_ops.get_regs"]\np = "((struct ethtool_regs *)a[1])->len"'
    out = made(tmp_path, "", rest)
    text = out.files["entries.c"]
    assert "return ((struct ethtool_regs *)a[1])->len;" in text
    assert '.name = "net_device_ops.ndo_start_xmit", .nargs = 2, .ret = RET_NETDEV_TX,' in text
    assert '.name = "ethtool_ops.get_regs", .nargs = 3, .ret = RET_VOID,' in text
    assert "[1] = { .type = OBJ_ETHTOOL_REGS }," in text
    assert "[2] = { .type = OBJ_BUFFER, .size = size_ethtool_ops_get_regs_2 }," in text
    assert "\t8,\t/* ndo_start_xmit */" in text
    for ops in ("net_device_ops", "ethtool_ops", "pci_driver", "dev_pm_ops", "pci_error_handlers"):
        assert f"const struct entry_table nooks_entries_{ops} = {{" in text
    assert '.name = "net_device_ops",\n\t.size = 24,\n' in text


def test_entry_of_unknown_parameter(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"entry\.net_device_ops\.ndo_open: no parameter p"):
        made(tmp_path, "", '[entry."net_device_ops.ndo_open"]\np = "8"')


def test_types(tmp_path: Path) -> None:
    out = made(tmp_path, "")
    assert "OBJ_ETHTOOL_REGS = OBJ_NR_CORE," in out.files["types.h"]
    assert '{ .name = "ethtool_regs", .size = 12 },' in out.files["types.c"]
    assert "OBJ_PCI_DEV" not in out.files["types.h"], "core types are in nooks.h"


def test_wrappers_must_exist(tmp_path: Path) -> None:
    out = made(tmp_path, 'kfree = { policy = "wrap" }\nalloc_skb = { policy = "cross" }')
    wrappers = tmp_path / "wrappers"
    wrappers.mkdir()
    with pytest.raises(RefusedError, match="no wrapper in kmod/wrappers for: kfree"):
        check_written(out, tmp_path)
    text = "u64 wrap_kfree(struct xpc *x, const u64 *a)\n{\n}\n"
    (wrappers / "mem.c").write_text(text)
    check_written(out, tmp_path)
    (wrappers / "lock.c").write_text("bool nooks_kfree(struct xpc *x)\n{\n}\n")
    with pytest.raises(RefusedError, match="names: nooks_kfree"):
        check_written(out, tmp_path)
    (wrappers / "lock.c").unlink()
    (wrappers / "mem.c").write_text(text + text.replace("kfree", "alloc_skb"))
    with pytest.raises(RefusedError, match=r"policy generates what .* has: alloc_skb"):
        check_written(out, tmp_path)
