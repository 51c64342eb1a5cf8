"""The events of a batch of items, found and stored within the writer's transaction.

Four sources: what devices told, status registers that changed, what new readings show by themselves, and concentrators
that came or went. What stands open, and the status words seen last, are in the store, so that a batch written again
tells nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import numpy as np

from drivers.base import MeterIdentity
from drivers.events import DeviceEvent, EventKind, code_of
from headend.domain.calendar import from_us
from headend.ingest import assemble
from headend.ingest.assemble import Rows
from headend.ingest.derived_events import Bands, Derived, derive
from headend.ingest.identity import Directory
from headend.ingest.item import Item, QuarantineEntry
from headend.ingest.status_events import events_of
from headend.settings import Events
from headend.store import concentrators, events, readings
from headend.store.events import EventSource, StoredEvent
from headend.store.pool import Connection


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
    connection: Connection, new: Rows, phases: Rows, *, latest: Mapping[int, int], bands: Bands, now: datetime
) -> list[StoredEvent]:
    """What readings show that are newer than all that was stored of their meter; what stands open is carried on.

    new: rows just stored, sorted by meter and instant; phases: all phase rows of the batch, sorted alike; latest:
    meter_id → newest instant stored before [µs UTC].
    """
    fresh = new[assemble.newer_than(new, latest)]
    if not fresh.size:
        return []
    found = _derived(fresh, phases, latest, events.open_episodes(connection, np.unique(fresh["meter"]).tolist()), bands)
    if not found.events:
        return []
    # Another worker may be at the same meters just now: one after the other, and look again.
    meters = sorted({meter_id for meter_id, _ in found.events})
    events.hold_meters(connection, meters)
    latest = dict(latest) | readings.latest_instants(connection, np.array(meters, dtype=np.int64))
    fresh = fresh[np.isin(fresh["meter"], meters) & assemble.newer_than(fresh, latest)]
    found = _derived(fresh, phases, latest, events.open_episodes(connection, meters), bands)
    events.set_episodes(connection, found.open)
    return [_stored(event, now, "headend", meter_id=meter_id) for meter_id, event in found.events]


def _derived(fresh: Rows, phases: Rows, latest: Mapping[int, int], open_: Mapping[int, int], bands: Bands) -> Derived:
    return derive(fresh, assemble.pick_phases(phases, fresh)[0], latest, open_, bands)


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
