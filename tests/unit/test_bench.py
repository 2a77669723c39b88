# SPDX-License-Identifier: GPL-2.0-only
"""Figures: what is counted, and how it is shown."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pynooks.bench import faults, instructions, report, udp
from pynooks.bench.measure import Comparison, PerPacket, Side
from pynooks.bench.plot import as_svg
from pynooks.bench.xpc import Cost
from pynooks.errors import RefusedError
from pynooks.inject import Kind

COUNT = 1009


def test_a_tally_sees_loss_change_and_repetition() -> None:
    tally = udp.Tally(COUNT)
    for number in range(COUNT):
        tally.take(udp.datagram(number))
    assert (tally.received, tally.changed, tally.repeated) == (COUNT, 0, 0)
    tally.take(udp.datagram(3))
    wrong = bytearray(udp.datagram(4))
    wrong[-1] ^= 1
    tally.take(bytes(wrong))
    tally.take(udp.datagram(COUNT))
    tally.take(b"short")
    assert (tally.received, tally.changed, tally.repeated) == (COUNT, 3, 1)


def test_datagrams_differ_and_have_the_lengths_that_matter() -> None:
    seen = [udp.datagram(n) for n in range(COUNT)]
    assert len(set(seen)) == COUNT
    assert {len(d) for d in seen} == set(udp.LENGTHS)


def test_an_exchange_over_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    ends, port = [], 0
    for local in ("127.0.0.1", "127.0.0.2"):
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # a busy host reads late
        end.bind((local, port))
        port = end.getsockname()[1]
        ends.append(end)
    monkeypatch.setattr(udp, "PORT", port)
    found: dict[int, udp.Tally] = {}

    def run(i: int) -> None:
        peer = ("127.0.0.2", "127.0.0.1")[i]
        found[i] = udp.exchange(ends[i], peer, COUNT, rate=5000, idle=2)

    threads = [threading.Thread(target=run, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for end in ends:
        end.close()
    assert [found[i].received for i in (0, 1)] == [COUNT, COUNT]


def per_packet(pairs: int, writes: dict[str, float]) -> PerPacket:
    return PerPacket(
        pairs=pairs, entries=4.0, exits=2.5, resumed=0.1, cr3_loads=13.0, writes=writes
    )


COMPARISON = Comparison(
    machine={"kernel": "6.1"},
    driver="e1000",
    level="pagetable",
    native=Side(
        rtt_ms=[1.0, 2.0, 9.0],
        udp_pps=[1000, 2000, 3000],
        udp64_pps=[4000],
        tcp_mbit=[100, 90, 80],
        tcp_cpu=[20],
    ),
    isolated=Side(
        rtt_ms=[2.0, 4.0, 9.0],
        udp_pps=[500, 1000, 400],
        udp64_pps=[1000],
        tcp_mbit=[50, 45, 40],
        tcp_cpu=[50],
    ),
    paced=per_packet(10, {"sk_buff.data": 1.0, "net_device.stats.rx_errors": 0.01}),
    flooded=per_packet(30, {}),
    saturated=per_packet(20, {"sk_buff.data": 0.5}),
)


def test_the_table_has_medians_and_ratios() -> None:
    lines = report.as_markdown(COMPARISON).splitlines()
    assert "| TCP, Mbit/s | 90.0 (80.0 to 100.0) | 45.0 (40.0 to 50.0) | 0.50 |" in lines
    assert "| UDP 1400 B, packets/s | 2000 (1000 to 3000) | 500 (400 to 1000) | 0.25 |" in lines
    assert "| UDP 64 B, packets/s | 4000 | 1000 | 0.25 |" in lines
    assert "| CPU time of TCP, s per GB | 20.0 | 50.0 | 2.50 |" in lines
    assert "| ping, ms, median | 2.00 | 4.00 | 2.00 |" in lines
    assert "| checked writes | 1.01 | 0.00 | 0.50 |" in lines
    assert "| - sk_buff.data | 1.00 | 0.00 | 0.50 |" in lines
    assert "| - all other fields | 0.01 | 0.00 | 0.00 |" in lines
    assert report.as_json(COMPARISON)["native"]["udp_pps"] == [1000, 2000, 3000]


def test_instructions_are_time_by_the_count() -> None:
    cost = Cost(calls=1, entry=1136.0, leaving=1532.0, cr3=18.0)
    crossing = instructions.of_crossing(cost)
    assert crossing["entry, empty function"] == 1136 >> instructions.SHIFT
    loads = [instructions.Load(name="ping", native=40000.0, isolated=50000.0)]
    lines = instructions.as_markdown(loads, crossing, {"QEMU": "7"}, "e1000").splitlines()
    assert "| ping | 40000 | 50000 | 1.25 |" in lines
    assert "| two CR3 loads | 9 |" in lines


def test_the_plot_has_a_bar_for_each_figure() -> None:
    svg = ElementTree.fromstring(as_svg(COMPARISON))
    bars = svg.findall("{*}rect")[1:]
    widths = [float(bar.attrib["width"]) for bar in bars]
    # the longest value is 2.5 times native's, so native's is 460 / 2.5 pixels
    assert widths == [92.0, 46.0, 46.0, 460.0, 368.0]


def test_a_table_goes_where_it_belongs(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- bench traffic -->\nold\n<!-- /bench traffic -->\nb\n")
    for _ in range(2):
        report.insert(page, "bench traffic", "| new |")
        assert page.read_text() == (
            "a\n<!-- bench traffic -->\n| new |\n<!-- /bench traffic -->\nb\n"
        )
    with pytest.raises(RefusedError, match="bench faults"):
        report.insert(page, "bench faults", "x")


def test_every_kind_has_its_row() -> None:
    trials = [
        faults.Trial(
            kind="ud2", seed=0, native=True, site="f+0x0",
            outcome=faults.Outcome.PANIC, detail="panic: x",
        ),
        *(
            faults.Trial(
                kind="ud2", seed=seed, native=False, site="f+0x0",
                outcome=outcome, detail="#UD at f+0x0/0x9",
            )
            for seed, outcome in enumerate((faults.Outcome.RECOVERED, faults.Outcome.DEAD))
        ),
    ]  # fmt: skip
    lines = faults.as_markdown(trials).splitlines()
    assert len(lines) == 2 + len(Kind)
    assert "| `ud2` | 1 panic: x | 1 of 2 recovered | #UD at f+0x0/0x9 |" in lines
    assert "| `loop` | not run | 0 of 0 recovered |  |" in lines
