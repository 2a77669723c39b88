# SPDX-License-Identifier: GPL-2.0-only
"""At boot of a target: the drivers that `pynooks enable` has left here go into their nooks.

Run as root by pynooks.service, before the network is configured. Lies beside agent.py (as a module)
and one directory per driver with nook.ko and plan.json (made by pynooks.deploy.persist). What does
not fit this boot is left alone, and what fails is put back: the stock driver has the devices then.
Exit status: 0, or 1 if an enabled driver is not in its nook.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

try:
    from pynooks.agent.agent import Agent
except ImportError:  # in the target
    from agent import Agent  # type: ignore[import-not-found, no-redef]

HOME = Path(__file__).resolve().parent
RUN = Path("/run/pynooks")  # REMOTE_DIR of the host's end
RUNNING_S = 60
UNLOAD_S = 10  # udev may be loading it


class StockError(Exception):
    """Why a driver is not isolated in this boot."""


def call(agent: Agent, method: str, **params: Any) -> Any:
    """One step of the agent's. Raises StockError."""
    answer = agent.answer(json.dumps({"method": method, "params": params}))
    if error := answer.get("error"):
        raise StockError(error["what"])
    return answer["result"]


def fits(plan: dict[str, Any], home: Path) -> None:
    """Raises StockError."""
    now = f"{os.uname().release} {os.uname().version}"
    if plan["kernel"] != now:
        raise StockError(f"enabled for kernel {plan['kernel']}, this is {now}")
    if not plan["isolate"]:
        raise StockError("its policy is never_isolate")
    for name, path in (("nooks.ko", HOME / "nooks.ko"), ("nook.ko", home / "nook.ko")):
        if hashlib.sha256(path.read_bytes()).hexdigest() != plan["sha256"][name]:
            raise StockError(f"{path} is not the file that was enabled")


def load(agent: Agent, plan: dict[str, Any], home: Path) -> None:
    """As pynooks.deploy does it from afar. Raises StockError, with all undone."""
    name = plan["name"]
    loaded = call(agent, "modules")
    undo: list[str] = []
    try:
        if "nooks" not in loaded:
            call(agent, "insmod", path=str(HOME / "nooks.ko"))
            call(agent, "write", path=f"{RUN}/nooks.sha256", text=plan["sha256"]["nooks.ko"])
        call(agent, "policy_set", name=name, **plan["policy"])
        if name in loaded:
            _unload(agent, name)
        undo.append("modprobe")
        call(agent, "insmod", path=str(home / "nook.ko"))
        undo += ["rmmod", "release"]
        _await(agent, name)
        call(agent, "set", name=name, **plan["values"])
        call(agent, "write", path=f"{RUN}/deployed/{name}.json", text=json.dumps(plan["record"]))
    except StockError:
        for method in reversed(undo):
            try:
                call(agent, method, name=name)
            except StockError as e:  # the first failure is what matters
                print(f"{name}: undoing: {method}: {e}", file=sys.stderr)
        raise


def _unload(agent: Agent, name: str) -> None:
    deadline = time.monotonic() + UNLOAD_S
    while True:
        try:
            call(agent, "rmmod", name=name)
            return
        except StockError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _await(agent: Agent, name: str) -> None:
    deadline = time.monotonic() + RUNNING_S
    while (state := call(agent, "nook", name=name)["state"]) != "RUNNING":
        if state in ("STOPPED", "RELEASED") or time.monotonic() > deadline:
            raise StockError(f"it did not start in its nook: {state}")
        time.sleep(0.1)


def main() -> int:
    status = 0
    agent = Agent()
    for path in sorted(HOME.glob("*/plan.json")):
        name = path.parent.name
        try:
            plan = json.loads(path.read_text())
            fits(plan, path.parent)
            load(agent, plan, path.parent)
            print(f"{name}: in its nook")
        except (StockError, OSError, ValueError, KeyError) as e:
            print(f"{name}: stock driver: {e}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
