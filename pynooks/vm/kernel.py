# SPDX-License-Identifier: GPL-2.0-only
"""Unpack a bzImage: QEMU boots the uncompressed kernel by PVH, which saves the guest's own
decompression (10 s and more under TCG). Pure functions, bytes in and bytes out.

Source: Documentation/x86/boot.rst, "The Real-Mode Kernel Header".
"""

from __future__ import annotations

import lzma
import struct
import zlib

from pynooks.errors import RefusedError

_HDR_MAGIC = b"HdrS"
_HDR_OFFSET = 0x202
_SETUP_SECTS = 0x1F1
_VERSION = 0x206
_PAYLOAD = 0x248  # payload_offset, payload_length: since protocol 2.08
_HEADER_END = 0x250
_HINT = "pass the vmlinuz of an amd64 linux-image package"


def payload(bzimage: bytes) -> bytes:
    """The compressed kernel inside a bzImage.

    Raises RefusedError if the file is not a bzImage or its header points outside of it.
    """
    if len(bzimage) < _HEADER_END:
        raise RefusedError(f"kernel image is truncated: {len(bzimage)} bytes", hint=_HINT)
    if bzimage[_HDR_OFFSET : _HDR_OFFSET + 4] != _HDR_MAGIC:
        raise RefusedError("kernel image has no setup header (HdrS)", hint=_HINT)
    (version,) = struct.unpack_from("<H", bzimage, _VERSION)
    if version < 0x208:
        raise RefusedError(
            f"boot protocol {version >> 8}.{version & 0xFF:02d} has no payload offset", hint=_HINT
        )
    sectors = bzimage[_SETUP_SECTS] or 4
    offset, length = struct.unpack_from("<II", bzimage, _PAYLOAD)
    start = (sectors + 1) * 512 + offset
    if length == 0 or start + length > len(bzimage):
        raise RefusedError(
            f"kernel payload {start:#x}+{length:#x} lies outside the image of "
            f"{len(bzimage):#x} bytes",
            hint=_HINT,
        )
    return bzimage[start : start + length]


def decompress(data: bytes) -> bytes:
    """The kernel of a payload. Compression is told by its magic: xz (Debian) or gzip."""
    try:
        if data.startswith(b"\xfd7zXZ\x00"):
            # The kernel appends the size after the stream, so the end is not the file's end.
            xz = lzma.LZMADecompressor(lzma.FORMAT_XZ)
            kernel, whole = xz.decompress(data), xz.eof
        elif data.startswith(b"\x1f\x8b"):
            gzip = zlib.decompressobj(wbits=31)
            kernel, whole = gzip.decompress(data), gzip.eof
        else:
            raise RefusedError(
                f"kernel is compressed with something unknown (magic {data[:6].hex()})",
                hint="supported are xz and gzip",
            )
    except (lzma.LZMAError, zlib.error) as e:
        raise RefusedError(f"kernel payload does not unpack: {e}", hint=_HINT) from e
    if not whole:
        raise RefusedError("kernel payload is cut off", hint=_HINT)
    if not kernel.startswith(b"\x7fELF"):
        raise RefusedError("kernel payload is not an ELF file", hint=_HINT)
    return kernel


def vmlinux(bzimage: bytes) -> bytes:
    """The uncompressed kernel of a bzImage."""
    return decompress(payload(bzimage))
