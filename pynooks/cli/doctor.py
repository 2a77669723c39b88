# SPDX-License-Identifier: GPL-2.0-only
"""`pynooks doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from pynooks.cli.where import HostOption, JsonOption, VmOption, open_target
from pynooks.deploy import Check
from pynooks.doctor import host_checks, target_checks
from pynooks.errors import CheckError

SCHEMA = 1


def doctor(vm: VmOption = None, host: HostOption = None, as_json: JsonOption = False) -> None:
    """Can this host do it? With --vm or --host: can that target?"""
    checks = [("host", check) for check in host_checks()]
    if vm or host:
        with open_target(vm, host) as target:
            checks += [(target.name, check) for check in target_checks(target)]
    for where, check in checks:
        if as_json:
            typer.echo(json.dumps({"schema": SCHEMA, "where": where, **asdict(check)}))
        else:
            typer.echo(_line(where, check))
    bad = [check for _, check in checks if check.needed and not check.good]
    if bad:
        raise CheckError(
            f"{len(bad)} of {len(checks)} checks failed: {', '.join(c.name for c in bad)}",
            hint=bad[0].remedy,
        )


def _line(where: str, check: Check) -> str:
    mark = "ok" if check.good else ("BAD" if check.needed else "-")
    remedy = f"  -> {check.remedy}" if check.remedy else ""
    return f"{mark:4}{where}: {check.name}: {check.found}{remedy}"
