"""The billing role: final days become batches, batches are pushed until billing acknowledges them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime
from uuid import uuid4

import httpx

from headend.billing.push import PushError, PushRejected, push
from headend.domain.billing import Batch, Determinant
from headend.domain.clock import Clock
from headend.domain.processes import Fact
from headend.log import get_logger
from headend.metrics import BATCH_PUSHES, BATCHES_CREATED, STORE_ERRORS
from headend.settings import Settings
from headend.store import billing as repository
from headend.store.errors import StoreUnavailable
from headend.store.jobs import Again, JobQueue
from headend.store.pool import Store

LOOK_S = 1.0
"""How often new final days and unanswered batches are looked for."""
_log = get_logger(__name__)


class BillingService:
    """Makes batches and pushes them; several may run at once, on several hosts."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._settings = settings.billing
        self._clock = clock
        self._seen: tuple[datetime, datetime | None] | None = None
        self._made = self._acknowledged = self._failed_in_row = 0
        self._push_error: str | None = None
        self._secret = settings.billing.key() if settings.billing.endpoint_url else b""
        self._queue = JobQueue(
            settings.database.dsn,
            "billing-push",
            self.push_batch,
            first_s=settings.billing.retry_first_s,
            most_s=settings.billing.retry_most_s,
        )

    def health(self) -> Mapping[str, Fact]:
        """What was made and pushed since this process began; what waits stands in the store."""
        return {
            "no_endpoint": self._settings.endpoint_url is None,
            "batches_made": self._made,
            "batches_acknowledged": self._acknowledged,
            "pushes_failed_in_row": self._failed_in_row,
            "push_error": self._push_error,
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        if self._settings.endpoint_url is None:
            _log.warning("no billing endpoint is configured: batches are made and wait")
            await self._look_for_work(stop)
            return
        async with self._queue.opened(), asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(stop))
            group.create_task(self._look_for_work(stop))

    async def _look_for_work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await asyncio.to_thread(self.make_batches)
                if self._settings.endpoint_url is not None:
                    for number in await asyncio.to_thread(repository.waiting, self._store):
                        await self._queue.defer(number)
            except StoreUnavailable as error:
                STORE_ERRORS.labels(kind=type(error).__name__).inc()
                _log.warning("the database is away", role="billing", error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_S)

    def make_batches(self) -> list[int]:
        """Make batches of all final days that billing has not been told of; returns their numbers.

        Exceptions for days that cannot be billed are noted in the same pass.
        """
        newest = repository.newest_final(self._store)
        if newest is None or newest == self._seen:
            return []
        made = []
        while (number := self._make_batch()) is not None:
            made.append(number)
        self._seen = None if self._settling() else newest
        return made

    def _settling(self) -> bool:
        """Whether days are waiting to be settled: then the next look has to ask again."""
        return repository.anything_dirty(self._store)

    def _make_batch(self) -> int | None:
        now = self._clock()
        with self._store.transaction() as connection:
            number = repository.lock_numbers(connection)
            repository.note_unbillable(connection, now)
            rows = repository.unbilled(connection, self._settings.batch_rows)
            if not rows:
                return None
            determinants = tuple(Determinant(**row | {"meters": tuple(row["meters"])}) for row in rows)
            days = [d.day for d in determinants]
            batch = Batch(
                number=number,
                idempotency_key=uuid4(),
                created_at=now,
                period_from=min(days),
                period_to=max(days),
                determinants=determinants,
            )
            repository.insert_batch(connection, batch)
        BATCHES_CREATED.inc()
        self._made += 1
        _log.info("billing batch made", number=number, determinants=len(determinants), energy_wh=batch.energy_wh)
        return number

    def push_batch(self, number: int) -> None:
        """Push one batch unless it is answered for already. Raises Again when there is no receipt yet."""
        found = repository.load_batch(self._store, number)
        if found is None or found[1] != "created":
            return
        batch, _state = found
        url = self._settings.endpoint_url
        assert url is not None
        now = self._clock()
        with httpx.Client(timeout=self._settings.timeout_s, trust_env=False) as client:
            try:
                receipt = push(client, url, self._secret, batch, now)
            except PushError as error:
                BATCH_PUSHES.labels(outcome="retried").inc()
                self._failed_in_row += 1
                self._push_error = str(error)
                _log.warning("billing push failed", number=number, error=str(error))
                repository.attempt_failed(self._store, number, str(error), rejected=False)
                raise Again(str(error)) from error
            except PushRejected as error:
                BATCH_PUSHES.labels(outcome="rejected").inc()
                self._failed_in_row, self._push_error = 0, None
                _log.error("billing rejected a batch", number=number, error=str(error))
                repository.attempt_failed(self._store, number, str(error), rejected=True)
                return
        repository.acknowledged(self._store, number, receipt, self._clock())
        BATCH_PUSHES.labels(outcome="acknowledged").inc()
        self._acknowledged += 1
        self._failed_in_row, self._push_error = 0, None
        _log.info("billing acknowledged a batch", number=number, receipt=receipt["receipt_id"])
