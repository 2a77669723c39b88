# SPDX-License-Identifier: GPL-2.0-only
"""Workers on other machines, by dask.distributed, which gives a dead one's job to another.

Every machine needs this package, the cached image, and the campaign's directory under the same
path (NFS, or a copy: only bases/ is read). A worker runs one job at a time:

    dask scheduler
    dask worker tcp://SCHEDULER:8786 --nthreads 1 --nworkers 2      on each machine
    pynooks campaign run PLAN --scheduler tcp://SCHEDULER:8786

"local" is a scheduler and workers of our own, on this machine.
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self

from pynooks.campaign.pool import A, Done, J, Work, attempt
from pynooks.errors import InfraError

LOCAL = "local"
CONNECT_S = 20


class Cluster(Generic[J, A]):
    """Runs jobs as a Pool does; a context manager. count: workers, of "local" only."""

    def __init__(
        self,
        scheduler: str,
        count: int,
        root: Path,
        work: Work[J, A],
        *,
        clean: Callable[[Path], None],
    ) -> None:
        try:
            # partly typed only: as untyped as it is where it is not installed
            self._distributed: Any = importlib.import_module("distributed")
        except ImportError as e:
            raise InfraError(
                "dask.distributed is not installed", hint="pip install 'pynooks[cluster]'"
            ) from e
        self._root, self._work, self._clean = root, work, clean
        self._own: Any = None
        address = scheduler
        if scheduler == LOCAL:
            self._own = self._distributed.LocalCluster(
                n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None,
                silence_logs=logging.ERROR,
            )  # fmt: skip
            address = self._own.scheduler_address
        try:
            self._client = self._distributed.Client(address, timeout=CONNECT_S)
        except (OSError, TimeoutError) as e:
            self._close_own()
            raise InfraError(
                f"no scheduler at {address}: {e}", hint="start `dask scheduler`"
            ) from e

    def run(self, jobs: Iterable[J]) -> Iterator[Done[J, A]]:
        """Each job once, in the order in which they end."""
        by_key: dict[str, J] = {}
        futures = []
        for job in jobs:
            future = self._client.submit(
                _play, self._work, self._clean, self._root, job, pure=False, retries=0
            )
            by_key[future.key] = job
            futures.append(future)
        for future in self._distributed.as_completed(futures):
            job = by_key[future.key]
            try:
                answer, why = future.result()
            except self._distributed.KilledWorker as e:
                yield Done(job, None, f"its workers died: {e}", worker_died=True)
            except (OSError, CancelledError) as e:
                yield Done(job, None, f"the cluster lost it: {e!r}", worker_died=True)
            else:
                yield Done(job, answer, why)
            future.release()

    def close(self) -> None:
        self._client.close()
        self._close_own()

    def _close_own(self) -> None:
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def _play(
    work: Work[Any, Any], clean: Callable[[Path], None], root: Path, job: Any
) -> tuple[Any, str]:
    """In a worker: a directory of its own. What a job raises is told, never thrown at dask."""
    directory = root / f"{socket.gethostname()}-{os.getpid()}"
    directory.mkdir(parents=True, exist_ok=True)
    for other in root.glob(f"{socket.gethostname()}-*"):
        if not Path(f"/proc/{other.name.rpartition('-')[2]}").exists():
            clean(other)  # of a worker that died here
    return attempt(work, directory, job)
