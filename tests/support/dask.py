"""A Dask cluster of this machine whose workers are real processes; one of them can be killed where it waits."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.command import ROOT
from support.waiting import until

distributed = pytest.importorskip("distributed", reason="pip install 'headend[scale]'")


@contextmanager
def local_clusters() -> Iterator[Callable[..., Any]]:
    """Makes clusters whose workers have nannies; `environment` is what a worker knows of the database."""
    made: list[Any] = []

    def make(environment: dict[str, str], workers: int = 2) -> Any:
        made.append(
            distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, protocol="tcp", host="127.0.0.1",
                dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL, memory_limit=0,
                env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"} | environment,
            )
        )  # fmt: skip
        return made[-1]

    try:
        yield make
    finally:
        for cluster in made:
            cluster.close()


def kill_a_waiting_worker(address: str, waiting: Callable[[], int]) -> None:
    """Once every busy worker waits in the database, kill one and see the scheduler miss it."""
    with distributed.Client(address, set_as_default=False) as spy:
        pids = spy.run(os.getpid)

        def all_that_work_wait() -> list[str]:
            busy = [worker for worker, keys in spy.processing().items() if keys]
            return busy if waiting() >= len(busy) else []

        victim = until(all_that_work_wait, "a worker waits for the area")[0]
        os.kill(pids[victim], signal.SIGKILL)
        until(lambda: victim not in spy.scheduler_info()["workers"], "the scheduler sees that it died")
