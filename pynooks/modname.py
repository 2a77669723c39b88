# SPDX-License-Identifier: GPL-2.0-only
"""What a module is called."""

from __future__ import annotations


def module_name(name: str) -> str:
    """As the kernel has it, which knows no `-`; files and people do: ne2k-pci is ne2k_pci."""
    return name.replace("-", "_")
