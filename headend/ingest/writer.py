"""The one way into the readings: a batch of items in one transaction, never stored twice, never half.

Rows, dirty marks, latest readings, counts, events, discovered devices, quarantine and the concentrators' books commit
together or not at all.
Writing the same items again changes nothing, so whoever does not know whether a write was committed writes again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from drivers.base import READING_DTYPE, MeterIdentity, Source, empty
from headend import metrics
from headend.domain.calendar import from_us, to_us
from headend.domain.clock import Clock
from headend.ingest import assemble, device_events
from headend.ingest.assemble import Columns, Ints, Rows, Stretches
from headend.ingest.discovered import NOBODY, Strangers, strangers
from headend.ingest.identity import Directory
from headend.ingest.item import Item, QuarantineEntry, WriteResult
from headend.settings import Settings
from headend.store import concentrators, discovered, events, quarantine, readings
from headend.store.errors import StoreConflict
from headend.store.events import StoredEvent
from headend.store.partitions import Partitions
from headend.store.pool import Connection, Store

_LOWEST = np.iinfo(np.int64).min
_HIGHEST = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the transaction did, per source where the metrics want it."""

    new: Rows
    completed: Ints
    revised: Mapping[int, int]
    latest: Mapping[int, int]
    """meter_id → newest instant stored before [µs UTC]."""
    events: Mapping[str, int] = field(default_factory=dict)
    """Kind → events that were not told before."""
    discovered: int = 0
    """Devices seen for the first time."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What one transaction has to store."""

    items: Sequence[Item]
    """Without what belongs to unknown concentrators."""
    columns: Columns
    told: Sequence[StoredEvent]
    strangers: Strangers
    kept: Sequence[quarantine.Kept]
    now: datetime


class ReadingWriter:
    """Writes items; thread-safe only as one writer per thread (it remembers meters and partitions)."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._zone = settings.settlement.zone
        self._future = timedelta(seconds=settings.ingest.future_tolerance_s)
        self._oldest = timedelta(days=settings.ingest.oldest_days)
        self._bands = device_events.bands_of(settings.events)
        self._discovered_most = settings.ingest.discovered_most
        self._directory = Directory()
        self._partitions = Partitions()

    def write(self, items: Sequence[Item]) -> WriteResult:
        """Commit the items. Raises StoreUnavailable or StoreConflict (write them again), or another StoreError."""
        started = time.perf_counter()
        now = self._clock()
        try:
            unknown = strangers(items, self._directory) if self._look_up(items) else NOBODY
            wanted, refused = self._without_strangers(items)
            oldest_us, newest_us = to_us(now - self._oldest), to_us(now + self._future)
            columns, problems = assemble.gather(wanted, self._directory, oldest_us=oldest_us, newest_us=newest_us)
            told, untold = device_events.told(wanted, self._directory, oldest_us=oldest_us, newest_us=newest_us)
            for place, entries in (*refused.items(), *untold.items()):
                problems.setdefault(place, []).extend(entries)
            self._partitions.ensure(self._store, assemble.utc_days(columns))
            work = _Work(wanted, columns, told, unknown, _kept(items, problems, unknown), now)
            try:
                outcome = self._commit(work, careful=False)
            except readings.AlreadyStored:
                outcome = self._commit(work, careful=True)
        except StoreConflict:
            # Somebody changed what we remember: a meter went, a partition was dropped.
            self._directory.forget()
            self._partitions.forget()
            raise
        metrics.FLUSH_SECONDS.observe(time.perf_counter() - started)
        return _count(items, columns, problems, outcome)

    def _look_up(self, items: Sequence[Item]) -> bool:
        """Learn who is who; whether somebody stays unknown."""
        devices = [told.device for item in items for told in item.told]
        meters = (
            *(m for item in items if item.batch is not None for m in item.batch.meters),
            *(d for d in devices if isinstance(d, MeterIdentity)),
            *(word.meter for item in items for word in item.status),
            *(stranger.meter for item in items for stranger in item.strangers),
        )
        codes = (
            *(i.upload.concentrator for i in items if i.upload is not None),
            *(i.presence.concentrator for i in items if i.presence is not None),
            *(d for d in devices if isinstance(d, str)),
        )
        unknown_meters, unknown_codes = self._directory.missing(meters, codes)
        if not unknown_meters and not unknown_codes:
            return False
        with self._store.transaction() as connection:
            self._directory.learn(connection, unknown_meters, unknown_codes)
        return self._directory.missing(unknown_meters, unknown_codes) != ([], [])

    def _without_strangers(self, items: Sequence[Item]) -> tuple[list[Item], dict[int, list[QuarantineEntry]]]:
        """The items, with nothing left in those of a concentrator that is not known."""
        refused = {}
        wanted = list(items)
        for place, item in enumerate(items):
            speaker = item.upload or item.presence
            if speaker is not None and self._directory.concentrator(speaker.concentrator) is None:
                refused[place] = [QuarantineEntry("unknown_concentrator", f"not imported: {speaker.concentrator}")]
                wanted[place] = replace(item, batch=None, upload=None, presence=None)
        return wanted, refused

    def _commit(self, work: _Work, *, careful: bool) -> _Outcome:
        """The transaction. `careful`: nothing is believed to be new."""
        columns, now = work.columns, work.now
        with self._store.transaction() as connection:
            found = discovered.add(connection, work.strangers.sightings, most=self._discovered_most)
            outcome = self._store_rows(connection, columns, now, careful=careful)
            seen = device_events.from_readings(
                connection, outcome.new, columns.phases, latest=outcome.latest, bands=self._bands, now=now
            )
            changed = device_events.from_status(connection, work.items, self._directory)
            with connection.pipeline():  # one round trip for all that is only sent
                self._advance(connection, columns, outcome, now)
                quarantine.add(connection, work.kept)
                noted = self._book_concentrators(connection, work.items)
                self._mark(connection, outcome, now)
            came_or_went = device_events.of_concentrators(noted.changes(), now)
            new_events = events.add_by_kind(connection, [*work.told, *changed, *seen, *came_or_went])
        return replace(outcome, events=new_events, discovered=found)

    def _store_rows(self, connection: Connection, columns: Columns, now: datetime, *, careful: bool) -> _Outcome:
        rows, phases = columns.readings, columns.phases
        if not rows.size:
            return _Outcome(rows, np.zeros((0, 3), dtype=np.int64), {}, {})
        latest = readings.latest_instants(connection, np.unique(rows["meter"]))
        fresh = columns.first & assemble.newer_than(rows, latest) & (not careful)
        direct, other = rows[fresh], rows[~fresh]
        direct_phases, other_phases = assemble.pick_phases(phases, direct)
        if direct.size:
            readings.append(connection, direct, direct_phases)
        new, completed, revised = direct, np.zeros((0, 3), dtype=np.int64), dict[int, int]()
        if other.size:
            merged = readings.merge(connection, other, other_phases, now)
            late = assemble.rows_at(other, merged.stored)
            new, completed, revised = np.concatenate((direct, late)), merged.completed, merged.revised
            new = new[np.lexsort((new["ts_us"], new["meter"]))]
        return _Outcome(new, completed, revised, latest)

    def _advance(self, connection: Connection, columns: Columns, outcome: _Outcome, now: datetime) -> None:
        new = outcome.new
        if not new.size:
            return
        newest = assemble.newest_of_meter(new)
        newest = newest[assemble.newer_than(newest, outcome.latest)]
        if newest.size:
            readings.advance_latest(connection, newest, assemble.power_at(columns.phases, newest), now)
        keys, counts = np.unique(new[["meter", "source"]], return_counts=True)
        readings.add_counts(connection, keys["meter"], keys["source"], counts)

    def _mark(self, connection: Connection, outcome: _Outcome, now: datetime) -> None:
        touched = outcome.new
        if outcome.completed.size:
            more = empty(READING_DTYPE, len(outcome.completed))
            more["meter"], more["ts_us"] = outcome.completed[:, 0], outcome.completed[:, 1]
            touched = np.concatenate((touched, more))
            touched = touched[np.lexsort((touched["ts_us"], touched["meter"]))]
        runs = assemble.runs(touched)
        if not runs.meter.size:
            return
        later, before = assemble.following(runs, outcome.latest)
        after = np.full(before.size, _HIGHEST, dtype=np.int64)
        if not later.all():
            within = np.flatnonzero(~later)
            around = readings.neighbours(connection, runs.meter[within], runs.first_us[within], runs.last_us[within])
            for place, earlier, next_one in around:
                before[within[place - 1]] = _LOWEST if earlier is None else earlier
                after[within[place - 1]] = _HIGHEST if next_one is None else next_one
        reach: Stretches = assemble.reaching(runs, before, after, readings.MOST_DAYS)
        readings.mark_touched(connection, reach.meter, reach.first_us, reach.last_us, zone=self._zone, now=now)

    def _book_concentrators(self, connection: Connection, items: Sequence[Item]) -> concentrators.Noted:
        heard: dict[int, concentrators.Heard] = {}
        presence: dict[int, concentrators.Presence] = {}
        for item in items:
            seen_at = from_us(item.received_us)
            if item.upload is not None:
                number = self._number(item.upload.concentrator)
                known = heard.get(number)
                if known is None or item.upload.seq >= known.seq:
                    heard[number] = concentrators.Heard(number, item.upload.seq, item.upload.backlog, seen_at)
            if item.presence is not None:
                number = self._number(item.presence.concentrator)
                word = item.presence
                presence[number] = concentrators.Presence(number, word.online, seen_at, heard=not word.kept)
        return concentrators.note(connection, list(heard.values()), list(presence.values()))

    def _number(self, code: str) -> int:
        number = self._directory.concentrator(code)
        assert number is not None, "strangers were taken out before"
        return number


def _kept(
    items: Sequence[Item], problems: Mapping[int, Sequence[QuarantineEntry]], unknown: Strangers
) -> list[quarantine.Kept]:
    return [
        quarantine.Kept(
            from_us(items[place].received_us),
            items[place].channel,
            items[place].origin,
            entry.reason,
            entry.detail,
            items[place].payload,
            unknown.of_item.get(place, ()),
        )
        for place, entries in problems.items()
        for entry in entries
    ]


def _count(
    items: Sequence[Item], columns: Columns, problems: Mapping[int, Sequence[QuarantineEntry]], outcome: _Outcome
) -> WriteResult:
    """Metrics of a committed write, and its summary."""
    stored = _per_source(outcome.new["source"])
    completed = _per_source(outcome.completed[:, 2])
    offered = _per_source(columns.readings["source"])
    duplicates = {s: n - stored.get(s, 0) - outcome.revised.get(s, 0) for s, n in offered.items()}
    for counter, counts in (
        (metrics.READINGS_RECEIVED, columns.received),
        (metrics.READINGS_STORED, stored),
        (metrics.READINGS_DUPLICATE, duplicates),
        (metrics.READINGS_COMPLETED, completed),
        (metrics.READINGS_REVISED, outcome.revised),
    ):
        for source, count in counts.items():
            counter.labels(Source(source).name.lower()).inc(count)
    for kind, count in outcome.events.items():
        metrics.EVENTS.labels(kind).inc(count)
    metrics.DISCOVERED.inc(outcome.discovered)
    for place, entries in problems.items():
        for entry in entries:
            metrics.QUARANTINED.labels(items[place].channel, entry.reason).inc()
    return WriteResult(
        received=sum(columns.received.values()),
        stored=sum(stored.values()),
        duplicates=sum(duplicates.values()),
        completed=sum(completed.values()),
        revised=sum(outcome.revised.values()),
        refused=columns.refused,
        quarantined={place: tuple(entries) for place, entries in problems.items()},
    )


def _per_source(sources: Rows) -> dict[int, int]:
    values, counts = np.unique(sources, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
