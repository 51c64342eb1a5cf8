"""What the head-end knows of each concentrator: committed uploads, backlog, whether it is online."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

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


def ids(connection: Connection, codes: Sequence[str]) -> dict[str, int]:
    """Numbers of the codes that are known."""
    return {r["code"]: r["concentrator_id"] for r in rows(connection, _q["ids"], [list(codes)])}


def note(connection: Connection, heard: Sequence[Heard], presence: Sequence[Presence]) -> None:
    """Book uploads and states; one entry per concentrator each."""
    known = sorted({h.concentrator_id for h in heard} | {p.concentrator_id for p in presence})
    if not known:
        return
    connection.execute(_q["lock"], [known])
    if heard:
        connection.execute(
            _q["heard"],
            {
                "concentrator_id": [h.concentrator_id for h in heard],
                "seq": [h.seq for h in heard],
                "backlog": [h.backlog for h in heard],
                "seen_at": [h.seen_at for h in heard],
            },
        )
    if presence:
        connection.execute(
            _q["state"],
            {
                "concentrator_id": [p.concentrator_id for p in presence],
                "online": [p.online for p in presence],
                "seen_at": [p.seen_at for p in presence],
            },
        )
