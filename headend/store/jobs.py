"""Work that is retried until it succeeds, over restarts and on any host: procrastinate's queue in the same database.

A job is only ever a reminder (`push batch 12`): what is to be done and whether it is done stands in the stage's own
tables, so a job that runs twice changes nothing, and a lost one is deferred again by the stage's next look.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta

from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import Job

from headend.log import get_logger
from headend.store.errors import StoreUnavailable
from headend.store.pool import with_deadlines

HEARTBEAT_S = 2.0
"""A worker says so often that it lives."""
STALLED_S = 10.0
"""A job whose worker has been silent for so long is taken over."""
_log = get_logger(__name__)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except AlreadyEnqueued:
        raise
    except ConnectorException as error:
        raise StoreUnavailable(f"job queue: {error.__cause__ or error}") from error


class Again(Exception):
    """What a job raises to be tried again later; any other exception is a fault of ours, and tried again as well."""


class BoundedBackoff(BaseRetryStrategy):
    """Pauses that double from `first_s` to `most_s` [s] and never end: what waits for another system waits for ever."""

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s, self._most_s = first_s, most_s

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:  # noqa: ARG002
        """Always again; the exception stands in the stage's own table and in the log."""
        pause_s = min(self._most_s, self._first_s * 2.0 ** min(job.attempts, 30))
        return RetryDecision(retry_at=datetime.now(UTC) + timedelta(seconds=pause_s))


class JobQueue:
    """One named queue of jobs that each carry one number."""

    def __init__(self, dsn: str, queue: str, work: Callable[[int], None], *, first_s: float, most_s: float) -> None:
        """`work(number)` runs in a thread; it returns when done and raises `Again` to be called later."""
        self._queue = queue
        self._app = App(connector=PsycopgConnector(conninfo=with_deadlines(dsn), min_size=1, max_size=4))
        self._task = self._app.task(name=queue, queue=queue, retry=BoundedBackoff(first_s, most_s))(work)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Connected to the database for as long as the block lasts. Raises StoreUnavailable."""
        with _translated():
            async with self._app.open_async():
                yield

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, within `opened`; a job in hand is finished first. Raises StoreUnavailable."""
        with _translated():
            worker = asyncio.create_task(
                self._app.run_worker_async(
                    queues=[self._queue],
                    name=f"headend-{self._queue}",
                    install_signal_handlers=False,
                    delete_jobs="successful",
                    fetch_job_polling_interval=1.0,
                    update_heartbeat_interval=HEARTBEAT_S,
                    stalled_worker_timeout=STALLED_S,
                    shutdown_graceful_timeout=15.0,
                )
            )
            waiting = asyncio.create_task(stop.wait())
            while not stop.is_set() and not worker.done():
                await self._take_over_stalled()
                await asyncio.wait({worker, waiting}, timeout=STALLED_S / 2, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not worker.done():
                worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker

    async def defer(self, number: int) -> bool:
        """Ask for `work(number)`; False when it is asked for already; within `opened`. Raises StoreUnavailable."""
        try:
            with _translated():
                await self._task.configure(queueing_lock=f"{self._queue}-{number}").defer_async(number=number)
        except AlreadyEnqueued:
            return False
        return True

    async def _take_over_stalled(self) -> None:
        manager = self._app.job_manager
        for job in await manager.get_stalled_jobs(queue=self._queue, seconds_since_heartbeat=STALLED_S):
            _log.warning("job taken over from a worker that died", queue=self._queue, job=job.id)
            await manager.retry_job(job, retry_at=datetime.now(UTC))
