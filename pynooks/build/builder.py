# SPDX-License-Identifier: GPL-2.0-only
"""Build nooks.ko for one kernel: copy kmod/, generate, run Kbuild, keep the result.

The cache key covers whatever goes in: sources, policy, generator, BTF, symbol versions, release,
compiler. A finished directory appears by rename, so a broken build leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pynooks
from pynooks.btf import Btf, load_btf
from pynooks.build.generate import Generated, generate
from pynooks.errors import InfraError, RefusedError
from pynooks.policy import Kind, load_policies, policy_dir
from pynooks.relink import load_symvers

log = logging.getLogger(__name__)

PARTS = (
    "core", "domain", "xpc", "runtime", "wrappers", "objtrack", "recovery", "control", "trace",
    "ksym", "uapi",
)  # fmt: skip
SOURCES = ("*.c", "*.h", "*.S")
TOP_FILES = ("nooks.h", "Kbuild", "Makefile")
RUNNING_BTF = Path("/sys/kernel/btf/vmlinux")
WRAPPER = re.compile(r"^u64 wrap_(\w+)\(", re.MULTILINE)
FUNCTION = re.compile(r"^[a-z][\w *]*\bnooks_(\w+)\([^;]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class BuiltModule:
    """A finished build. symvers: CRCs of nooks.ko's own symbols."""

    ko: Path
    symvers: Path
    cached: bool


def kmod_dir() -> Path:
    """The module's sources: $PYNOOKS_KMOD, or kmod/ beside the package."""
    given = os.environ.get("PYNOOKS_KMOD")
    path = Path(given) if given else Path(pynooks.__file__).resolve().parents[1] / "kmod"
    if not (path / "nooks.h").is_file():
        raise RefusedError(
            f"{path}: has not the sources of nooks.ko",
            hint="run from a checkout, or set PYNOOKS_KMOD to its kmod directory",
        )
    return path


def headers_dir(release: str) -> Path:
    """Where the kernel's headers are installed."""
    for path in (Path("/lib/modules", release, "build"), Path(f"/usr/src/linux-headers-{release}")):
        if (path / "Module.symvers").is_file():
            return path
    raise RefusedError(
        f"no headers for kernel {release}", hint=f"apt install linux-headers-{release}"
    )


def cache_dir() -> Path:
    return _user_cache() / "build"


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pynooks"


def _guest_kernels() -> Path:
    """Where pynooks.vm.tree unpacks the kernels of guests."""
    return _user_cache() / "kernels"


def default_btf(release: str) -> Path:
    """Type information of `release`: the running kernel's, or that of an installed image."""
    if os.uname().release == release and RUNNING_BTF.exists():
        return RUNNING_BTF
    for path in (
        Path(f"/usr/lib/debug/boot/vmlinux-{release}"),
        Path(f"/boot/vmlinux-{release}"),
        Path("/lib/modules", release, "vmlinux"),
        Path("/lib/modules", release, "build", "vmlinux"),
        *sorted(_guest_kernels().glob(f"linux-image-{release}_*/vmlinux"), reverse=True),
        Path(f"/boot/vmlinuz-{release}"),
    ):
        if path.exists():
            return path
    raise RefusedError(
        f"no BTF for kernel {release}",
        hint="pass --btf: /sys/kernel/btf/vmlinux of the target, its vmlinux or its vmlinuz",
    )


def read_btf(source: Path) -> Btf:
    """BTF from raw BTF, vmlinux, or a compressed vmlinuz."""
    try:
        with source.open("rb") as f:
            compressed = f.read(0x206)[0x202:] == b"HdrS"
        if not compressed:
            return load_btf(source)
        from pynooks.vm.kernel import vmlinux  # only a vmlinuz needs it

        with tempfile.NamedTemporaryFile(suffix=".vmlinux") as out:
            out.write(vmlinux(source.read_bytes()))
            out.flush()
            return load_btf(Path(out.name))
    except OSError as e:
        raise RefusedError(f"{source}: cannot be read: {e.strerror}", hint="see --btf") from e


def source_files(kmod: Path) -> list[Path]:
    """Everything that Kbuild sees, sorted."""
    found = [kmod / name for name in TOP_FILES if (kmod / name).exists()]
    for part in PARTS:
        for pattern in SOURCES:
            found += (kmod / part).glob(pattern)
    return sorted(found)


def _digest(parts: Iterable[tuple[str, bytes]]) -> str:
    h = hashlib.sha256()
    for name, data in parts:
        h.update(f"{name}\0{len(data)}\0".encode())
        h.update(data)
    return h.hexdigest()[:20]


def _compiler() -> str:
    cc = shutil.which("gcc")
    if cc is None:
        raise InfraError("no C compiler", hint="apt install build-essential")
    return subprocess.run([cc, "--version"], capture_output=True, text=True, check=False).stdout


def build_key(release: str, btf: Btf, kmod: Path) -> str:
    """The cache key of a build."""
    files = source_files(kmod)
    files += sorted((policy_dir() / "subsystem").glob("*.toml"))
    own = Path(__file__).parent
    files += sorted((*own.glob("*.py"), *own.glob("templates/*"), *policy_dir().glob("*.py")))
    symvers = headers_dir(release) / "Module.symvers"
    parts = [(str(p.relative_to(p.parents[1])), p.read_bytes()) for p in files]
    parts += [("symvers", symvers.read_bytes()), ("btf", btf.raw)]
    parts += [("release", release.encode()), ("cc", _compiler().encode())]
    return _digest(parts)


def check_written(generated: Generated, kmod: Path) -> None:
    """Every `wrap` and `defer` import has its function, no `cross` one has, stubs have theirs."""
    text = "".join(p.read_text() for p in sorted((kmod / "wrappers").glob("*.c")))
    written = set(WRAPPER.findall(text))
    by_hand = {e.name for e in generated.exits if e.kind is not Kind.CROSS}
    crossed = {e.name for e in generated.exits if e.kind is Kind.CROSS}
    if by_hand - written:
        raise RefusedError(
            f"no wrapper in kmod/wrappers for: {', '.join(sorted(by_hand - written))}",
            hint="write u64 wrap_NAME(struct xpc *x, const u64 *a), or change their policy",
        )
    if crossed & written:
        raise RefusedError(
            f"policy generates what kmod/wrappers has: {', '.join(sorted(crossed & written))}",
            hint='make them "wrap", or remove the function',
        )
    sources = "".join(p.read_text() for p in source_files(kmod) if p.suffix == ".c")
    taken = {e.name for e in generated.exits if not e.inside} & set(FUNCTION.findall(sources))
    if taken:
        names = ", ".join(f"nooks_{n}" for n in sorted(taken))
        raise RefusedError(
            f"kmod has functions of the stubs' names: {names}",
            hint="rename them: nooks_S is where a driver's call of S arrives",
        )


def _copy(kmod: Path, target: Path) -> None:
    for path in source_files(kmod):
        out = target / path.relative_to(kmod)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out)


def _make(headers: Path, work: Path) -> None:
    jobs = str(os.cpu_count() or 1)
    command = ["make", "-C", str(headers), f"M={work}", "-j", jobs, "modules"]
    log.debug("%s", shlex.join(command))
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    (work / "build.log").write_text(result.stdout)
    if result.returncode:
        keep = Path(tempfile.gettempdir()) / "pynooks-build.log"
        keep.write_text(result.stdout)
        errors = [
            x.replace(f"{work}/", "")
            for x in result.stdout.splitlines()
            if "error:" in x or "ERROR:" in x or "multiple definition" in x or "undefined" in x
        ][:6] or result.stdout.splitlines()[-3:]
        raise InfraError(
            "nooks.ko does not compile: " + "; ".join(errors), hint=f"all output: {keep}"
        )


def build_module(
    kernel_release: str,
    btf_source: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> BuiltModule:
    """nooks.ko for a kernel, from the cache if nothing changed.

    btf_source: raw BTF, a vmlinux or a vmlinuz; None to search
    """
    kmod, headers = kmod_dir(), headers_dir(kernel_release)
    progress("reading type information")
    btf = read_btf(btf_source or default_btf(kernel_release))
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="work.", dir=cache_dir()) as tmp:
        work = Path(tmp) / "kmod"
        work.mkdir()
        _copy(kmod, work)  # the key is of what is built, even if somebody is editing
        target = cache_dir() / build_key(kernel_release, btf, work)
        built = BuiltModule(target / "nooks.ko", target / "Module.symvers", True)
        if built.ko.exists() and built.symvers.exists():
            return built
        progress("generating wrappers")
        generated = generate(btf, load_policies(), load_symvers(headers / "Module.symvers"))
        check_written(generated, work)
        write_generated(generated, work)
        progress(f"compiling nooks.ko for {kernel_release}")
        _make(headers, work)
        if not built.ko.exists():  # another process may have been faster
            shutil.rmtree(target, ignore_errors=True)
            work.rename(target)
    return BuiltModule(built.ko, built.symvers, False)


def write_generated(generated: Generated, work: Path) -> None:
    """Write the generated files into work/generated."""
    out = work / "generated"
    out.mkdir(parents=True, exist_ok=True)
    for name, text in generated.files.items():
        (out / name).write_text(text)
