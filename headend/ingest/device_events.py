"""The events of a batch of items, found and stored within the writer's transaction.

Four sources: what devices told, status registers that changed, what new readings show by themselves, and concentrators
that came or went. What stands open, and the status words seen last, are in the store, so that a batch written again
tells nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import numpy as np

from drivers.base import MeterIdentity
from drivers.events import DeviceEvent, EventKind, code_of
from headend.domain.calendar import from_us, to_us
from headend.domain.gaps import EVENT_SKEW_S
from headend.ingest.assemble import Ints, Rows
from headend.ingest.derived_events import Bands, derive, speaking
from headend.ingest.identity import Directory
from headend.ingest.item import Item, QuarantineEntry
from headend.ingest.known import Stretches
from headend.ingest.status_events import events_of
from headend.settings import Events
from headend.store import concentrators, events, readings
from headend.store.events import Added, EventSource, StoredEvent
from headend.store.pool import Connection

_POWER: Final = (EventKind.POWER_FAILED.value, EventKind.POWER_RESTORED.value)
_NEVER: Final = np.iinfo(np.int64).min
"""Newest instant of a meter of which nothing was stored."""


def bands_of(settings: Events) -> Bands:
    """The limits of the episodes as the settings have them."""
    return Bands(
        over_voltage_v=settings.over_voltage_v,
        under_voltage_v=settings.under_voltage_v,
        hysteresis_v=settings.voltage_hysteresis_v,
        phase_lost_v=settings.phase_lost_v,
        reversed_a=settings.reversed_a,
        reversed_w=settings.reversed_w,
        feeds_in_wh=settings.feeds_in_wh,
    )


def told(
    items: Sequence[Item], directory: Directory, *, oldest_us: int, newest_us: int
) -> tuple[list[StoredEvent], dict[int, list[QuarantineEntry]]]:
    """What devices said themselves, and per item why something of it cannot be stored."""
    found: list[StoredEvent] = []
    problems: dict[int, list[QuarantineEntry]] = {}
    for place, item in enumerate(items):
        for said in item.told:
            meter_id = directory.meter(said.device) if isinstance(said.device, MeterIdentity) else None
            concentrator_id = directory.concentrator(said.device) if isinstance(said.device, str) else None
            if meter_id is None and concentrator_id is None:
                reason = "unknown_meter" if isinstance(said.device, MeterIdentity) else "unknown_concentrator"
                problems.setdefault(place, []).append(QuarantineEntry(reason, f"not imported: {said.device}"))
                continue
            for event in said.events:
                if not oldest_us <= event.instant_us <= newest_us:
                    problems.setdefault(place, []).append(_out_of_time(event, newest_us))
                    continue
                found.append(
                    _stored(
                        event,
                        from_us(item.received_us),
                        item.channel,
                        meter_id=meter_id,
                        concentrator_id=concentrator_id,
                    )
                )
    return found, problems


def _out_of_time(event: DeviceEvent, newest_us: int) -> QuarantineEntry:
    reason, setting = (
        ("in_future", "future_tolerance_s") if event.instant_us > newest_us else ("too_old", "oldest_days")
    )
    return QuarantineEntry(
        reason, f"event {event.kind} of {from_us(event.instant_us).isoformat()} is beyond ingest.{setting}"
    )


def from_status(connection: Connection, items: Iterable[Item], directory: Directory) -> list[StoredEvent]:
    """What changed in status registers; the words seen last are carried on."""
    words = [(directory.meter(word.meter), word, item) for item in items for word in item.status]
    known = [(number, word, item) for number, word, item in words if number is not None]
    if not known:
        return []
    seen = events.status_words(connection, sorted({number for number, _, _ in known}))
    changed: dict[tuple[int, str], tuple[int, int]] = {}
    found = []
    for number, word, item in sorted(known, key=lambda k: k[1].instant_us):
        key = (number, word.register)
        previous, previous_us = seen.get(key, (None, None))
        if previous_us is not None and previous_us >= word.instant_us:
            continue
        found += [
            _stored(event, from_us(item.received_us), "modbus", meter_id=number)
            for event in events_of(word, previous, previous_us)
        ]
        seen[key] = changed[key] = (word.word, word.instant_us)
    events.set_status_words(connection, changed)
    return found


def from_readings(
    connection: Connection,
    fresh: Rows,
    phases: Rows,
    phase_of: Ints,
    *,
    latest: tuple[Ints, Ints],
    open_: Mapping[int, int],
    bands: Bands,
    now: datetime,
) -> list[StoredEvent]:
    """What readings show that are newer than all that was stored of their meter; what stands open is carried on.

    fresh: (n,) rows just stored, sorted by meter and instant; phases: (k,) those of them, and phase_of their places in
    fresh; latest: meters, sorted, and the newest instant stored of each before [µs UTC]; open_: meter_id → bits.
    """
    some = speaking(fresh, phase_of, open_, bands)
    if not some.any():
        return []
    in_order = np.argsort(phase_of)
    fresh, phases = fresh[some], phases[in_order][some[phase_of[in_order]]]
    before = _newest_of(fresh, *latest)
    found = derive(fresh, phases, before, open_, bands)
    if not found.events:
        return []
    # Another worker may be at the same meters just now: one after the other, and look again.
    meters = np.unique([meter_id for meter_id, _ in found.events])
    events.hold_meters(connection, meters.tolist())
    newest_us, open_ = readings.newest(connection, meters)
    before |= dict(zip(meters.tolist(), newest_us.tolist(), strict=True))
    still = np.isin(fresh["meter"], meters) & (fresh["ts_us"] > _per_row(fresh, meters, newest_us))
    of_it = np.isin(phases["meter"], meters) & (phases["ts_us"] > _per_row(phases, meters, newest_us))
    found = derive(fresh[still], phases[of_it], {m: us for m, us in before.items() if us != _NEVER}, open_, bands)
    events.set_episodes(connection, found.open)
    return [_stored(event, now, "headend", meter_id=meter_id) for meter_id, event in found.events]


def _newest_of(rows: Rows, meters: Ints, newest_us: Ints) -> dict[int, int]:
    """meter_id → newest instant stored before, of the meters of these rows that have one."""
    own = np.isin(meters, rows["meter"]) & (newest_us != _NEVER)
    return dict(zip(meters[own].tolist(), newest_us[own].tolist(), strict=True))


def _per_row(rows: Rows, meters: Ints, newest_us: Ints) -> Ints:
    """(n,) the newest instant of each row's meter; of meters that are not among these any one's."""
    return newest_us[np.minimum(np.searchsorted(meters, rows["meter"]), meters.size - 1)]


def of_concentrators(changes: Sequence[concentrators.Changed], now: datetime) -> list[StoredEvent]:
    """Concentrators that were online and are not, or the other way round."""
    kinds = {True: EventKind.COMMUNICATION_RESTORED, False: EventKind.COMMUNICATION_LOST}
    return [
        StoredEvent(
            concentrator_id=change.concentrator_id,
            kind=kinds[change.online].value,
            code=code_of(kinds[change.online], of_meter=False),
            occurred_at=change.at,
            received_at=now,
            source="mqtt",
        )
        for change in changes
    ]


def with_power_changes(told: Iterable[StoredEvent]) -> list[int]:
    """The meters of which settlement may learn when their power failed or came back, in order."""
    return sorted({event.meter_id for event in told if event.meter_id is not None and event.kind in _POWER})


def power_changes(added: Iterable[Added]) -> Stretches:
    """When meters' power may have failed or come back, of events that were not told before: settlement goes by them."""
    found = sorted(
        (event.meter_id, to_us(event.occurred_at), event.uncertainty_ms * 1000 + EVENT_SKEW_S * 1_000_000)
        for event in added
        if event.meter_id is not None and event.kind in _POWER
    )
    meter, at_us, apart_us = (np.array([row[i] for row in found], dtype=np.int64) for i in range(3))
    return Stretches(meter, at_us - apart_us, at_us + apart_us)


def _stored(
    event: DeviceEvent,
    received_at: datetime,
    source: EventSource,
    *,
    meter_id: int | None = None,
    concentrator_id: int | None = None,
) -> StoredEvent:
    return StoredEvent(
        meter_id=meter_id,
        concentrator_id=concentrator_id,
        kind=event.kind.value,
        code=code_of(event.kind, of_meter=meter_id is not None),
        occurred_at=from_us(event.instant_us),
        uncertainty_ms=event.uncertainty_ms,
        received_at=received_at,
        phase=event.phase,
        value=event.value,
        detail=event.detail,
        source=source,
    )
