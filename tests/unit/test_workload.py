# SPDX-License-Identifier: GPL-2.0-only
"""Traffic whose every byte is known, and a stub that speaks the remote serial protocol."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pynooks.bench import udp
from pynooks.campaign import golden, workload
from pynooks.campaign.golden import TRIES, blocks, patiently
from pynooks.campaign.pulse import Pulse, Time, between, times
from pynooks.errors import GuestError, InfraError
from pynooks.inject.mutate import Routine, Text
from pynooks.vm.gdb import Reached, frame
from pynooks.vm.monitor import Monitor


def test_blocks_of_the_stream_differ() -> None:
    found = [workload.block(n) for n in range(101)]
    assert len(set(found)) == 101
    assert {len(b) for b in found} == {workload.BLOCK}


def test_the_internet_checksum() -> None:
    data = bytes.fromhex("0001f203f4f5f6f7")  # RFC 1071, section 3
    assert workload.checksum(data) == 0x220D
    assert workload.checksum(data + b"\x01") == workload.checksum(data + b"\x01\x00")


def pair() -> tuple[socket.socket, socket.socket]:
    a, b = socket.socketpair()
    a.setblocking(False)
    b.setblocking(False)
    return a, b


def test_a_stream_sees_a_changed_byte_and_an_end() -> None:
    source, sink = pair()
    stream = workload.Stream(source, sink)
    for _ in range(20):
        stream.send()
        stream.take(1.0)
    assert stream.flow.received > 3
    assert stream.flow.changed == 0
    source2, sink2 = pair()
    stream = workload.Stream(source2, sink2)
    wrong = bytearray(workload.block(0))
    wrong[99] ^= 1
    source2.send(bytes(wrong) + workload.block(1))
    for _ in range(5):
        stream.take(1.0)
    assert (stream.flow.received, stream.flow.changed) == (1, 1)
    source2.close()
    stream.take(1.0)
    assert stream.closed == "end of stream"


def test_datagrams_count_what_is_right() -> None:
    a, b = pair()
    flow = workload.Datagrams("udp a-b", "", a, b)
    for data in (udp.datagram(1), udp.datagram(1), b"x" * 30, udp.datagram(2)):
        a.send(data)
        flow.take(2.0)
    flow.take(3.0)  # nothing there
    assert (flow.flow.received, flow.flow.changed) == (2, 1)


def test_an_outage_is_the_longest_gap() -> None:
    flow = workload.Flow("x")
    flow.reset(10.0)
    for when in (10.5, 13.0, 13.1):
        flow.right(when)
    report = flow.report(13.2)
    assert (report["outage_s"], report["idle_s"]) == (2.5, 0.1)
    assert flow.report(20.0)["outage_s"] == 6.9


def test_blocks_of_a_routine() -> None:
    # test edi, edi; je +3; call; nop; ret
    code = Routine("f", bytes.fromhex("85ff" "7406" "e800000000" "90" "c3"),
                   frozenset(), {}, frozenset())  # fmt: skip
    assert blocks(code) == {0: (0, 2), 4: (4, 9), 10: (10,)}


def test_golden_runs_go_on_until_one_sees_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = Routine("f", bytes.fromhex("85ff" "7406" "e800000000" "90" "c3"),
                   frozenset(), {}, frozenset())  # fmt: skip
    symbols = {"f": 0x1000, "g": 0x2000}
    traced = iter([["f"], ["f", "g"], ["f"], ["f"]])
    hits = iter([{0x1000}, {0x1004}, {0x2000, 0x200A}, set()])
    asked: list[list[int]] = []
    monkeypatch.setattr(golden, "_traced", lambda *_: next(traced))
    monkeypatch.setattr(golden, "_run_with", lambda b, at, w, p: asked.append(at) or next(hits))
    text = Text("sha", {"f": code, "g": code, "h": code})
    said: list[str] = []
    found = golden.golden_run(SimpleNamespace(symbols=symbols), text, tmp_path, said.append)
    assert found == {"f": {0, 2, 4, 9}, "g": {0, 2, 10}}
    assert asked[0] == [0x1000, 0x1004, 0x100A]
    assert asked[1] == [0x1004, 0x100A, 0x2000, 0x2004, 0x200A]
    assert asked[2] == [0x100A, 0x2000, 0x2004, 0x200A], "what was seen is not looked for again"
    assert asked[3] == [0x100A, 0x2004]
    assert len(said) == 4

    monkeypatch.setattr(golden, "_traced", lambda *_: ["f"])
    monkeypatch.setattr(golden, "_run_with", lambda *_: None)
    base = SimpleNamespace(symbols=symbols)
    assert golden.golden_run(base, text, tmp_path) == {"f": None}, "too few breakpoints"


# ---- the GDB stub


class Stub(Monitor):
    """QEMU's end: reaches 0x1000, then 0x3000, for every continue one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[str] = []

    def hmp(self, line: str, *, timeout: float = 30) -> str:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(str(self.path))
        server.listen()
        threading.Thread(target=self._serve, args=(server,), daemon=True).start()
        return ""

    def _serve(self, server: socket.socket) -> None:
        sock, _ = server.accept()
        sock.sendall(frame("T05thread:01;"))  # nobody asked
        stops = [0x1000, 0x3000]
        buffer = b""
        while data := sock.recv(4096):
            buffer += data.replace(b"+", b"")
            while b"#" in buffer and len(buffer) >= buffer.index(b"#") + 3:
                end = buffer.index(b"#")
                text, buffer = buffer[1:end].decode(), buffer[end + 3 :]
                self.asked.append(text)
                sock.sendall(b"+")
                if text == "c":
                    if stops:
                        sock.sendall(frame("T05thread:02;"))
                elif text == "g":
                    rip = stops.pop(0)
                    sock.sendall(frame("00" * 128 + rip.to_bytes(8, "little").hex() + "00" * 40))
                elif text == "Z1,2000,1":
                    sock.sendall(frame("E22"))
                else:
                    sock.sendall(frame("QC01" if text == "qC" else "OK"))


def test_places_that_are_reached(tmp_path: Path) -> None:
    stub = Stub(tmp_path / "gdb")
    with Reached(stub, tmp_path / "gdb") as reached:
        reached.watch([0x1000, 0x2000, 0x3000, 0x4000])
        assert reached.watched == {0x1000, 0x3000, 0x4000}
        reached.go()
        for _ in range(200):
            if len(reached.hits) == 2:
                break
            threading.Event().wait(0.01)
    assert set(reached.hits) == {0x1000, 0x3000}
    assert "z1,1000,1" in stub.asked
    assert "z1,4000,1" not in stub.asked


def test_a_stub_that_is_not_there(tmp_path: Path) -> None:
    class Mute(Stub):
        def hmp(self, line: str, *, timeout: float = 30) -> str:
            return "Error: no"

    with pytest.raises(InfraError, match="Error: no"):
        Reached(Mute(tmp_path / "x"), tmp_path / "x")


def test_a_packet() -> None:
    assert frame("g") == b"$g#67"


@pytest.mark.parametrize("failures", [0, 1, TRIES - 1, TRIES])
def test_a_golden_run_that_fails_is_tried_again(failures: int) -> None:
    left = [GuestError("no answer", hint="")] * failures

    def run() -> str:
        if left:
            raise left.pop()
        return "ran"

    if failures < TRIES:
        assert patiently(run) == "ran"
    else:
        with pytest.raises(InfraError, match="no answer"):
            patiently(run)
    assert not left


# ---- did the guest get time?


@pytest.mark.parametrize(
    ("ran", "waited", "starved"),
    [(0.5, 15.0, True), (9.0, 1.0, False), (4.0, 14.0, False), (0.0, 0.0, False),
     (0.1, 0.2, False), (1.9, 6.0, True)],
)  # fmt: skip
def test_starved_means_wanting_to_run(ran: float, waited: float, starved: bool) -> None:
    assert Time(ran=ran, waited=waited, span=10.0).starved == starved


def test_a_process_that_runs_is_seen_to_run() -> None:
    with Pulse(os.getpid()) as pulse:
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            pass
    found = pulse.last()
    assert found.span >= 0.4
    assert found.ran + found.waited > 0.2
    assert times(1 << 30) == (0, 0)
    assert between([]).span == 0.0
