# SPDX-License-Identifier: GPL-2.0-only
"""Run one host command: logged in pasteable form, with a deadline, failures as InfraError."""

from __future__ import annotations

import logging
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from pynooks.errors import InfraError

_log = logging.getLogger(__name__)


def host(
    argv: Sequence[str],
    *,
    timeout: float,
    hint: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Standard output of a host command that must succeed.

    Raises InfraError, with the end of its stderr, if it is missing, fails or exceeds `timeout`.
    """
    _log.debug("run: %s", shlex.join(argv))
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as e:
        raise InfraError(f"{argv[0]} is not installed", hint=hint) from e
    except subprocess.TimeoutExpired as e:
        raise InfraError(f"{argv[0]} did not finish within {timeout:.0f} s", hint=hint) from e
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise InfraError(f"{argv[0]} failed with status {done.returncode}: {tail}", hint=hint)
    return done.stdout
