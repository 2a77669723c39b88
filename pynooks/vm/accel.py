# SPDX-License-Identifier: GPL-2.0-only
"""Choose an accelerator by trying it: /dev/kvm may open, make a VM, and still hang the kernel.

The verdict is cached per kernel, KVM device and host boot.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from pynooks.errors import InfraError
from pynooks.vm import cmdline, paths
from pynooks.vm.image import Image
from pynooks.vm.spec import Accel, AccelChoice
from pynooks.vm.tree import Progress

_log = logging.getLogger(__name__)
LIMIT_S = 8.0
_MARKER = b"NOOKS-PROBE-OK"
_HINT_QEMU = "apt-get install qemu-system-x86"


@dataclass(frozen=True, slots=True)
class Choice:
    """The accelerator taken, and why."""

    accel: Accel
    reason: str


def choose(wanted: AccelChoice, image: Image, progress: Progress = _log.info) -> Choice:
    """Resolve auto|kvm|tcg. Raises InfraError if KVM is demanded and cannot boot the kernel."""
    if wanted == "tcg":
        return Choice("tcg", "asked for")
    problem = _kvm_problem(image, progress)
    if problem is None:
        return Choice("kvm", "boots the kernel")
    if wanted == "kvm":
        raise InfraError(f"KVM is not usable: {problem}", hint="use --accel tcg (slower)")
    return Choice("tcg", f"KVM is not usable: {problem}")


def _kvm_problem(image: Image, progress: Progress) -> str | None:
    """None if KVM works, else what is wrong with it."""
    device = Path("/dev/kvm")
    try:
        stat = device.stat()
    except OSError:
        return "there is no /dev/kvm"
    if not os.access(device, os.R_OK | os.W_OK):
        return "/dev/kvm may not be opened by this user (group kvm)"
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    identity = f"{image.tree.version} {stat.st_rdev} {stat.st_ino} {boot_id} {image.root.name}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:20]
    cache = paths.cache_dir() / "accel" / f"{key}.json"
    try:
        problem = json.loads(cache.read_text())["problem"]
        return None if problem is None else str(problem)
    except (OSError, ValueError, KeyError):
        pass
    progress(f"trying KVM: does it boot the kernel within {LIMIT_S:.0f} s?")
    problem = probe_kvm(image.vmlinux, image.initrd)
    progress(f"KVM: {problem or 'works'}")
    cache.parent.mkdir(parents=True, exist_ok=True)
    part = cache.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps({"schema": 1, "problem": problem}))
    os.replace(part, cache)
    return problem


def probe_kvm(vmlinux: Path, initrd: Path, limit_s: float = LIMIT_S) -> str | None:
    """Boot to a marker on the console under KVM. None if it appeared in time."""
    argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"]
    argv += ["-machine", "q35", "-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", "512"]
    argv += ["-no-reboot", "-serial", "stdio", "-kernel", str(vmlinux), "-initrd", str(initrd)]
    argv += ["-append", cmdline.render(["nooks.probe"])]
    _log.debug("run: %s", shlex.join(argv))
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except FileNotFoundError as e:
        raise InfraError("qemu-system-x86_64 is not installed", hint=_HINT_QEMU) from e
    seen = b""
    deadline = time.monotonic() + limit_s
    try:
        if process.stdout is None:
            raise InfraError("no pipe from QEMU", hint=_HINT_QEMU)
        os.set_blocking(process.stdout.fileno(), False)
        while time.monotonic() < deadline:
            seen += process.stdout.read() or b""
            if _MARKER in seen:
                return None
            if process.poll() is not None:
                seen += process.stdout.read() or b""
                last = seen.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
                return None if _MARKER in seen else f"QEMU ended: {last[0]}"
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    said = "said nothing" if not seen.strip() else f"stopped after {len(seen)} bytes of console"
    return f"the kernel did not boot within {limit_s:.0f} s ({said})"
