# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks` as a user runs it: processes, their output and exit status, one guest's life."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pynooks.vm import paths

pytestmark = pytest.mark.vm
VM = "cli"
LIMIT_S = 240
FAULT_KEYS = {
    "vec", "err", "ip", "addr", "sp", "flags", "time", "cpu", "pid",
    "what", "entry", "symbol", "target",
}  # fmt: skip
NOOK_KEYS = {
    "schema", "name", "id", "state", "level", "flags", "limit_ms", "grace_ms", "backoff_ms",
    "burst", "stall_ms", "irq_rate", "tx_timeouts", "memory_mib", "stats", "fault",
}  # fmt: skip
STATS = {
    "faults", "recoveries", "entries", "exits", "checked", "denied", "warns", "inside", "objects",
    "heap", "pgt_pages", "cr3_loads", "deferred", "resumed", "memory",
}  # fmt: skip


class Cli:
    """The command line with a registry of VMs of its own, and the user's images and builds."""

    def __init__(self, cache: Path) -> None:
        self.env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        mine = cache / "pynooks"
        mine.mkdir(parents=True)
        for name in ("images", "kernels", "kernel-debs", "debs", "accel", "build"):
            real = paths.cache_dir() / name
            real.mkdir(parents=True, exist_ok=True)
            (mine / name).symlink_to(real)

    def __call__(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "pynooks.cli.main", *words]
        done = subprocess.run(
            argv, capture_output=True, text=True, env=self.env, timeout=LIMIT_S, check=False
        )
        assert done.returncode == status, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def json(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self(*words, "--json").stdout.splitlines()]


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    run = Cli(tmp_path_factory.mktemp("cache"))
    run("vm", "start", VM)
    yield run
    run("vm", "stop", "--all")


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """One clear line and its hint on stderr, nothing on stdout."""
    assert done.stdout == ""
    what, hint = done.stderr.splitlines()
    assert what.startswith("pynooks: ")
    assert hint.startswith("hint: ")
    return what


def test_the_life_of_a_nook(cli: Cli, tmp_path: Path) -> None:
    assert cli.json("status") == []
    [deployed] = cli.json("deploy", "e1000")
    assert (deployed["stock"], deployed["level"], deployed["state"]) == (
        True, "pagetable", "RUNNING",
    )  # fmt: skip
    [nook] = cli.json("status")
    assert set(nook) == NOOK_KEYS
    assert nook["schema"] == 1
    assert set(nook["stats"]) == STATS
    assert (nook["name"], nook["state"], nook["fault"]) == ("e1000", "RUNNING", None)
    assert "in a nook already" in refused(cli("deploy", "e1000", status=1))
    assert "e1000 has had no fault" in refused(cli("dump", "e1000", status=1))

    [injected] = cli.json(
        "inject", "ud2", "--driver", "e1000", "--symbol", "e1000_set_rx_mode", "--seed", "1"
    )
    assert (injected["kind"], injected["symbol"], injected["seed"]) == (
        "ud2", "e1000_set_rx_mode", 1,
    )  # fmt: skip
    # the open dies of it; the shadow driver answers, and it is up when the driver is back
    cli("vm", "ssh", VM, "ip", "link", "set", "eth0", "up")
    deadline = time.monotonic() + 60
    while not (nook := cli.json("status", "e1000")[0])["stats"]["recoveries"]:
        assert time.monotonic() < deadline, nook
    assert set(nook) == NOOK_KEYS | {"counts"}
    assert set(nook["fault"]) == FAULT_KEYS
    assert nook["fault"]["symbol"].startswith("e1000_set_rx_mode+")
    said = cli("status").stdout
    assert "last fault: #UD at e1000_set_rx_mode+" in said
    assert all(len(line) <= 200 for line in said.splitlines())

    path = tmp_path / "record"
    assert cli("dump", "e1000", "-o", str(path)).stdout == ""
    assert path.read_text() == cli("dump", "e1000").stdout
    assert f"=> {nook['fault']['symbol'].split('/')[0]} " in path.read_text()
    [crash] = cli.json("dump", "e1000")
    assert crash["fault"] == nook["fault"]
    assert crash["registers"]["ip"] == nook["fault"]["ip"]

    assert ",UP" in cli("vm", "ssh", VM, "ip", "link", "show", "eth0").stdout

    assert "RUNNING after" in cli("restart", "e1000").stdout
    assert "released" in cli("release", "e1000").stdout
    assert "no nook" in refused(cli("release", "e1000", status=1))


def test_what_is_refused(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.ko"
    bad.write_bytes(b"\x7fELF, but not really")
    refused(cli("deploy", str(bad), status=1))
    refused(cli("restart", "no_such", status=1))
    refused(cli("deploy", "e1000", "--level", "no_such", status=2))
    refused(cli("inject", "ud2", "--driver", "virtio_net", status=1))
    refused(cli("status", "--vm", "no-such", status=4))
    assert cli("vm", "ssh", VM, "sh", "-c", "exit 7", status=7).stdout == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_is_ended_takes_its_guest_along(
    cli: Cli, tmp_path: Path, number: signal.Signals
) -> None:
    # whoever runs the tests in the background may have it ignored
    argv = ["env", f"--default-signal={number.name[3:]}"]
    argv += [sys.executable, "-m", "pynooks.cli.main", "bench", "traffic"]
    env = {**cli.env, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(argv, env=env, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + LIMIT_S
        while not (started := list(tmp_path.glob("pynooks-bench-*/qemu.cmd"))):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        guest = started[0].parent
        process.send_signal(number)
        assert process.wait(LIMIT_S) == 128 + number
    assert not guest.exists()
    assert subprocess.run(["pgrep", "-f", str(guest)], check=False).returncode == 1


def test_a_guest_that_dies_is_status_3(cli: Cli) -> None:
    done = cli("vm", "ssh", VM, "sh", "-c", "echo c >/proc/sysrq-trigger; sleep 20", status=3)
    assert "sysrq triggered crash" in done.stderr
    assert "is not running" in refused(cli("status", "--vm", VM, status=4))
