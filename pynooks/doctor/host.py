# SPDX-License-Identifier: GPL-2.0-only
"""Checks of this host: tools, headers, accelerator, image, room."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

from pynooks.deploy.suitable import Check
from pynooks.vm import paths

# program -> Debian package
TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "gcc": "build-essential",
    "make": "build-essential",
    "ssh": "openssh-client",
}
ROOM_GIB = 6  # two images, a kernel tree, builds


def host_checks() -> tuple[Check, ...]:
    """Changes nothing."""
    checks = [
        _check("python", sys.version_info >= (3, 11), platform.python_version(), "python3 >= 3.11"),
        _check("machine", platform.machine() == "x86_64", platform.machine(), "use an amd64 host"),
    ]
    for program, package in TOOLS.items():
        path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
        checks.append(_check(program, bool(path), path or "absent", f"apt install {package}"))
    checks += [_headers(), _kvm(), _image(), _room()]
    return tuple(checks)


def _check(name: str, good: bool, found: str, remedy: str, *, needed: bool = True) -> Check:
    return Check(name=name, good=good, found=found, remedy="" if good else remedy, needed=needed)


def _headers() -> Check:
    found = sorted(p.parent.name for p in Path("/usr/src").glob("linux-headers-*/Module.symvers"))
    return _check(
        "headers", bool(found), ", ".join(found) or "absent", "apt install linux-headers-amd64"
    )


def _kvm() -> Check:
    device = Path("/dev/kvm")
    return _check(
        "kvm",
        device.exists(),
        "present; `pynooks vm start` probes whether it boots a kernel"
        if device.exists()
        else "absent; TCG is used",
        "none is needed: TCG works, but slower",
        needed=False,
    )


def _image() -> Check:
    found = sorted(p.parent.name for p in paths.cache_dir().glob("images/*/manifest.json"))
    return _check(
        "images", bool(found), ", ".join(found) or "none", "pynooks vm build", needed=False
    )


def _room() -> Check:
    cache = paths.cache_dir()
    home = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(home).free / 2**30
    return _check(
        "room",
        free >= ROOM_GIB,
        f"{free:.0f} GiB free at {home}",
        f"free {ROOM_GIB} GiB, or set XDG_CACHE_HOME to a larger disk",
    )
