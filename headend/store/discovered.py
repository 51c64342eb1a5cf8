"""Devices that speak and that nobody has imported: one row each with its first messages, until somebody adopts it.

Bounded in number: beyond the bound those go that were not heard of for the longest. The quarantine keeps the messages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from headend.store import queries
from headend.store.errors import StoreConflict
from headend.store.pool import Connection, Row, row, rows

Kind = Literal["meter", "concentrator"]
MESSAGES: Final = 3
"""So many first messages are kept of each device."""
MESSAGE_BYTES: Final = 64 * 1024
"""... and so much of each."""
_q = queries.load("discovered")


@dataclass(frozen=True, slots=True)
class FirstMessage:
    """A message as it came."""

    received_at: datetime
    origin: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One unknown device within a batch."""

    kind: Kind
    manufacturer: str
    """Of a concentrator: empty."""
    serial: str
    """Of a concentrator: its code."""
    protocol: Literal["mqtt", "modbus"]
    concentrator: str | None
    model_guess: str | None
    phases_guess: int | None
    messages: Sequence[FirstMessage]
    """At least one, in the order in which they came."""


@dataclass(frozen=True, slots=True)
class Held:
    """A device that this transaction holds."""

    kind: Kind
    manufacturer: str
    serial: str
    protocol: str
    concentrator: str | None
    adopted_at: datetime | None

    @property
    def name(self) -> str:
        """As the quarantine names it."""
        return self.serial if self.kind == "concentrator" else f"{self.manufacturer}/{self.serial}"


def add(connection: Connection, sightings: Sequence[Sighting], *, most: int) -> int:
    """Note devices; each one at most once; how many are new. No more than `most` that nobody adopted stay.

    Raises StoreConflict when one of them was imported or adopted just now: the batch has to be looked up again.
    """
    if not sightings:
        return 0
    noted = rows(
        connection,
        _q["add"],
        {
            "kind": [s.kind for s in sightings],
            "manufacturer": [s.manufacturer for s in sightings],
            "serial": [s.serial for s in sightings],
            "protocol": [s.protocol for s in sightings],
            "origin": [s.messages[-1].origin for s in sightings],
            "concentrator": [s.concentrator for s in sightings],
            "model_guess": [s.model_guess for s in sightings],
            "phases_guess": [s.phases_guess for s in sightings],
            "first_seen_at": [min(m.received_at for m in s.messages) for s in sightings],
            "last_seen_at": [max(m.received_at for m in s.messages) for s in sightings],
            "messages": [len(s.messages) for s in sightings],
        },
    )
    _check_not_imported(connection, noted)
    _keep_messages(connection, sightings, noted)
    new = sum(1 for n in noted if n["is_new"])
    if new and connection.execute(_q["forget_the_stalest"], {"most": most}).rowcount:
        connection.execute(_q["forget_payloads"])
    return new


def _check_not_imported(connection: Connection, noted: Sequence[Row]) -> None:
    """The rows are held by now, so whoever adopts one has committed or waits: a fresh look decides."""
    parameters = {key: [n[key] for n in noted] for key in ("discovered_id", "kind", "manufacturer", "serial")}
    imported = {r["discovered_id"] for r in rows(connection, _q["imported"], parameters)}
    for n in noted:
        if n["discovered_id"] in imported:
            name = f"{n['manufacturer']}/{n['serial']}".removeprefix("/")
            raise StoreConflict(f"{name} was imported just now", constraint=None)
    if gone := [n["discovered_id"] for n in noted if n["adopted"]]:
        connection.execute(_q["reopen"], [gone])


def _keep_messages(connection: Connection, sightings: Sequence[Sighting], noted: Sequence[Row]) -> None:
    there = {(n["kind"], n["manufacturer"], n["serial"]): n for n in noted}
    kept: list[tuple[int, int, FirstMessage]] = []
    for s in sightings:
        known = there[s.kind, s.manufacturer, s.serial]
        for nth, message in enumerate(s.messages[: MESSAGES - known["kept"]], start=known["kept"] + 1):
            kept.append((known["discovered_id"], nth, message))
    if not kept:
        return
    once = {id(m): m for _, _, m in kept}  # one message may name thousands of devices
    digests = {number: hashlib.sha256(m.payload).digest() for number, m in once.items()}
    connection.execute(
        _q["keep_payloads"],
        {
            "digest": list(digests.values()),
            "size": [len(m.payload) for m in once.values()],
            "payload": [m.payload[:MESSAGE_BYTES] for m in once.values()],
        },
    )
    connection.execute(
        _q["keep_messages"],
        {
            "discovered_id": [number for number, _, _ in kept],
            "nth": [nth for _, nth, _ in kept],
            "received_at": [m.received_at for _, _, m in kept],
            "origin": [m.origin for _, _, m in kept],
            "digest": [digests[id(m)] for _, _, m in kept],
        },
    )


def listed(
    connection: Connection,
    *,
    adopted: bool = False,
    kind: Kind | None = None,
    search: str | None = None,
    after: tuple[datetime, int] | None = None,
    limit: int = 100,
) -> list[Row]:
    """Heard of last first, without messages; `after`: last_seen_at and id of the last row of the page before."""
    parameters = {"adopted": adopted, "kind": kind, "search": search, "limit": limit}
    where = {"after_seen": after[0] if after else None, "after_id": after[1] if after else None}
    return rows(connection, _q["list"], parameters | where)


def show(connection: Connection, discovered_id: int) -> Row | None:
    """One device with its first messages."""
    found = row(connection, _q["show"], [discovered_id])
    return None if found is None else found | {"first_messages": rows(connection, _q["messages"], [discovered_id])}


def hold(connection: Connection, discovered_id: int) -> Held | None:
    """Nobody else adopts it or hears of it until the transaction ends."""
    found = row(connection, _q["hold"], [discovered_id])
    return None if found is None else Held(**found)


def adopt(connection: Connection, discovered_id: int, *, by: str, now: datetime) -> None:
    """It is a device of ours from now on."""
    connection.execute(_q["adopt"], {"discovered_id": discovered_id, "by": by, "now": now})


def add_meter(connection: Connection, held: Held, *, model: str, phases: int, digits: int, resolution_wh: int) -> bool:
    """Make the meter, with its way over MQTT where it has one; False: it is there already, and stays as it is."""
    made = row(
        connection,
        _q["add_meter"],
        {
            "manufacturer": held.manufacturer,
            "serial": held.serial,
            "model": model,
            "phases": phases,
            "digits": digits,
            "resolution_wh": resolution_wh,
        },
    )
    if made is None:
        return False
    if held.protocol == "mqtt":
        connection.execute(_q["add_mqtt_endpoint"], {"meter_id": made["meter_id"], "concentrator": held.concentrator})
    return True


def add_concentrator(connection: Connection, code: str, area: str) -> bool:
    """Make the concentrator of an area; False: it is there already, and stays as it is."""
    return row(connection, _q["add_concentrator"], {"code": code, "area": area}) is not None
