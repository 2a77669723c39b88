# SPDX-License-Identifier: GPL-2.0-only
"""Faults of the hardware, made from outside of the guest through QEMU's GDB stub.

Registers: after an instruction of the driver has read one, its destination gets another value. The
rest: words of the NIC's PCI configuration space are written, and interrupts are sent by way of the
address that MSIs go to (PCI 3.0, chapter 6; Intel SDM volume 3, 10.11). A NIC is unplugged by QMP.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

from pynooks.errors import GuestError, GuestHangError, InfraError
from pynooks.inject.hardware import (
    DeviceFault,
    HardwareClass,
    HardwareFault,
    RegisterFault,
    address_of,
)
from pynooks.inject.mutate.code import Insn, decode_one, family
from pynooks.remote.target import Target
from pynooks.vm.gdb import Reached, Stop
from pynooks.vm.machine import Vm
from pynooks.vm.monitor import Monitor
from pynooks.vm.spec import nic_device

PLUG_S = 8.0  # for the guest to give a NIC up, or to find it
STUCK_READS = 500  # each takes a millisecond: what is always wrong is so for the first ones
_JOB_S = 10.0
_AGAIN_S = 0.1
_ECAM = 0xB0000000  # of q35, where QEMU's firmware puts it
_ID, _COMMAND, _STATUS, _BARS, _CAPABILITIES = 0x00, 0x04, 0x06, 0x10, 0x34
_NBARS = 6
_DECODES, _MASTER, _NO_INTX = 0x3, 0x4, 0x400
_HAS_CAPABILITIES = 0x10
_CONTROL = 2
_MSI, _MSIX = 0x05, 0x11
_MSI_ON, _MSI_64 = 0x0001, 0x0080
_MSIX_ON, _MSIX_MASKED = 0x8000, 0x4000
_IOAPIC = 0xFEC00000
_IOWIN = 0x10
_REDIRECTIONS = 0x10
_MSI_ADDRESS = 0xFEE00000


@dataclass(frozen=True, slots=True)
class Nic:
    """The driver's device as QEMU has it. config: physical address of its configuration space"""

    address: str
    config: int
    ident: int


class _Bits(NamedTuple):
    """Of a word in physical memory."""

    at: int
    size: int
    mask: int
    value: int


def _devices(monitor: Monitor) -> list[dict[str, Any]]:
    """The NICs under test as QMP has them, in the order of the guest's command line."""
    found = [d for d in _below(monitor.execute("query-pci")) if d["qdev_id"].startswith("nic")]
    return sorted(found, key=lambda d: str(d["qdev_id"]))


def _below(buses: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All devices, those behind bridges too."""
    for bus in buses:
        for device in bus["devices"]:
            yield device
            yield from _below([device.get("pci_bridge", {"devices": []})])


def nics(monitor: Monitor) -> list[Nic]:
    """In the order of the guest's command line. Raises InfraError."""
    found = []
    for device in _devices(monitor):
        number, slot, function = device["bus"], device["slot"], device["function"]
        at = _ECAM + (number << 20 | slot << 15 | function << 12)
        ident = device["id"]["device"] << 16 | device["id"]["vendor"]
        found.append(Nic(f"0000:{number:02x}:{slot:02x}.{function}", at, ident))
    return found


def registers_at(monitor: Monitor) -> list[range]:
    """Physical addresses of the NICs' registers."""
    return [
        range(region["address"], region["address"] + region["size"])
        for device in _devices(monitor)
        for region in device["regions"]
        if region["type"] == "memory"
    ]


def reads_register(monitor: Monitor, regions: Sequence[range], stop: Stop, insn: Insn) -> bool:
    """Is the load that a CPU stands before one of a register? In a hook."""
    said = monitor.hmp(f"gva2gpa {address_of(insn, stop.__getitem__):#x}")
    _, _, physical = said.strip().partition("gpa: ")
    return bool(physical) and any(int(physical, 16) in region for region in regions)


class Hardware:
    """The faults of one trial; a context manager, from the start of the workload on.

    Leaving it raises InfraError if a fault could not be made.

    hits: seconds after the start by fault, as far as it has come about
    said: why the guest did not take part, else empty
    """

    def __init__(
        self,
        reached: Reached,
        vm: Vm,
        target: Target,
        symbols: Mapping[str, int],
        faults: Mapping[int, HardwareFault],
    ) -> None:
        """Before `reached.go()`. faults: by what `hits` shall call them. Raises InfraError."""
        self.hits: dict[int, float] = {}
        self.said = ""
        self._reached = reached
        self._vm = vm
        self._target = target
        self._began = 0.0
        self._nics = nics(vm.monitor) if faults else []
        self._ended = threading.Event()
        self._why: InfraError | None = None
        self._thread = threading.Thread(target=self._run, name="hardware", daemon=True)
        self._device: list[tuple[int, DeviceFault]] = []
        for i, fault in faults.items():
            if isinstance(fault, RegisterFault):
                self._hook(i, fault, symbols[fault.symbol] + fault.offset)
            else:
                self._device.append((i, fault))

    @property
    def busy(self) -> bool:
        """Is there a fault of a device to come, or one that has not ended?"""
        return self._thread.is_alive()

    def close(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_JOB_S)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        if self._device:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
        if self._why and e is None:
            raise self._why

    # -- registers

    def _hook(self, index: int, fault: RegisterFault, address: int) -> None:
        insn = decode_one(fault.code)
        if insn is None:
            raise InfraError(f"{fault} is not of an instruction", hint="report this")
        to, source = insn.operands
        register = family(to.what[0])
        left = fault.reads or STUCK_READS

        def act(stop: Stop) -> bool:
            nonlocal left
            if stop.step(len(fault.code)) and self._began:
                stop[register] = fault.of_value(stop[register], source.size)
                self.hits.setdefault(index, self._now())
                left -= 1
            return left > 0

        self._reached.hook(address, act)

    def _now(self) -> float:
        return round(time.monotonic() - self._began, 3)

    # -- devices

    def _run(self) -> None:
        """One fault after the other, by time; what ends, ends by itself."""
        todo = sorted(self._device, key=lambda item: item[1].after_s)
        try:
            for i, fault in todo:
                if self._ended.wait(max(0.0, self._began + fault.after_s - time.monotonic())):
                    return
                self._make(i, fault)
        except GuestError as e:
            self.said = str(e)  # what becomes of the guest, others see
        except InfraError as e:
            self._why = e
        except TimeoutError:
            self._why = InfraError("QEMU does not stop the guest", hint="report this")

    def _make(self, index: int, fault: DeviceFault) -> None:
        number = fault.device % len(self._nics)
        nic = self._nics[number]
        if fault.cls is HardwareClass.UNPLUG:
            self.hits[index] = self._now()
            self._unplug(nic, number, fault.for_s)
            return
        if fault.cls is HardwareClass.IRQ_SPURIOUS:
            path = f"/sys/bus/pci/devices/{nic.address}/irq"
            line = int(self._target.run(["cat", path]).stdout)
            for _ in range(fault.count):
                self._do(lambda: self._interrupt(nic, line))
            self.hits[index] = self._now()
            return
        before: list[_Bits] = []
        self._do(lambda: before.extend(self._put(self._bits(nic, fault.cls))))
        self.hits[index] = self._now()
        if fault.for_s:
            self._ended.wait(fault.for_s)
            self._do(lambda: self._put(before))

    def _unplug(self, nic: Nic, number: int, for_s: float) -> None:
        """And plug it in again. Raises GuestError if the guest does not follow."""
        device = nic_device(self._vm.spec, number)
        self._vm.unplug(device["id"], PLUG_S)
        self._ended.wait(for_s)
        self._vm.hotplug(**device)
        # ACPI's event for a plug also tells of each unplug that is still to be done. A guest that
        # hears of one by two events would give up the next device in that port, too.
        deadline = time.monotonic() + PLUG_S
        path = f"/sys/bus/pci/devices/{nic.address}"
        while self._target.run(["test", "-e", path], check=False).status:
            if self._ended.wait(_AGAIN_S):
                return
            if time.monotonic() > deadline:
                raise GuestHangError(
                    f"the guest has not found {nic.address} within {PLUG_S:.0f} s",
                    hint="see its console",
                )

    def _do(self, work: Callable[[], Any]) -> None:
        """While the guest is stopped."""
        self._reached.soon(work).result(timeout=_JOB_S)

    def _read(self, at: int, size: int = 4) -> int:
        return self._reached.read_physical(at, size)

    def _write(self, at: int, value: int, size: int = 4) -> None:
        self._reached.write_physical(at, size, value)

    def _check(self, nic: Nic) -> None:
        if (found := self._read(nic.config + _ID)) != nic.ident:
            raise InfraError(
                f"{nic.address} has id {found:#x} instead of {nic.ident:#x} at {nic.config:#x}",
                hint="does the guest's machine have its PCI configuration elsewhere? report this",
            )

    def _bits(self, nic: Nic, cls: HardwareClass) -> list[_Bits]:
        """What makes the fault."""
        self._check(nic)
        command = nic.config + _COMMAND
        if cls is HardwareClass.DMA_LOST:
            return [_Bits(command, 2, _MASTER, 0)]
        if cls is HardwareClass.IRQ_LOST:
            found = [_Bits(command, 2, _NO_INTX, _NO_INTX)]
            if msi := self._capability(nic, _MSI):
                found.append(_Bits(msi + _CONTROL, 2, _MSI_ON, 0))
            if msix := self._capability(nic, _MSIX):
                found.append(_Bits(msix + _CONTROL, 2, _MSIX_MASKED, _MSIX_MASKED))
            return found
        # at its addresses there is nothing any more, and there will not be
        bars = (nic.config + _BARS + 4 * number for number in range(_NBARS))
        gone = [_Bits(bar, 4, 0xFFFFFFFF, 0) for bar in bars]
        return [_Bits(command, 2, _DECODES | _MASTER, 0), *gone]

    def _put(self, bits: Sequence[_Bits]) -> list[_Bits]:
        """What undoes it."""
        before = []
        for at, size, mask, value in bits:
            found = self._read(at, size)
            before.append(_Bits(at, size, mask, found & mask))
            self._write(at, (found & ~mask) | value, size)
        return before

    def _capability(self, nic: Nic, kind: int) -> int:
        """Physical address, 0 if it has none."""
        if not self._read(nic.config + _STATUS, 2) & _HAS_CAPABILITIES:
            return 0
        offset = self._read(nic.config + _CAPABILITIES, 1)
        while offset:
            at = nic.config + offset
            if self._read(at, 1) == kind:
                return at
            offset = self._read(at + 1, 1)
        return 0

    def _interrupt(self, nic: Nic, line: int) -> None:
        """One that the device has not sent, at the vector of its own ones."""
        self._check(nic)
        msi, msix = self._capability(nic, _MSI), self._capability(nic, _MSIX)
        if msi and (control := self._read(msi + _CONTROL, 2)) & _MSI_ON:
            data = self._read(msi + (0xC if control & _MSI_64 else 0x8), 2)
            self._write(self._read(msi + 4), data)
            return
        if msix and self._read(msix + _CONTROL, 2) & _MSIX_ON:
            where = self._read(msix + 4)
            bar = self._read(nic.config + _BARS + 4 * (where & 7)) & ~0xF
            entry = bar + (where & ~7)
            self._write(self._read(entry), self._read(entry + 8))
            return
        low, high = self._redirection(line)
        to = (high >> 24) << 12 | (low >> 11 & 1) << 2
        self._write(_MSI_ADDRESS | to, low & 0xFF)

    def _redirection(self, line: int) -> tuple[int, int]:
        """The I/O APIC's entry of an interrupt line."""
        before = self._read(_IOAPIC)
        words = []
        for half in (0, 1):
            self._write(_IOAPIC, _REDIRECTIONS + 2 * line + half)
            words.append(self._read(_IOAPIC + _IOWIN))
        self._write(_IOAPIC, before)
        return words[0], words[1]
