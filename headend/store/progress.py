"""How far the whole way has come: what is stored, settled, found and billed; for progress displays and summaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headend.store import queries
from headend.store.pool import Store


@dataclass(frozen=True, slots=True)
class Progress:
    """Counts over the whole database."""

    readings: int
    """Register readings stored."""
    balances: int
    """Area-days settled."""
    dirty: int
    """Area-days waiting to be settled (again)."""
    reports: int
    """Areas that the reconciliation has looked at."""
    areas: int
    findings: int
    """Open findings."""
    batches: int
    batches_acknowledged: int
    meters_polled: int
    """Meters of which at least one reading came over Modbus."""


def progress(store: Store) -> Progress:
    """One cheap look; nothing in it scans readings."""
    (counts,) = store.rows(queries.load("progress")["counts"])
    return Progress(**counts)


def stored_readings(store: Store, source: int, until: datetime) -> Mapping[str, int]:
    """Readings stored per meter (`manufacturer/serial`) that came by one way in and are stamped up to `until`."""
    found = store.rows(queries.load("progress")["stored_readings"], {"source": source, "until": until})
    return {row["meter"]: row["readings"] for row in found}


def readings_by_source(store: Store, source: int) -> Mapping[str, int]:
    """Readings ever stored per installed meter by one way in; a meter without any is there with 0."""
    found = store.rows(queries.load("progress")["readings_by_source"], {"source": source})
    return {row["meter"]: row["readings"] for row in found}


def outcome(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Areas with their reports, open findings and batches, as a summary shows them."""
    statements = queries.load("progress")
    return {name: store.rows(statements[name]) for name in ("areas", "findings", "batches")}


@dataclass(frozen=True, slots=True)
class Field:
    """What is known of the field beside readings."""

    events: Mapping[tuple[str, str], int]
    """(meter, kind of event) → how many."""
    discovered: frozenset[str]
    """Devices that nobody has imported."""
    not_read: Mapping[str, str]
    """Polled meter → why it was not read the last time."""
    buses: Mapping[str, int]
    """Transport → buses."""


def field(store: Store) -> Field:
    """What devices told, who is strange, who is silent, and how meters are reached."""
    statements = queries.load("progress")
    return Field(
        events={(row["meter"], row["kind"]): row["events"] for row in store.rows(statements["events"])},
        discovered=frozenset(row["device"] for row in store.rows(statements["discovered"])),
        not_read={row["meter"]: row["outcome"] for row in store.rows(statements["not_read"])},
        buses={row["transport"]: row["buses"] for row in store.rows(statements["buses"])},
    )
