"""Reads a meter's status registers in the same turn on the bus as its readings.

The rule it keeps: what a meter measures counts for more than what it tells, so a status register that cannot be read
spoils no reading; it is said once, and asked for again in the next round.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.base import MeterIdentity, Quantity, RegisterReading
from drivers.errors import PeerError
from drivers.modbus.bus import ModbusAddress, ModbusBus
from drivers.modbus.snapshot import to_reading
from headend.domain.topology import PollTarget
from headend.ingest.status_events import StatusWord, status_word
from headend.log import get_logger
from headend.metrics import MODBUS_STATUS_READS

_log = get_logger(__name__)


class StatusReader:
    """Knows which status registers failed last time, so that it is said once."""

    def __init__(self) -> None:
        self._failing: set[tuple[int, str]] = set()

    async def read(
        self, bus: ModbusBus, address: ModbusAddress, target: PollTarget, quantities: frozenset[Quantity]
    ) -> tuple[RegisterReading, Sequence[StatusWord]]:
        """One meter's readings and status words. Raises as `ModbusBus.read` does, when there is no reading."""
        specs = address.model.features.status
        if not specs:
            reading = await bus.read_meter(address.unit, address.model, quantities, priority=address.priority)
            return reading, ()
        found = []
        async with bus.turn(address) as turn:
            reading = to_reading(await turn.visit(quantities))
            for spec in specs:
                key = (target.meter_id, str(spec.range))
                try:
                    answer = await turn.read(spec.range)
                except PeerError as error:
                    MODBUS_STATUS_READS.labels(error.code).inc()
                    if key not in self._failing:
                        self._failing.add(key)
                        meter = f"{target.manufacturer}/{target.serial}"
                        _log.warning("status register not read", meter=meter, register=key[1], reason=str(error))
                    continue
                MODBUS_STATUS_READS.labels("ok").inc()
                self._failing.discard(key)
                found.append(
                    status_word(
                        MeterIdentity(target.manufacturer, target.serial),
                        spec,
                        answer.words,
                        instant_us=answer.sent_us + answer.span_us // 2,
                        uncertainty_ms=-(-answer.span_us // 2000),
                    )
                )
        return reading, found
