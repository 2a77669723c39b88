# SPDX-License-Identifier: GPL-2.0-only
"""Inject into a driver on a target, and keep a record of it."""

from __future__ import annotations

import random
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from pynooks.control.client import Agent
from pynooks.control.netlink import INJECT_MAX
from pynooks.control.records import Patch
from pynooks.deploy.pipeline import find_libraries
from pynooks.errors import RefusedError, UsageError
from pynooks.inject.payload import Kind, payload
from pynooks.inject.site import Function, Site, choose_site, functions
from pynooks.modname import module_name
from pynooks.relink import analyse, fuse, load_plan
from pynooks.remote.target import Target

LOOK_S = 2.5  # a network driver's watchdog runs every two seconds

# Data of the kernel that is writable for it, exists in every configuration, and hurts.
WILD_TARGETS = (
    "init_cred",
    "init_mm",
    "init_net",
    "init_pid_ns",
    "init_task",
    "init_user_ns",
    "init_uts_ns",
    "jiffies_64",
    "tasklist_lock",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """What was done. kind: a Kind, or "bytes"; target: of a wild write, as named or chosen."""

    kind: str
    driver: str
    native: bool
    seed: int | None
    target: str
    patch: Patch

    def as_json(self) -> dict[str, Any]:
        raw = asdict(self)
        patch = raw.pop("patch")
        patch["old"], patch["new"] = self.patch.old.hex(), self.patch.new.hex()
        del patch["module"]
        return {"schema": 1, **raw, **patch}


def inject_bytes(
    target: Target, driver: str, code: bytes, *, symbol: str, offset: int, native: bool
) -> Injection:
    """Patch chosen bytes at a chosen place."""
    if not 0 < len(code) <= INJECT_MAX:
        raise UsageError(f"{len(code)} bytes", hint=f"give 1 to {INJECT_MAX}")
    driver = module_name(driver)
    with Agent(target) as agent:
        _check_mode(agent, driver, native)
        patch = agent.inject(driver, symbol, offset=offset, code=code)
    return Injection(kind="bytes", driver=driver, native=native, seed=None, target="", patch=patch)


def inject_kind(
    target: Target,
    driver: str,
    kind: Kind,
    *,
    seed: int,
    native: bool,
    symbol: str | None = None,
    address: str | None = None,
    agent: Agent | None = None,
) -> Injection:
    """Plant one fault. The seed chooses what is not given. agent: a live one of this target's.

    Candidates are the functions that the driver gives to the kernel and the kernel calls while
    we look, isolated and native alike: run the workload meanwhile.
    """
    data = target.driver_file(driver).read_bytes()
    driver = module_name(driver)
    with Agent(target) if agent is None else nullcontext(agent) as agent:
        _check_mode(agent, driver, native)
        # natively a library is a module of its own
        module = data if native else fuse(data, find_libraries(target, data))
        have = functions(module)
        where, value = _wild_target(agent, kind, seed, address)
        code = payload(kind, value)
        if symbol:
            site = _named_site(have, symbol, len(code))
        else:
            site = choose_site(
                have,
                _running(agent, target, driver, module, native),
                size=len(code),
                at_entry=kind.needs_entry,
                seed=seed,
            )
        patch = agent.inject(driver, site.symbol, offset=site.offset, code=code)
    return Injection(
        kind=str(kind), driver=driver, native=native, seed=seed, target=where, patch=patch
    )


def _running(agent: Agent, target: Target, driver: str, module: bytes, native: bool) -> list[str]:
    escapes = {e.name for e in analyse(module, load_plan(target.release())).escapes}
    seen = agent.call("running", module=driver, seconds=LOOK_S, native=native)
    return [name for name in seen if name in escapes]


def _check_mode(agent: Agent, driver: str, native: bool) -> None:
    """What the user says the driver is must be what it is: a mix-up may cost the machine."""
    isolated = any(nook.name == driver for nook in agent.nooks())
    if isolated and native:
        raise RefusedError(f"{driver} is in a nook", hint="leave --native out")
    if not isolated and not native:
        raise RefusedError(
            f"{driver} is not in a nook, so this would harm the target's kernel",
            hint=f"`pynooks deploy {driver}` first, or say --native if that is what you want",
        )


def _wild_target(agent: Agent, kind: Kind, seed: int, address: str | None) -> tuple[str, int]:
    if kind is not Kind.WILD_WRITE:
        return "", 0
    name = address or random.Random(f"target:{seed}").choice(WILD_TARGETS)
    try:
        return name, int(name, 16) if name.startswith("0x") else agent.call("address", symbol=name)
    except ValueError as e:
        raise UsageError(f"{name} is no address", hint="a symbol, or hex with 0x") from e


def _named_site(have: dict[str, Function], symbol: str, size: int) -> Site:
    if symbol not in have:
        raise RefusedError(f"the driver has no function {symbol}", hint="see `nm DRIVER.ko`")
    if len(have[symbol].code) < size:
        raise RefusedError(f"{symbol} has no room for {size} bytes", hint="choose another")
    return Site(symbol=symbol, offset=0, seed=None)
