# SPDX-License-Identifier: GPL-2.0-only
"""VM specification and the QEMU command line made of it."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

from pynooks.errors import InfraError, UsageError
from pynooks.vm import cmdline, paths, recipe, registry
from pynooks.vm.spec import MGMT_MAC, Files, Nic, VmSpec, nic_device, qemu_argv

FILES = Files(
    vmlinux=Path("/x/vmlinux"),
    initrd=Path("/x/initrd"),
    overlay=Path("/x/a,b/overlay.qcow2"),
    console_socket=Path("/s/console"),
    console_log=Path("/x/console.log"),
    monitor_socket=Path("/s/monitor"),
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Bad_Name"}, "VM name"),
        ({"name": ""}, "VM name"),
        ({"name": "../x"}, "VM name"),
        ({"name": "x" * 32}, "VM name"),
        ({"smp": 0}, "smp"),
        ({"memory_mib": 64}, "memory_mib"),
        ({"image": "huge"}, "unknown image"),
        ({"accel": "hvf"}, "unknown accelerator"),
        ({"icount": 1}, "only TCG"),
        ({"icount": 11, "accel": "tcg"}, "icount"),
        ({"spare_ports": -1}, "spare_ports"),
        ({"nics": (Nic(), Nic())}, "one MAC"),
        ({"hang_s": 0.0}, "limit"),
    ],
)
def test_bad_specs_are_usage_errors(change: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        VmSpec(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize("nic", [("e1000,mac=x",), ("",), ("e1000", "52:54"), ("e1000", MGMT_MAC)])
def test_bad_nics_are_usage_errors(nic: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        Nic(*nic)


def values(argv: list[str], option: str) -> list[str]:
    return [value for key, value in pairwise(argv) if key == option]


@pytest.mark.parametrize("accel", ["kvm", "tcg"])
@pytest.mark.parametrize("nics", [(), (Nic(),), VmSpec().nics])
def test_the_guest_reaches_nobody(accel: str, nics: tuple[Nic, ...]) -> None:
    argv = qemu_argv(VmSpec(nics=nics), FILES, accel)  # type: ignore[arg-type]
    netdevs = values(argv, "-netdev")
    users = [text for text in netdevs if text.startswith("user,")]
    assert len(users) == 1
    assert ",restrict=on," in users[0]
    assert "hostfwd=tcp:127.0.0.1:0-" in users[0]
    others = [text for text in netdevs if not text.startswith("user,")]
    assert len(others) == len(nics)
    assert all(text.startswith("hubport,") and ",hubid=1" in text for text in others)
    assert not any(word in " ".join(argv) for word in ("tap", "bridge", "0.0.0.0", "vnc"))


def test_a_guest_that_panics_ends_and_keeps_its_log() -> None:
    argv = qemu_argv(VmSpec(), FILES, "tcg")
    assert "-no-reboot" in argv
    assert values(argv, "-action") == ["panic=none"]
    assert "panic=-1" in values(argv, "-append")[0].split()
    chardevs = values(argv, "-chardev")
    assert any("logfile=/x/console.log" in text and "wait=on" in text for text in chardevs)


def test_e1000_and_management_are_different_nics() -> None:
    devices = values(qemu_argv(VmSpec(), FILES, "tcg"), "-device")
    assert sum(text.startswith("driver=e1000,") for text in devices) == 2
    assert sum(text.startswith("virtio-net-pci,netdev=mgmt") for text in devices) == 1


def test_nics_that_can_be_pulled_have_ports_of_their_own() -> None:
    spec = VmSpec(pluggable=True, spare_ports=2)
    devices = values(qemu_argv(spec, FILES, "tcg"), "-device")
    ports = [dict(p.split("=") for p in d.split(",")[1:]) for d in devices if "root-port" in d]
    assert len({port["chassis"] for port in ports}) == len(ports) == 4
    for number in range(2):
        nic = nic_device(spec, number)
        assert nic["bus"] in {port["id"] for port in ports}
        assert ",".join(f"{k}={v}" for k, v in nic.items()) in devices


def test_commas_in_paths_are_escaped() -> None:
    (drive,) = values(qemu_argv(VmSpec(), FILES, "tcg"), "-drive")
    assert drive.endswith("file=/x/a,,b/overlay.qcow2")


def test_restore_changes_nothing_but_loadvm() -> None:
    saved = qemu_argv(VmSpec(), FILES, "tcg")
    assert qemu_argv(VmSpec(), FILES, "tcg", "base") == [*saved, "-loadvm", "base"]


def test_paging_levels_and_keys() -> None:
    def cpu(**change: bool) -> str:
        spec = VmSpec(**change)  # type: ignore[arg-type]
        return values(qemu_argv(spec, FILES, "tcg"), "-cpu")[0]

    assert cpu() == "max,la57=off"
    assert cpu(la57=True) == "max,la57=on"
    assert cpu(pks=True) == "max,la57=off,+pks"


def test_instructions_are_counted_by_one_thread() -> None:
    argv = qemu_argv(VmSpec(accel="tcg", icount=1), FILES, "tcg")
    assert argv[argv.index("-icount") + 1] == "shift=1"
    assert argv[argv.index("-accel") + 1] == "tcg,thread=single"
    assert "-icount" not in qemu_argv(VmSpec(), FILES, "tcg")


def test_every_kernel_option_has_a_reason_and_extras_win() -> None:
    assert all(why for _, why in cmdline.OPTIONS)
    words = cmdline.render(["panic=5"]).split()
    assert {"nopti", "nopcid"} <= set(words)
    assert words[-1] == "panic=5"


@pytest.mark.parametrize("kind", recipe.KINDS)
def test_the_recipe_loads_and_its_digest_covers_every_file(
    kind: recipe.ImageKind, tmp_path: Path
) -> None:
    source = paths.recipe_dir()
    for path in source.rglob("*"):
        target = tmp_path / path.relative_to(source)
        if path.is_dir():
            target.mkdir(exist_ok=True, parents=True)
        else:
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_bytes(path.read_bytes())
            target.chmod(path.stat().st_mode)
    before = recipe.load(kind, tmp_path).digest
    assert before == recipe.load(kind, source).digest
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        old = path.read_bytes()
        path.write_bytes(old + b"\n")
        assert recipe.load(kind, tmp_path).digest != before
        path.write_bytes(old)


def test_full_is_slim_and_bcc() -> None:
    slim, full, systemd = (
        set(recipe.load(kind, paths.recipe_dir()).packages) for kind in recipe.KINDS
    )
    assert full - slim == {"python3-bpfcc"}
    assert slim <= full
    assert systemd - slim == {"systemd-sysv", "udev"}


def test_unknown_image_and_damaged_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="huge"):
        recipe.known_kind("huge")
    (tmp_path / "images.toml").write_text("schema = 1\n")
    with pytest.raises(InfraError, match=r"images\.toml"):
        recipe.load("slim", tmp_path)


def test_registry_keeps_a_spec_and_knows_a_reused_pid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mine = registry.Identity.of(os.getpid())
    state = registry.State(
        spec=VmSpec(name="a-b", extra_cmdline=("x=1",), la57=True),
        workdir=registry.workdir("a-b"),
        image_root=tmp_path,
        accel="tcg",
        identity=mine,
        ssh_port=4711,
        socket_dir=tmp_path / "sockets",
    )
    registry.write(state)
    assert registry.names() == ["a-b"]
    assert registry.read("a-b") == state
    assert mine.alive()
    assert not registry.Identity(mine.pid, mine.start + 1).alive()
    with pytest.raises(UsageError, match="runs already"):
        registry.check_free("a-b")

    path = registry.workdir("a-b") / "state.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "start": data["start"] + 1}))
    registry.check_free("a-b")
    registry.stop("a-b")  # must not kill this process, which only has the pid
    assert registry.names() == []
    with pytest.raises(InfraError, match="no VM a-b"):
        registry.read("a-b")


def test_a_damaged_state_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = registry.workdir("x") / "state.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(InfraError, match="damaged"):
        registry.read("x")
