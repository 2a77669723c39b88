# SPDX-License-Identifier: GPL-2.0-only
"""Guest images: built once from Debian packages, cached by a hash of all that goes in.

<cache>/images/<hash>/ holds rootfs.ext4 (never written after the build: every VM gets an
overlay), initrd, the client key, known_hosts with the pinned host key, a link `modules` to the
stock kernel tree, and manifest.json.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from pynooks.errors import InfraError
from pynooks.vm import apt, cpio, paths, recipe, tree
from pynooks.vm.command import host
from pynooks.vm.recipe import ImageKind, Recipe
from pynooks.vm.tree import KernelTree

_log = logging.getLogger(__name__)
Progress = Callable[[str], None]
_HINT_TOOLS = "apt-get install mmdebstrap e2fsprogs; without root also: uidmap"


@dataclass(frozen=True, slots=True)
class Image:
    """A finished image. Everything in it is read-only for its users."""

    root: Path
    kind: ImageKind
    tree: KernelTree
    manifest: Mapping[str, Any]

    @property
    def kernel_release(self) -> str:
        return self.tree.release

    @property
    def modules_dir(self) -> Path:
        """.../lib/modules/<release> with all stock .ko files, uncut."""
        return self.tree.modules_dir

    @property
    def vmlinux(self) -> Path:
        return self.tree.vmlinux

    @property
    def vmlinuz(self) -> Path:
        return self.tree.vmlinuz

    @property
    def rootfs(self) -> Path:
        return self.root / "rootfs.ext4"

    @property
    def initrd(self) -> Path:
        return self.root / "initrd"

    @property
    def key_path(self) -> Path:
        return self.root / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """Pins the guest's host key under the name `nooks-guest`, whatever the port."""
        return self.root / "known_hosts"

    def module(self, name: str) -> Path:
        """The distribution's own .ko of a driver."""
        return self.tree.module(name)


def ensure_image(kind: ImageKind, progress: Progress = _log.info) -> Image:
    """The cached image of this kind, built first if there is none.

    Needs no network if the image is cached. Raises InfraError if the build fails; nothing is
    left half-done then.
    """
    cache = paths.cache_dir()
    rec = recipe.load(kind, paths.recipe_dir())
    try:
        meta = apt.candidate(rec.kernel)  # has the very version of what it depends on
        package, version = apt.behind_meta(meta, "linux-image-"), meta.version
    except InfraError:
        cached = _newest(cache, rec)
        if cached is None:
            raise
        _log.warning("apt has no package lists; taking the newest cached %s image", kind)
        return cached
    final = cache / "images" / _key(rec, package, version)
    if not (final / "manifest.json").is_file():
        with _locked(final.with_suffix(".lock"), progress):
            if not (final / "manifest.json").is_file():  # built while we waited
                _build(rec, final, cache, progress)
    return read_image(final)


def stale_images() -> list[Path]:
    """Images and build leftovers that no recipe of this checkout makes and no VM uses."""
    cache = paths.cache_dir()
    recipes = {recipe.load(kind, paths.recipe_dir()).digest for kind in recipe.KINDS}
    running = b"\0".join(_command_lines())
    stale = []
    for root in sorted(path for path in cache.glob("images/*") if path.is_dir()):
        try:
            current = json.loads((root / "manifest.json").read_text())["recipe_sha256"] in recipes
        except (OSError, ValueError, KeyError):
            current = False
        if root.name.startswith(".") and time.time() - root.stat().st_mtime < 3600:
            continue  # being built
        if not current and str(root.resolve()).encode() not in running:
            stale.append(root)
    return stale


def _command_lines() -> Iterator[bytes]:
    """Of all processes: QEMU names its initrd there."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield path.read_bytes()


def read_image(root: Path) -> Image:
    """The image in a directory."""
    try:
        manifest = json.loads((root / "manifest.json").read_text())
        return Image(root, manifest["kind"], tree.read_tree((root / "modules").resolve()), manifest)
    except (OSError, ValueError, KeyError) as e:
        raise InfraError(f"image {root} is damaged: {e}", hint=f"delete {root}") from e


def _key(rec: Recipe, package: str, version: str) -> str:
    text = "\n".join((rec.digest, rec.architecture, package, version))
    return f"{rec.kind}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


def _newest(cache: Path, rec: Recipe) -> Image | None:
    found = [read_image(path.parent) for path in cache.glob(f"images/{rec.kind}-*/manifest.json")]
    same = [image for image in found if image.manifest["recipe_sha256"] == rec.digest]
    return max(same, key=lambda image: float(image.manifest["built"]), default=None)


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """One builder per image; others wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build of this image")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(rec: Recipe, final: Path, cache: Path, progress: Progress) -> None:
    began = time.monotonic()
    kernel_tree = tree.ensure_tree(rec.kernel, cache, progress)
    final.parent.mkdir(parents=True, exist_ok=True)
    out = Path(tempfile.mkdtemp(prefix=".build-", dir=final.parent))
    try:
        client = _write_key(out / "id_ed25519")
        host_key = ed25519.Ed25519PrivateKey.generate()
        with tempfile.TemporaryDirectory(prefix="nooks-overlay-", dir=_scratch()) as scratch:
            overlay = Path(scratch)
            progress(f"preparing the file tree of the {rec.kind} image")
            _overlay(rec, kernel_tree, overlay, client, host_key)
            if rec.headers:
                _headers(rec, overlay, cache, progress)
            progress(f"installing {len(rec.packages)} packages and what they need (mmdebstrap)")
            busybox = _rootfs(rec, kernel_tree, overlay, out / "rootfs.ext4", cache)
        progress("writing initrd and manifest")
        (out / "initrd").write_bytes(_initrd(rec, kernel_tree, busybox))
        (out / "known_hosts").write_text(f"nooks-guest {_public(host_key)}\n")
        (out / "modules").symlink_to(os.path.relpath(kernel_tree.root, final))
        (out / "manifest.json").write_text(
            json.dumps(
                {
                    "schema": 1,
                    "kind": rec.kind,
                    "suite": rec.suite,
                    "architecture": rec.architecture,
                    "packages": list(rec.packages),
                    "recipe_sha256": rec.digest,
                    "kernel_release": kernel_tree.release,
                    "kernel_package": kernel_tree.package,
                    "kernel_version": kernel_tree.version,
                    "kernel_deb_sha256": kernel_tree.deb_sha256,
                    "rootfs_sha256": _sha256(out / "rootfs.ext4"),
                    "built": time.time(),
                    "build_s": round(time.monotonic() - began, 1),
                },
                indent=1,
            )
        )
        out.chmod(0o755)
        os.replace(out, final)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    progress(f"{rec.kind} image built in {time.monotonic() - began:.0f} s")


def _scratch() -> str:
    """Where big temporary trees go: a disk that other users can enter, for mode=unshare."""
    return os.environ.get("TMPDIR") or "/var/tmp"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _public(key: ed25519.Ed25519PrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )


def _private(key: ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )


def _write_key(path: Path) -> str:
    key = ed25519.Ed25519PrivateKey.generate()
    path.touch(mode=0o600)
    path.write_bytes(_private(key))
    return _public(key)


def _overlay(
    rec: Recipe,
    kernel_tree: KernelTree,
    overlay: Path,
    client_public: str,
    host_key: ed25519.Ed25519PrivateKey,
) -> None:
    """What goes on top of the packages: our files, keys, the guest's cut module tree."""
    shutil.copytree(rec.directory / "rootfs", overlay, dirs_exist_ok=True)
    (overlay / "root/.ssh").mkdir(parents=True)
    (overlay / "root/.ssh/authorized_keys").write_text(f"{client_public}\n")
    key = overlay / "etc/ssh/ssh_host_ed25519_key"
    key.touch(mode=0o600)
    key.write_bytes(_private(host_key))

    source = kernel_tree.modules_dir
    drop = {source / "kernel" / name for name in rec.drop_modules}

    def dropped(directory: str, names: list[str]) -> set[str]:
        return {name for name in names if Path(directory, name) in drop}

    shutil.copytree(
        source, overlay / "usr/lib/modules" / source.name, ignore=dropped, symlinks=True
    )
    _open_up(overlay)


def _open_up(root: Path) -> None:
    """Modes that do not depend on the builder's umask; the customize hook closes the keys."""
    root.chmod(0o755)
    for path in root.rglob("*"):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)


def _headers(rec: Recipe, overlay: Path, cache: Path, progress: Progress) -> None:
    """Kernel headers for bcc: only what it includes, 60 of 300 MB."""
    if rec.headers is None:
        return
    package = apt.behind_meta(apt.candidate(rec.headers), "linux-headers-")
    common = apt.behind_meta(apt.candidate(package), "linux-headers-")
    with tempfile.TemporaryDirectory(prefix="nooks-headers-", dir=_scratch()) as scratch:
        for name in (package, common):
            progress(f"unpacking {name}")
            path, _ = apt.fetch(name, cache / "kernel-debs")
            host(["dpkg-deb", "-x", str(path), scratch], timeout=600, hint=_HINT_TOOLS)
        for source in sorted(Path(scratch).glob("usr/src/linux-headers-*")):
            for keep in rec.keep_headers:
                inside = source / keep
                target = overlay / "usr/src" / source.name / keep
                if inside.is_dir():
                    shutil.copytree(inside, target, symlinks=True)
                elif inside.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(inside, target)
        for link in Path(scratch).glob("lib/modules/*/*"):
            target = overlay / "usr/lib/modules" / link.parent.name / link.name
            target.symlink_to(os.readlink(link))
    _open_up(overlay)


def _rootfs(rec: Recipe, kernel_tree: KernelTree, overlay: Path, out: Path, cache: Path) -> bytes:
    """Run mmdebstrap; its last hook writes the file system. Returns the static busybox."""
    archives = cache / "debs"
    archives.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nooks-rootfs-", dir=_scratch()) as scratch:
        work = Path(scratch)
        hook = work / "customize"
        shutil.copy2(rec.directory / "hooks/customize", hook)
        image = work / "rootfs.ext4"
        image.touch()
        (work / "sources.list").write_text(apt.debian_sources(rec.suite))
        (work / "apt.conf").write_text(apt.acquire_options())
        _open_up(work)
        image.chmod(0o666)  # mode=unshare writes it as another user
        finish = shlex.join([str(hook)]) + ' "$1" ' + shlex.join([str(image), kernel_tree.release])
        argv = [
            "mmdebstrap",
            f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
            "--variant=essential",
            f"--architectures={rec.architecture}",
            f"--include={','.join(rec.packages)}",
            "--format=null",
            f"--aptopt={work / 'apt.conf'}",
            '--aptopt=APT::Install-Recommends "false"',
            "--dpkgopt=force-unsafe-io",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            "--skip=download/empty,essential/unlink",
            '--setup-hook=mkdir -p "$1/var/cache/apt/archives"',
            f"--setup-hook=sync-in {shlex.quote(str(archives))} /var/cache/apt/archives",
            f"--customize-hook=sync-out /var/cache/apt/archives {shlex.quote(str(archives))}",
            f"--customize-hook=sync-in {shlex.quote(str(overlay))} /",
            f"--customize-hook=download /bin/busybox {shlex.quote(str(work / 'busybox'))}",
            f"--customize-hook={finish}",
            rec.suite,
            "/dev/null",
            str(work / "sources.list"),
        ]
        env = {**os.environ, "TMPDIR": _scratch()}
        host(argv, timeout=1800, hint=_HINT_TOOLS, env=env)
        shutil.move(image, out)
        out.chmod(0o444)
        return (work / "busybox").read_bytes()


def _initrd(rec: Recipe, kernel_tree: KernelTree, busybox: bytes) -> bytes:
    """Raw cpio: the kernel unpacks it at memory speed, there is nothing to decompress."""
    order = tree.load_order(kernel_tree, rec.initrd_modules)
    entries = [cpio.directory(n) for n in ("bin", "dev", "proc", "sys", "root", "modules")]
    entries.append(cpio.chardev("dev/console", 5, 1))
    entries.append(cpio.regular("bin/busybox", busybox, 0o755))
    entries.append(cpio.regular("init", (rec.directory / "initrd/init").read_bytes(), 0o755))
    entries += [cpio.regular(f"modules/{ko.name}", ko.read_bytes()) for ko in order]
    text = "".join(f"{ko.name}\n" for ko in order)
    entries.append(cpio.regular("modules/order", text.encode()))
    return cpio.archive(entries)
