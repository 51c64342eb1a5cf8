"""Rows that hold from an instant to an instant, and what may be done with them: cut, correct, withdraw. Pure.

The rules they keep: rows of one usage point never overlap, nor do installations of one meter; where one row ends and
the next begins at the same instant, correcting that instant moves both. What cannot be is a Contradiction in words.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, TypeVar

from headend.domain.topology import MeterId

EVER: Final = datetime.min.replace(tzinfo=UTC)
"""Stands for the beginning of what has none."""
NEVER: Final = datetime.max.replace(tzinfo=UTC)
"""Stands for the end of what still holds."""


class Contradiction(Exception):
    """What is wanted cannot be, beside what is stored; says why, and which field of the request is at odds."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class Span(ABC):
    """What holds from an instant to an instant at a usage point."""

    row_id: int | None
    """Number in the store; None: not stored yet."""
    usage_point: str
    valid_from: datetime | None
    """None: since ever (a category only)."""
    valid_to: datetime | None
    """None: still."""

    @property
    def begins(self) -> datetime:
        """The first instant at which it holds."""
        return self.valid_from or EVER

    @property
    def ends(self) -> datetime:
        """The first instant at which it holds no more."""
        return self.valid_to or NEVER

    def holds(self, at: datetime) -> bool:
        """Whether it holds at an instant."""
        return self.begins <= at < self.ends

    def overlaps(self, other: Span) -> bool:
        """Whether both hold at some instant."""
        return self.begins < other.ends and other.begins < self.ends

    @property
    @abstractmethod
    def what(self) -> str:
        """What it says, for a person."""

    def __str__(self) -> str:
        begins = "since ever" if self.valid_from is None else f"from {self.valid_from.isoformat()}"
        return f"{self.what} {begins}" + ("" if self.valid_to is None else f" to {self.valid_to.isoformat()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallationRow(Span):
    """A meter serves a usage point."""

    manufacturer: str
    serial: str
    multiplier: Decimal
    sign: int
    start_import_wh: int | None
    start_export_wh: int | None
    end_import_wh: int | None
    end_export_wh: int | None
    seal: str | None

    @property
    def meter(self) -> MeterId:
        """Manufacturer and serial."""
        return self.manufacturer, self.serial

    @property
    def what(self) -> str:
        """What it says, for a person."""
        return f"{self.manufacturer}/{self.serial} at {self.usage_point}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipRow(Span):
    """A usage point hangs on an area, directly or behind a shared usage point."""

    area: str
    behind: str | None

    @property
    def what(self) -> str:
        """What it says, for a person."""
        return f"{self.usage_point} on {self.area}" + ("" if self.behind is None else f" behind {self.behind}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryRow(Span):
    """A usage point is billed as a category."""

    category: str

    @property
    def what(self) -> str:
        """What it says, for a person."""
        return f"{self.usage_point} as {self.category}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterRow:
    """What a device is; it was so whenever it served."""

    row_id: int | None
    manufacturer: str
    serial: str
    phases: int
    digits: int
    resolution_wh: int

    @property
    def meter(self) -> MeterId:
        """Manufacturer and serial."""
        return self.manufacturer, self.serial

    @property
    def rollover_wh(self) -> int:
        """The register's first value that does not fit."""
        return int(10**self.digits * self.resolution_wh)


@dataclass(frozen=True, slots=True)
class Records:
    """Everything that is stored about the usage points and meters in question, each in order of time."""

    installations: tuple[InstallationRow, ...] = ()
    memberships: tuple[MembershipRow, ...] = ()
    categories: tuple[CategoryRow, ...] = ()
    meters: tuple[MeterRow, ...] = ()


AnyRow = InstallationRow | MembershipRow | CategoryRow | MeterRow
TABLES: Final[Mapping[str, type[AnyRow]]] = {
    "installations": InstallationRow,
    "memberships": MembershipRow,
    "categories": CategoryRow,
    "meters": MeterRow,
}
"""By the name of the field of Records."""


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row as it was and as it shall be."""

    table: str
    before: AnyRow | None
    """None: it is new."""
    after: AnyRow | None
    """None: it never was so."""

    @property
    def row(self) -> AnyRow:
        """Either of them, for what both have in common."""
        found = self.after or self.before
        assert found is not None  # a change has one of the two
        return found


S = TypeVar("S", bound=Span)


def at_instant(rows: Iterable[S], at: datetime) -> S | None:
    """The row that holds at an instant."""
    return next((row for row in rows if row.holds(at)), None)


def just_before(rows: Iterable[S], at: datetime) -> S | None:
    """The row that held until an instant, or across it."""
    return next((row for row in rows if row.begins < at <= row.ends), None)


def touching(rows: Iterable[S], row: S) -> S | None:
    """The row of the same usage point that ends where `row` begins."""
    return next((one for one in rows if one.usage_point == row.usage_point and one.ends == row.begins), None)


def beginning(rows: Iterable[S], since: datetime | None, noun: str) -> S:
    """The row that begins at just that instant. Raises Contradiction naming those that there are."""
    rows = list(rows)
    for row in rows:
        if row.valid_from == since:
            return row
    known = "; ".join(str(row) for row in rows) or "none"
    begins = "since ever" if since is None else f"at {since.isoformat()}"
    raise Contradiction(f"no {noun} begins {begins}; there are: {known}", "since")


def cut(rows: Sequence[S], row: S, at: datetime, first: Mapping[str, Any], then: Mapping[str, Any]) -> list[S]:
    """A row ends at `at` and goes on as something else; `first`, `then`: what else is new of the two parts."""
    parts = (replace(row, valid_to=at, **first), replace(row, row_id=None, valid_from=at, **then))
    return [part for one in rows for part in (parts if one is row else (one,))]


def correct(rows: Sequence[S], row: S, given: Mapping[str, Any]) -> list[S]:
    """A row says something else; neighbours of its usage point that touched it move along."""
    new = replace(row, **given)
    made = []
    for other in rows:
        if other is row:
            made.append(new)
        elif other.usage_point == row.usage_point and other.ends == row.begins and new.begins != row.begins:
            made.append(replace(other, valid_to=new.valid_from))
        elif other.usage_point == row.usage_point and other.begins == row.ends and new.ends != row.ends:
            if new.valid_to is None:
                raise Contradiction(f"it cannot hold without end: {other} follows", "valid_to")
            made.append(replace(other, valid_from=new.valid_to))
        else:
            made.append(other)
    return made


def withdraw(rows: Sequence[S], row: S, taken_over: Mapping[str, Any], *, backwards: bool = False) -> list[S]:
    """A row never was so: the one before goes on in its place, with what it takes over.

    `backwards`: where none touches it from before, the one after begins in its place.
    """
    mine = [other for other in rows if other is not row and other.usage_point == row.usage_point]
    before = touching(mine, row)
    after = next((other for other in mine if other.begins == row.ends), None) if backwards and before is None else None
    made = []
    for other in rows:
        if other is before:
            made.append(replace(other, valid_to=row.valid_to, **taken_over))
        elif other is after:
            made.append(replace(other, valid_from=row.valid_from))
        elif other is not row:
            made.append(other)
    return made


def check(records: Records) -> None:
    """Raises Contradiction when a row is empty, or two hold at once that cannot."""
    timelines: dict[tuple[str, object], list[Span]] = {}
    for name in ("installations", "memberships", "categories"):
        for row in getattr(records, name):
            if row.begins >= row.ends:
                raise Contradiction(f"{row.what} would end at {_told(row.valid_to)}, not after it begins: {row}")
            timelines.setdefault((name, row.usage_point), []).append(row)
            if isinstance(row, InstallationRow):
                timelines.setdefault((name, row.meter), []).append(row)
    for rows in timelines.values():
        rows.sort(key=lambda row: row.begins)
        for one, next_one in pairwise(rows):
            if one.overlaps(next_one):
                raise Contradiction(
                    f"{_named(one, next_one)} stands in the way: both hold from {next_one.begins.isoformat()}"
                )


def _named(one: Span, other: Span) -> str:
    """The stored row of two that overlap, with the new one beside it."""
    stored, new = (one, other) if other.row_id is None else (other, one)
    return f"{stored} (beside {new})"


def differences(before: Records, after: Records) -> list[RowChange]:
    """Every row that is not what it was."""
    found = []
    for name in TABLES:
        was = {row.row_id: row for row in getattr(before, name)}
        now = getattr(after, name)
        kept = {row.row_id for row in now if row.row_id is not None}
        found += [RowChange(name, row, None) for row_id, row in was.items() if row_id not in kept]
        found += [
            RowChange(name, was.get(row.row_id), row) for row in now if row.row_id is None or was.get(row.row_id) != row
        ]
    return found


def as_json(row: AnyRow) -> dict[str, Any]:
    """A row as it is kept with a change."""
    return {f.name: plain(getattr(row, f.name)) for f in fields(row)}


def of_json(table: str, kept: Mapping[str, Any]) -> AnyRow:
    """The same read back."""
    values = dict(kept)
    for name in ("valid_from", "valid_to"):
        if values.get(name) is not None:
            values[name] = datetime.fromisoformat(values[name])
    if "multiplier" in values:
        values["multiplier"] = Decimal(values["multiplier"])
    return TABLES[table](**values)


def plain(value: Any) -> Any:
    """An instant or a decimal number in its one way of being written; anything else as it is."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return f"{value.normalize():f}" if isinstance(value, Decimal) else value


def _told(instant: datetime | None) -> str:
    return "no instant" if instant is None else instant.isoformat()
