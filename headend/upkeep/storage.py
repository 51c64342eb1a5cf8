"""Chores of the readings' storage: days made ahead, old ones compressed, those too old dropped.

One set of settings, whatever the database: TimescaleDB's chunks or native partitions. What cannot be carried out is an
alert until it can.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from headend.domain.alerts import AlertKind
from headend.domain.clock import Clock
from headend.log import get_logger
from headend.settings import Settings
from headend.store import alerts, chunks, history, partitions, storage
from headend.store.errors import StoreError, StoreUnavailable
from headend.store.partitions import Partitions
from headend.store.pool import Store
from headend.upkeep.chore import Chore

_EVERY_S: Final = 600.0
_REPACK_EVERY_S: Final = 6 * 3600.0
"""Late readings lie beside their columns so long: compressing a chunk for each of them would be dear."""
_WORK_S: Final = 120.0
"""A round begins no further chunk after so long, so that a stop is not kept waiting by a long backlog."""
_log = get_logger(__name__)


class StorageChores:
    """What has to be done for the readings' tables, on either kind of database."""

    def __init__(
        self, store: Store, settings: Settings, clock: Clock, *, stopwatch: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._settings = settings.storage
        self._clock = clock
        self._stopwatch = stopwatch

    def chores(self) -> tuple[Chore, ...]:
        """Each with how often it is to be done."""
        return (
            Chore("make_days_ahead", _EVERY_S, self.make_ahead),
            Chore("compress_old_days", _EVERY_S, self.pack),
            Chore("compress_late_readings", _REPACK_EVERY_S, self.repack),
            Chore("drop_old_days", _EVERY_S, self.drop),
        )

    def make_ahead(self) -> None:
        """Partitions for the days to come, so that the first reading of a day does not wait for its table."""
        with self._told("days ahead"):
            Partitions().ensure(self._store, partitions.ahead(self._clock(), self._settings.partitions_ahead_days))

    def pack(self) -> None:
        """Compress what is old enough, where the database can."""
        with self._told("compression"):
            if self._can_pack():
                before = self._midnight(self._settings.compress_after_days)
                packed = chunks.pack(self._store, before, self._time_left())
                if packed.days:
                    _log.info("days compressed", chunks=packed.days, left=packed.left)

    def repack(self) -> None:
        """Compress late readings into the chunks that they came to."""
        with self._told("compression of late readings"):
            if self._can_pack():
                packed = chunks.repack(self._store, self._time_left())
                if packed.days:
                    _log.info("late readings compressed", chunks=packed.days, left=packed.left)

    def drop(self) -> None:
        """Drop whole days that end before what is to be kept, and what is noted of when their readings came.

        The floor is raised before any of them goes.
        """
        with self._told("retention"):
            if self._settings.keep_readings_days is None:
                return
            more = self._time_left()
            for table, end, drop in self._too_old(self._midnight(self._settings.keep_readings_days)):
                if not more():
                    break
                storage.raise_floor(self._store, table, end, self._clock())
                drop()
                _log.info("readings dropped", table=table, until=end.isoformat())
            with self._store.transaction() as connection:
                if (kept_from := storage.kept_from(connection)) is not None:
                    history.forget_arrivals(connection, kept_from)

    def _too_old(self, before: datetime) -> list[tuple[str, datetime, Callable[[], None]]]:
        """(table, end, what drops it) of days that end by then, oldest first."""
        with self._store.transaction() as connection:
            if partitions.is_native(connection):
                return [
                    (old.table, old.end, partial(partitions.drop, self._store, old))
                    for old in partitions.droppable(connection, before)
                ]
            return [
                (old["hypertable"], old["range_end"], partial(chunks.drop, self._store, old))
                for old in chunks.droppable(connection, before)
            ]

    def _can_pack(self) -> bool:
        with self._store.transaction() as connection:
            return bool(chunks.lay_out(connection))

    def _midnight(self, days_ago: int) -> datetime:
        """UTC midnight that lies so many whole days before today's."""
        today = self._clock().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today - timedelta(days=days_ago)

    def _time_left(self) -> Callable[[], bool]:
        end = self._stopwatch() + _WORK_S
        return lambda: self._stopwatch() < end

    @contextmanager
    def _told(self, subject: str) -> Iterator[None]:
        """An alert while it fails; cleared when it works again. A database that is away cannot be told."""
        try:
            yield
        except StoreError as error:
            self._raise(subject, str(error))
            raise
        with self._store.transaction() as connection:
            alerts.clear(connection, AlertKind.STORAGE, [subject], self._clock())

    def _raise(self, subject: str, detail: str) -> None:
        try:
            with self._store.transaction() as connection:
                alerts.raise_alert(connection, AlertKind.STORAGE, subject, detail=detail, now=self._clock())
        except StoreUnavailable as error:
            _log.warning("alert not stored", subject=subject, error=str(error))
