"""What devices noticed: one table for both protocols and for what the head-end itself saw; each event is one row.

The same event told twice (same device, kind, instant and phase) is stored once, so whoever is not sure tells it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import from_us
from headend.store import queries
from headend.store.arrays import Integers
from headend.store.pool import Connection, Row, rows
from headend.store.storable import storable

Ints = npt.NDArray[np.int64]
EventSource = Literal["modbus", "mqtt", "headend"]
_q = queries.load("events")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One event of one meter, or of one concentrator."""

    meter_id: int | None = None
    concentrator_id: int | None = None
    """Exactly one of the two is given."""
    kind: str
    """Value of `drivers.events.EventKind`."""
    code: str | None
    """EndDeviceEventType of IEC 61968-9; None where the standard names none."""
    occurred_at: datetime
    uncertainty_ms: int = 0
    """It happened within so much of `occurred_at`."""
    received_at: datetime
    phase: int | None = None
    """1..3 where it concerns one phase."""
    value: float | None = None
    """In the unit of the kind."""
    detail: str = ""
    """For a person."""
    source: EventSource

    def __post_init__(self) -> None:
        if (self.meter_id is None) == (self.concentrator_id is None):
            raise ValueError(f"an event is a meter's or a concentrator's, got {self.meter_id}, {self.concentrator_id}")


class Added(NamedTuple):
    """An event that was not told before."""

    kind: str
    meter_id: int | None
    occurred_at: datetime
    uncertainty_ms: int


@dataclass(frozen=True, slots=True, eq=False)
class PowerEvents:
    """Failures and restorations of one meter's power, (n,) in order of time."""

    ts_us: Ints
    failed: npt.NDArray[np.bool_]
    """Else restored."""
    uncertainty_us: Ints


def add(connection: Connection, events: Sequence[StoredEvent]) -> int:
    """Store what was not told before; how many that were."""
    return len(add_new(connection, events))


def add_new(connection: Connection, events: Sequence[StoredEvent]) -> list[Added]:
    """The same, one by one."""
    if not events:
        return []
    found = connection.execute(
        _q["add"],
        {
            "meter_id": [e.meter_id for e in events],
            "concentrator_id": [e.concentrator_id for e in events],
            "kind": [e.kind for e in events],
            "code": [e.code for e in events],
            "occurred_at": [e.occurred_at for e in events],
            "uncertainty_ms": [e.uncertainty_ms for e in events],
            "received_at": [e.received_at for e in events],
            "phase": [e.phase for e in events],
            "value": [e.value for e in events],
            "detail": [storable(e.detail) for e in events],
            "source": [e.source for e in events],
        },
    ).fetchall()
    return [Added(*row) for row in found]


def of_power(connection: Connection, meter_ids: Ints, first_us: Ints, last_us: Ints) -> dict[int, PowerEvents]:
    """meter_id → what it told of its power, of (n,) meters each between two instants of its own [µs UTC], both
    included; those that told nothing are not among them.
    """
    if not meter_ids.size:
        return {}
    spans = dict(zip(meter_ids.tolist(), zip(first_us.tolist(), last_us.tolist(), strict=True), strict=True))
    widest = {"first": from_us(int(first_us.min())), "last": from_us(int(last_us.max()))}
    told: dict[int, list[tuple[int, bool, int]]] = {}
    for meter_id, failed, ts_us, uncertainty_ms in connection.execute(
        _q["of_power"], {"meters": Integers(meter_ids)} | widest
    ).fetchall():
        first, last = spans[meter_id]
        if first <= ts_us <= last:
            told.setdefault(meter_id, []).append((ts_us, failed, uncertainty_ms * 1000))
    return {meter_id: _power_events(of_meter) for meter_id, of_meter in told.items()}


def _power_events(told: Sequence[tuple[int, bool, int]]) -> PowerEvents:
    ts_us, failed, uncertainty_us = zip(*told, strict=True)
    return PowerEvents(
        np.array(ts_us, dtype=np.int64), np.array(failed, dtype=np.bool_), np.array(uncertainty_us, dtype=np.int64)
    )


def listed(
    connection: Connection,
    *,
    limit: int,
    manufacturer: str | None = None,
    serial: str | None = None,
    area: str | None = None,
    kind: str | None = None,
    first: datetime | None = None,
    end: datetime | None = None,
    after: tuple[datetime, int] | None = None,
) -> list[Row]:
    """Newest first, with where the device was then; `serial` may be a concentrator's code, first <= occurred < end.

    `after` is (occurred_at, event_id) of the last row of the page before.
    """
    return rows(
        connection,
        _q["list"],
        {
            "limit": limit,
            "manufacturer": manufacturer,
            "serial": serial,
            "area": area,
            "kind": kind,
            "first": first,
            "end": end,
            "after_at": after[0] if after else None,
            "after_id": after[1] if after else None,
        },
    )


def recent(connection: Connection, area_id: int, since: datetime) -> list[Row]:
    """Kind, number and last instant of an area's events since then, the most frequent kind first."""
    return rows(connection, _q["recent"], {"area_id": area_id, "since": since})


def kinds(connection: Connection) -> list[str]:
    """Kinds that there are events of."""
    return [kind for (kind,) in connection.execute(_q["kinds"]).fetchall()]


def hold_meters(connection: Connection, meter_ids: Sequence[int]) -> None:
    """Until the transaction ends nobody else changes the event state of these meters."""
    connection.execute(_q["hold_meters"], [sorted(meter_ids)])


def set_episodes(connection: Connection, open_: Mapping[int, int]) -> None:
    """meter_id → bits that stand open now; 0: none."""
    if open_:
        connection.execute(_q["set_episodes"], {"meter_id": list(open_), "open": list(open_.values())})


def status_words(connection: Connection, meter_ids: Sequence[int]) -> dict[tuple[int, str], tuple[int, int]]:
    """(meter_id, register) → the word that was read last and when [µs UTC]."""
    found = connection.execute(_q["status_words"], [list(meter_ids)]).fetchall()
    return {(meter_id, register): (word, seen_us) for meter_id, register, word, seen_us in found}


def set_status_words(connection: Connection, words: Mapping[tuple[int, str], tuple[int, int]]) -> None:
    """The same the other way round; an older word than the stored one changes nothing."""
    if words:
        connection.execute(
            _q["set_status_words"],
            {
                "meter_id": [meter_id for meter_id, _ in words],
                "register": [register for _, register in words],
                "word": [word for word, _ in words.values()],
                "seen_us": [seen_us for _, seen_us in words.values()],
            },
        )
