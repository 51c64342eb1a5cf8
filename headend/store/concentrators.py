"""What the head-end knows of each concentrator: committed uploads, backlog, whether it is online."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import Cursor
from psycopg.rows import TupleRow

from headend.store import queries
from headend.store.pool import Connection, rows

_q = queries.load("concentrators")


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest upload of a concentrator within a batch."""

    concentrator_id: int
    seq: int
    backlog: int | None
    """None: the upload could not be read so far."""
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Presence:
    """Its last word on being online within a batch."""

    concentrator_id: int
    online: bool
    seen_at: datetime
    heard: bool
    """From itself, just then; else the broker had kept the word."""


def ids(connection: Connection, codes: Sequence[str]) -> dict[str, int]:
    """Numbers of the codes that are known."""
    return {r["code"]: r["concentrator_id"] for r in rows(connection, _q["ids"], [list(codes)])}


@dataclass(frozen=True, slots=True)
class Changed:
    """It was online and is not any more, or the other way round."""

    concentrator_id: int
    online: bool
    at: datetime


class Noted:
    """What a `note` will have changed: ask for it when the pipeline that it was sent in is over."""

    def __init__(self) -> None:
        self._cursors: list[Cursor[TupleRow]] = []

    def expect(self, cursor: Cursor[TupleRow]) -> None:
        """Take the answer from here too."""
        self._cursors.append(cursor)

    def changes(self) -> list[Changed]:
        """In the order in which they were booked."""
        booked = [found for cursor in self._cursors for found in cursor.fetchall()]
        return [Changed(number, online, at) for number, online, at, changed in booked if changed]


def note(connection: Connection, heard: Sequence[Heard], presence: Sequence[Presence]) -> Noted:
    """Book uploads and states; one entry per concentrator each."""
    noted = Noted()
    known = sorted({h.concentrator_id for h in heard} | {p.concentrator_id for p in presence})
    if not known:
        return noted
    connection.execute(_q["lock"], [known])
    if heard:
        cursor = connection.execute(
            _q["heard"],
            {
                "concentrator_id": [h.concentrator_id for h in heard],
                "seq": [h.seq for h in heard],
                "backlog": [h.backlog for h in heard],
                "seen_at": [h.seen_at for h in heard],
            },
        )
        noted.expect(cursor)
    if presence:
        cursor = connection.execute(
            _q["state"],
            {
                "concentrator_id": [p.concentrator_id for p in presence],
                "online": [p.online for p in presence],
                "seen_at": [p.seen_at for p in presence],
                "heard": [p.heard for p in presence],
            },
        )
        noted.expect(cursor)
    return noted
