# SPDX-License-Identifier: GPL-2.0-only
"""Can a target run nooks.ko? Facts in, checks out; each with its remedy. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BOOT_OPTIONS = "nopti nopcid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question and its answer. remedy: empty if it is good. needed: deploy refuses without."""

    name: str
    good: bool
    found: str
    remedy: str = ""
    needed: bool = True


def suitable(facts: Mapping[str, Any]) -> tuple[Check, ...]:
    """facts: the agent's method of that name."""
    boot = f"add `{BOOT_OPTIONS}` to the target's kernel command line and reboot it"
    lockdown = facts["lockdown"] or "[none]"
    return (
        _check("machine", facts["machine"] == "x86_64", facts["machine"], "use an amd64 target"),
        _check("root", facts["uid"] == 0, f"uid {facts['uid']}", "log in as root"),
        _check("pti", not facts["pti"], "on" if facts["pti"] else "off", boot),
        _check("pcid", not facts["pcid"], "on" if facts["pcid"] else "off", boot),
        _check(
            "lockdown",
            "[none]" in lockdown,
            lockdown,
            "boot with Secure Boot off, or without lockdown=",
        ),
        _check(
            "signatures",
            facts["sig_enforce"] in (None, "N"),
            "enforced" if facts["sig_enforce"] == "Y" else "not enforced",
            "boot without module.sig_enforce",
        ),
        _check(
            "btf",
            facts["btf"],
            "present" if facts["btf"] else "absent",
            "use a kernel with CONFIG_DEBUG_INFO_BTF, as Debian's",
        ),
        _check(
            "bcc",
            facts["bcc"],
            "present" if facts["bcc"] else "absent",
            "for `pynooks trace`: apt install python3-bpfcc linux-headers-amd64 on the target, "
            "or `pynooks vm start --image full`",
            needed=False,
        ),
    )


def _check(name: str, good: bool, found: str, remedy: str, *, needed: bool = True) -> Check:
    return Check(name=name, good=good, found=found, remedy="" if good else remedy, needed=needed)
