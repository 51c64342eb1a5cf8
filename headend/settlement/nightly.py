"""Explaining every station on request: one piece a station, whoever does it, and what the night came to.

The rule it keeps: nothing is noted of how far a night is. A station that was explained is left alone because nothing
under it has changed since, so a night that was broken off is simply asked for again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import reconciliation
from headend.domain.clock import Clock
from headend.domain.processes import ProcessState, process_state
from headend.log import get_logger
from headend.settings import Settings, Settlement
from headend.settlement.night import Night, night_of
from headend.settlement.readiness import Wait, by_station, changed, last_full_day, waits
from headend.settlement.rules import Rules
from headend.settlement.stations import Explainer
from headend.settlement.work import Place
from headend.store import balances, heartbeats
from headend.store.balances import Watermark
from headend.store.errors import StoreUnavailable
from headend.store.pool import Connection, Row, Store

_log = get_logger(__name__)


class Left(StrEnum):
    """Why a station was not explained, besides what it waits for."""

    UNCHANGED = "nothing under it has changed"
    ELSEWHERE = "another worker has it"
    NO_DAYS = "no day of the window is settled"


@dataclass(frozen=True, slots=True)
class StationPiece:
    """A station to explain."""

    station_id: int
    code: str


@dataclass(frozen=True, slots=True)
class Explaining:
    """Explaining stations by the same settings wherever it is done: the work that is spread."""

    settings: Settlement
    rules: Rules
    again: bool = False
    """Also where nothing has changed."""
    name: str = "nightly"
    connections: int = 2
    """One holds the station's lock."""

    @classmethod
    def of(cls, settings: Settings, *, again: bool = False) -> Explaining:
        """The work that a configuration asks for."""
        return cls(settings.settlement, Rules.of(settings.settlement, settings.validation), again)

    def do(self, piece: StationPiece, place: Place) -> Night:
        """Explain a station, unless it was meanwhile. One that cannot be is told in the result, and stops no other
        one. Raises StoreUnavailable.
        """
        if place.stop():
            return self.stopped()
        try:
            return self._explain(piece, place)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 the supervisor of stations
            _log.exception("station cannot be explained", station=piece.code)
            return Night(failed={piece.code: f"{type(error).__name__}: {error}"})

    def _explain(self, piece: StationPiece, place: Place) -> Night:
        explainer = Explainer(
            store=place.store, settings=self.settings, rules=self.rules, clock=place.clock, engine=reconciliation
        )
        with explainer.alone(piece.station_id) as mine:
            if not mine:
                return Night(left={piece.code: Left.ELSEWHERE})
            with place.store.transaction() as connection:
                now = place.clock()
                areas = self.rows(connection, now, piece.station_id)
                why = self.left(areas, self.loading(connection, now), now)
            if why is not None:
                return Night(left={piece.code: why})
            return night_of(explainer.explain(areas))

    def lost(self, piece: StationPiece, why: str) -> Night:
        """It is not explained for certain."""
        return Night(failed={piece.code: why})

    def stopped(self) -> Night:
        """Not all was done."""
        return Night(stopped=True)

    def rows(self, connection: Connection, now: datetime, station_id: int | None = None) -> list[Row]:
        """Areas with settled days in the window that ends with the last full day (balances.stations)."""
        last = last_full_day(self.rules.calendar, now)
        return balances.stations(connection, last - timedelta(days=self.settings.window_days - 1), last, station_id)

    def loading(self, connection: Connection, now: datetime) -> set[int]:
        """Areas below their history watermark."""
        silent = now - timedelta(seconds=self.settings.silent_concentrator_s)
        return balances.loading(connection, Watermark(_listening_since(connection, now) or silent, silent))

    def left(self, areas: Sequence[Row], loading: Collection[int], now: datetime) -> Left | Wait | None:
        """Why a station is left as it is; None: it is explained."""
        if not areas:
            return Left.NO_DAYS
        if not self.again and not changed(areas, self.settings.wrong_area_rate):
            return Left.UNCHANGED
        return waits(areas, loading, last_full_day(self.rules.calendar, now), self.rules.calendar)


def _listening_since(connection: Connection, now: datetime) -> datetime | None:
    """Since when somebody has taken what concentrators send: one that was never heard of may still be about to speak.
    None: nobody does.
    """
    living = (
        heard.identity.started_at
        for heard in heartbeats.listed(connection)
        if "ingest" in heard.identity.roles
        and process_state(heard.beat_at, heard.stopped_at, now) in {ProcessState.UP, ProcessState.LATE}
    )
    return min(living, default=None)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a night has before it."""

    pieces: Sequence[StationPiece]
    left: dict[str, str]
    """Why a station, by its code, is left as it is from the start."""


def wanted(store: Store, work: Explaining, clock: Clock, codes: Sequence[str] = ()) -> Wanted:
    """Stations to explain: of the areas of these codes (none: all), as far as they are ready and need it.

    Raises LookupError naming the codes that are unknown, StoreError.
    """
    now = clock()
    with store.transaction() as connection:
        known = balances.areas_by_code(connection, list(codes))
        if unknown := sorted(set(codes) - {area["code"] for area in known}):
            raise LookupError(f"no area {', '.join(map(repr, unknown))}")
        stations = by_station(work.rows(connection, now))
        asked = {area["area_id"] for area in known}
        chosen = [areas for areas in stations if any(area["area_id"] in asked for area in areas)]
        loading = work.loading(connection, now)
    why = [work.left(areas, loading, now) for areas in chosen]
    settled = {area["area_id"] for areas in chosen for area in areas}
    left = {area["code"]: str(Left.NO_DAYS) for area in known if area["area_id"] not in settled}
    left |= {areas[0]["station"]: str(one) for areas, one in zip(chosen, why, strict=True) if one is not None}
    pieces = [
        StationPiece(areas[0]["station_id"], areas[0]["station"])
        for areas, one in zip(chosen, why, strict=True)
        if one is None
    ]
    return Wanted(pieces, left)
