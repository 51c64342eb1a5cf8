"""Settling many days of many areas on request: cut into pieces, which whoever settles takes one after the other.

A piece is done again where it was lost, and what is settled already comes out the same and is not written again. So
nothing is noted of how far a request is: one that was broken off is asked again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Final

from headend import allocator
from headend.domain.clock import Clock
from headend.log import get_logger
from headend.metrics import SETTLED_DAYS
from headend.settings import Settings
from headend.settlement.differences import Difference
from headend.settlement.grid import stretches
from headend.settlement.rewritten import Rewriting
from headend.settlement.rules import Rules
from headend.settlement.settler import DAYS_A_PASS, Outcome, settle_area
from headend.settlement.work import Place
from headend.store import balances, dirty
from headend.store.errors import StoreConflict, StoreUnavailable
from headend.store.pool import Connection, Store

_log = get_logger(__name__)

PIECE_METER_DAYS: Final = 8_000
"""So much goes into one piece, areas of a few days together: about two seconds of work, so that a lost one costs
little and who hands them out has little to do. A whole area at the least."""
_PAUSES_S: Final = (0.2, 1.0, 3.0, 10.0, 30.0)
"""Before a pass that the store refused for now is tried again."""


@dataclass(frozen=True, slots=True)
class AreaDays:
    """Days of one area to settle."""

    area_id: int
    code: str
    days: tuple[tuple[date, date], ...]
    """Stretches, first and last day, in order."""
    listed: bool = False
    """Whether what changes is listed."""

    def count(self) -> int:
        """How many days."""
        return sum((last - first).days + 1 for first, last in self.days)


Piece = tuple[AreaDays, ...]


@dataclass(slots=True)
class Tally:
    """What was done, and what came of it; adds up."""

    area_days: int = 0
    intervals: int = 0
    """Of metering points."""
    changed: int = 0
    """Days of metering points that now say something else."""
    areas: int = 0
    passed_on: dict[int, set[date]] = field(default_factory=dict)
    """By area: days of others that this made out of date, which are marked and not settled yet."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why an area, by its code, could not be settled."""
    stopped: bool = False
    """Told to stop before all was done."""
    differences: list[Difference] = field(default_factory=list)
    """Of one piece, where they are listed, what changed; not added up: they may be many."""

    def add(self, other: Tally) -> None:
        """Count another one in."""
        self.area_days += other.area_days
        self.intervals += other.intervals
        self.changed += other.changed
        self.areas += other.areas
        for area_id, days in other.passed_on.items():
            self.passed_on.setdefault(area_id, set()).update(days)
        self.failed.update(other.failed)
        self.stopped |= other.stopped


_Settled = tuple[Outcome, Sequence[Difference]]
Passed = Callable[[str, Outcome], None]
"""Told of every pass: the area's code, and what it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Settles pieces in this process."""

    store: Store
    rules: Rules
    clock: Clock
    passed: Passed | None = None
    stop: Callable[[], bool] = bool
    """Whether to stop before the next pass."""
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        allocator.keep()

    def spread(self, pieces: Iterable[Piece]) -> Iterator[Tally]:
        """Settle one piece after the other. Raises StoreUnavailable."""
        for piece in pieces:
            yield self.settle(piece)

    def settle(self, piece: Piece) -> Tally:
        """Settle a piece, and what that makes out of date on the same areas. Raises StoreUnavailable.

        An area that cannot be settled is told in the tally, and stops no other one.
        """
        tally = Tally()
        for wanted in piece:
            try:
                self._settle_area(wanted, tally)
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 the supervisor of areas
                _log.exception("area cannot be settled", area=wanted.code)
                tally.failed[wanted.code] = f"{type(error).__name__}: {error}"
            if tally.stopped:
                break
            tally.areas += wanted.code not in tally.failed
        return tally

    def _settle_area(self, wanted: AreaDays, tally: Tally) -> None:
        asked = {day for first, last in wanted.days for day in self.rules.calendar.days(first, last)}
        waiting = set(asked)
        while waiting:
            if self.stop():
                tally.stopped = True
                return
            days = sorted(waiting)[:DAYS_A_PASS]
            waiting -= set(days)
            for outcome, differences in self._pass(wanted, days, asked):
                for area_id, marked in outcome.passed_on.items():
                    if area_id != wanted.area_id:
                        tally.passed_on.setdefault(area_id, set()).update(marked)
                waiting |= asked.intersection(outcome.passed_on.get(wanted.area_id, ()))
                tally.area_days += outcome.days
                tally.intervals += outcome.intervals
                tally.changed += outcome.changed
                tally.differences += differences
                SETTLED_DAYS.inc(outcome.days)
                if self.passed is not None:
                    self.passed(wanted.code, outcome)

    def _pass(self, wanted: AreaDays, days: Sequence[date], asked: Set[date]) -> list[_Settled]:
        """Settle some days, and those beyond the ones `asked` for that they make out of date on the same area, in one
        transaction: who does a lost piece again would not come upon these, because then nothing changes any more.
        """
        for pause_s in (*_PAUSES_S, None):
            done: list[_Settled] = []
            try:
                with self.store.transaction() as connection:
                    dirty.lock_area(connection, wanted.area_id)
                    todo = list(days)
                    while todo:
                        outcome, differences = self._settle_days(connection, wanted, todo)
                        done.append((outcome, differences))
                        todo = sorted(set(outcome.passed_on.get(wanted.area_id, ())) - asked)
                return done
            except (StoreConflict, StoreUnavailable) as error:
                if pause_s is None:
                    raise
                _log.warning("pass is tried again", area_id=wanted.area_id, error=str(error), pause_s=pause_s)
                self.sleep(pause_s)
        raise AssertionError("the last try returns or raises")

    def _settle_days(self, connection: Connection, wanted: AreaDays, days: Sequence[date]) -> _Settled:
        """Within the transaction; marks that the days had before it are cleared."""
        area_id = wanted.area_id
        marks = dirty.marks_on(connection, area_id, days)
        listed = Rewriting(connection, area_id, days) if wanted.listed else None
        foretold = None if listed is None else listed.foretold
        outcome = settle_area(connection, area_id, days, self.rules, self.clock(), foretold=foretold)
        differences: Sequence[Difference] = () if listed is None else listed.differences(wanted.code)
        dirty.clear(connection, area_id, marks)
        return outcome, differences


@dataclass(frozen=True, slots=True)
class Settling:
    """Settling pieces by the same rules wherever they are done: the work that is spread."""

    rules: Rules
    name: str = "settle"
    connections: int = 1

    def do(self, piece: Piece, place: Place) -> Tally:
        """Settle a piece. Raises StoreUnavailable."""
        return Worker(store=place.store, rules=self.rules, clock=place.clock, stop=place.stop).settle(piece)

    def lost(self, piece: Piece, why: str) -> Tally:
        """None of its areas is settled for certain."""
        return Tally(failed={area.code: why for area in piece})

    def stopped(self) -> Tally:
        """Not all was done."""
        return Tally(stopped=True)


Spread = Callable[[Iterable[Piece]], Iterator[Tally]]
"""Has pieces settled, in any order and by whomever, and gives the tally of each as it comes."""


def wanted_areas(
    store: Store, codes: Sequence[str], first: date, last: date, *, listed: bool = False
) -> list[tuple[AreaDays, int]]:
    """Days from first to last of the areas of these codes (none: every area), and how many points each has.

    Raises LookupError naming the codes that are unknown, ValueError when last is before first, StoreError.
    """
    if last < first:
        raise ValueError(f"the last day {last} is before the first {first}")
    with store.transaction() as connection:
        found = balances.areas_by_code(connection, list(codes))
    if unknown := sorted(set(codes) - {area["code"] for area in found}):
        raise LookupError(f"no area {', '.join(map(repr, unknown))}")
    return [(AreaDays(area["area_id"], area["code"], ((first, last),), listed), area["points"]) for area in found]


def pieces_of(areas: Iterable[tuple[AreaDays, int]], most_meter_days: int = PIECE_METER_DAYS) -> Iterator[Piece]:
    """Areas, with how many points each has, as pieces of about the same work."""
    piece: list[AreaDays] = []
    held = 0
    for area, points in areas:
        work = area.count() * max(points, 1)
        if piece and held + work > most_meter_days:
            yield tuple(piece)
            piece, held = [], 0
        piece.append(area)
        held += work
    if piece:
        yield tuple(piece)


def settle(
    areas: Sequence[tuple[AreaDays, int]],
    spread: Spread,
    *,
    told: Callable[[Tally], None] | None = None,
    piece_meter_days: int = PIECE_METER_DAYS,
) -> Tally:
    """Have days of areas settled, and whatever that makes out of date in turn, on others of these areas too.

    `told`: the tally of each piece as it comes. What was passed on to areas that are not among these is in the result.
    """
    total = Tally()
    known = {area.area_id: (area, points) for area, points in areas}
    todo = list(areas)
    again = False
    while todo:
        for tally in spread(pieces_of(todo, piece_meter_days)):
            if again:
                tally.areas = 0  # each was counted when what was asked of it was settled
            total.add(tally)
            if told is not None:
                told(tally)
        if total.stopped:
            break
        todo, again = _next_round(total.passed_on, known), True
        for area, _ in todo:
            del total.passed_on[area.area_id]
    return total


def _next_round(
    passed_on: Mapping[int, set[date]], known: Mapping[int, tuple[AreaDays, int]]
) -> list[tuple[AreaDays, int]]:
    """What settling passed on to other areas; of areas that were not asked for it waits for the role settle."""
    return [
        (replace(known[area_id][0], days=tuple(stretches(sorted(days)))), known[area_id][1])
        for area_id, days in sorted(passed_on.items())
        if area_id in known
    ]


def settle_days(  # noqa: PLR0917 the command line's own order
    store: Store,
    settings: Settings,
    clock: Clock,
    first: date,
    last: date,
    area: str | None = None,
    *,
    progress: Passed | None = None,
) -> int:
    """Settle all days from first to last of one area (by code), or of all, now and here, and whatever that touches in
    turn.

    Returns how many area-days were settled. Raises LookupError for an unknown area, ValueError when last is before
    first, StoreError.
    """
    worker = Worker(store=store, rules=Rules.of(settings.settlement, settings.validation), clock=clock, passed=progress)
    areas = wanted_areas(store, [] if area is None else [area], first, last)
    total = settle(areas, worker.spread)
    if total.failed:
        raise RuntimeError(f"not settled: {total.failed}")
    return total.area_days
