"""Reads meters' clocks after rounds, each once so long, when nothing more urgent wants the bus.

The rules it keeps: only meters that answered in the round are asked, so that a dead one costs nothing here; reading a
clock waits behind every poll, and delays the next one by one question at the most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from drivers.errors import DriverError
from drivers.modbus.bus import ModbusBus
from drivers.modbus.gate import Priority
from drivers.modbus.model import MeterModel
from headend.domain.calendar import US_PER_S, to_us
from headend.domain.clock import Clock
from headend.domain.topology import PollTarget
from headend.ingest.clock_book import ClockBook
from headend.ingest.clock_offset import ClockOffset
from headend.ingest.meter_turn import read_clock
from headend.ingest.poll_outbox import kind_of
from headend.log import get_logger
from headend.metrics import CLOCK_READS, STORE_ERRORS
from headend.store import clocks
from headend.store.errors import StoreError
from headend.store.pool import Store

_AGAIN_S: Final = 3600.0
"""A clock that could not be read, or kept, is asked again after so long, or sooner where clocks are read more often."""
_log = get_logger(__name__)


class ClockCheck:
    """What is known of when clocks are due, and the reading of those that are."""

    def __init__(
        self,
        store: Store,
        models: Mapping[str, MeterModel],
        bus_of: Callable[[PollTarget], ModbusBus],
        book: ClockBook,
        *,
        every_s: int,
        clock: Clock,
    ) -> None:
        self._store = store
        self._models = models
        self._bus_of = bus_of
        self._book = book
        self._every_s = every_s
        self._clock = clock
        self._due_us: dict[int, int] | None = None
        self._unread: set[int] = set()
        """Said of these already that their clock is not read."""
        self._waiting: dict[str, tuple[PollTarget, ...]] = {}
        self._called = asyncio.Event()

    def after_round(self, read: Iterable[PollTarget]) -> None:
        """These meters answered just now; those whose clock is due are read soon. Returns at once."""
        for target in read:
            if (model := self._models.get(target.model)) is not None and model.features.clock is not None:
                self._waiting[target.bus] = (*self._waiting.get(target.bus, ()), target)
        if self._waiting:
            self._called.set()

    async def run(self) -> None:
        """Read what is due after each round, for ever; buses go side by side."""
        under_way: dict[str, asyncio.Task[int]] = {}
        try:
            while True:
                await self._called.wait()
                self._called.clear()
                waiting, self._waiting = self._waiting, {}
                for bus, targets in waiting.items():
                    if bus not in under_way or under_way[bus].done():
                        under_way[bus] = asyncio.create_task(self.check(targets))
                        under_way[bus].add_done_callback(_logged)
        finally:
            for task in under_way.values():
                task.cancel()
            await asyncio.gather(*under_way.values(), return_exceptions=True)

    async def check(self, targets: Iterable[PollTarget]) -> int:
        """Read the clocks of these that are due, one after the other; how many were read."""
        read = 0
        for target in targets:
            if await self._is_due(target):
                read += await self._look(target)
        return read

    async def _is_due(self, target: PollTarget) -> bool:
        if self._due_us is None:
            try:
                known = await asyncio.to_thread(self._read_last)
            except StoreError as error:
                STORE_ERRORS.labels(kind_of(error)).inc()
                _log.warning(
                    "clocks not read", reason="the database does not say when they were read", error=str(error)
                )
                return False
            every_us = self._every_s * US_PER_S
            self._due_us = {meter: to_us(at) + every_us for meter, at in known.items()}
        wait_us = self._due_us.get(target.meter_id, 0) - to_us(self._clock())
        return not 0 < wait_us <= self._every_s * US_PER_S  # longer: it was read while our own clock was ahead

    async def _look(self, target: PollTarget) -> bool:
        """Read and keep one meter's clock; say whether it could be."""
        model, meter = self._models[target.model], f"{target.manufacturer}/{target.serial}"
        try:
            bus = self._bus_of(target)
            offset = await read_clock(bus, target, model, self._book.zone, priority=Priority.BACKFILL)
            await asyncio.to_thread(self._keep, target, model, offset)
        except DriverError as error:
            CLOCK_READS.labels(error.code).inc()
            if target.meter_id not in self._unread:
                self._unread.add(target.meter_id)
                _log.warning("clock not read", meter=meter, reason=str(error))
        except StoreError as error:
            STORE_ERRORS.labels(kind_of(error)).inc()
            _log.warning("clock reading not kept", meter=meter, error=str(error))
        else:
            CLOCK_READS.labels("ok").inc()
            self._unread.discard(target.meter_id)
            self._put_off(target, self._every_s)
            return True
        self._put_off(target, min(self._every_s, _AGAIN_S))
        return False

    def _put_off(self, target: PollTarget, by_s: float) -> None:
        assert self._due_us is not None  # asked before
        self._due_us[target.meter_id] = to_us(self._clock() + timedelta(seconds=by_s))

    def _read_last(self) -> dict[int, datetime]:
        with self._store.transaction() as connection:
            return clocks.read_last(connection)

    def _keep(self, target: PollTarget, model: MeterModel, offset: ClockOffset) -> None:
        spec = model.features.clock
        with self._store.transaction() as connection:
            self._book.read(
                connection, target, offset, model_sets=spec is not None and spec.write is not None, now=self._clock()
            )


def _logged(task: asyncio.Task[int]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("reading clocks failed", exc_info=error)
