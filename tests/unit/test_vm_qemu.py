# SPDX-License-Identifier: GPL-2.0-only
"""How we meet a QEMU that is still on its way up."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from pynooks.errors import InfraError
from pynooks.vm import qemu as qemu_module
from pynooks.vm.qemu import Qemu
from pynooks.vm.registry import Identity

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\n'


def _running(directory: Path) -> Qemu:
    return Qemu(directory, directory, Identity.of(os.getpid()))


def _serve(path: Path) -> None:
    """A monitor as a slow QEMU makes it: no file, then a file without a listener, then both."""
    time.sleep(0.1)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        time.sleep(0.3)
        server.listen()
        connection, _ = server.accept()
        with connection:
            connection.sendall(GREETING)
            while request := connection.recv(4096):
                if b"qmp_capabilities" in request:
                    connection.sendall(b'{"return": {}, "id": "__qmp#00000"}\n')


def test_a_monitor_that_does_not_listen_yet_is_waited_for(tmp_path: Path) -> None:
    server = threading.Thread(target=_serve, args=(tmp_path / "monitor",), daemon=True)
    server.start()
    qemu = _running(tmp_path)
    assert qemu.monitor.events() == []
    qemu.disconnect()
    server.join(timeout=5)
    assert not server.is_alive()


def test_a_monitor_that_never_listens_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu_module, "_START_S", 0.3)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "monitor"))
        with pytest.raises(InfraError, match="opened no monitor"):
            _ = _running(tmp_path).monitor
