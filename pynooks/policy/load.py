# SPDX-License-Identifier: GPL-2.0-only
"""Read policy files (TOML). Every complaint names the file and the key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pynooks.modname import module_name
from pynooks.policy.model import (
    DriverPolicy,
    EntryPolicy,
    ImportPolicy,
    Kind,
    Level,
    Policies,
    PolicyError,
    Subsystem,
    Value,
    WriteAllow,
)

IDENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
FIELD = re.compile(r"(\*|[A-Za-z_]\w*(\[\d+\])?(\.[A-Za-z_]\w*(\[\d+\])?)*)\Z")
ANNOTATION = re.compile(
    r"(obj(:\w+)?\??|out\??|(in|out|owned)\??:.+|str\??|gate\??|max:.+|opaque|plain)\Z"
)
MODINFO_NAME_LEN = 55  # struct modversion_info has 56 bytes with the NUL
DEFAULT_CLASS = "net"
DEFAULT_LIMIT_MS = 1000


def policy_dir() -> Path:
    """Where the files of this installation are."""
    return Path(str(resources.files("pynooks.policy")))


class _Table:
    """A TOML table that knows where it stands and complains about leftovers."""

    def __init__(self, path: Path, key: str, raw: object) -> None:
        self.path, self.key = path, key
        if not isinstance(raw, dict):
            raise self.error("", "must be a table")
        self.raw: dict[str, Any] = dict(raw)

    def error(self, key: str, what: str) -> PolicyError:
        where = f"{self.key}.{key}" if self.key and key else self.key or key
        return PolicyError(f"{self.path.name}: {where}: {what}", hint=f"correct {self.path}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self.raw.pop(key, default)
        if not isinstance(value, str):
            raise self.error(key, "must be a string" if value is not None else "is missing")
        return value

    def number(self, key: str, default: int) -> int:
        value = self.raw.pop(key, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(key, "must be a number")
        return value

    def flag(self, key: str) -> bool:
        value = self.raw.pop(key, False)
        if not isinstance(value, bool):
            raise self.error(key, "must be true or false")
        return value

    def names(self, key: str) -> tuple[str, ...]:
        value = self.raw.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.error(key, "must be a list of strings")
        return tuple(value)

    def table(self, key: str) -> _Table:
        return _Table(self.path, f"{self.key}.{key}".lstrip("."), self.raw.pop(key, {}))

    def tables(self) -> Iterable[tuple[str, _Table]]:
        for key in list(self.raw):
            yield key, self.table(key)

    def done(self) -> None:
        for key in self.raw:
            raise self.error(key, "is not a known key")


def read_toml(path: Path) -> _Table:
    try:
        return _Table(path, "", tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as e:
        raise PolicyError(f"{path}: cannot be read: {e}", hint="see `pynooks doctor`") from e
    except tomllib.TOMLDecodeError as e:
        raise PolicyError(f"{path.name}: not TOML: {e}", hint=f"correct {path}") from e


def _import(name: str, t: _Table, subsystem: str) -> ImportPolicy:
    if not IDENT.match(name):
        raise t.error("", "is not a symbol name")
    if len("nooks_" + name) > MODINFO_NAME_LEN:
        raise t.error("", f"is longer than {MODINFO_NAME_LEN - 6} characters")
    word = t.text("policy")
    try:
        kind = Kind(word)
    except ValueError as e:
        raise t.error("policy", f"{word!r} is none of {', '.join(Kind)}") from e
    why = t.text("why", "")
    if kind is Kind.DENY and not why:
        raise t.error("why", "is missing: a denial needs its reason")
    args = t.table("args")
    for arg, note in args.raw.items():
        if not isinstance(note, str) or not ANNOTATION.match(note):
            raise args.error(arg, f"{note!r} is no annotation")
        if note == "opaque" and not why:
            raise t.error("why", f"is missing: {arg} is passed through unchecked")
    ret = t.text("ret", "")
    if ret and not ANNOTATION.match(ret):
        raise t.error("ret", f"{ret!r} is no annotation")
    if (args.raw or ret) and kind is not Kind.CROSS:
        raise t.error("args", f"only a generated wrapper has them, this is {kind}")
    slow = t.flag("slow")
    if slow and kind is not Kind.DOMAIN:
        raise t.error("slow", f"only a function of the runtime has it, this is {kind}")
    t.done()
    return ImportPolicy(
        name=name, kind=kind, why=why, args=args.raw, ret=ret, slow=slow, file=t.path.name,
        subsystem=subsystem,
    )  # fmt: skip


def _entry(name: str, t: _Table) -> EntryPolicy:
    if not re.match(r"\w+(\.\w+)*\Z", name):
        raise t.error("", "must be struct.member")
    lend: dict[str, str | None] = {}
    for arg, size in t.raw.items():
        if size is False:
            lend[arg] = None
        elif isinstance(size, str) and size:
            lend[arg] = size
        else:
            raise t.error(arg, "must be a C expression for the size, or false")
    return EntryPolicy(name=name, lend=lend, file=t.path.name)


def load_subsystem(path: Path) -> Subsystem:
    """Read one policy/subsystem/*.toml."""
    top = read_toml(path)
    imports = {n: _import(n, t, path.stem) for n, t in top.table("import").tables()}
    objects = {}
    for name, t in top.table("object").tables():
        objects[name] = t.text("struct", name)
        t.done()
    ops_raw = top.raw.pop("ops", [])
    if isinstance(ops_raw, dict):  # [ops] with a list inside
        ops_raw = ops_raw.get("struct", ops_raw.get("structs", list(ops_raw)))
    top.raw["ops"] = ops_raw
    ops = top.names("ops")
    entries = {n: _entry(n, t) for n, t in top.table("entry").tables()}
    shadows = {}
    table = top.table("shadow")
    for ops_name in list(table.raw):
        shadows[ops_name] = table.text(ops_name)
        if ops_name not in ops:
            raise table.error(ops_name, "is not in ops")
    table.done()
    include = top.names("include")
    for key in ("description", "subsystem"):
        top.text(key, "")
    top.done()
    return Subsystem(
        name=path.stem, path=path, include=include, imports=imports, objects=objects, ops=ops,
        entries=entries, shadows=shadows,
    )  # fmt: skip


def _merge(kind: str, parts: Iterable[tuple[Path, Mapping[str, Any]]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    seen: dict[str, Path] = {}
    for path, table in parts:
        for name, value in table.items():
            if name in seen and not (kind == "object" and out[name] == value):
                raise PolicyError(
                    f"{path.name}: {kind}.{name}: stands in {seen[name].name} too",
                    hint="keep one of them",
                )
            out[name], seen[name] = value, path
    return out


def load_policies(directory: Path | None = None) -> Policies:
    """Read every subsystem of `directory` (default: the installed policy)."""
    folder = (directory or policy_dir()) / "subsystem"
    subs = tuple(load_subsystem(p) for p in sorted(folder.glob("*.toml")))
    return Policies(
        subsystems=subs,
        imports=_merge("import", ((s.path, s.imports) for s in subs)),
        objects=_merge("object", ((s.path, s.objects) for s in subs)),
        ops=tuple(dict.fromkeys(o for s in subs for o in s.ops)),
        entries=_merge("entry", ((s.path, s.entries) for s in subs)),
        shadows=_merge("shadow", ((s.path, s.shadows) for s in subs)),
    )


def _writes(top: _Table) -> list[WriteAllow]:
    out = []
    table = top.table("write")
    for obj, fields in table.raw.items():
        for item in fields if isinstance(fields, list) else [fields]:
            value = Value.ANY
            if isinstance(item, dict):
                t = _Table(top.path, f"write.{obj}", item)
                name, word = t.text("field"), t.text("value", "any")
                t.done()
                try:
                    value = Value[word.upper()]
                except KeyError as e:
                    raise t.error("value", f"{word!r} is no kind of value") from e
            else:
                name = item
            if not isinstance(name, str) or not FIELD.match(name):
                raise table.error(obj, f"{name!r} is not a field")
            out.append(WriteAllow(object=obj, field=name, value=value, file=top.path.name))
    return out


def load_driver(driver: str, directory: Path | None = None) -> DriverPolicy:
    """The policy of `driver`; what its file does not say, and all if there is none, its class."""
    base = directory or policy_dir()
    driver = module_name(driver)
    path = base / "drivers" / f"{driver}.toml"
    cls, level, limit_ms, use = DEFAULT_CLASS, "pagetable", DEFAULT_LIMIT_MS, None
    reopen = False
    writes: list[WriteAllow] = []
    if path.exists():
        top = read_toml(path)
        if top.text("driver") != driver:
            raise top.error("driver", f"must be {driver!r}, the file's name")
        cls, level = top.text("class", cls), top.text("level", level)
        limit_ms = top.number("limit_ms", limit_ms)
        reopen = top.flag("reopen")
        use = top.names("use") if "use" in top.raw else None
        writes = _writes(top)
        top.text("description", "")
        top.done()
    for name in use if use is not None else (cls,):
        group = read_toml(base / "class" / f"{name}.toml")
        group.text("description", "")
        writes = _writes(group) + writes
        group.done()
    if level.upper() not in Level.__members__:
        raise PolicyError(
            f"{path.name}: level: {level!r} is no level", hint="choose wrap or pagetable"
        )
    return DriverPolicy(
        driver=driver, cls=cls, level=Level[level.upper()], limit_ms=limit_ms, reopen=reopen,
        use=use if use is not None else (cls,), writes=tuple(dict.fromkeys(writes)),
    )  # fmt: skip
