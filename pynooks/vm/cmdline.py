# SPDX-License-Identifier: GPL-2.0-only
"""The guest's kernel command line as data: every option with its reason."""

from __future__ import annotations

from collections.abc import Iterable

OPTIONS: tuple[tuple[str, str], ...] = (
    ("console=ttyS0,115200", "the serial console is the outside witness"),
    ("earlyprintk=serial,ttyS0,115200", "a kernel that dies early says so"),
    ("panic=-1", "reset at once; with -no-reboot QEMU exits, which the host sees"),
    ("nopti", "our entry stubs are not mapped in the user page tables"),
    ("nopcid", "invlpg reaches only the current PCID, a domain has its own CR3"),
    ("random.trust_cpu=on", "sshd must not wait for entropy"),
)


def render(extra: Iterable[str] = ()) -> str:
    """The command line; `extra` goes last, so it wins."""
    return " ".join([*(text for text, _ in OPTIONS), *extra])
