# SPDX-License-Identifier: GPL-2.0-only
"""How each argument of a generated wrapper is checked: BTF says what it is, policy what it means.

annotation   the driver's pointer must be                     default for
obj[:TYPE]   a tracked object of that type                    pointer to struct
out          memory it may write, sizeof(*p)                  pointer to a plain scalar
out:EXPR     memory it may write, EXPR bytes
in, in:EXPR  memory it may read, sizeof(*p) or EXPR bytes
owned:EXPR   memory that the nook owns, EXPR bytes
str          a terminated string                              const char *
gate         one of the driver's gates                        function pointer
opaque       anything: the kernel does not follow it
max:EXPR     (an integer) from 0 to EXPR
plain        (an integer) anything                            integer that is no enum
A ? behind the word allows NULL. An enum is an index more often than not: its range must be said.
"""

from __future__ import annotations

from dataclasses import dataclass

from pynooks.btf import Btf, BtfKind, Param, Proto, Type, c_type
from pynooks.policy import ImportPolicy, PolicyError

SCALARS = (BtfKind.INT, BtfKind.ENUM, BtfKind.ENUM64)
RESERVED = frozenset(("x", "a", "ret"))  # locals of the template
EXIT_ARGS = 14  # NOOKS_EXIT_ARGS
# Lie in driver memory: the kernel may only see their twins, and generated code knows none.
TWINS = frozenset(
    (
        "napi_struct", "work_struct", "delayed_work", "timer_list", "tasklet_struct", "completion",
        "wait_queue_head", "mutex", "pci_driver",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument: its C declaration and its check. object: struct name; size: C expression."""

    name: str
    decl: str
    cast: str
    check: str
    nullable: bool = False
    object: str = ""
    size: str = ""


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A generated wrapper. ret: C type or "" for void; ret_object: struct to track or ""."""

    name: str
    args: tuple[Arg, ...]
    ret: str
    ret_object: str
    why: str


def pointee(btf: Btf, type_id: int) -> tuple[Type, bool] | None:
    """What a pointer points at, and whether it is const; None if it is no pointer."""
    t = btf.strip(type_id)
    if t.kind is not BtfKind.PTR:
        return None
    const, inner = False, btf.type(t.ref)
    while inner.kind in (
        BtfKind.CONST, BtfKind.VOLATILE, BtfKind.RESTRICT, BtfKind.TYPEDEF, BtfKind.TYPE_TAG,
    ):  # fmt: skip
        const = const or inner.kind is BtfKind.CONST
        inner = btf.type(inner.ref)
    return inner, const


def default_note(btf: Btf, type_id: int) -> str:
    """The annotation that a type has by itself, "plain" for an integer, "" if it must be said."""
    target = pointee(btf, type_id)
    if target is None:
        return "plain" if btf.strip(type_id).kind is BtfKind.INT else ""
    inner, const = target
    match inner.kind:
        case BtfKind.STRUCT | BtfKind.FWD if inner.name:
            return "obj"
        case BtfKind.FUNC_PROTO:
            return "gate"
        case BtfKind.INT if const:
            return "str" if inner.name == "char" else ""
        case BtfKind.INT | BtfKind.ENUM | BtfKind.ENUM64:
            return "out"
    return ""


def make_wrapper(btf: Btf, proto: Proto, policy: ImportPolicy) -> Wrapper:
    """Plan the wrapper of one `cross` import. PolicyError says what policy must add."""
    if proto.varargs:
        raise error(policy, "takes variable arguments", "make it `wrap` and write it by hand")
    if len(proto.params) > EXIT_ARGS:
        raise error(policy, f"has {len(proto.params)} arguments", "make it `wrap` or `deny`")
    names = [p.name or f"arg{i}" for i, p in enumerate(proto.params)]
    for name in policy.args:
        if name not in names:
            raise error(policy, f"has no argument {name}", f"it has: {', '.join(names) or 'none'}")
    args = tuple(
        _arg(btf, policy, Param(n, p.type)) for n, p in zip(names, proto.params, strict=True)
    )
    ret = btf.strip(proto.ret)
    if ret.kind in (BtfKind.STRUCT, BtfKind.UNION, BtfKind.FLOAT):
        raise error(policy, "returns a structure by value", "make it `wrap` or `deny`")
    return Wrapper(
        policy.name, args, "" if ret.kind is BtfKind.VOID else c_type(btf, proto.ret),
        _ret_object(btf, proto, policy), policy.why,
    )  # fmt: skip


def error(policy: ImportPolicy, what: str, hint: str) -> PolicyError:
    return PolicyError(f"{policy.file}: import.{policy.name}: {what}", hint=hint)


def _ret_object(btf: Btf, proto: Proto, policy: ImportPolicy) -> str:
    if not policy.ret:
        return ""
    word, _, name = policy.ret.partition(":")
    target = pointee(btf, proto.ret)
    if word != "obj" or target is None:
        raise error(policy, f'ret = "{policy.ret}"', 'only "obj:TYPE" of a pointer is known')
    return name or target[0].name


def _arg(btf: Btf, policy: ImportPolicy, p: Param) -> Arg:
    note = policy.args.get(p.name) or default_note(btf, p.type)
    if not note:
        raise error(
            policy,
            f"argument {p.name} ({c_type(btf, p.type)}) needs an annotation",
            'say what it is, e.g. args = { %s = "in:len" }' % p.name,  # noqa: UP031
        )
    word, _, rest = note.partition(":")
    nullable, word = word.endswith("?"), word.removesuffix("?")
    target = pointee(btf, p.type)
    if target is None:
        if word not in ("plain", "opaque", "max"):
            raise error(policy, f"argument {p.name} is no pointer", f"remove {note!r}")
        if btf.strip(p.type).kind not in SCALARS:
            raise error(policy, f"argument {p.name} is a structure by value", "make it `wrap`")
        word = word if word == "max" else "plain"
    elif word in ("plain", "max"):
        raise error(policy, f"argument {p.name} is a pointer", f"remove {note!r}")
    local = p.name + "_" if p.name in RESERVED else p.name
    decl, cast = c_type(btf, p.type, local), c_type(btf, p.type)
    name, size = "", rest
    if word == "obj":
        if target is None or not (rest or target[0].name):
            raise error(policy, f"argument {p.name} has no struct type", 'say "obj:TYPE"')
        if rest.endswith("?"):
            rest, nullable = rest.removesuffix("?"), True
        name, size = rest or (target[0].name if target else ""), ""
        if name in TWINS:
            raise error(policy, f"argument {p.name}: a {name} has a twin", "make it `wrap`")
    elif word in ("in", "out", "owned") and not size:
        if target is None or not btf.size(target[0].id):
            raise error(policy, f"argument {p.name} has no size", f'say "{word}:EXPR"')
        size = f"sizeof(*{local})"
    return Arg(local, decl, cast, word, nullable, name, size)
