# SPDX-License-Identifier: GPL-2.0-only
"""What the host's apt knows: package versions, files, sources. No mirror is named here."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pynooks.errors import InfraError
from pynooks.vm.command import host

_HINT_LISTS = "run: apt-get update (this needs Debian 12 package sources)"
_HINT_TOOLS = "install apt-utils' base packages: this host must be Debian 12"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deb:
    """One package as apt offers it. `sha256` is that of the .deb, from the signed index."""

    name: str
    version: str
    sha256: str
    depends: str


def candidate(name: str) -> Deb:
    """The version of a package that apt would install. Uses apt's lists only, no network."""
    text = host(["apt-cache", "show", "--no-all-versions", name], timeout=60, hint=_HINT_LISTS)
    return parse_show(name, text)


def parse_show(name: str, text: str) -> Deb:
    """One stanza of `apt-cache show`."""
    fields = dict(re.findall(r"^([A-Za-z0-9-]+): *(.*)$", text.split("\n\n")[0], re.MULTILINE))
    missing = [key for key in ("Version", "SHA256") if key not in fields]
    if missing:
        raise InfraError(f"apt knows no {', '.join(missing)} of {name}", hint=_HINT_LISTS)
    return Deb(
        name=name,
        version=fields["Version"],
        sha256=fields["SHA256"],
        depends=fields.get("Depends", ""),
    )


def behind_meta(meta: Deb, prefix: str) -> str:
    """The real package that a meta package such as linux-image-amd64 depends on."""
    for clause in meta.depends.split(","):
        name = clause.split("|")[0].split("(")[0].strip()
        if name.startswith(prefix):
            return name
    raise InfraError(f"{meta.name} {meta.version} depends on no {prefix}*", hint=_HINT_LISTS)


def fetch(name: str, into: Path) -> tuple[Path, Deb]:
    """The .deb of the candidate, from the cache directory or downloaded; its hash is checked."""
    deb = candidate(name)
    into.mkdir(parents=True, exist_ok=True)
    # apt writes an epoch's colon as %3a
    path = into / f"{name}_{deb.version.replace(':', '%3a')}_amd64.deb"
    all_arch = path.with_name(path.name.replace("_amd64.deb", "_all.deb"))
    if all_arch.is_file():
        path = all_arch
    if not path.is_file():
        host(
            ["apt-get", "download", "-o", "APT::Sandbox::User=root", f"{name}={deb.version}"],
            cwd=into,
            timeout=1800,
            hint=_HINT_LISTS,
        )
        if all_arch.is_file():
            path = all_arch
    if not path.is_file():
        raise InfraError(f"apt-get download left no {path.name}", hint=_HINT_LISTS)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != deb.sha256:
        path.unlink()
        raise InfraError(
            f"{path.name} has sha256 {digest}, the index says {deb.sha256}",
            hint="the file was deleted; try again",
        )
    return path, deb


def debian_sources(suite: str) -> str:
    """The host's own sources of this Debian release as one-line entries, for mmdebstrap."""
    rows = host(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(COMPONENT)|$(SIGNED_BY)",
            "Created-By: Packages",
        ],
        timeout=60,
        hint=_HINT_TOOLS,
    )
    lines: dict[str, None] = {}
    for row in rows.splitlines():
        origin, uri, release, codename, component, signed_by = row.split("|")
        if origin != "Debian" or not codename.startswith(suite):
            continue
        option = f"[signed-by={signed_by}] " if signed_by.startswith("/") else ""
        lines[f"deb {option}{uri} {release or codename} {component}"] = None
    if not lines:
        raise InfraError(f"apt has no Debian {suite} sources", hint=_HINT_LISTS)
    return "\n".join(lines) + "\n"


def acquire_options() -> str:
    """How the host's apt reaches its sources (proxies, clock checks), as apt configuration."""
    dump = host(["apt-config", "dump", "Acquire"], timeout=60, hint=_HINT_TOOLS)
    wanted = re.compile(r"^Acquire::(\S*Proxy|Check-|Retries|https?::Timeout)", re.IGNORECASE)
    return "".join(f"{line}\n" for line in dump.splitlines() if wanted.match(line))
