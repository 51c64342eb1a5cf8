"""What pages and the API read: one function a question, rows as dictionaries, nothing ever written.

Open the transaction with `reading(store)`: it is read-only, one consistent picture, and bounded in time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from psycopg.conninfo import make_conninfo

from headend.store.migrate import pending
from headend.store.pool import Connection, Row, Store, row, rows
from headend.store.queries import load

AreaSort = Literal[
    "code",
    "state",
    "loss_rate",
    "loss_rate_7d",
    "loss_rate_28d",
    "loss_28d",
    "supplied",
    "delivered",
    "coverage",
    "findings",
    "at_stake",
]
"""What areas can be ordered by; rows without that number come last, whatever the direction."""

_CONNECT_TIMEOUT_S = 3


@dataclass(frozen=True, slots=True)
class CoverageNow:
    """How much of an area is read household by household, as of now."""

    households: int
    """Customers, those behind a shared meter too."""
    read: int
    """Of them, by a meter of their own."""

    @property
    def share(self) -> float | None:
        """None: nobody is supplied here."""
        return self.read / self.households if self.households else None


@contextmanager
def reading(store: Store, *, timeout_s: float | None = None) -> Iterator[Connection]:
    """A read-only transaction that sees one state of the database. Raises StoreUnavailable, StoreError."""
    with store.transaction(timeout_s=timeout_s) as connection:
        connection.execute(load("views")["read_only"])
        connection.execute(load("views")["statement_limit"])
        yield connection


def pending_migrations(store: Store) -> list[str]:
    """Migrations that the database lacks. Raises StoreUnavailable within seconds where it cannot be reached."""
    return pending(make_conninfo(store.dsn, connect_timeout=_CONNECT_TIMEOUT_S))


def area_summaries(
    connection: Connection,
    *,
    today: date,
    heard_since: datetime,
    limit: int,
    code: str | None = None,
    station: str | None = None,
    state: str | None = None,
    search: str | None = None,
    with_findings: bool = False,
    sort: AreaSort = "code",
    descending: bool = False,
    after: tuple[float | None, str] | None = None,
) -> list[Row]:
    """Areas with their latest full local day before `today`, their losses [Wh] and rates, and their open findings.

    `heard_since`: backlogs of concentrators silent for longer do not count as loading. `after` is (sort_number, code)
    of the last row of the page before.
    """
    return _all(
        connection,
        "area_summaries",
        today=today,
        heard_since=heard_since,
        limit=limit,
        code=code,
        station=station,
        state=state,
        search=search,
        with_findings=with_findings,
        sort=sort,
        direction=-1.0 if descending else 1.0,
        after_missing=after is not None and after[0] is None,
        after_number=(after[0] or 0.0) if after else None,
        after_code=after[1] if after else None,
    )


def area_summary(connection: Connection, code: str, *, today: date, heard_since: datetime) -> Row | None:
    """One area as in `area_summaries`, or None where there is no such area."""
    found = area_summaries(connection, today=today, heard_since=heard_since, limit=1, code=code)
    return found[0] if found else None


def fleet(connection: Connection, *, today: date, heard_since: datetime) -> Row:
    """Totals over every area: states, losses, open findings, what is stored and what still waits."""
    found = row(connection, load("views")["fleet"], {"today": today, "heard_since": heard_since})
    if found is None:
        raise RuntimeError("a query of scalars always has one row")
    return found


def stations(connection: Connection) -> list[Row]:
    """Every station's code and name."""
    return _all(connection, "stations")


def area_days(connection: Connection, areas: Sequence[int], first: date, last: date) -> list[Row]:
    """(area_id, day, state, loss_rate) of several areas from `first` to `last`, both included."""
    return _all(connection, "area_days", areas=list(areas), first=first, last=last)


def coverage_now(
    connection: Connection, areas: Sequence[int], *, now: datetime, read_since: datetime
) -> dict[int, CoverageNow]:
    """Households of each area at `now`, and those whose own meter was read after `read_since` and its installation."""
    found = {area: CoverageNow(0, 0) for area in areas}
    for counted in _all(connection, "coverage_now", areas=list(areas), now=now, read_since=read_since):
        found[counted["area_id"]] = CoverageNow(counted["households"], counted["households_read"])
    return found


def balances(
    connection: Connection,
    area: str,
    first: date,
    last: date,
    *,
    intervals: bool = False,
    limit: int = 1000,
    after: date | None = None,
) -> list[Row]:
    """Balances of an area by local day, both ends included; with `intervals` the day's vectors [Wh, None = absent]."""
    name = "balances_with_intervals" if intervals else "balances"
    return _all(connection, name, area=area, first=first, last=last, limit=limit, after=after)


def households(connection: Connection, area: str, *, now: datetime, today: date, day: date | None) -> list[Row]:
    """Usage points on an area at `now`: meter, last reading, energy of seven full days before `today` and of `day`."""
    return _all(connection, "households", area=area, now=now, today=today, day=day)


def area_meters(connection: Connection, area: str, *, now: datetime) -> list[Row]:
    """The transformer's meters at `now`; `power_w` and voltages are as the meter shows them (no multiplier)."""
    return _all(connection, "area_meters", area=area, now=now)


def area_limits(connection: Connection, area: str) -> Row:
    """The area's own limits of the loss rate; None in it: the default of the settings."""
    found = row(connection, load("views")["area_limits"], {"area": area})
    return found if found is not None else {"high_loss_rate": None, "negative_loss_rate": None}


def area_report(connection: Connection, area: str) -> Row | None:
    """The reconciliation's last word on the area as a whole, or None."""
    return row(connection, load("views")["area_report"], {"area": area})


def findings(
    connection: Connection,
    *,
    limit: int,
    area: str | None = None,
    kind: str | None = None,
    state: str | None = None,
    assigned_to: str | None = None,
    sort: Literal["newest", "energy"] = "newest",
    after: tuple[float, int] | None = None,
) -> list[Row]:
    """Findings without evidence. `state` may be `unresolved`: neither rejected nor closed.

    `after` is (energy_wh, finding_id) of the last row of the page before.
    """
    return _all(
        connection,
        "findings",
        limit=limit,
        area=area,
        kind=kind,
        state=state,
        assigned_to=assigned_to,
        sort=sort,
        after_energy=after[0] if after else None,
        after_id=after[1] if after else None,
    )


def finding(connection: Connection, finding_id: int) -> Row | None:
    """One finding with its evidence, or None."""
    return row(connection, load("views")["finding"], {"finding": finding_id})


def meters_of_serial(connection: Connection, serial: str, manufacturer: str | None) -> list[Row]:
    """Meters with this serial; more than one where manufacturers share it and none was named."""
    return _all(connection, "meters_of_serial", serial=serial, manufacturer=manufacturer)


def readings(
    connection: Connection, meter_id: int, first: datetime, end: datetime, *, limit: int, after: datetime | None = None
) -> list[Row]:
    """Raw register readings of a meter with first <= ts < end, oldest first."""
    return _all(connection, "readings", meter=meter_id, first=first, end=end, limit=limit, after=after)


def batches(
    connection: Connection,
    *,
    limit: int,
    state: str | None = None,
    number: int | None = None,
    before: int | None = None,
) -> list[Row]:
    """Billing batches, newest first, each with its count of exceptions not worked off."""
    return _all(connection, "batches", limit=limit, state=state, number=number, before=before)


def determinants(
    connection: Connection, number: int, *, limit: int, after: tuple[int, date, str, str, int] | None = None
) -> list[Row]:
    """Determinants of a batch by key (usage_point_id, day, direction, tariff_band, revision); `after` is such a key."""
    keys = ("after_usage_point", "after_day", "after_direction", "after_band", "after_revision")
    where = dict(zip(keys, after or (None,) * len(keys), strict=True))
    return _all(connection, "determinants", number=number, limit=limit, **where)


def billing_exceptions(connection: Connection, *, limit: int, number: int | None = None) -> list[Row]:
    """What billing would not take; those not worked off first."""
    return _all(connection, "billing_exceptions", limit=limit, number=number)


def premises(
    connection: Connection, *, limit: int, area: str | None = None, code: str | None = None, after: str | None = None
) -> list[Row]:
    """Premises by code with closed steps, commissioning and the labels not commissioned behind the same meter."""
    return _all(connection, "premises", limit=limit, area=area, code=code, after=after)


def rollout_areas(connection: Connection, *, area: str | None = None) -> list[Row]:
    """Counts of premises per step and area."""
    return _all(connection, "rollout_areas", area=area)


def stock_meters(connection: Connection, area_id: int, *, now: datetime, limit: int = 500) -> list[Row]:
    """Meters never installed that are reached as the area's meters are: over their gateway or its concentrator."""
    return _all(connection, "stock_meters", area=area_id, now=now, limit=limit)


def _all(connection: Connection, name: str, **parameters: Any) -> list[Row]:
    return rows(connection, load("views")[name], parameters)
