# SPDX-License-Identifier: GPL-2.0-only
"""The distribution's kernel, unpacked on the host: vmlinuz, vmlinux, every stock .ko.

Shared by all images of one kernel version: <cache>/kernels/<package>_<version>/.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pynooks.errors import InfraError
from pynooks.modname import module_name
from pynooks.vm import apt, kernel
from pynooks.vm.command import host

Progress = Callable[[str], None]
_HINT_DPKG = "install the package dpkg"


@dataclass(frozen=True, slots=True)
class KernelTree:
    """An unpacked kernel package. `modules_dir` is .../lib/modules/<release>."""

    root: Path
    release: str
    package: str
    version: str
    deb_sha256: str

    @property
    def vmlinux(self) -> Path:
        return self.root / "vmlinux"

    @property
    def vmlinuz(self) -> Path:
        return self.root / "vmlinuz"

    @property
    def modules_dir(self) -> Path:
        return self.root / "lib/modules" / self.release

    def module(self, name: str) -> Path:
        """The stock .ko of a module by its name ('-' and '_' are the same)."""
        return find_module(self.modules_dir, name)


def find_module(modules_dir: Path, name: str) -> Path:
    """A .ko below a module tree. Raises InfraError if the distribution ships none."""
    pattern = re.sub("[-_]", "[-_]", name) + ".ko"
    found = sorted(modules_dir.glob(f"kernel/**/{pattern}"))
    if not found:
        raise InfraError(
            f"{modules_dir.name} has no module {name}",
            hint="check the name; drivers built into the kernel have no .ko",
        )
    return found[0]


def dependencies(module: bytes) -> list[str]:
    """`depends=` of a .ko."""
    match = re.search(rb"\0depends=([^\0]*)\0", module)
    return [name for name in match.group(1).decode().split(",") if name] if match else []


def load_order(tree: KernelTree, names: Iterable[str]) -> list[Path]:
    """The modules and what they depend on, each after its dependencies."""
    order: dict[str, Path] = {}

    def visit(name: str) -> None:
        name = module_name(name)
        if name in order:
            return
        path = tree.module(name)
        for dep in dependencies(path.read_bytes()):
            visit(dep)
        order[name] = path

    for name in names:
        visit(name)
    return list(order.values())


def ensure_tree(meta: str, cache: Path, progress: Progress) -> KernelTree:
    """The tree of the kernel that apt offers, unpacked once."""
    package = apt.behind_meta(apt.candidate(meta), "linux-image-")
    deb = apt.candidate(package)
    final = cache / "kernels" / f"{package}_{deb.version}"
    if (final / "tree.json").is_file():
        return read_tree(final)
    progress(f"fetching {package} {deb.version}")
    path, deb = apt.fetch(package, cache / "kernel-debs")
    progress(f"unpacking {path.name}")
    final.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".kernel-", dir=final.parent))
    try:
        _unpack(path, deb, work)
        work.chmod(0o755)
        os.replace(work, final)
    except OSError:
        if not (final / "tree.json").is_file():  # else another builder was faster
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return read_tree(final)


def read_tree(root: Path) -> KernelTree:
    data = json.loads((root / "tree.json").read_text())
    return KernelTree(root, data["release"], data["package"], data["version"], data["deb_sha256"])


def _unpack(path: Path, deb: apt.Deb, work: Path) -> None:
    host(["dpkg-deb", "-x", str(path), str(work)], timeout=600, hint=_HINT_DPKG)
    (vmlinuz,) = work.glob("boot/vmlinuz-*")
    release = vmlinuz.name.removeprefix("vmlinuz-")
    (work / "vmlinux").write_bytes(kernel.vmlinux(vmlinuz.read_bytes()))
    vmlinuz.rename(work / "vmlinuz")
    (work / f"boot/config-{release}").rename(work / "config")
    shutil.rmtree(work / "boot")
    shutil.rmtree(work / "usr", ignore_errors=True)
    sums = [
        f"{hashlib.sha256(ko.read_bytes()).hexdigest()}  {ko.relative_to(work)}\n"
        for ko in sorted(work.glob("lib/modules/**/*.ko"))
    ]
    (work / "modules.sha256").write_text("".join(sums))
    (work / "tree.json").write_text(
        json.dumps(
            {
                "schema": 1,
                "release": release,
                "package": deb.name,
                "version": deb.version,
                "deb_sha256": deb.sha256,
                "modules": len(sums),
            },
            indent=1,
        )
    )
