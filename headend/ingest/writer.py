"""The one way into the readings: a batch of items in one transaction, never stored twice, never half.

Rows, dirty marks, latest readings, counts, events, discovered devices, quarantine and the concentrators' books commit
together or not at all.
Writing the same items again changes nothing, so whoever does not know whether a write was committed writes again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from drivers.base import MeterIdentity, Source
from headend import metrics
from headend.domain.calendar import from_us, to_us
from headend.domain.clock import Clock
from headend.ingest import arrivals, assemble, device_events, known, touched
from headend.ingest.assemble import Bools, Columns, Ints
from headend.ingest.discovered import NOBODY, Strangers, strangers
from headend.ingest.identity import Directory
from headend.ingest.item import Item, QuarantineEntry, WriteResult
from headend.settings import Settings
from headend.store import concentrators, discovered, events, history, quarantine, readings
from headend.store.errors import StoreConflict
from headend.store.events import StoredEvent
from headend.store.partitions import Partitions
from headend.store.pool import Connection, Store

_SOURCES = tuple(sorted(Source))


def _none() -> Ints:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the transaction did with the rows of the batch; n of them, of m meters."""

    new: Bools
    """(n,) stored just now."""
    newer: Bools
    """(n,) later than all that was stored of their meter before."""
    newest_us: Ints
    """(m,) newest instant stored before [µs UTC]; the smallest integer where there was none."""
    open: Mapping[int, int]
    """meter_id → event episodes that stood open."""
    completed: Ints = field(default_factory=_none)
    """Places of rows that gave a stored one a value that it lacked."""
    revised: Ints = field(default_factory=_none)
    """Places of rows with another value than the stored one."""
    contradicting: Ints = field(default_factory=_none)
    """Of those, where the registers differ as nobody had told before."""
    arrivals: history.Arrivals | None = None
    """What came late of them."""
    events: Mapping[str, int] = field(default_factory=dict)
    """Kind → events that were not told before."""
    discovered: int = 0
    """Devices seen for the first time."""
    given_up: Mapping[str, int] = field(default_factory=dict)
    """Reason → messages that the quarantine did not keep."""


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
        self._share = quarantine.Share.of(settings.quarantine)
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
        """The transaction. `careful`: nothing is believed to be new.

        Rows that others may write too are locked in one order by every writer: readings by meter and instant, newest
        readings by meter, quarantine, concentrators, events, marks by area and day.
        """
        columns, now = work.columns, work.now
        with self._store.transaction() as connection:
            found = discovered.add(connection, work.strangers.sightings, most=self._discovered_most)
            outcome = self._store_rows(connection, columns, now, careful=careful)
            seen = self._seen(connection, columns, outcome, now)
            changed = device_events.from_status(connection, work.items, self._directory)
            if meters := device_events.with_power_changes([*work.told, *changed]):
                readings.hold_newest(connection, meters)  # whoever stores a reading beside an event is waited for
            with connection.pipeline():  # one round trip for all that is only sent
                advanced = _advance(connection, columns, outcome, now)
                if columns.phases.size:
                    readings.note_tariffs(connection, columns.phases)
                if outcome.arrivals is not None:
                    history.note_arrivals(connection, outcome.arrivals, now)
                added = quarantine.add(connection, work.kept, self._share)
                noted = self._book_concentrators(connection, work.items)
            came_or_went = device_events.of_concentrators(noted.changes(), now)
            new_events = events.add_new(connection, [*work.told, *changed, *seen, *came_or_went])
            reach = self._reach(connection, columns, outcome, advanced)
            if (changes := device_events.power_changes(new_events)).meter.size:
                reach = touched.joined(reach, _between_readings(connection, changes))
            if reach.meter.size:
                days = touched.local_days(reach, self._zone)
                readings.mark_touched(connection, reach.meter, *days, zone=self._zone, now=now)
        counts = Counter(event.kind for event in new_events)
        return replace(outcome, events=counts, discovered=found, given_up=added.given_up())

    def _store_rows(self, connection: Connection, columns: Columns, now: datetime, *, careful: bool) -> _Outcome:
        """New rows straight in; of the others only those that say something else than what is stored are sent."""
        rows, phases, phase_of = columns.readings, columns.phases, columns.phase_of
        if not rows.size:
            nothing = np.zeros(0, dtype=np.bool_)
            return _Outcome(nothing, nothing, _none(), {})
        newest_us, standing = readings.newest(connection, columns.meters)
        before_us = newest_us[columns.of_meter]
        newer = rows["ts_us"] > before_us
        doubt, of_phases = known.in_doubt(columns, newer)
        stored = readings.stored(connection, doubt.meter, doubt.first_us, doubt.last_us)
        stored_phases = readings.stored_phases(connection, of_phases.meter, of_phases.first_us, of_phases.last_us)
        judged = known.judge(columns, newer, stored, stored_phases)
        new, rest = judged.absent, judged.careful
        if careful:
            new, rest = np.zeros_like(new), new | rest
        if new.any():
            readings.append(connection, rows[new], phases[new[phase_of]])
        outcome = _Outcome(new, newer, newest_us, standing)
        if rest.any():
            places, belongs = np.flatnonzero(rest), rest[phase_of]
            merged = readings.merge(
                connection, rows[places], phases[belongs], np.searchsorted(places, phase_of[belongs]), now
            )
            new = new.copy()
            new[places[merged.stored]] = True
            outcome = replace(
                outcome, new=new, completed=places[merged.completed], revised=places[merged.revised],
                contradicting=places[merged.contradicting],
            )  # fmt: skip
        return replace(outcome, arrivals=arrivals.late(rows, new, before_us, stored, to_us(now)))

    def _seen(self, connection: Connection, columns: Columns, outcome: _Outcome, now: datetime) -> list[StoredEvent]:
        """Events that the new rows show by themselves."""
        fresh = outcome.new & outcome.newer
        belongs = fresh[columns.phase_of]
        return device_events.from_readings(
            connection,
            columns.readings[fresh],
            columns.phases[belongs],
            np.searchsorted(np.flatnonzero(fresh), columns.phase_of[belongs]),
            latest=(columns.meters, outcome.newest_us),
            open_=outcome.open,
            bands=self._bands,
            now=now,
        )

    @staticmethod
    def _reach(
        connection: Connection, columns: Columns, outcome: _Outcome, advanced: readings.Advanced | None
    ) -> known.Stretches:
        """What new rows change: from the reading before each stretch of them to the one after it. A value that
        contradicts a stored one changes no energy, but what is said of it.
        """
        changed = outcome.new.copy()
        changed[outcome.completed] = changed[outcome.contradicting] = True
        runs = touched.runs(columns.readings[changed])
        if not runs.meter.size:
            return runs
        newest_us = outcome.newest_us
        if advanced is not None:
            newest_us = _as_others_left_it(columns, outcome, advanced.newest_us())
        later, before = touched.following(runs, newest_us[np.searchsorted(columns.meters, runs.meter)])
        after = np.full(before.size, np.iinfo(np.int64).max, dtype=np.int64)
        if not later.all():
            within = np.flatnonzero(~later)
            before[within], after[within] = readings.neighbours(
                connection, runs.meter[within], runs.first_us[within], runs.last_us[within]
            )
        return touched.reaching(runs, before, after, readings.MOST_DAYS)

    def _book_concentrators(self, connection: Connection, items: Sequence[Item]) -> concentrators.Noted:
        heard: dict[int, concentrators.Heard] = {}
        presence: dict[int, concentrators.Presence] = {}
        for item in items:
            if item.upload is None and item.presence is None:
                continue
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
            items[place].replayed,
        )
        for place, entries in problems.items()
        for entry in entries
    ]


def _advance(connection: Connection, columns: Columns, outcome: _Outcome, now: datetime) -> readings.Advanced | None:
    """The newest reading of each meter that has new ones, and how many these are; within a pipeline."""
    places = np.flatnonzero(outcome.new)
    if not places.size:
        return None
    meters, of_meter = np.unique(columns.of_meter[places], return_inverse=True)
    newest = places[np.append(np.diff(of_meter) != 0, True)]
    power_w = np.full(columns.readings.size, np.iinfo(np.int64).min, dtype=np.int64)
    power_w[columns.phase_of[::-1]] = columns.phases["power_w"][::-1]
    width = len(_SOURCES)
    kind = np.searchsorted(_SOURCES, columns.readings["source"][places])
    counts = np.bincount(of_meter * width + kind, minlength=meters.size * width).reshape(-1, width)
    return readings.advance(connection, columns.readings[newest], power_w[newest], counts, now)


def _between_readings(connection: Connection, changes: known.Stretches) -> known.Stretches:
    """What a meter's power tells of: from the reading before it to the one after."""
    before, after = readings.neighbours(connection, changes.meter, changes.first_us, changes.last_us)
    return touched.reaching(changes, before, after, readings.MOST_DAYS)


def _as_others_left_it(columns: Columns, outcome: _Outcome, now_us: Ints) -> Ints:
    """(m,) the newest instant of each meter before this batch, as it turned out when its row was locked.

    Another writer may have stored a later reading since we asked: then ours is not the last one, and what follows it
    changes too. now_us: of the meters with new rows the newest instant now.
    """
    places = np.flatnonzero(outcome.new)
    last = places[np.append(np.diff(columns.of_meter[places]) != 0, True)]
    overtaken = now_us > columns.readings["ts_us"][last]
    newest_us = outcome.newest_us.copy()
    newest_us[columns.of_meter[last[overtaken]]] = now_us[overtaken]
    return newest_us


def _count(
    items: Sequence[Item], columns: Columns, problems: Mapping[int, Sequence[QuarantineEntry]], outcome: _Outcome
) -> WriteResult:
    """Metrics of a committed write, and its summary."""
    sources = columns.readings["source"]
    offered, stored = assemble.per_source(sources), assemble.per_source(sources[outcome.new])
    late = assemble.per_source(sources[outcome.new & ~outcome.newer])
    completed, revised = assemble.per_source(sources[outcome.completed]), assemble.per_source(sources[outcome.revised])
    duplicates = {s: n - stored.get(s, 0) - revised.get(s, 0) for s, n in offered.items()}
    for counter, counts in (
        (metrics.READINGS_RECEIVED, columns.received),
        (metrics.READINGS_STORED, stored),
        (metrics.READINGS_DUPLICATE, duplicates),
        (metrics.READINGS_COMPLETED, completed),
        (metrics.READINGS_REVISED, revised),
        (metrics.READINGS_LATE, late),
    ):
        for source, count in counts.items():
            counter.labels(Source(source).name.lower()).inc(count)
    for kind, count in outcome.events.items():
        metrics.EVENTS.labels(kind).inc(count)
    metrics.DISCOVERED.inc(outcome.discovered)
    for place, entries in problems.items():
        for entry in entries if not items[place].replayed else ():
            metrics.QUARANTINED.labels(items[place].channel, entry.reason).inc()
    for reason, messages in outcome.given_up.items():
        metrics.QUARANTINE_GIVEN_UP.labels(reason, "origin").inc(messages)
    return WriteResult(
        received=sum(columns.received.values()),
        stored=sum(stored.values()),
        duplicates=sum(duplicates.values()),
        completed=sum(completed.values()),
        revised=sum(revised.values()),
        late=sum(late.values()),
        refused=columns.refused,
        quarantined={place: tuple(entries) for place, entries in problems.items()},
    )
