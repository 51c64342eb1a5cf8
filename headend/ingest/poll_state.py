"""Keeps in the store how buses and meters are doing, for pages of another process: after each round, what changed.

The rule it keeps: *since when* is the instant at which it changed, over restarts too; a database that is away delays
what is shown, never a round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from drivers.modbus.health import MeterHealth
from headend.domain.calendar import US_PER_S, from_us
from headend.domain.clock import Clock
from headend.domain.topology import PollTarget
from headend.ingest.poll_outbox import kind_of
from headend.ingest.poll_round import CONNECTION, OK, Outcome, RoundReport
from headend.log import get_logger
from headend.metrics import STORE_ERRORS
from headend.store import polling
from headend.store.errors import StoreError
from headend.store.polling import BusState, MeterState
from headend.store.pool import Store

_log = get_logger(__name__)

_UNHEARD: Final[Mapping[str, Any]] = {
    "peer": "", "connected": None, "since_at": None, "reason": None, "began_at": None, "took_s": None, "meters": 0,
    "asked": None, "read": None, "failed": None, "resting": None,
}  # fmt: skip
HealthOf = Callable[[str, int], MeterHealth | None]
"""URI of a bus and a unit on it → what the bus has learnt of it."""


class PollState:
    """The states as they are now, and which of them the store does not have yet."""

    def __init__(
        self,
        store: Store,
        *,
        health_of: HealthOf,
        every_s: float,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._store = store
        self._health_of = health_of
        self._every_s = every_s
        self._clock = clock
        self._sleep = sleep
        self._units: dict[int, int] = {}
        self._buses: dict[str, BusState] = {}
        self._meters: dict[int, MeterState] = {}
        self._changed_buses: set[str] = set()
        self._changed_meters: set[int] = set()
        self._others_gone = False
        self._loaded = False

    async def load(self) -> None:
        """Go on from where the last process stopped. Raises StoreError."""
        if self._loaded:
            return
        buses, meters = await asyncio.to_thread(self._stored)
        self._buses = {b.bus: b for b in buses} | self._buses
        self._meters = {m.meter_id: m for m in meters} | self._meters
        self._loaded = True

    def polled(self, buses: Mapping[str, Sequence[PollTarget]], peers: Mapping[str, str]) -> None:
        """These buses with these meters are polled from now on, and no others; `peers`: what people call the buses."""
        self._units = {t.meter_id: t.unit for members in buses.values() for t in members}
        self._buses = {
            bus: bus_state(self._buses.get(bus), bus, peers[bus], meters=len(members), report=None)
            for bus, members in buses.items()
        }
        self._meters = {meter: state for meter, state in self._meters.items() if meter in self._units}
        self._changed_buses = set(self._buses)
        self._changed_meters &= self._units.keys()
        self._others_gone = True

    def round_over(self, report: RoundReport) -> None:
        """Take over how a round went."""
        before = self._buses.get(report.bus)
        if before is None:
            return  # taken out meanwhile
        self._buses[report.bus] = bus_state(before, report.bus, before.peer, meters=before.meters, report=report)
        self._changed_buses.add(report.bus)
        for meter_id, outcome in report.outcomes.items():
            unit = self._units.get(meter_id)
            if unit is None:
                continue
            was, health = self._meters.get(meter_id), self._health_of(report.bus, unit)
            state = meter_state(was, meter_id, report.bus, outcome, health=health, at=from_us(report.ended_us))
            if state != was:
                self._meters[meter_id] = state
                self._changed_meters.add(meter_id)

    def unusable(self, bus: str, reason: str) -> None:
        """A bus cannot be opened at all: a person has to mend its endpoint or the settings."""
        if bus in self._buses:
            self._buses[bus] = _connected(self._buses[bus], reason, self._clock())
            self._changed_buses.add(bus)

    async def run(self) -> None:
        """Write whatever changed, for ever."""
        while True:
            try:
                await self.flush()
            except StoreError as error:
                STORE_ERRORS.labels(kind_of(error)).inc()
                _log.warning("states of buses wait for the database", buses=len(self._changed_buses), error=str(error))
            await self._sleep(self._every_s)

    async def flush(self) -> None:
        """Write what changed. Raises StoreError; it is written the next time then."""
        if not (self._changed_buses or self._changed_meters or self._others_gone):
            return
        buses, self._changed_buses = self._changed_buses, set()
        meters, self._changed_meters = self._changed_meters, set()
        others_gone, self._others_gone = self._others_gone, False
        try:
            await asyncio.to_thread(
                self._save,
                [self._buses[b] for b in sorted(buses)],
                [self._meters[m] for m in sorted(meters)],
                (list(self._buses), list(self._units)) if others_gone else None,
            )
        except StoreError:
            self._changed_buses |= buses & self._buses.keys()
            self._changed_meters |= meters & self._meters.keys()
            self._others_gone |= others_gone
            raise

    def _stored(self) -> tuple[list[BusState], list[MeterState]]:
        with self._store.transaction() as connection:
            return polling.stored_buses(connection), polling.stored_meters(connection)

    def _save(self, buses: list[BusState], meters: list[MeterState], only: tuple[list[str], list[int]] | None) -> None:
        with self._store.transaction() as connection:
            polling.save(connection, buses, meters, now=self._clock())
            if only is not None:
                polling.keep_only(connection, *only)


def bus_state(before: BusState | None, bus: str, peer: str, *, meters: int, report: RoundReport | None) -> BusState:
    """How a bus is doing after a round; without one as it was."""
    state = replace(before or BusState(bus=bus, **_UNHEARD), peer=peer, meters=meters)
    if report is None:
        return state
    lost = [outcome for outcome in report.outcomes.values() if outcome.code == CONNECTION]
    return replace(
        _connected(state, lost[0].reason if lost else None, from_us(report.ended_us)),
        began_at=from_us(report.began_us),
        took_s=(report.ended_us - report.began_us) / US_PER_S,
        asked=len(report.outcomes),
        read=report.read,
        failed=report.failed,
        resting=report.resting,
    )


def _connected(before: BusState, reason: str | None, at: datetime) -> BusState:
    """Connected, or not for a reason; since `at` where it was otherwise before."""
    connected = reason is None
    since_at = before.since_at if before.connected is connected else at
    return replace(before, connected=connected, reason=reason, since_at=since_at)


def meter_state(
    before: MeterState | None, meter_id: int, bus: str, outcome: Outcome, *, health: MeterHealth | None, at: datetime
) -> MeterState:
    """How a meter is doing after a round in which it was due."""
    read = outcome.code == OK
    same = before is not None and (before.outcome == OK) is read
    probe_us = None if health is None else health.next_probe_us
    return MeterState(
        meter_id=meter_id,
        bus=bus,
        outcome=outcome.code,
        reason=outcome.reason,
        since_at=before.since_at if before is not None and same else at,
        failures=0 if read else 1 + (before.failures if before is not None else 0),
        next_probe_at=None if probe_us is None or read else from_us(probe_us),
        response_ms=None if health is None else _two_digits(health.response_ms),
        timeout_ms=None if health is None else _two_digits(health.timeout_ms),
        firmware=None if health is None else health.firmware,
    )


def _two_digits(value: float | None) -> float | None:
    """As much as a person needs; more would make another state of every round."""
    return None if value is None else float(f"{value:.2g}")
