# SPDX-License-Identifier: GPL-2.0-only
"""Boot a kernel in Bochs, whose TLB keeps what a real one keeps. QEMU's flushes too much.

About 100 s from start to the first line of the guest's init.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from pynooks.errors import GuestBootError, InfraError
from pynooks.vm import cmdline, cpio

CONFIG = """\
plugin_ctrl: unmapped=1, biosdev=1, speaker=0, extfpuirq=1, parallel=0, serial=1, iodebug=0
config_interface: textconfig
display_library: rfb, options="timeout=0"
memory: guest=256, host=256
romimage: file=$BXSHARE/BIOS-bochs-latest
vgaromimage: file=$BXSHARE/VGABIOS-lgpl-latest
cpu: model=zambezi, count=1, ips=50000000, reset_on_triple_fault=0
clock: sync=none
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=serial.txt
log: bochs.log
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
"""
GRUB = """\
set timeout=0
menuentry guest {{
	linux /vmlinuz {options}
	initrd /initrd
}}
"""
TAIL_LINES = 40


def make_initrd(files: dict[str, Path]) -> bytes:
    """An initramfs: name in the guest -> file here, with its permission bits."""
    folders = sorted({"/".join(p[:i]) for n in files for p in [n.split("/")]
                      for i in range(1, len(p))})  # fmt: skip
    entries = [cpio.directory("dev"), cpio.chardev("dev/console", 5, 1)]
    entries += [cpio.directory(name) for name in folders]
    entries += [
        cpio.regular(name, path.read_bytes(), path.stat().st_mode & 0o777)
        for name, path in files.items()
    ]
    return cpio.archive(entries)


def make_iso(workdir: Path, vmlinuz: Path, initrd: bytes) -> None:
    """boot.iso: grub, the kernel, the initrd."""
    tree = workdir / "iso"
    (tree / "boot/grub").mkdir(parents=True)
    shutil.copyfile(vmlinuz, tree / "vmlinuz")
    (tree / "initrd").write_bytes(initrd)
    options = cmdline.render()
    (tree / "boot/grub/grub.cfg").write_text(GRUB.format(options=options))
    argv = ["grub-mkrescue", "-o", "boot.iso", "iso"]
    try:
        done = subprocess.run(argv, cwd=workdir, capture_output=True, text=True, check=False)
    except FileNotFoundError as e:
        raise InfraError("no grub-mkrescue", hint="make test-tlb installs it") from e
    if done.returncode:
        raise InfraError(f"grub-mkrescue: {done.stderr.strip()}", hint="make test-tlb installs it")


def run_bochs(workdir: Path, until: str, timeout: float) -> str:
    """Boot boot.iso until the console has a line that begins with `until`. Gives the console.

    Raises GuestBootError, with the console's tail, if Bochs ends or the time is over before.
    """
    (workdir / "bochsrc").write_text(CONFIG)
    (workdir / "commands").write_text("c\n")  # Debian's Bochs has the debugger: continue
    console = workdir / "serial.txt"
    argv = ["bochs", "-q", "-f", "bochsrc", "-rc", "commands"]
    with (workdir / "stdout").open("wb") as out:
        try:
            process = subprocess.Popen(
                argv, cwd=workdir, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        except FileNotFoundError as e:
            raise InfraError("no Bochs", hint="make test-tlb installs it") from e
    deadline = time.monotonic() + timeout
    try:
        while True:
            ended = process.poll() is not None
            text = console.read_text(errors="replace") if console.exists() else ""
            if any(line.startswith(until) for line in text.splitlines()):
                return text
            if ended or time.monotonic() > deadline:
                why = f"Bochs ended with status {process.returncode}" if ended else "the time is up"
                raise GuestBootError(
                    f"{why} before the guest said {until}",
                    hint=f"its console: {console}",
                    console="\n".join(text.splitlines()[-TAIL_LINES:]),
                )
            time.sleep(0.5)
    finally:
        process.kill()
        process.wait()
