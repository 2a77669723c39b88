# SPDX-License-Identifier: GPL-2.0-only
"""Workers in processes of their own: one that dies is replaced, and its job given to another.

A job and its answer are pickled values. A worker ends when its pipe does, so it survives its pool
for at most one job.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from pynooks.errors import NooksError

J = TypeVar("J")
A = TypeVar("A")
# Runs in the worker: its directory and the job give the answer.
Work = Callable[[Path, J], A]
STOP_S = 20.0


@dataclass(frozen=True, slots=True)
class Done(Generic[J, A]):
    """A job that ended. answer: None if it failed; why: what the failure said."""

    job: J
    answer: A | None
    why: str = ""
    worker_died: bool = False


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    pipe: Connection
    directory: Path
    job: Any = None


class Pool(Generic[J, A]):
    """A context manager. clean: run for a dead worker's directory, before it is used again."""

    def __init__(
        self, count: int, root: Path, work: Work[J, A], *, clean: Callable[[Path], None]
    ) -> None:
        self._work, self._clean = work, clean
        # Workers come from a process without threads; it has imported what they need.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([work.__module__])
        self._workers: list[_Worker] = []
        for number in range(count):
            self._workers.append(self._start(root / f"worker-{number}"))

    def _start(self, directory: Path) -> _Worker:
        directory.mkdir(parents=True, exist_ok=True)
        self._clean(directory)
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_serve, args=(theirs, directory, self._work), daemon=False
        )
        process.start()
        theirs.close()
        return _Worker(process, ours, directory)

    @property
    def busy(self) -> list[J]:
        """Jobs that run now."""
        return [worker.job for worker in self._workers if worker.job is not None]

    def run(self, jobs: Iterable[J]) -> Iterator[Done[J, A]]:
        """Each job once, in the order in which they end. A failed one is not tried again."""
        waiting = deque(jobs)
        while waiting or self.busy:
            for worker in self._workers:
                if worker.job is None and waiting:
                    self._give(worker, waiting.popleft())
            yield from self._collect()

    def _give(self, worker: _Worker, job: J) -> None:
        worker.job = job
        with contextlib.suppress(OSError):  # it died idle: _collect finds out
            worker.pipe.send(job)

    def _collect(self) -> Iterator[Done[J, A]]:
        by_handle: dict[Any, _Worker] = {}
        for worker in self._workers:
            by_handle[worker.pipe] = worker
            by_handle[worker.process.sentinel] = worker
        ready = multiprocessing.connection.wait(list(by_handle), timeout=1)
        for worker in {id(by_handle[r]): by_handle[r] for r in ready}.values():
            job = worker.job
            try:
                if not worker.pipe.poll():
                    raise EOFError
                answer, why = worker.pipe.recv()
            except (EOFError, OSError):
                self._replace(worker)
                if job is not None:
                    why = f"its worker died with status {worker.process.exitcode}"
                    yield Done(job, None, why, worker_died=True)
                continue
            worker.job = None
            yield Done(job, answer, why)

    def _replace(self, worker: _Worker) -> None:
        worker.pipe.close()
        worker.process.join(timeout=STOP_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        self._workers[self._workers.index(worker)] = self._start(worker.directory)

    def close(self) -> None:
        """Let running jobs end their guests, then be gone."""
        for worker in self._workers:
            worker.pipe.close()
            if worker.job is not None and worker.process.pid:
                os.kill(worker.process.pid, signal.SIGTERM)
        for worker in self._workers:
            worker.process.join(timeout=STOP_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            self._clean(worker.directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def _serve(pipe: Connection, directory: Path, work: Work[Any, Any]) -> None:
    """The worker's life. ^C of the terminal is the runner's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            pipe.send(attempt(work, directory, pipe.recv()))


def attempt(work: Work[J, A], directory: Path, job: J) -> tuple[A | None, str]:
    """The answer, or why there is none: a job's failure must not end its worker."""
    try:
        return work(directory, job), ""
    except NooksError as e:
        return None, f"{type(e).__name__}: {e}"
    except Exception:
        return None, traceback.format_exc()


def _interrupt(_number: int, _frame: object) -> None:
    """So that a guest's context manager ends it."""
    raise KeyboardInterrupt
