# SPDX-License-Identifier: GPL-2.0-only
"""The recovery policy of each driver, in one TOML file on the target."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from pynooks.control.client import Agent
from pynooks.control.netlink import FLAGS, IRQ_RATE, MEMORY_MIB, STALL_MS, TX_TIMEOUTS
from pynooks.errors import UsageError

PATH = "/etc/pynooks/recovery.toml"
BURST_MAX = 64  # kmod: RECOV_PAST
_HEAD = "# Written by `pynooks policy`; read by `pynooks deploy`. Times are milliseconds.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is a hang of one driver, and what follows a fault. The default restarts at once, without
    limit.

    isolate:       False: `pynooks deploy` refuses it
    auto_recover:  False: after a fault it is released, stays stopped, and listeners are told
    grace_period:  ms; a driver that ran so long since its last recovery is well again
    backoff:       ms to wait before a restart within the grace period; doubles with each one more
    burst:         restarts within the grace period, then it stays stopped; 0: no limit
    stall:         ms that an entry may take, asleep or not; half of it for one wait; 0: no limit
    irq_rate:      calls of one interrupt handler in a second; 0: no limit
    tx_timeouts:   of one interface within a minute, with nothing sent in between; 0: no limit
    memory:        MiB that its drivers may hold; 0: no limit
    """

    isolate: bool = True
    auto_recover: bool = True
    grace_period: int = 0
    backoff: int = 0
    burst: int = 0
    stall: int = STALL_MS
    irq_rate: int = IRQ_RATE
    tx_timeouts: int = TX_TIMEOUTS
    memory: int = MEMORY_MIB

    def __post_init__(self) -> None:
        for name in ("grace_period", "backoff", "stall", "irq_rate", "tx_timeouts", "memory"):
            value = getattr(self, name)
            if not 0 <= value < 1 << 31:
                raise UsageError(f"{name} = {value}", hint="0 to 2^31; ms, memory: MiB")
        if not 0 <= self.burst <= BURST_MAX:
            raise UsageError(f"burst = {self.burst}", hint=f"choose 0 to {BURST_MAX}")
        if (self.backoff or self.burst) and not self.grace_period:
            raise UsageError(
                "backoff and burst count restarts within the grace period, which is 0",
                hint="set --grace-period too, for example 60000",
            )

    @classmethod
    def of(cls, driver: str, raw: Mapping[str, Any]) -> Self:
        """A table of the file. Raises UsageError with the key's name."""
        kinds = {f.name: bool if f.type in ("bool", bool) else int for f in fields(cls)}
        for key, value in raw.items():
            if key not in kinds or type(value) is not kinds[key]:
                raise UsageError(
                    f"{PATH}: [{driver}] {key} = {value!r} makes no sense",
                    hint=f"one of {', '.join(kinds)}; see docs/guide.md",
                )
        return cls(**raw)

    def values(self, flags: int) -> dict[str, int]:
        """For NOOKS_CMD_SET. flags: as they are now."""
        keep = flags & ~FLAGS["no_recover"]
        return {
            "flags": keep | (0 if self.auto_recover else FLAGS["no_recover"]),
            "grace_ms": self.grace_period,
            "backoff_ms": self.backoff,
            "burst": self.burst,
            "stall_ms": self.stall,
            "irq_rate": self.irq_rate,
            "tx_timeouts": self.tx_timeouts,
            "memory_mib": self.memory,
        }


def parse(text: str) -> dict[str, Health]:
    """The file's text. Raises UsageError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise UsageError(f"{PATH}: {e}", hint="mend it, or remove it") from e
    for driver, table in raw.items():
        if not isinstance(table, dict):
            raise UsageError(f"{PATH}: {driver} is no table", hint="[DRIVER] and keys below")
    return {driver: Health.of(driver, table) for driver, table in raw.items()}


def text_of(all_of_them: Mapping[str, Health]) -> str:
    """The file's text."""
    out = [_HEAD]
    for driver, health in sorted(all_of_them.items()):
        out.append(f"\n[{driver}]\n")
        for key, value in asdict(health).items():
            out.append(f"{key} = {str(value).lower()}\n")
    return "".join(out)


def read_health(agent: Agent) -> dict[str, Health]:
    """By driver; a driver that is not in it has the default."""
    return parse(agent.call("read", path=PATH) or "")


def write_health(agent: Agent, all_of_them: Mapping[str, Health]) -> None:
    agent.call("write", path=PATH, text=text_of(all_of_them))
