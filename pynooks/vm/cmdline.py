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

# Red zones, poison and consistency checks: who writes past a kernel object or into a free one is
# told at its next use, or when all of them are looked at. Without owners (U) the
# kernel would leave out slabs whose objects are all in use (mm/slub.c, add_full()).
WITNESS = ("slub_debug=FZPU",)


def render(extra: Iterable[str] = ()) -> str:
    """The command line; `extra` goes last, so it wins."""
    return " ".join([*(text for text, _ in OPTIONS), *extra])
