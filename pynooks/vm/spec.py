# SPDX-License-Identifier: GPL-2.0-only
"""What a VM is, as plain data, and the QEMU command line made of it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from pynooks.errors import UsageError
from pynooks.vm import cmdline, recipe
from pynooks.vm.recipe import ImageKind

AccelChoice = Literal["auto", "kvm", "tcg"]
Accel = Literal["kvm", "tcg"]

GUEST_ADDRESS = "10.0.2.15"  # slirp's default; vm/rootfs/usr/lib/pynooks/boot sets the same
MGMT_MAC = "52:54:00:6e:00:ff"
HUB = 1
SPARE_PORT, NIC_PORT = "spare", "port"
_NIC_SLOTS = 16  # from here on, and its chassis: no spare port is there
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Nic:
    """One NIC under test. All of a VM's sit on one hub, and on nothing else."""

    model: str = "e1000"
    mac: str = "52:54:00:6e:00:01"

    def __post_init__(self) -> None:
        if not _MODEL.fullmatch(self.model):
            raise UsageError(f"bad NIC model {self.model!r}", hint="as in qemu -device help")
        if not _MAC.fullmatch(self.mac) or self.mac == MGMT_MAC:
            raise UsageError(f"bad MAC address {self.mac!r}", hint="like 52:54:00:6e:00:01")


TWO_E1000 = (Nic(mac="52:54:00:6e:00:01"), Nic(mac="52:54:00:6e:00:02"))


@dataclass(frozen=True, slots=True, kw_only=True)
class VmSpec:
    """A virtual machine.

    memory_mib:     guest memory
    accel:          auto probes KVM and takes TCG if it cannot boot the kernel
    nics:           NICs under test, joined by one hub; the management NIC is extra
    la57:           5-level paging
    pks:            supervisor protection keys (TCG only)
    icount:         None, or an instruction takes 2**icount ns of the guest's time (TCG only)
    pluggable:      each NIC under test is in a PCIe root port of its own, and can be pulled
    sleeps:         it can be suspended (qemu.py has what that takes)
    spare_ports:    empty PCIe root ports for hot-plugging (device_add bus=spare0)
    extra_cmdline:  appended to the kernel command line
    extra_devices:  further -device arguments
    boot_s:         limit from QEMU's start to the boot marker
    stall_s:        limit without a single console byte while booting
    hang_s:         limit without an answer from sshd while a command runs
    """

    name: str = "nooks"
    smp: int = 2
    memory_mib: int = 1024
    image: ImageKind = "slim"
    accel: AccelChoice = "auto"
    nics: tuple[Nic, ...] = TWO_E1000
    la57: bool = False
    pks: bool = False
    icount: int | None = None
    pluggable: bool = False
    sleeps: bool = False
    spare_ports: int = 1
    extra_cmdline: tuple[str, ...] = ()
    extra_devices: tuple[str, ...] = ()
    boot_s: float = 120.0
    stall_s: float = 25.0
    hang_s: float = 15.0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"bad VM name {self.name!r}", hint="lower-case letters, digits, '-'; at most 31"
            )
        for what, value, low, high in (
            ("smp", self.smp, 1, 64),
            ("memory_mib", self.memory_mib, 256, 65536),
            ("spare_ports", self.spare_ports, 0, 8),
            ("number of NICs", len(self.nics), 0, 8),
            ("icount", self.icount or 0, 0, 10),
        ):
            if not low <= value <= high:
                raise UsageError(f"{what} is {value}", hint=f"allowed: {low} to {high}")
        if self.image not in recipe.KINDS:
            raise UsageError(f"unknown image {self.image!r}", hint=f"one of: {recipe.KINDS}")
        if self.accel not in get_args(AccelChoice):
            raise UsageError(f"unknown accelerator {self.accel!r}", hint="one of: auto, kvm, tcg")
        if self.icount is not None and self.accel != "tcg":
            raise UsageError("only TCG counts instructions", hint="accel='tcg'")
        if len({nic.mac for nic in self.nics}) != len(self.nics):
            raise UsageError("two NICs have one MAC address", hint="give each its own")
        if min(self.boot_s, self.stall_s, self.hang_s) <= 0:
            raise UsageError("a time limit is not positive", hint="seconds > 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Host paths that one VM uses. The sockets lie in a short directory (limit: 107 bytes)."""

    vmlinux: Path
    initrd: Path
    overlay: Path
    console_socket: Path
    console_log: Path
    monitor_socket: Path


def cpu_model(spec: VmSpec, accel: Accel) -> str:
    model = "host" if accel == "kvm" else "max"
    if accel == "tcg":
        model += f",la57={'on' if spec.la57 else 'off'}"
        if spec.pks:
            model += ",+pks"
    return model


def qemu_argv(spec: VmSpec, files: Files, accel: Accel, loadvm: str | None = None) -> list[str]:
    """The QEMU command line. Saving and loading a snapshot need the very same one."""
    argv = ["qemu-system-x86_64", "-name", f"nooks-{spec.name}"]
    argv += ["-nodefaults", "-no-user-config", "-display", "none"]
    argv += ["-machine", "q35", "-cpu", cpu_model(spec, accel)]
    # Two threads, one per guest CPU: only then do races of the entry code show up under TCG.
    threads = "multi" if spec.icount is None else "single"
    argv += ["-accel", "kvm" if accel == "kvm" else f"tcg,thread={threads}"]
    if spec.icount is not None:
        argv += ["-icount", f"shift={spec.icount}"]
    argv += ["-smp", str(spec.smp), "-m", str(spec.memory_mib)]
    # The HPET can send NMIs then, as real ones can (kmod/xpc/nmi.c).
    argv += ["-global", "hpet.msi=on"]
    # A panic must not power off before the console is drained: QEMU exits on the reset.
    argv += ["-no-reboot", "-action", "panic=none", "-device", "pvpanic"]
    # Every restore of a snapshot gets a new identity, so its random numbers differ.
    argv += ["-device", "vmgenid,guid=auto"]
    argv += ["-kernel", str(files.vmlinux), "-initrd", str(files.initrd)]
    argv += ["-append", cmdline.render(spec.extra_cmdline)]
    # unsafe: nothing is flushed; the overlay is thrown away with the VM.
    argv += ["-drive", f"if=none,id=root,format=qcow2,cache=unsafe,file={_escape(files.overlay)}"]
    argv += ["-device", "virtio-blk-pci,drive=root"]
    # restrict: the guest reaches nobody. Port 0: the kernel picks a free one, without a race.
    argv += ["-netdev", f"user,id=mgmt,restrict=on,hostfwd=tcp:127.0.0.1:0-{GUEST_ADDRESS}:22"]
    argv += ["-device", f"virtio-net-pci,netdev=mgmt,mac={MGMT_MAC},romfile="]
    for i in range(len(spec.nics)):
        argv += ["-netdev", f"hubport,id=hub{i},hubid={HUB}"]
        if spec.pluggable:
            argv += _port(f"{NIC_PORT}{i}", _NIC_SLOTS + i)
        argv += ["-device", ",".join(f"{k}={v}" for k, v in nic_device(spec, i).items())]
    for i in range(spec.spare_ports):
        argv += _port(f"{SPARE_PORT}{i}", i + 1)
    for device in spec.extra_devices:
        argv += ["-device", device]
    # wait=on: QEMU starts the guest when the console is connected, so no byte is lost.
    argv += [
        "-chardev",
        f"socket,id=console,server=on,wait=on,path={_escape(files.console_socket)}"
        f",logfile={_escape(files.console_log)},logappend=off",
    ]
    argv += ["-serial", "chardev:console"]
    argv += [
        "-chardev",
        f"socket,id=monitor,server=on,wait=off,path={_escape(files.monitor_socket)}",
    ]
    argv += ["-mon", "chardev=monitor,mode=control"]
    if loadvm is not None:
        argv += ["-loadvm", loadvm]
    return argv


def nic_device(spec: VmSpec, number: int) -> dict[str, str]:
    """A NIC under test, as QEMU wants it on its command line and for device_add."""
    nic = spec.nics[number]
    device = {"driver": nic.model, "netdev": f"hub{number}", "id": f"nic{number}"}
    if spec.pluggable:
        device["bus"] = f"{NIC_PORT}{number}"
    return {**device, "mac": nic.mac, "romfile": ""}


def _port(name: str, slot: int) -> list[str]:
    return ["-device", f"pcie-root-port,id={name},chassis={slot},slot={slot}"]


def _escape(path: Path) -> str:
    """QEMU's option parser wants commas doubled."""
    return str(path).replace(",", ",,")
