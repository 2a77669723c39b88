# SPDX-License-Identifier: GPL-2.0-only
"""Runs in the target: what programs ask of a network driver, by ioctl."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct
from collections.abc import Callable

SIOCGIFNAME, SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCETHTOOL = 0x8910, 0x8913, 0x8914, 0x8946
IFF_UP, IFF_PROMISC = 1, 0x100
GDRVINFO, GREGS, GLINK, GRINGPARAM, GSTATS = 3, 4, 0x0A, 0x10, 0x1D
DRVINFO_SIZE, DRVINFO_STATS, DRVINFO_REGS = 196, 180, 192


class Requests:
    """What programs ask of a network driver, in turns on both interfaces."""

    def __init__(self, driver: str, sockets: list[socket.socket]) -> None:
        self.driver, self.sockets = driver, sockets
        self.errors: list[str] = []
        self.wrong: list[str] = []

    def reset(self) -> None:
        self.errors, self.wrong = [], []

    def ask(self, which: int) -> None:
        """All that is asked of one interface; nothing if it is not there now."""
        sock = self.sockets[which]
        if (nic := self._nic(sock)) is None:
            return
        info = self._try("drvinfo", lambda: self._ethtool(sock, nic, GDRVINFO, DRVINFO_SIZE))
        if info:
            name = info[4:36].split(b"\0")[0].decode(errors="replace")
            if name.replace("-", "_") != self.driver:  # as modules are named
                self.wrong.append(f"drvinfo names {name!r}")
            stats = struct.unpack_from("<I", info, DRVINFO_STATS)[0]
            regs = struct.unpack_from("<I", info, DRVINFO_REGS)[0]
            if stats < 4096:
                self._try("stats", lambda: self._ethtool(sock, nic, GSTATS, 8 + 8 * stats, stats))
            if regs < 65536:
                self._try("regs", lambda: self._ethtool(sock, nic, GREGS, 12 + regs, 0, regs))
        self._try("link", lambda: self._ethtool(sock, nic, GLINK, 8))
        self._try("ringparam", lambda: self._ethtool(sock, nic, GRINGPARAM, 36))

    def disturb(self, which: int) -> None:
        """What stops traffic for a second or two: promiscuous mode on and off, down and up."""
        sock = self.sockets[which]
        if nic := self._nic(sock):
            self._try("promisc", lambda: self._flags(sock, nic, IFF_PROMISC, 0))
            self._try("no promisc", lambda: self._flags(sock, nic, 0, IFF_PROMISC))
            self._try("down", lambda: self._flags(sock, nic, 0, IFF_UP))
            self._try("up", lambda: self._flags(sock, nic, IFF_UP, 0))

    def _try(self, what: str, request: Callable[[], bytes]) -> bytes:
        try:
            return request()
        except OSError as e:
            # It goes while the driver restarts; and not every driver has every operation.
            if e.errno not in (errno.ENODEV, errno.EOPNOTSUPP):
                self.errors.append(f"{what}: {errno.errorcode.get(e.errno or 0, str(e))}")
            return b""

    def _nic(self, sock: socket.socket) -> bytes | None:
        """Name of the interface that is not lo in the socket's namespace."""
        for index in range(2, 64):
            request = bytearray(struct.pack("<16si20x", b"", index))
            try:
                fcntl.ioctl(sock, SIOCGIFNAME, request)
            except OSError:
                continue
            name = bytes(request[:16]).split(b"\0")[0]
            if name != b"lo":
                return name
        return None

    def _flags(self, sock: socket.socket, nic: bytes, on: int, off: int) -> bytes:
        request = bytearray(struct.pack("<16s24x", nic))
        fcntl.ioctl(sock, SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("<h", request, 16)
        struct.pack_into("<H", request, 16, (flags & 0xFFFF & ~off) | on)
        fcntl.ioctl(sock, SIOCSIFFLAGS, request)
        return bytes(request)

    def _ethtool(
        self, sock: socket.socket, nic: bytes, cmd: int, size: int, a: int = 0, b: int = 0
    ) -> bytes:
        data = ctypes.create_string_buffer(struct.pack("<III", cmd, a, b), max(size, 12) + 256)
        request = struct.pack("<16sQ16x", nic, ctypes.addressof(data))
        fcntl.ioctl(sock, SIOCETHTOOL, request)
        return data.raw[:size]
