# SPDX-License-Identifier: GPL-2.0-only
"""Build tests/hostile/ against a guest's kernel, and relink what lives in a nook."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pynooks.build.builder import BuiltModule, build_module, headers_dir
from pynooks.errors import InfraError
from pynooks.relink import load_plan, relink
from pynooks.vm.image import Image

TESTS = Path(__file__).resolve().parents[1]
SOURCES = TESTS / "hostile"
IN_A_NOOK = ("hostile", "bystander")


@dataclass(frozen=True, slots=True)
class Hostile:
    """nooks: the module under test; victim: a plain module; relinked: by driver name."""

    nooks: BuiltModule
    victim: Path
    relinked: dict[str, Path]


def make_hostile(
    image: Image, workdir: Path, progress: Callable[[str], None] = lambda _: None
) -> Hostile:
    """All modules, in `workdir`."""
    release = image.kernel_release
    nooks = build_module(release, image.vmlinux, progress)
    work = workdir / "hostile"
    shutil.copytree(SOURCES, work)
    _run(["make", "-C", str(headers_dir(release)), f"M={work}", "-j2", "modules"])
    plan = load_plan(release, nooks_symvers=nooks.symvers)
    relinked = {}
    for name in IN_A_NOOK:
        relinked[name] = work / f"{name}.nook.ko"
        relinked[name].write_bytes(relink((work / f"{name}.ko").read_bytes(), plan)[0])
    return Hostile(nooks, work / "victim.ko", relinked)


def make_policy_tool(workdir: Path) -> Path:
    """tests/tlb/policy.c, static: it runs in a guest that has nothing else."""
    out = workdir / "policy"
    uapi = TESTS.parent / "kmod" / "uapi"
    source = TESTS / "tlb" / "policy.c"
    _run(["gcc", "-static", "-O2", "-Wall", f"-I{uapi}", "-o", str(out), str(source)])
    return out


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise InfraError(f"{argv[0]} failed:\n{tail}", hint="see what it says")
