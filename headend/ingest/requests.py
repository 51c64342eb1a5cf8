"""Executes live reads that somebody wants, on the buses that this process owns, between the meters of a round.

The rule it keeps: a read that was taken is answered, failed with the reason, or free for another process once its lease
is over; nothing waits behind a meter that is silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from drivers.base import RegisterReading
from drivers.errors import DriverConfigError, PeerError
from drivers.modbus.bus import ModbusBus
from drivers.modbus.gate import Priority
from drivers.modbus.model import MeterModel
from headend.domain.calendar import from_us
from headend.domain.clock import Clock
from headend.domain.topology import PollTarget
from headend.ingest.poll_outbox import kind_of
from headend.log import get_logger
from headend.metrics import DEVICE_REQUESTS, STORE_ERRORS
from headend.store import requests
from headend.store.errors import StoreError
from headend.store.pool import Store
from headend.store.requests import TakenRequest
from headend.store.topology import poll_target_of

LEASE_S: Final = 30.0
"""A process that dies holding a request delays it by so much."""
_RUN_S: Final = 25.0
"""Longest execution; well within the lease, so that nobody else starts it meanwhile."""
_MOST: Final = 16
"""Requests under way at once."""
_RETRY_S: Final = 2.0
_log = get_logger(__name__)


class RequestExecutor:
    """Takes live reads from the store and answers them."""

    def __init__(
        self,
        store: Store,
        models: Mapping[str, MeterModel],
        bus_of: Callable[[PollTarget], ModbusBus],
        *,
        check_s: float,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._store = store
        self._models = models
        self._bus_of = bus_of
        self._check_s = check_s
        self._clock = clock
        self._sleep = sleep
        self._running: dict[asyncio.Task[None], TakenRequest] = {}

    async def run(self) -> None:
        """Look for requests for ever; what is under way when this is cancelled is given back."""
        try:
            while True:
                try:
                    await self.check()
                except StoreError as error:
                    STORE_ERRORS.labels(kind_of(error)).inc()
                    _log.warning("live reads wait for the database", error=str(error))
                    await self._sleep(_RETRY_S)
                await self._sleep(self._check_s)
        finally:
            await self._give_back()

    async def check(self) -> int:
        """Take what there is and start it; returns how many."""
        room = _MOST - len(self._running)
        if room <= 0:
            return 0
        taken = await asyncio.to_thread(self._take, room)
        for request, target in taken:
            task = asyncio.create_task(self._execute(request, target))
            self._running[task] = request
            task.add_done_callback(self._done)
        return len(taken)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._running:
            await asyncio.wait(self._running)

    def _take(self, most: int) -> list[tuple[TakenRequest, PollTarget | None]]:
        with self._store.transaction() as connection:
            if expired := requests.expire(connection, now=self._clock()):
                DEVICE_REQUESTS.labels("expired").inc(expired)
            taken = requests.take(connection, now=self._clock(), lease_s=LEASE_S, most=most)
            return [(request, poll_target_of(connection, request.meter_id)) for request in taken]

    async def _execute(self, request: TakenRequest, target: PollTarget | None) -> None:
        answer: dict[str, Any] | None = None
        error: str | None = None
        try:
            answer = await self._read(target)
        except TimeoutError:
            error = f"the bus was not free, or the meter did not answer, within {_RUN_S:g} s"
        except (PeerError, DriverConfigError) as failure:
            error = str(failure)
        DEVICE_REQUESTS.labels("answered" if error is None else "failed").inc()
        try:
            await asyncio.to_thread(self._finish, request, answer, error)
        except StoreError as failure:
            # The lease runs out, and the meter is read again.
            STORE_ERRORS.labels(kind_of(failure)).inc()
            _log.warning("live read not answered", request=str(request.request_id), error=str(failure))

    async def _read(self, target: PollTarget | None) -> dict[str, Any]:
        if target is None:
            raise DriverConfigError("the meter has no Modbus endpoint")
        model = self._models.get(target.model)
        if model is None:
            known = ", ".join(sorted(self._models))
            raise DriverConfigError(f"no register map for model {target.model!r}; known are {known}")
        async with asyncio.timeout(_RUN_S):
            reading = await self._bus_of(target).read_meter(target.unit, model, priority=Priority.COMMAND)
        return answer_of(reading, model.id)

    def _finish(self, request: TakenRequest, answer: Mapping[str, Any] | None, error: str | None) -> None:
        with self._store.transaction() as connection:
            requests.finish(connection, request, answer=answer, error=error, now=self._clock())

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("live read failed", exc_info=error)

    async def _give_back(self) -> None:
        running = dict(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for request in running.values():
            try:
                await asyncio.to_thread(self._release, request)
            except StoreError as error:
                STORE_ERRORS.labels(kind_of(error)).inc()
                _log.warning("live read not given back", request=str(request.request_id), error=str(error))

    def _release(self, request: TakenRequest) -> None:
        with self._store.transaction() as connection:
            requests.release(connection, request)


def answer_of(reading: RegisterReading, model_id: str) -> dict[str, Any]:
    """What a live read found, as JSON; null or absent is *not measured*."""
    voltages = list(reading.voltage_v or ())
    while voltages and voltages[-1] is None:
        voltages.pop()
    return {
        "serial": reading.serial,
        "import_wh": reading.import_wh,
        "export_wh": reading.export_wh,
        "voltage_v": voltages,
        "instant": from_us(reading.instant_us).isoformat(),
        "uncertainty_ms": reading.uncertainty_ms,
        "resolution_wh": reading.resolution_wh,
        "model": model_id,
        "refused": list(reading.refused),
    }
