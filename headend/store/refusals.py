"""Registers that meters refused, kept so that the search for them is paid for once; a person may have one forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from headend.store.pool import Connection, Row, rows
from headend.store.queries import load


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRefusal:
    """A refusal as the bus met it; the store knows which meter hangs there."""

    model: str
    firmware: str | None
    """None: it holds for the one meter that was asked."""
    bus: str
    """URI of the bus on which it was found."""
    unit: int
    table: str
    first: int
    """First register, 0-based."""
    last: int
    found_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRefusal:
    """A refusal as it is kept."""

    refusal_id: int
    model: str
    firmware: str | None
    bus: str | None
    """Where the one meter hangs, or for a whole firmware the one that was asked; None: it hangs nowhere any more."""
    unit: int | None
    table: str
    first: int
    last: int
    found_at: datetime
    expires_at: datetime


def remember(connection: Connection, found: Sequence[FoundRefusal]) -> list[bool]:
    """Keep refusals, or renew them; which of them had a meter to be kept for."""
    kept = []
    for one in found:
        parameters = {name: getattr(one, name) for name in FoundRefusal.__slots__}
        kept.append(connection.execute(load("refusals")["remember"], parameters).rowcount == 1)
    return kept


def answered(connection: Connection, found: Sequence[FoundRefusal]) -> None:
    """These registers were asked again and answered: nothing refuses them any more."""
    for one in found:
        parameters = {name: getattr(one, name) for name in FoundRefusal.__slots__}
        connection.execute(load("refusals")["answered"], parameters)


def kept(connection: Connection) -> list[StoredRefusal]:
    """All that are kept, expired ones too: those are asked once more."""
    return [StoredRefusal(**r) for r in rows(connection, load("refusals")["kept"])]


def forget(connection: Connection, refusal_id: int) -> bool:
    """A person wants it asked again at the next round; False when there is no such refusal."""
    return connection.execute(load("refusals")["forget"], {"refusal_id": refusal_id}).rowcount == 1


def purge(connection: Connection, *, before: datetime) -> int:
    """Drop what expired before an instant and nobody asked again: its meters are gone. Returns how many."""
    return connection.execute(load("refusals")["purge"], {"before": before}).rowcount


def listed(connection: Connection, *, after: int | None = None, limit: int) -> list[Row]:
    """For people, newest first: with the meters by name."""
    return rows(connection, load("refusals")["list"], {"after": after, "limit": limit})
