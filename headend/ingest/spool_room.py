"""Room in a full spool: gives up what can be had again or costs no energy, oldest first, and counts every reading.

The rule it keeps: nothing is given up before it has to be, and whole rounds only when there is nothing else. In turn:
what stored profiles tell again, readings between two full hours, readings between two midnights, the oldest rounds.
What is written, what is counted and what is to be read back change in one transaction, so a kill -9 miscounts nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo

from drivers.base import MeterIdentity, RegisterReading
from headend.domain.calendar import US_PER_S
from headend.ingest.poll_round import RoundResult
from headend.ingest.spool_file import SpoolFile, used_bytes
from headend.ingest.spool_record import VERSION, SpoiledRecord, pack, unpack
from headend.ingest.spool_thinning import wanted
from headend.ingest.status_events import StatusWord

GivenUp = Literal["stored_profile", "between", "oldest"]
"""Why a reading was done without: its meter tells it again; it lies between two kept ones; there was nothing else."""
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_AT_ONCE: Final = 10
"""Whole rounds that are given up together."""
_STRETCH_MOST: Final = 2000
"""Rounds thinned together, whatever a clock that was set back says of their time."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """A way through the spool, one stretch of one bus after the other, oldest first."""

    kind: GivenUp
    every_s: int | None
    """See `spool_thinning.wanted`."""
    stretch_s: int
    """Thinned at once: the shorter, the less the newest ones suffer for the oldest."""
    storing_only: bool = False
    """Only meters that store a profile."""


_PASSES: Final = (
    _Pass("stored_profile", None, _DAY_S, storing_only=True),
    _Pass("between", _HOUR_S, 6 * _HOUR_S),
    _Pass("between", None, _DAY_S),
)


class _Kept(NamedTuple):
    """A record while it is thinned."""

    id: int
    thinned: int
    result: RoundResult


class _First(NamedTuple):
    """The oldest round in which a pass has something to do."""

    id: int
    bus: str
    began_us: int


class Room:
    """Makes room in one spool."""

    def __init__(self, file: SpoolFile, zone: ZoneInfo, tells_again: Callable[[MeterIdentity], bool]) -> None:
        self._file = file
        self._zone = zone
        self._tells_again = tells_again

    def thinned(self, result: RoundResult) -> int:
        """What a new round is kept with: how many passes have nothing to do in it."""
        return 0 if any(self._tells_again(identity) for identity, _ in result.readings) else 1

    def make(self, most_bytes: int, *, behind: int) -> dict[GivenUp, int]:
        """Give up what it takes to get the file below `most_bytes`; how many readings of each class.

        Rounds up to `behind` are left alone: they are on their way to the store just now.
        """
        given_up: dict[GivenUp, int] = {}

        def count(kind: GivenUp, readings: int) -> None:
            given_up[kind] = given_up.get(kind, 0) + readings

        for number, one in enumerate(_PASSES):
            done, after = set[str](), behind
            while self._file.read(used_bytes) > most_bytes:
                first = self._file.read(partial(_first, number=number, after=after, done=done))
                if first is None:
                    break
                count(one.kind, self._thin(number, one, first, done))
                after = first.id - 1
        while self._file.read(used_bytes) > most_bytes:
            dropped = self._drop_oldest(behind)
            if dropped is None:
                break
            count("oldest", dropped)
        return {kind: readings for kind, readings in given_up.items() if readings}

    def _thin(self, number: int, one: _Pass, first: _First, done: set[str]) -> int:
        """One stretch of a pass; how many readings it gave up.

        A stretch that still goes on is thinned again with what comes, and `done` for now.
        """
        dropped = 0

        def thin(connection: sqlite3.Connection) -> tuple[int, int]:
            nonlocal dropped
            records, over = _stretch(connection, first, number, until_us=first.began_us + one.stretch_s * US_PER_S)
            if not over:
                done.add(first.bus)
            dropped, gone = self._rewrite(connection, one, records)
            _book(connection, one.kind, dropped)
            return dropped, gone

        self._file.rework(thin)
        return dropped

    def _rewrite(self, connection: sqlite3.Connection, one: _Pass, records: Sequence[_Kept]) -> tuple[int, int]:
        """Take out of the records what is not wanted; how many readings and whole records went."""
        unwanted = self._unwanted(connection, one, records)
        told: dict[tuple[MeterIdentity, str], StatusWord] = {}
        smaller: list[tuple[int, int, str, int, int, int, bytes]] = []
        gone = 0
        for number, record in enumerate(records):
            result = record.result
            kept = [r for place, r in enumerate(result.readings) if (number, place) not in unwanted]
            status = [word for word in result.status if _is_news(word, told)]
            if len(kept) == len(result.readings) and len(status) == len(result.status):
                continue
            left = RoundResult(result.bus, result.began_us, kept, result.mismatches, result.rejected, status)
            if len(left) or status:
                smaller.append((record.id, VERSION, left.bus, left.began_us, len(left), record.thinned, pack(left)))
            else:
                gone += 1
            # SQLite joins pages with room in them where rows are deleted, not where they get smaller.
            connection.execute("delete from round where id = ?", [record.id])
        connection.executemany(
            "insert into round (id, version, bus, began_us, readings, thinned, packed) values (?, ?, ?, ?, ?, ?, ?)",
            smaller,
        )
        return len(unwanted), gone

    def _unwanted(self, connection: sqlite3.Connection, one: _Pass, records: Sequence[_Kept]) -> set[tuple[int, int]]:
        """(record, place) of the readings that can be done without; holes that a profile fills are noted."""
        of_meter: dict[MeterIdentity, list[tuple[RegisterReading, tuple[int, int]]]] = {}
        for number, record in enumerate(records):
            for place, (identity, reading) in enumerate(record.result.readings):
                of_meter.setdefault(identity, []).append((reading, (number, place)))
        unwanted: set[tuple[int, int]] = set()
        for identity, found in of_meter.items():
            if one.storing_only and not self._tells_again(identity):
                continue
            found.sort(key=lambda pair: pair[0].instant_us)
            keep = wanted([reading for reading, _ in found], zone=self._zone, every_s=one.every_s)
            unwanted.update(where for (_, where), kept in zip(found, keep, strict=True) if not kept)
            if self._tells_again(identity):
                _note_holes(connection, identity, [r.instant_us for r, _ in found], keep)
        return unwanted

    def _drop_oldest(self, behind: int) -> int | None:
        dropped: int | None = None

        def drop(connection: sqlite3.Connection) -> tuple[int, int]:
            nonlocal dropped
            found = connection.execute(
                "select id, readings from round where id > ? order by id limit ?", [behind, _AT_ONCE]
            ).fetchall()
            if not found:
                return 0, 0
            connection.execute("delete from round where id > ? and id <= ?", [behind, found[-1][0]])
            dropped = sum(readings for _, readings in found)
            _book(connection, "oldest", dropped)
            return dropped, len(found)

        self._file.rework(drop)
        return dropped


def _first(connection: sqlite3.Connection, *, number: int, after: int, done: Collection[str]) -> _First | None:
    """The oldest round behind `after` in which a pass has something to do, of a bus that is not done for now."""
    oldest: list[_First] = []
    query = "select id, bus, began_us from round where thinned = ? and id > ? order by id"
    for thinned in range(number + 1):
        with closing(connection.execute(query, [thinned, after])) as rows:
            oldest += islice((_First(*row) for row in rows if row[1] not in done), 1)
    return min(oldest, default=None)


def _stretch(connection: sqlite3.Connection, first: _First, number: int, *, until_us: int) -> tuple[list[_Kept], bool]:
    """The rounds of a bus from one on that can be read; whether the stretch is over: then they are marked."""
    query = (
        "select id, began_us, thinned, version, packed from round "
        "where bus = ? and id >= ? and thinned <= ? order by id limit ?"
    )
    found: list[tuple[int, int, int, bytes]] = []
    over = False
    with closing(connection.execute(query, [first.bus, first.id, number, _STRETCH_MOST])) as rows:
        for record_id, began_us, thinned, version, packed in rows:
            if began_us >= until_us:
                over = True
                break
            found.append((record_id, thinned, version, packed))
    over = over or len(found) == _STRETCH_MOST
    if over:
        connection.executemany("update round set thinned = ? where id = ?", [(number + 1, one[0]) for one in found])
    records = []
    for record_id, thinned, version, packed in found:
        with suppress(SpoiledRecord):  # whoever drains the spool shows it to somebody
            records.append(_Kept(record_id, number + 1 if over else thinned, unpack(version, packed)))
    return records, over


def _is_news(word: StatusWord, told: dict[tuple[MeterIdentity, str], StatusWord]) -> bool:
    """Whether it says something that the word before it did not."""
    before = told.get((word.meter, word.register))
    told[word.meter, word.register] = word
    return before is None or before.word != word.word


def _note_holes(
    connection: sqlite3.Connection, identity: MeterIdentity, instants_us: Sequence[int], keep: Sequence[bool]
) -> None:
    """Between each two kept readings that others lay between; the first and the last one are always kept."""
    kept = [i for i, wanted_ in enumerate(keep) if wanted_]
    connection.executemany(
        "insert into hole (manufacturer, serial, from_us, to_us) values (?, ?, ?, ?)",
        [
            (identity.manufacturer, identity.serial, instants_us[a], instants_us[b])
            for a, b in pairwise(kept)
            if b > a + 1
        ],
    )


def _book(connection: sqlite3.Connection, kind: GivenUp, readings: int) -> None:
    """Count what is given up, and note that everything here now is of a time when the spool was full."""
    if readings:
        connection.execute(
            "insert into given_up (class, readings) values (?, ?) "
            "on conflict (class) do update set readings = readings + excluded.readings",
            [kind, readings],
        )
    connection.execute(
        "insert into book (key, value) select 'full_until', coalesce(max(id), 0) from round where true "
        "on conflict (key) do update set value = max(value, excluded.value)"
    )
