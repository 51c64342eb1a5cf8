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
from headend.ingest.clock_book import ClockBook
from headend.ingest.clock_offset import ClockOffset
from headend.ingest.leased import LeasedWork
from headend.ingest.meter_turn import read_clock
from headend.ingest.poll_outbox import kind_of
from headend.log import get_logger
from headend.metrics import CLOCK_READS, DEVICE_REQUESTS, STORE_ERRORS
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
_log = get_logger(__name__)

_Taken = tuple[TakenRequest, PollTarget | None]
_Read = tuple[dict[str, Any], ClockOffset | None]
"""The answer as JSON, and what is to be kept of it beside that."""


class RequestExecutor:
    """Takes live reads from the store and answers them."""

    def __init__(
        self,
        store: Store,
        models: Mapping[str, MeterModel],
        bus_of: Callable[[PollTarget], ModbusBus],
        clocks: ClockBook,
        *,
        check_s: float,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._store = store
        self._models = models
        self._bus_of = bus_of
        self._clocks = clocks
        self._clock = clock
        self._work: LeasedWork[_Taken] = LeasedWork(
            "live reads",
            take=self._take,
            execute=self._execute,
            give_back=self._release,
            most=_MOST,
            check_s=check_s,
            sleep=sleep,
        )

    async def run(self) -> None:
        """Look for requests for ever; what is under way when this is cancelled is given back."""
        await self._work.run()

    def _take(self, most: int) -> list[_Taken]:
        with self._store.transaction() as connection:
            if expired := requests.expire(connection, now=self._clock()):
                DEVICE_REQUESTS.labels("expired").inc(expired)
            taken = requests.take(connection, now=self._clock(), lease_s=LEASE_S, most=most)
            return [(request, poll_target_of(connection, request.meter_id)) for request in taken]

    async def _execute(self, taken: _Taken) -> None:
        request, target = taken
        answer: dict[str, Any] | None = None
        offset: ClockOffset | None = None
        error: str | None = None
        try:
            async with asyncio.timeout(_RUN_S):
                answer, offset = await self._read(request, target)
        except TimeoutError:
            error = f"the bus was not free, or the meter did not answer, within {_RUN_S:g} s"
        except (PeerError, DriverConfigError) as failure:
            error = str(failure)
        DEVICE_REQUESTS.labels("answered" if error is None else "failed").inc()
        try:
            await asyncio.to_thread(self._finish, request, target, answer, offset, error)
        except StoreError as failure:
            # The lease runs out, and the meter is read again.
            STORE_ERRORS.labels(kind_of(failure)).inc()
            _log.warning("live read not answered", request=str(request.request_id), error=str(failure))

    async def _read(self, request: TakenRequest, target: PollTarget | None) -> _Read:
        if target is None:
            raise DriverConfigError("the meter has no Modbus endpoint")
        model = self._models.get(target.model)
        if model is None:
            known = ", ".join(sorted(self._models))
            raise DriverConfigError(f"no register map for model {target.model!r}; known are {known}")
        bus = self._bus_of(target)
        if request.kind == "clock":
            offset = await read_clock(bus, target, model, self._clocks.zone, priority=Priority.COMMAND)
            CLOCK_READS.labels("ok").inc()
            return clock_answer_of(offset, model.id), offset
        reading = await bus.read_meter(target.unit, model, priority=Priority.COMMAND)
        return answer_of(reading, model.id), None

    def _finish(
        self,
        request: TakenRequest,
        target: PollTarget | None,
        answer: Mapping[str, Any] | None,
        offset: ClockOffset | None,
        error: str | None,
    ) -> None:
        now = self._clock()
        with self._store.transaction() as connection:
            if not requests.finish(connection, request, answer=answer, error=error, now=now):
                return
            if offset is not None and target is not None:
                spec = self._models[target.model].features.clock
                self._clocks.read(
                    connection, target, offset, model_sets=spec is not None and spec.write is not None, now=now
                )

    def _release(self, taken: _Taken) -> None:
        with self._store.transaction() as connection:
            requests.release(connection, taken[0])


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


def clock_answer_of(offset: ClockOffset, model_id: str) -> dict[str, Any]:
    """What a live read of a clock found, as JSON; a null offset is *its registers name no instant*."""
    return {
        "offset_ms": offset.offset_ms,
        "uncertainty_ms": offset.uncertainty_ms,
        "instant": offset.at.isoformat(),
        "words": list(offset.words),
        "model": model_id,
    }
