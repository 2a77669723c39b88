# SPDX-License-Identifier: GPL-2.0-only
"""Checks of a target: what deploy would refuse, and what else is good to know."""

from __future__ import annotations

from pynooks.build.builder import headers_dir
from pynooks.control.client import Agent
from pynooks.deploy.suitable import Check, suitable
from pynooks.errors import RefusedError
from pynooks.remote.target import Target


def target_checks(target: Target) -> tuple[Check, ...]:
    """Raises InfraError if the target cannot even be asked."""
    with Agent(target) as agent:
        facts = agent.call("facts")
        nooks = agent.nooks() if facts["nooks"] else []
    release = facts["release"]
    try:
        headers = Check(name="headers", good=True, found=str(headers_dir(release)))
    except RefusedError as e:
        headers = Check(name="headers", good=False, found=str(e), remedy=e.hint)
    stopped = [nook.name for nook in nooks if nook.state in ("FAILED", "STOPPED")]
    return (
        Check(name="kernel", good=True, found=release),
        *suitable(facts),
        headers,
        Check(
            name="nooks",
            good=not stopped,
            found=", ".join(f"{nook.name} {nook.state}" for nook in nooks) or "none",
            remedy=f"pynooks restart {stopped[0]}" if stopped else "",
            needed=False,
        ),
    )
