# SPDX-License-Identifier: GPL-2.0-only
"""The recipe of an image (vm/images.toml and the files beside it) as checked data."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pynooks.errors import InfraError, UsageError

ImageKind = Literal["slim", "full", "systemd"]
KINDS: tuple[ImageKind, ...] = get_args(ImageKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One kind of image.

    digest: sha256 over every file of the recipe and the kind; part of the cache key
    """

    kind: ImageKind
    suite: str
    architecture: str
    kernel: str
    headers: str | None
    packages: tuple[str, ...]
    initrd_modules: tuple[str, ...]
    drop_modules: tuple[str, ...]
    keep_headers: tuple[str, ...]
    directory: Path
    digest: str

    def __post_init__(self) -> None:
        if not self.packages or "busybox-static" not in self.packages:
            raise InfraError(
                f"image {self.kind} has no busybox-static",
                hint="it is PID 1 and the initrd; add it to vm/images.toml",
            )


def known_kind(name: str) -> ImageKind:
    """The name, if it is one of KINDS. Raises UsageError."""
    for kind in KINDS:
        if kind == name:
            return kind
    raise UsageError(f"unknown image {name!r}", hint=f"one of: {', '.join(KINDS)}")


def load(kind: ImageKind, directory: Path) -> Recipe:
    """The recipe of one kind. Raises InfraError for a bad file."""
    path = directory / "images.toml"
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text())
        mine = data["kinds"][kind]
        return Recipe(
            kind=kind,
            suite=data["suite"],
            architecture=data["architecture"],
            kernel=data["kernel"],
            headers=data["headers"] if mine["headers"] else None,
            packages=tuple(mine["packages"]),
            initrd_modules=tuple(data["initrd"]["modules"]),
            drop_modules=tuple(data["guest_modules"]["drop"]),
            keep_headers=tuple(data["header_trees"]["keep"]),
            directory=directory,
            digest=_digest(kind, directory),
        )
    except (KeyError, TypeError, tomllib.TOMLDecodeError) as e:
        raise InfraError(f"{path}: {e!r}", hint="repair the recipe or check it out again") from e


def _digest(kind: str, directory: Path) -> str:
    h = hashlib.sha256(kind.encode())
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        executable = bool(path.stat().st_mode & 0o100)
        data = path.read_bytes()
        h.update(f"\n{path.relative_to(directory)} {executable:d} {len(data)}\n".encode())
        h.update(data)
    return h.hexdigest()
