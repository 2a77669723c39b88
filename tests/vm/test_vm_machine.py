# SPDX-License-Identifier: GPL-2.0-only
"""A guest boots, dies in several ways, is frozen and restored; each is told by its name."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pynooks.errors import (
    CheckError,
    GuestBootError,
    GuestCrashError,
    GuestHangError,
    InfraError,
)
from pynooks.vm import boot, registry
from pynooks.vm.machine import Snapshot, VerdictKind, Vm, VmSpec
from pynooks.vm.ssh import CommandTimeoutError

pytestmark = pytest.mark.vm
SPEC = VmSpec(name="test-vm", hang_s=8.0)
PATCHING_S = 120
# a tracepoint and what comes with it; time stamps of packets; and somebody who runs through both
PATCHING = """
cd /sys/kernel/tracing/events/signal/signal_generate
while :; do echo 1 >enable; echo 0 >enable; done &
while :; do ping -q -c 2 -i 0.01 127.0.0.1; done &
while :; do cat /proc/stat /proc/vmstat; done
"""


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A guest that was booted once; every test below gets its own copy."""
    path = tmp_path_factory.mktemp("frozen")
    with Vm.start(SPEC, path) as vm:
        return vm.freeze(path / "base.qcow2")


@pytest.fixture
def guest(frozen: Snapshot, tmp_path: Path) -> Iterator[Vm]:
    with Vm.restore(frozen, tmp_path) as vm:
        yield vm


def test_commands_files_and_streams(guest: Vm, tmp_path: Path) -> None:
    assert guest.run(["uname", "-r"]).stdout.strip() == guest.image.kernel_release
    assert guest.run("exit 7", check=False).status == 7
    assert guest.run(["echo", "a b", "$HOME"]).stdout == "a b $HOME\n"
    with pytest.raises(CheckError, match="status 1"):
        guest.run("echo reason >&2; false")
    with pytest.raises(CommandTimeoutError, match="1 s: sleep 60"):
        guest.run(["sleep", "60"], timeout=1)

    here, back = tmp_path / "script", tmp_path / "back"
    here.write_bytes(b"#!/bin/sh\necho ran\n" + os.urandom(300_000))
    here.chmod(0o755)
    guest.put(here, "/root/script")
    guest.get("/root/script", back)
    assert back.read_bytes() == here.read_bytes()
    assert guest.run(["test", "-x", "/root/script"]).status == 0
    with pytest.raises(InfraError, match="/nonexistent"):
        guest.get("/nonexistent", back)

    with guest.open_stream(["cat"]) as stream:
        for text in (b"one\n", b"two\n"):
            stream.stdin.write(text)
            assert stream.stdout.readline(timeout=10) == text
        stream.stdin.close()
        assert stream.stdout.readline(timeout=10) == b""
        assert stream.wait(10) == 0
    assert guest.verdict() is None


def test_the_guest_has_the_stock_driver_unloaded_and_no_way_out(guest: Vm) -> None:
    assert "e1000" not in guest.run(["cat", "/proc/modules"]).stdout
    guest.run(["modprobe", "e1000"])
    links = guest.run(["ip", "-br", "link"]).stdout
    assert "eth0" in links
    assert "eth1" in links
    assert guest.run("ip route add default via 10.0.2.2", check=False).status == 0
    assert guest.run("ping -c1 -W2 10.0.2.2 && ping -c1 -W2 1.1.1.1", check=False).status != 0
    shipped = guest.image.module("e1000").read_bytes()
    name = guest.run(["modinfo", "-n", "e1000"]).stdout.strip()
    assert guest.run(["sha256sum", name]).stdout.split()[0] == hashlib.sha256(shipped).hexdigest()


def test_a_panic_is_seen_within_seconds_with_its_title(guest: Vm) -> None:
    began = time.monotonic()
    with pytest.raises(GuestCrashError, match="sysrq triggered crash") as e:
        guest.run("echo c > /proc/sysrq-trigger", timeout=60)
    assert time.monotonic() - began < 5
    assert "sysrq_handle_crash" in e.value.console
    found = guest.verdict()
    assert found is not None
    assert (found.kind, found.source) == (VerdictKind.PANIC, "serial")


def test_a_reset_without_a_word_is_no_panic(guest: Vm) -> None:
    with pytest.raises(GuestCrashError, match="reset without a word"):
        guest.run("echo b > /proc/sysrq-trigger", timeout=60)


def test_a_stopped_guest_hangs(guest: Vm) -> None:
    guest.monitor.execute("stop")
    began = time.monotonic()
    with pytest.raises(GuestHangError, match="no answer"):
        guest.run(["true"], timeout=60)
    assert time.monotonic() - began < 2 * SPEC.hang_s


def test_a_killed_qemu_says_nothing_about_the_guest(guest: Vm) -> None:
    os.kill(_pid(guest), signal.SIGKILL)
    with pytest.raises(InfraError, match="QEMU ended with status -9"):
        guest.run(["sleep", "30"], timeout=60)


def _pid(guest: Vm) -> int:
    """The QEMU whose command line names this guest's console log."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if str(guest.console_log.resolve()).encode() in words and b"qemu" in words[:40]:
            return int(path.parent.name)
    raise AssertionError("no QEMU of this guest")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rdinit=/nonexistent",), "died while booting: panic: "),
        (("nooks.probe",), "powered off"),
    ],
)
def test_a_guest_that_never_boots(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    spec = VmSpec(name="test-noboot", extra_cmdline=words, stall_s=10)
    began = time.monotonic()
    with pytest.raises(GuestBootError, match=said) as e:
        Vm.start(spec, tmp_path)
    assert time.monotonic() - began < 30
    assert e.value.console
    assert not (tmp_path / "console.stalled.log").exists()


def test_a_guest_that_stands_still_is_booted_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalls: list[str] = []
    monkeypatch.setattr(boot, "stalls", stalls)
    spec = VmSpec(name="test-stall", extra_cmdline=("console=tty0",), stall_s=5)
    steps: list[str] = []
    with pytest.raises(GuestBootError, match="went silent") as e:  # silence, not the time limit
        Vm.start(spec, tmp_path, steps.append)
    assert e.value.console
    assert len(stalls) == 1
    assert len([step for step in steps if "booting once more" in step]) == 1
    assert "went silent" in stalls[0]
    assert (tmp_path / "console.stalled.log").stat().st_size


def test_a_qemu_that_does_not_start_is_infrastructure(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="nosuchdevice"):
        Vm.start(VmSpec(name="test-noqemu", extra_devices=("nosuchdevice",)), tmp_path)


def test_restored_guests_differ_in_randomness(frozen: Snapshot, tmp_path: Path) -> None:
    seen = []
    for i in range(2):
        with Vm.restore(frozen, tmp_path / str(i)) as vm:
            seen.append(vm.run("head -c 32 /dev/urandom | sha256sum; date +%s").stdout.split())
    assert seen[0][0] != seen[1][0]
    assert abs(int(seen[1][2]) - time.time()) < 30


@pytest.mark.slow
def test_kernel_text_changes_all_the_time(guest: Vm) -> None:
    """QEMU before 8.1 brings this guest to a stand (stale.py), on a busy host within a minute."""
    guest.run(f"setsid sh -c '{PATCHING}' >/dev/null 2>&1 </dev/null &")
    assert guest.wait_verdict(PATCHING_S) is None
    guest.run(["true"])


def test_a_device_comes_and_goes(guest: Vm) -> None:
    guest.run(["modprobe", "e1000"])
    mac = "52:54:00:6e:00:09"
    guest.hotplug("e1000", id="extra", bus="spare0", mac=mac, romfile="")
    deadline = time.monotonic() + 20
    while mac not in guest.run("cat /sys/class/net/*/address", check=False).stdout:
        assert time.monotonic() < deadline
    guest.unplug("extra")
    assert mac not in guest.run("cat /sys/class/net/*/address").stdout


def test_a_guest_in_the_background_outlives_its_starter(
    frozen: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = Vm.restore(frozen, tmp_path)  # under the real cache: it finds the image
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    try:
        vm.detach()
        with Vm.attach(SPEC.name) as again:
            assert again.run(["uname", "-s"]).stdout == "Linux\n"
            again.nmi()
        with Vm.attach(SPEC.name) as again:
            assert again.wait_verdict(1) is None
            assert "NMI" in again.console_tail()
    finally:
        registry.stop(SPEC.name)
    with pytest.raises(InfraError, match="no VM"):
        Vm.attach(SPEC.name)
