# SPDX-License-Identifier: GPL-2.0-only
"""Drivers that come into their nooks at each boot of a target, by a systemd unit on its disk.

All is made and checked here; what runs at boot is pynooks.agent.atboot, without us. A boot that
does not fit (another kernel, a changed file) has the stock driver.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from pynooks.control.client import Agent, copy_agent, rules_as_json
from pynooks.control.netlink import flags_of
from pynooks.deploy.pipeline import (
    Deployed,
    Prepared,
    check_target,
    copy_modules,
    health_of,
    prepare,
    record_of,
)
from pynooks.errors import RefusedError
from pynooks.health import Health
from pynooks.policy import Level
from pynooks.remote.target import Target

_log = logging.getLogger(__name__)
Progress = Callable[[str], None]
HOME = "/var/lib/pynooks"
UNIT = "/etc/systemd/system/pynooks.service"
SCHEMA = 1


def enable(
    target: Target, driver: str, *, level: Level | None = None, progress: Progress = _log.info
) -> Deployed:
    """From the next boot on the driver is in a nook. Raises RefusedError before a change."""
    if target.run(["systemctl", "--version"], check=False).status:
        raise RefusedError(f"{target.name} has no systemd", hint="deploy the driver after boot")
    ready = prepare(target, driver, progress)
    done = leave(target, ready, level=level, progress=progress)
    target.put(Path(str(resources.files("pynooks.deploy") / "pynooks.service")), UNIT)
    target.run(["systemctl", "daemon-reload"])
    target.run(["systemctl", "enable", "pynooks.service"])
    return done


def leave(
    target: Target, ready: Prepared, *, level: Level | None = None, progress: Progress = _log.info
) -> Deployed:
    """All that atboot.py needs, on the target's disk; without the plan it does nothing."""
    home = f"{HOME}/{ready.name}"
    with Agent(target) as agent:
        check_target(agent, ready.report.release)
        plan = _plan(agent, ready, ready.policy.level if level is None else level)
        progress(f"writing {home}")
        agent.call("remove", path=f"{home}/plan.json")
        copy_agent(target, HOME)
        target.put(Path(str(resources.files("pynooks.agent") / "atboot.py")), f"{HOME}/atboot.py")
        target.run(["mkdir", "-p", home])
        copy_modules(target, ready, core=f"{HOME}/nooks.ko", driver=f"{home}/nook.ko")
        target.run(["sync"])
        agent.call("write", path=f"{home}/plan.json", text=json.dumps(plan))
        target.run(["sync"])
    return Deployed(**plan["record"])


def _plan(agent: Agent, ready: Prepared, level: Level) -> dict[str, Any]:
    """What atboot.py is to do, if kernel and files are still these. Raises RefusedError."""
    digests = {
        "nooks.ko": hashlib.sha256(ready.built.ko.read_bytes()).hexdigest(),
        "nook.ko": hashlib.sha256(ready.module).hexdigest(),
    }
    for name, plan in plans(agent).items():
        if name != ready.name and plan["sha256"]["nooks.ko"] != digests["nooks.ko"]:
            raise RefusedError(
                f"{name} is enabled on {agent.target.name} with another build of nooks.ko",
                hint=f"pynooks disable {name}, and enable it again after this one",
            )
    health = health_of(agent, ready.name)
    flags = flags_of(["reopen"] if ready.policy.reopen else [])
    return {
        "schema": SCHEMA,
        "name": ready.name,
        "kernel": agent.target.run(["uname", "-rv"]).stdout.strip(),
        "isolate": True,
        "sha256": digests,
        "policy": {
            "level": int(level),
            "limit_ms": ready.policy.limit_ms,
            "flags": flags,
            "rules": rules_as_json(ready.rules),
        },
        "values": health.values(flags),
        "record": asdict(record_of(ready, level, native=True)),
    }


def plans(agent: Agent) -> dict[str, dict[str, Any]]:
    """Of the drivers that are enabled, by name."""
    listed = agent.call("run", argv=["sh", "-c", f"ls {HOME}/*/plan.json 2>/dev/null"])["stdout"]
    found = {path.split("/")[-2]: agent.call("read", path=path) for path in listed.split()}
    return {name: json.loads(text) for name, text in found.items() if text}


def disable(target: Target, name: str) -> None:
    """From the next boot on the stock driver has its devices. Raises RefusedError."""
    with Agent(target) as agent:
        known = plans(agent)
    if name not in known:
        raise RefusedError(
            f"{name} is not enabled on {target.name}",
            hint=f"enabled: {', '.join(known) or 'none'}",
        )
    target.run(["rm", "-rf", f"{HOME}/{name}"])
    if len(known) == 1:
        target.run(["systemctl", "disable", "pynooks.service"], check=False)
        target.run(["rm", "-rf", UNIT, HOME])


def follow_policy(agent: Agent, name: str, health: Health) -> None:
    """What `pynooks policy` has changed holds at the next boot, too."""
    plan = plans(agent).get(name)
    if plan is None:
        return
    plan["isolate"] = health.isolate
    plan["values"] = health.values(plan["policy"]["flags"])
    agent.call("write", path=f"{HOME}/{name}/plan.json", text=json.dumps(plan))
