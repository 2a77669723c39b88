# SPDX-License-Identifier: GPL-2.0-only
"""The host's end of the agent: copies it, starts it, asks, and gives typed answers."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import time
from collections import deque
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pynooks.control.records import Counter, Crash, Learned, Nook, Patch
from pynooks.errors import InfraError, NooksError, RefusedError
from pynooks.policy.model import WriteRule
from pynooks.remote.target import REMOTE_DIR, Target
from pynooks.vm.ssh import GuestStream

_log = logging.getLogger(__name__)
START_S = 60  # pyroute2's import takes seconds under TCG
ANSWER_S = 150  # a restart includes the driver's probe

# What each errno of the family means for the reader; the kernel's text says the rest.
_HINTS = {
    errno.ENODEV: "`pynooks deploy DRIVER` loads it",
    errno.ENOENT: "`pynooks status` lists the nooks",
    errno.EBUSY: "wait for the recovery, or `pynooks release` first",
    errno.EPERM: "the agent must be root in the initial user namespace",
    errno.EINVAL: "see kmod/uapi/nooks.h",
    errno.ENODATA: "a record is made when its driver fails; `pynooks inject` can make it fail",
}


AGENT = f"{REMOTE_DIR}/agent.py"


def copy_agent(target: Target, directory: str = REMOTE_DIR) -> None:
    """The agent's files to the target, by default to its tmpfs."""
    target.run(["mkdir", "-p", directory])
    for package, name, remote in (
        ("pynooks.agent", "agent.py", "agent.py"),
        ("pynooks.control", "netlink.py", "nooks_netlink.py"),
    ):
        target.put(Path(str(resources.files(package) / name)), f"{directory}/{remote}")


def rules_as_json(rules: Iterable[WriteRule]) -> list[dict[str, Any]]:
    """As the agent's policy_set wants them."""
    return [
        {
            "object": rule.object,
            "field": rule.field,
            "offset": rule.offset,
            "size": rule.size,
            "value": int(rule.value),
        }
        for rule in rules
    ]


class AgentError(RefusedError):
    """The target refused. number: errno, 0 if it was no system call."""

    def __init__(self, what: str, *, hint: str, number: int) -> None:
        super().__init__(what, hint=hint)
        self.number = number


class Peer:
    """A program on a target that answers JSON lines; a context manager. One request at a time."""

    def __init__(self, target: Target, stream: GuestStream, *, start_s: float) -> None:
        """start_s: for the program to begin. Raises InfraError if it does not."""
        self.target = target
        self.events: deque[dict[str, Any]] = deque()
        self._numbers = itertools.count(1)
        self._stream = stream
        try:
            self.call("ping", timeout=start_s)
        except NooksError:
            self.close()
            raise

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def call(self, method: str, *, timeout: float = ANSWER_S, **params: Any) -> Any:
        """One request. Raises AgentError if the target refuses; events are kept in `events`."""
        number = next(self._numbers)
        request = {"id": number, "method": method, "params": params}
        _log.debug("agent: %s", request)
        self._stream.stdin.write(json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + timeout
        while True:
            answer = self._read(max(0.1, deadline - time.monotonic()))
            if "event" in answer:
                self.events.append(answer)
            elif answer.get("id") == number:
                break
        if error := answer.get("error"):
            raise AgentError(
                f"{self.target.name}: {error['what']}",
                hint=_HINTS.get(error["errno"], "look at the target's kernel log (dmesg)"),
                number=error["errno"],
            )
        return answer["result"]

    def wait_event(self, timeout: float) -> dict[str, Any]:
        """The next fault or state change. Raises CommandTimeoutError."""
        return self.events.popleft() if self.events else self._read(timeout)

    def _read(self, timeout: float) -> dict[str, Any]:
        line = self._stream.stdout.readline(timeout)
        if not line:
            tail = self._stream.stderr_tail.strip().splitlines()[-1:]
            raise InfraError(
                f"{self.target.name}: the agent ended: {tail[0] if tail else 'no message'}",
                hint="the target needs python3 and python3-pyroute2",
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


class Agent(Peer):
    """A live agent on a target. stream: to one that runs already; else one is started."""

    def __init__(self, target: Target, stream: GuestStream | None = None) -> None:
        if stream is None:
            copy_agent(target)
            stream = target.open_stream(["python3", "-u", AGENT])
        super().__init__(target, stream, start_s=START_S)

    # ---- typed forms of what is asked most

    def nooks(self) -> list[Nook]:
        return [Nook.of(raw) for raw in self.call("status")]

    def nook(self, name: str) -> Nook:
        return Nook.of(self.call("nook", name=name))

    def counts(self, name: str) -> list[Counter]:
        return [Counter.of(raw) for raw in self.call("counts", name=name)]

    def learned(self, name: str) -> list[Learned]:
        return [Learned.of(raw) for raw in self.call("learned", name=name)]

    def dump(self, name: str) -> Crash:
        """The crash record of the last fault. Raises AgentError (ENODATA) if there was none."""
        return Crash.of(self.call("dump", name=name))

    def restart(self, name: str) -> Nook:
        return Nook.of(self.call("restart", name=name))

    def inject(self, module: str, symbol: str, *, offset: int, code: bytes) -> Patch:
        raw = self.call("inject", module=module, symbol=symbol, offset=offset, code=code.hex())
        return Patch(
            module=module,
            symbol=symbol,
            offset=offset,
            addr=raw["addr"],
            old=bytes.fromhex(raw["old"]),
            new=bytes.fromhex(raw["new"]),
        )

    def policy_set(
        self, name: str, *, level: int, limit_ms: int, flags: int, rules: Iterable[WriteRule]
    ) -> None:
        self.call(
            "policy_set",
            name=name,
            level=level,
            limit_ms=limit_ms,
            flags=flags,
            rules=rules_as_json(rules),
        )
