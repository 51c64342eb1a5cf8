"""Chore *read success*: counts what was stored of the scheduled reads, judges each area by its last day that is over.

A read is scheduled for each meter with an endpoint at every instant of its period on the UTC grid that lies in the
local day, while the meter is installed at a usage point that hangs on the area, and since the head-end first counted
there: polled meters each `poll.period_s` (area meters each `poll.area_period_s`), others each `objectives.reporting_s`.
It is stored when there is any reading of the meter in its slot: from the instant to the next one where the head-end
polls, from half a period before it to half a period after where devices stamp their readings themselves. So further
readings hide no gap, and the share is never above one.

The rule it keeps: one alert an area at the most, which says what the last judged day lacked; it is cleared when a later
day, or readings that came in after all, meet the objective.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from headend.domain.alerts import AlertKind, Severity
from headend.domain.calendar import LocalCalendar
from headend.domain.clock import Clock
from headend.log import get_logger
from headend.settings import Settings
from headend.store import alerts, read_success, storage
from headend.store.pool import Store
from headend.store.read_success import Judged, LocalDay, Schedule

AREAS_AT_ONCE: Final = 50
"""Areas of one day that are counted in one transaction: about a second's work."""
RENEWED: Final = timedelta(hours=1)
"""An alert that stands, and of which nothing else is to be said, is renewed so often."""
_WINDOW: Final = timedelta(days=1)
"""How far before a day readings may lie that count for it: half the longest period."""
PAUSE: Final = 9.0
"""Counting today takes no more than a tenth of the time: the next one waits so many times as long as the last took."""
_log = get_logger(__name__)


class ReadSuccess:
    """Counts and judges; `do` is the chore."""

    def __init__(
        self, store: Store, settings: Settings, clock: Clock, *, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._objectives = settings.objectives
        self._clock = clock
        self._clock_s = clock_s
        self._today_not_before_s = 0.0
        self._calendar = LocalCalendar(ZoneInfo(settings.settlement.zone), settings.settlement.interval_s)
        self._schedule = schedule_of(settings)

    def do(self) -> None:
        """Count what is due, then judge. Raises StoreError."""
        now = self._clock()
        today = self._calendar.day_of(now)
        first = today - timedelta(days=self._objectives.back_days)
        over = self._last_over(now)
        with self._store.transaction() as connection:
            read_success.begin(connection, now)
            due = read_success.due(connection, first=first, today=today, over=over, zone=self._calendar.zone.key)
        if self._clock_s() < self._today_not_before_s:
            due = [(area, day) for area, day in due if day != today]
        took_s = 0.0
        for day, areas in _batches(due):
            began_s = self._clock_s()
            start, end = self._calendar.bounds(day)
            seen = LocalDay(day=day, start=start, end=end, over=day <= over)
            with self._store.transaction() as connection:
                kept_from = storage.kept_from(connection)
                if kept_from is not None and start - _WINDOW < kept_from:
                    continue  # its readings have been dropped, and what was counted of them stays
                read_success.count(connection, areas, seen, self._schedule, now=now)
            if day == today:
                took_s += self._clock_s() - began_s
        if took_s:
            self._today_not_before_s = self._clock_s() + PAUSE * took_s
        self._judge(first, over, now)
        with self._store.transaction() as connection:
            read_success.sweep(connection, today - timedelta(days=self._objectives.keep_days))

    def _last_over(self, now: datetime) -> date:
        """The last local day whose grace has ended."""
        return self._calendar.day_of(now - timedelta(seconds=self._objectives.grace_s)) - timedelta(days=1)

    def _judge(self, first: date, over: date, now: datetime) -> None:
        """All areas in one transaction: few of them fall short."""
        with self._store.transaction() as connection:
            judged = read_success.judged(connection, first=first, over=over)
            said = read_success.said_short(connection)
            short = [j for j in judged if j.ratio < self._objectives.read_success_warn]
            new = 0
            for one in short:
                severity = Severity.ALERT if one.ratio < self._objectives.read_success_alert else Severity.WARNING
                detail = self._in_words(one, severity)
                told = said.get(one.code)
                if told and told["detail"] == detail and now - told["renewed_at"] < RENEWED:
                    continue
                new += alerts.raise_alert(
                    connection,
                    AlertKind.READ_SUCCESS,
                    one.code,
                    detail=detail,
                    now=now,
                    value=one.ratio,
                    area_id=one.area_id,
                    severity=severity,
                )
            met = said.keys() - {j.code for j in short}
            cleared = alerts.clear(connection, AlertKind.READ_SUCCESS, met, now) if met else 0
        if new or cleared:
            _log.warning("read success judged", areas=len(judged), short=len(short), new=new, cleared=cleared)

    def _in_words(self, one: Judged, severity: Severity) -> str:
        wanted = (
            self._objectives.read_success_alert if severity is Severity.ALERT else self._objectives.read_success_warn
        )
        words = (
            f"{one.day}: {one.stored:,} of {one.scheduled:,} reads stored, {percent(one.ratio)}; "
            f"the objective is {percent(wanted)}"
        )
        if one.scheduled_first and one.stored_first is not None and one.stored_first != one.stored:
            words += f"; {percent(one.stored_first / one.scheduled_first)} in time"
        return words


def schedule_of(settings: Settings) -> Schedule:
    """How often meters are expected to be read, as the settings say."""
    poll, objectives = settings.poll, settings.objectives
    return Schedule(
        period_s=poll.period_s,
        area_period_s=poll.area_period_s or poll.period_s,
        reporting_s=objectives.reporting_s or settings.settlement.interval_s,
        due_s=objectives.due_s,
    )


def percent(ratio: float) -> str:
    """A share in per cent, never rounded up: what falls short never looks as if it did not."""
    return f"{int(ratio * 10_000) / 100:.2f} %"


def _batches(due: Sequence[tuple[int, date]]) -> Iterator[tuple[date, list[int]]]:
    """`due` in the order it has, so many areas of one day at once."""
    for day, pairs in itertools.groupby(due, key=lambda pair: pair[1]):
        areas = [area_id for area_id, _ in pairs]
        for start in range(0, len(areas), AREAS_AT_ONCE):
            yield day, areas[start : start + AREAS_AT_ONCE]
