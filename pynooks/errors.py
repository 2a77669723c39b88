# SPDX-License-Identifier: GPL-2.0-only
"""Expected failures, one class per exit status. `pynooks.cli.main` alone maps them.

Status: 0 good, 1 check failed or input refused, 2 usage, 3 guest died or did not boot,
4 infrastructure, 70 a bug of ours.
"""

from __future__ import annotations

from typing import ClassVar


class NooksError(Exception):
    """An expected failure: what happened, and what the reader can do about it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, hint: str) -> None:
        super().__init__(what)
        self.hint = hint


class RefusedError(NooksError):
    """The input is refused: a driver, a policy, a kernel. Nothing was changed."""


class CheckError(NooksError):
    """A check failed: traffic was lost, a recovery did not happen, the witness saw damage."""


class UsageError(NooksError):
    """The command line makes no sense."""

    exit_code = 2


class GuestError(NooksError):
    """The guest crashed, hung, or never booted. `console` is the tail of its serial console."""

    exit_code = 3

    def __init__(self, what: str, *, hint: str, console: str = "") -> None:
        super().__init__(what, hint=hint)
        self.console = console


class GuestCrashError(GuestError):
    """The guest's kernel panicked or oopsed."""


class GuestHangError(GuestError):
    """The guest stopped answering without a word."""


class GuestBootError(GuestError):
    """The guest did not reach its boot marker."""


class GuestStallError(GuestBootError):
    """It stood still while booting, with nothing of ours in it."""


class InfraError(NooksError):
    """QEMU, SSH, disk, apt: says nothing about the code under test."""

    exit_code = 4
