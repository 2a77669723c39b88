# SPDX-License-Identifier: GPL-2.0-only
"""Which NIC of QEMU a stock driver drives. The one table of it."""

from __future__ import annotations

from pynooks.errors import UsageError
from pynooks.modname import module_name
from pynooks.vm.spec import Nic

MODELS = {
    "8139cp": "rtl8139",
    "e100": "i82557b",
    "e1000": "e1000",
    "e1000e": "e1000e",
    "ne2k_pci": "ne2k_pci",
    "pcnet32": "pcnet",
    "tulip": "tulip",
    "vmxnet3": "vmxnet3",
}


def nics_of(*drivers: str) -> tuple[Nic, ...]:
    """Two NICs for each driver. Raises UsageError for one whose device QEMU does not have."""
    out: list[Nic] = []
    for driver in drivers:
        model = MODELS.get(module_name(driver))
        if model is None:
            raise UsageError(
                f"no model of a NIC is known for driver {driver}",
                hint=f"one of: {', '.join(MODELS)}",
            )
        for _ in range(2):
            out.append(Nic(model=model, mac=f"52:54:00:6e:00:{len(out) + 1:02x}"))
    return tuple(out)
