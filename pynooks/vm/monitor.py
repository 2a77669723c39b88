# SPDX-License-Identifier: GPL-2.0-only
"""QEMU's monitor (QMP): commands and events. qemu.qmp is asyncio, so a thread runs its loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import ConnectError, EventListener, QMPClient, QMPError

from pynooks.errors import InfraError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_HINT = "look at qemu.log in the VM's directory"
_FAILED = (QMPError, OSError, EOFError, TimeoutError)  # EOFError: QEMU ended while it was asked
# One line per broken connection is enough; ours says more.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class Monitor:
    """A connection to the monitor of one QEMU."""

    def __init__(self, name: str) -> None:
        self._client = QMPClient(f"nooks-{name}")
        self._listener = EventListener()
        self._client.register_listener(self._listener)
        self._events: list[dict[str, Any]] = []
        self._arrived = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qmp", daemon=True)
        self._thread.start()
        self._reader: concurrent.futures.Future[None] | None = None

    def connect(self, path: Path, timeout: float) -> None:
        """Connect and negotiate. May be tried again.

        Raises FileNotFoundError or ConnectionRefusedError while nobody listens there, InfraError if
        QEMU does not answer in time.
        """
        try:
            self._sync(self._client.connect(str(path)), timeout)
        except _FAILED as e:
            cause = e.exc if isinstance(e, ConnectError) else None
            if isinstance(cause, FileNotFoundError | ConnectionRefusedError):
                raise cause from None
            raise InfraError(f"QEMU's monitor does not answer: {e}", hint=_HINT) from e
        self._reader = asyncio.run_coroutine_threadsafe(self._read_events(), self._loop)

    def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, *, timeout: float = 10
    ) -> Any:
        """Run one QMP command and give its `return` value. Raises InfraError."""
        _log.debug("qmp: %s %s", command, dict(arguments or {}))
        try:
            return self._sync(
                self._client.execute(command, dict(arguments) if arguments else None), timeout
            )
        except _FAILED as e:
            raise InfraError(
                f"QEMU's monitor refused {command}: {e or type(e).__name__}", hint=_HINT
            ) from e

    def hmp(self, line: str, *, timeout: float = 30) -> str:
        """Run a human monitor command and give its text."""
        return str(self.execute("human-monitor-command", {"command-line": line}, timeout=timeout))

    def events(self) -> list[dict[str, Any]]:
        """All events since the connection, oldest first."""
        with self._arrived:
            return list(self._events)

    def wait_event(self, name: str, timeout: float) -> dict[str, Any]:
        """The first event of that name. Raises InfraError if none comes in time."""
        deadline = time.monotonic() + timeout
        with self._arrived:
            while True:
                for event in self._events:
                    if event["event"] == name:
                        return event
                if not self._arrived.wait(max(0.0, deadline - time.monotonic())):
                    raise InfraError(f"no {name} event within {timeout:.0f} s", hint=_HINT)

    def close(self) -> None:
        try:
            if self._reader:
                self._reader.cancel()
            self._sync(self._client.disconnect(), 3)
        except _FAILED:
            _log.debug("monitor was gone already")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=3)
        if not self._thread.is_alive():
            self._loop.close()

    def _sync(self, work: Coroutine[Any, Any, _T], timeout: float) -> _T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError as e:
            future.cancel()
            raise TimeoutError(f"no answer within {timeout:.0f} s") from e

    async def _read_events(self) -> None:
        async for event in self._listener:
            with self._arrived:
                self._events.append(dict(event))
                self._arrived.notify_all()
