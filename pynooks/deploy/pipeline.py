# SPDX-License-Identifier: GPL-2.0-only
"""From a driver's name to its nook: resolve, relink, build, copy, load, verify.

All that can be refused is refused before the target is touched. What fails afterwards is rolled
back: the stock driver has its devices again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pynooks.build.builder import BuiltModule, build_module, read_btf
from pynooks.control.client import Agent
from pynooks.control.netlink import flags_of
from pynooks.control.records import Nook
from pynooks.deploy.suitable import suitable
from pynooks.errors import CheckError, NooksError, RefusedError
from pynooks.health import PATH, Health, read_health
from pynooks.modname import module_name
from pynooks.policy import DriverPolicy, Level, WriteRule, driver_rules, load_driver
from pynooks.relink import ElfModule, RelinkReport, analyse, depends, load_plan, relink
from pynooks.remote.target import REMOTE_DIR, Target

_log = logging.getLogger(__name__)
Progress = Callable[[str], None]
RUNNING_S = 30  # from insmod to state RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A driver in its nook. Kept as JSON on the target, until release or reboot.

    sha256:  of the .ko that was relinked
    stock:   it is byte for byte the distribution's file
    native:  the stock driver was loaded before, so release loads it again
    """

    name: str
    sha256: str
    stock: bool
    native: bool
    level: str
    release: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that deploy needs on the target, made without touching it."""

    name: str
    module: bytes
    built: BuiltModule
    report: RelinkReport
    policy: DriverPolicy
    rules: tuple[WriteRule, ...]
    stock: bool


def prepare(target: Target, driver: str, progress: Progress) -> Prepared:
    """Resolve, check and relink. driver: name, or path of a .ko. Raises RefusedError."""
    release = target.release()
    data, original = _read(target, driver)
    libraries = find_libraries(target, data)
    plan = load_plan(release)
    name = analyse(data, plan, libraries).name.replace(
        "-", "_"
    )  # wrong kernel, wrong CRC: refused here
    policy = load_driver(name)
    if original is None:
        original = _stock_sha256(target, name)
    btf_file = target.btf_file()
    rules = driver_rules(policy, read_btf(btf_file))
    progress(f"building nooks.ko for {release}")
    built = build_module(release, btf_file, progress)
    progress(f"relinking {name}")
    module, report = relink(data, load_plan(release, nooks_symvers=built.symvers), libraries)
    return Prepared(
        name=name,
        module=module,
        built=built,
        report=report,
        policy=policy,
        rules=rules,
        stock=report.sha256 == original,
    )


def _read(target: Target, driver: str) -> tuple[bytes, str | None]:
    """The driver's bytes, and the sha256 of the distribution's file if it came from there."""
    if "/" in driver or driver.endswith(".ko"):
        try:
            return Path(driver).read_bytes(), None
        except OSError as e:
            raise RefusedError(
                f"{driver}: {e.strerror}", hint="give a driver's name or the path of its .ko"
            ) from e
    data = target.driver_file(driver).read_bytes()
    return data, hashlib.sha256(data).hexdigest()


def find_libraries(target: Target, data: bytes) -> tuple[bytes, ...]:
    """The modules that a driver needs, each before those that it needs itself."""
    found: dict[str, bytes] = {}
    todo = list(depends(ElfModule.parse(data)))
    while todo:
        name = todo.pop(0)
        raw = found.pop(name, None) or target.driver_file(name).read_bytes()
        found[name] = raw
        todo += depends(ElfModule.parse(raw))
    return tuple(found.values())


def _stock_sha256(target: Target, name: str) -> str:
    try:
        return hashlib.sha256(target.driver_file(name).read_bytes()).hexdigest()
    except RefusedError:
        return ""  # the distribution ships no such driver


def deploy(
    target: Target,
    driver: str,
    *,
    level: Level | None = None,
    learn: bool = False,
    no_recover: bool = False,
    debug_heap: bool = False,
    progress: Progress = _log.info,
) -> tuple[Deployed, Nook]:
    """Run a driver in a nook on the target, in place of the stock one if that is loaded.

    Raises RefusedError before anything was changed, CheckError after the stock driver is back.
    """
    ready = prepare(target, driver, progress)
    wanted = {
        "learn": learn, "no_recover": no_recover, "reopen": ready.policy.reopen,
        "debug_heap": debug_heap,
    }  # fmt: skip
    flags = flags_of(flag for flag, on in wanted.items() if on)
    chosen = ready.policy.level if level is None else level
    with Agent(target) as agent:
        loaded = _check_free(agent, ready)
        health = health_of(agent, ready.name)
        remote = f"{REMOTE_DIR}/{ready.name}.nook.ko"
        copy_modules(target, ready, core=f"{REMOTE_DIR}/nooks.ko", driver=remote)
        with ExitStack() as undo:
            _load_core(agent, target, ready, loaded, undo)
            progress(f"loading the policy of {ready.name}: {len(ready.rules)} rules")
            agent.policy_set(
                ready.name,
                level=int(chosen),
                limit_ms=ready.policy.limit_ms,
                flags=flags,
                rules=ready.rules,
            )
            native = ready.name in loaded
            if native:
                progress(f"unloading the stock {ready.name}")
                agent.call("rmmod", name=ready.name)
                undo.callback(_quietly, agent, "modprobe", ready.name)
            progress(f"loading {ready.name} into its nook")
            agent.call("insmod", path=remote)
            undo.callback(_leave, agent, ready.name)
            nook = _await_running(agent, ready.name, target)
            done = record_of(ready, chosen, native=native)
            values = health.values(flags)
            values["flags"] |= flags  # what the caller asks for goes on top
            agent.call("set", name=ready.name, **values)
            agent.call("write", path=_record(ready.name), text=json.dumps(asdict(done)))
            undo.pop_all()
    return done, nook


def check_target(agent: Agent, release: str) -> dict[str, Any]:
    """Refuse a target on which nooks.ko of this release cannot work; gives its facts."""
    facts: dict[str, Any] = agent.call("facts")
    bad = [check for check in suitable(facts) if check.needed and not check.good]
    if bad:
        what = "; ".join(f"{check.name}: {check.found}" for check in bad)
        raise RefusedError(f"{agent.target.name} cannot run nooks.ko: {what}", hint=bad[0].remedy)
    if facts["release"] != release:
        raise RefusedError(
            f"{agent.target.name} runs {facts['release']}, expected {release}",
            hint="reboot the target into that kernel",
        )
    return facts


def _check_free(agent: Agent, ready: Prepared) -> dict[str, list[str]]:
    """Refuse a driver that cannot be exchanged now; gives the loaded modules with their users."""
    facts = check_target(agent, ready.report.release)
    loaded: dict[str, list[str]] = agent.call("modules")
    if facts["nooks"] and any(nook.name == ready.name for nook in agent.nooks()):
        raise RefusedError(
            f"{ready.name} is in a nook already", hint=f"pynooks release {ready.name}"
        )
    if users := loaded.get(ready.name):
        raise RefusedError(
            f"{ready.name} is used by {', '.join(users)}", hint="unload these modules first"
        )
    return loaded


def health_of(agent: Agent, name: str) -> Health:
    """The recovery policy of a driver on a target. RefusedError if it is never to be isolated."""
    health = read_health(agent).get(name, Health())
    if not health.isolate:
        raise RefusedError(
            f"{name} is never to be isolated on {agent.target.name}: {PATH}",
            hint=f"pynooks policy set {name} --isolate",
        )
    return health


def record_of(ready: Prepared, level: Level, *, native: bool) -> Deployed:
    return Deployed(
        name=ready.name,
        sha256=ready.report.sha256,
        stock=ready.stock,
        native=native,
        level=level.name.lower(),
        release=ready.report.release,
    )


def copy_modules(target: Target, ready: Prepared, *, core: str, driver: str) -> None:
    """nooks.ko and the relinked driver, to these paths on the target."""
    with tempfile.TemporaryDirectory(prefix="pynooks-") as scratch:
        local = Path(scratch) / f"{ready.name}.nook.ko"
        local.write_bytes(ready.module)
        target.put(local, driver)
    target.put(ready.built.ko, core)


def _load_core(
    agent: Agent, target: Target, ready: Prepared, loaded: dict[str, list[str]], undo: ExitStack
) -> None:
    """nooks.ko of this very build is loaded."""
    record = f"{REMOTE_DIR}/nooks.sha256"
    digest = hashlib.sha256(ready.built.ko.read_bytes()).hexdigest()
    if "nooks" in loaded:
        if agent.call("read", path=record) == digest:
            return
        if nooks := [nook.name for nook in agent.nooks()]:
            raise RefusedError(
                f"{target.name} runs another build of nooks.ko, with {', '.join(nooks)} in it",
                hint=f"pynooks release {nooks[0]}",
            )
        agent.call("rmmod", name="nooks")
    agent.call("insmod", path=f"{REMOTE_DIR}/nooks.ko")
    undo.callback(_quietly, agent, "rmmod", "nooks")
    agent.call("write", path=record, text=digest)


def _await_running(agent: Agent, name: str, target: Target) -> Nook:
    deadline = time.monotonic() + RUNNING_S
    while True:
        nook = agent.nook(name)
        if nook.state == "RUNNING":
            return nook
        if nook.state in ("STOPPED", "RELEASED") or time.monotonic() > deadline:
            fault = nook.fault.with_field(read_btf(target.btf_file())) if nook.fault else None
            raise CheckError(
                f"{name} did not start in its nook: {nook.state}" + (f", {fault}" if fault else ""),
                hint=f"`pynooks deploy {name} --learn` and `pynooks learn {name}` show what "
                "policy it lacks",
            )
        time.sleep(0.1)


def _leave(agent: Agent, name: str) -> None:
    """Take a driver out of its nook and unload it."""
    _quietly(agent, "release", name)
    _quietly(agent, "rmmod", name)


def _quietly(agent: Agent, method: str, name: str) -> None:
    """A step of a roll-back: the first failure is what the user must see, not this one."""
    try:
        agent.call(method, name=name)
    except NooksError as e:
        _log.warning("roll-back: %s %s: %s", method, name, e)


def _record(name: str) -> str:
    return f"{REMOTE_DIR}/deployed/{name}.json"


def deployed(agent: Agent, name: str) -> Deployed | None:
    """The record of a deployment, None if there is none."""
    text = agent.call("read", path=_record(name))
    return Deployed(**json.loads(text)) if text else None


def release(target: Target, name: str, *, progress: Progress = _log.info) -> bool:
    """Out of the nook, and the stock driver back if it was loaded before. Gives whether it was."""
    name = module_name(name)
    with Agent(target) as agent:
        nook = agent.nook(name)  # refused here if there is none
        record = deployed(agent, name)
        if nook.state != "RELEASED":
            progress(f"releasing {name}")
            agent.call("release", name=name)
        agent.call("rmmod", name=name)
        native = record.native if record else True
        if native:
            progress(f"loading the stock {name}")
            agent.call("modprobe", name=name)
        agent.call("remove", path=_record(name))
    return native
