"""What routes take: the app's parts, a read-only transaction per request, and periods that make sense."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import Depends, Request
from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from headend.api.errors import Problem
from headend.domain.calendar import LocalCalendar
from headend.domain.clock import Clock
from headend.ingest.adoption import Adopted, AsConcentrator, AsMeter
from headend.rollout.checklist import Step, StepResult
from headend.settings import Settings
from headend.store import views
from headend.store.pool import Connection, Store

READ_LATELY = timedelta(days=1)
"""A meter that has been silent for longer is no longer covered: every way of reading brings more than one a day."""


def _written_out(value: Any) -> Any:
    """Refuse a bare number, which pydantic would take for seconds since 1970: 20261101 is no first of November."""
    bare = isinstance(value, str) and value.strip().lstrip("+-").replace(".", "", 1).isdecimal()
    if bare or isinstance(value, int | float):
        raise ValueError(f"{value} is a bare number; write it as in ISO 8601, such as 2026-11-01")
    return value


Day = Annotated[date, BeforeValidator(_written_out)]
"""A local day in a query, in ISO 8601."""
Instant = Annotated[AwareDatetime, BeforeValidator(_written_out)]
"""An instant with offset in a query, in ISO 8601."""


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("holds a NUL character")
    return value


Text = Annotated[str, AfterValidator(_without_nul)]
"""Words in a request's body: the store keeps any character but NUL."""


class RolloutDoor(Protocol):
    """What routes ask of the rollout stage."""

    def advance(self) -> int:
        """Decide the commissionings whose live read has been answered; how many. Raises StoreError."""
        ...

    def close_step(
        self, premises_code: str, step: Step, client_id: UUID, by: str, evidence: Mapping[str, Any]
    ) -> StepResult:
        """Close a step. Raises StepRefused, UnknownPremises, StoreError."""
        ...


class AdoptionDoor(Protocol):
    """What routes ask of the ingest stage for devices that were discovered."""

    def adopt(self, discovered_id: int, what: AsMeter | AsConcentrator, *, by: str) -> Adopted:
        """Make it one of ours. Raises UnknownDiscovered, AdoptionRefused, StoreError."""
        ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the app was built from; lives in `app.state.parts`."""

    store: Store
    settings: Settings
    clock: Clock
    rollout: RolloutDoor
    adoption: AdoptionDoor

    @property
    def calendar(self) -> LocalCalendar:
        """Local days of the settlement's zone."""
        return LocalCalendar(ZoneInfo(self.settings.settlement.zone), self.settings.settlement.interval_s)

    @property
    def today(self) -> date:
        """The local day that it is now."""
        return self.calendar.day_of(self.clock())

    @property
    def heard_since(self) -> datetime:
        """Concentrators last heard before this are silent."""
        return self.clock() - timedelta(seconds=self.settings.settlement.silent_concentrator_s)

    @property
    def read_since(self) -> datetime:
        """Meters last read before this do not count as read now."""
        return self.clock() - READ_LATELY


def parts(request: Request) -> Parts:
    """The app's parts."""
    found: Parts = request.app.state.parts
    return found


def read_connection(found: Annotated[Parts, Depends(parts)]) -> Iterator[Connection]:
    """One read-only transaction for the request. Raises StoreUnavailable."""
    with views.reading(found.store) as connection:
        yield connection


def decide_commissionings(found: Annotated[Parts, Depends(parts)]) -> int:
    """Before premises are shown: whatever the meters have answered meanwhile counts. Raises StoreError."""
    return found.rollout.advance()


PartsDep = Annotated[Parts, Depends(parts)]
ReadDep = Annotated[Connection, Depends(read_connection)]
Decided = Annotated[int, Depends(decide_commissionings)]
"""Take it before ReadDep, so that what it decides is seen."""


def period_of_days(
    first: date | None, last: date | None, *, today: date, default_days: int, most_days: int
) -> tuple[date, date]:
    """Both ends of a period of local days; defaults end yesterday. Raises Problem 422 when it makes no sense."""
    end = last if last is not None else max(today - timedelta(days=1), first or date.min)
    try:
        start = first if first is not None else end - timedelta(days=default_days - 1)
    except OverflowError as error:
        raise invalid("to", f"{end} is before the calendar begins") from error
    if start > end:
        raise invalid("from", f"{start} is after `to`, {end}")
    if (end - start).days >= most_days:
        raise invalid("from", f"{start} to {end} are {(end - start).days + 1} days; at most {most_days} at once")
    return start, end


def invalid(parameter: str, detail: str) -> Problem:
    """A 422 about one parameter."""
    return Problem(
        status=422,
        code="invalid-request",
        detail=f"{parameter}: {detail}",
        errors=[{"parameter": parameter, "detail": detail}],
    )


def unknown(noun: str, value: object) -> Problem:
    """A 404 naming what was asked for."""
    return Problem(status=404, code=f"unknown-{noun}", detail=f"there is no {noun} {value!r}")
