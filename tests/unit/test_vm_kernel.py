# SPDX-License-Identifier: GPL-2.0-only
"""bzImage payload, initramfs, package data: what is refused, and by which name."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pynooks.errors import InfraError, NooksError, RefusedError
from pynooks.vm import apt, cpio, kernel, tree

ELF = b"\x7fELF" + bytes(5000)


def bzimage(
    data: bytes,
    *,
    sectors: int = 3,
    offset: int = 64,
    length: int | None = None,
    version: int = 527,
) -> bytes:
    image = bytearray((sectors + 1) * 512 + offset)
    image[0x1F1] = sectors
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, version)
    struct.pack_into("<II", image, 0x248, offset, len(data) if length is None else length)
    return bytes(image) + data


def gzip(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=31)
    return deflate.compress(data) + deflate.flush()


@pytest.mark.parametrize("pack", [lzma.compress, gzip], ids=["xz", "gzip"])
def test_the_size_word_behind_the_stream_is_ignored(pack: Callable[[bytes], bytes]) -> None:
    assert kernel.vmlinux(bzimage(pack(ELF) + struct.pack("<I", len(ELF)))) == ELF


def test_setup_sectors_of_zero_mean_four() -> None:
    packed = lzma.compress(ELF)
    image = bytearray(bzimage(packed, sectors=4))
    image[0x1F1] = 0
    assert kernel.vmlinux(bytes(image)) == ELF


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"", "truncated"),
        (b"MZ" + bytes(300), "truncated"),
        (bytes(4096), "HdrS"),
        (bzimage(lzma.compress(ELF), version=0x0207), "2.07"),
        (bzimage(lzma.compress(ELF), length=1 << 30), "outside"),
        (bzimage(lzma.compress(ELF), length=0), "outside"),
        (bzimage(b"\x28\xb5\x2f\xfd" + bytes(64)), "magic 28b52ffd"),
        (bzimage(b"\xfd7zXZ\x00" + b"rubbish" * 9), "does not unpack"),
        (bzimage(lzma.compress(b"not an ELF file")), "not an ELF"),
        (bzimage(lzma.compress(ELF)[:60]), "cut off"),
    ],
)
def test_bad_kernels_are_refused_by_name(image: bytes, said: str) -> None:
    with pytest.raises(RefusedError, match=said) as e:
        kernel.vmlinux(image)
    assert e.value.hint


def test_a_cut_xz_stream_is_not_taken_for_a_kernel() -> None:
    whole = lzma.compress(b"\x7fELF" + Path(__file__).read_bytes() * 50)
    with pytest.raises(RefusedError):
        kernel.vmlinux(bzimage(whole[: len(whole) // 2]))


def test_cpio_is_aligned_and_ends_with_its_trailer() -> None:
    data = cpio.archive(
        [cpio.directory("bin"), cpio.regular("bin/x", b"abc", 0o755), cpio.chardev("c", 5, 1)]
    )
    assert len(data) % 4 == 0
    names, at = [], 0
    while at < len(data):
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        names.append(data[at + 110 : at + 110 + fields[11] - 1].decode())
        at += -(-(110 + fields[11]) // 4) * 4
        at += -(-fields[6] // 4) * 4
    assert names == ["bin", "bin/x", "c", "TRAILER!!!"]
    assert data == cpio.archive(
        [cpio.directory("bin"), cpio.regular("bin/x", b"abc", 0o755), cpio.chardev("c", 5, 1)]
    )


def make_tree(root: Path, depends: dict[str, str]) -> tree.KernelTree:
    for name, deps in depends.items():
        path = root / f"lib/modules/6.1-test/kernel/{name}.ko"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x7fELF\0license=GPL\0depends=" + deps.encode() + b"\0name=x\0")
    return tree.KernelTree(root, "6.1-test", "linux-image", "1", "0" * 64)


def test_modules_load_after_what_they_depend_on(tmp_path: Path) -> None:
    made = make_tree(tmp_path, {"a": "b,c", "b": "c", "c": "", "d-e": "a"})
    order = [path.stem for path in tree.load_order(made, ["d_e", "b"])]
    assert order == ["c", "b", "a", "d-e"]


def test_a_missing_module_is_named(tmp_path: Path) -> None:
    made = make_tree(tmp_path, {"a": "gone"})
    with pytest.raises(InfraError, match="gone"):
        tree.load_order(made, ["a"])


SHOW = """Package: linux-image-amd64
Version: 6.1.192-2
Depends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)
SHA256: abc

Package: linux-image-amd64
Version: 6.1.1-1
SHA256: def
"""


def test_apt_show_takes_the_first_stanza() -> None:
    deb = apt.parse_show("linux-image-amd64", SHOW)
    assert (deb.version, deb.sha256) == ("6.1.192-2", "abc")
    assert apt.behind_meta(deb, "linux-image-") == "linux-image-6.1.0-56-amd64"


@pytest.mark.parametrize("text", ["", "Package: x\n", SHOW.replace("SHA256", "MD5sum")])
def test_apt_without_lists_says_what_to_run(text: str) -> None:
    with pytest.raises(NooksError) as e:
        apt.parse_show("x", text)
    assert "apt-get update" in e.value.hint
