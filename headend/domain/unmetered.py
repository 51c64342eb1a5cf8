"""Known loads without a meter (street lights, cabinets, cameras), and the schedule by which their energy is counted.

A schedule is written as a subset of OpenStreetMap's `opening_hours`: rules parted by `;`, each with months and weekdays
where it does not hold always, and its hours by the local clock:

    24/7
    sunset-sunrise
    (sunset+00:20)-(sunrise-00:20)
    Jan-Feb,Nov-Dec 17:50-06:40; Mar-Oct 19:00-05:30
    Mo-Fr 08:00-12:00,14:00-18:00

The rule it keeps: on a day the last rule that fits it holds, as in `opening_hours`; hours that pass midnight belong to
the day on which they begin. The local clock decides, so a night in which the clocks change is an hour longer or
shorter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from headend.domain.sun import polar_night, sun_times

KINDS: Final = ("street_light", "traffic_light", "cabinet", "cctv", "telecom", "advertising", "other")
"""What such loads are."""
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEEKDAYS: Final = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")

_MINUTE: Final = timedelta(minutes=1)
_CLOCK: Final = r"\d{1,2}:\d{2}"
_EDGE: Final = re.compile(
    rf"(?P<clock>{_CLOCK})|(?P<sun>sunrise|sunset)|\((?P<around>sunrise|sunset)(?P<sign>[+-])(?P<offset>{_CLOCK})\)"
)
_SPAN: Final = re.compile(rf"({_EDGE.pattern.replace('?P<', '?P<a_')})-({_EDGE.pattern.replace('?P<', '?P<b_')})")


class ScheduleError(ValueError):
    """A schedule that cannot be read; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class Edge:
    """When a load is switched."""

    event: str | None
    """`sunrise` or `sunset`; None: by the clock."""
    minutes: int
    """Since local midnight, or after the event (negative: before)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Hours of the days that it fits."""

    months: frozenset[int]
    """1…12."""
    weekdays: frozenset[int]
    """0 (Monday) … 6."""
    hours: tuple[tuple[Edge, Edge], ...]
    """From, to; an end that is not after its beginning lies on the next day."""

    def fits(self, day: date) -> bool:
        """Whether it is for this day."""
        return day.month in self.months and day.weekday() in self.weekdays


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a load is on."""

    rules: tuple[Rule, ...]

    @property
    def needs_place(self) -> bool:
        """Whether it goes by the sun, so that latitude and longitude have to be known."""
        return any(edge.event for rule in self.rules for span in rule.hours for edge in span)

    def spans(
        self, day: date, zone: ZoneInfo, place: tuple[float, float] | None = None
    ) -> list[tuple[datetime, datetime]]:
        """The spans [UTC] that begin on a local day, in order. `place`: latitude and longitude [degrees].

        Where the sun neither rises nor sets on that day, sunset-sunrise lasts all day in the dark, and no time in the
        light.
        """
        rule = next((rule for rule in reversed(self.rules) if rule.fits(day)), None)
        found = [] if rule is None else [_span(span, day, zone, place) for span in rule.hours]
        return sorted(span for span in found if span is not None)


@dataclass(frozen=True, slots=True)
class UnmeteredLoad:
    """One load from an instant to an instant, by the codes that people use."""

    code: str
    area: str
    kind: str
    name: str
    power_w: int
    tolerance: float
    """Limit of its error as share of the power: nothing but the limit is known."""
    schedule: str
    latitude_deg: float | None
    longitude_deg: float | None
    valid_from: datetime
    valid_to: datetime | None

    @property
    def key(self) -> tuple[str, datetime]:
        """What makes it unique."""
        return self.code, self.valid_from


def parse_schedule(text: str) -> Schedule:
    """A schedule from its text. Raises ScheduleError."""
    rules = tuple(_rule(part.strip()) for part in text.split(";") if part.strip())
    if not rules:
        raise ScheduleError("wanted hours such as 24/7, sunset-sunrise or Jan-Mar 18:10-06:20; Apr-Dec 19:00-05:30")
    return Schedule(rules)


def _rule(text: str) -> Rule:
    every = frozenset(range(1, 13)), frozenset(range(7))
    if text == "24/7":
        return Rule(*every, ((Edge(None, 0), Edge(None, 24 * 60)),))
    words = text.split()
    months, weekdays = every
    if words and words[0][:3] in MONTHS:
        months = frozenset(n + 1 for n in _choice(words.pop(0), MONTHS))
    if words and words[0][:2] in WEEKDAYS and not words[0][2:3].isalpha():
        weekdays = frozenset(_choice(words.pop(0), WEEKDAYS))
    if words == ["off"]:
        return Rule(months, weekdays, ())
    if len(words) != 1:
        raise ScheduleError(f"{text!r}: wanted months, weekdays and hours, such as Jan-Mar Mo-Fr 18:10-06:20")
    return Rule(months, weekdays, tuple(_hours(part, text) for part in words[0].split(",")))


def _choice(text: str, names: Sequence[str]) -> set[int]:
    """Indices that `Jan-Mar,Dec` or `Mo-Fr` names; a range may pass the end."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        last = last or first
        if first not in names or last not in names:
            raise ScheduleError(f"{part!r}: wanted {names[0]} … {names[-1]}, or a range of them")
        a, b = names.index(first), names.index(last)
        found |= {i % len(names) for i in range(a, (b if b >= a else b + len(names)) + 1)}
    return found


def _hours(text: str, rule: str) -> tuple[Edge, Edge]:
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ScheduleError(f"{text!r} in {rule!r}: wanted hours such as 18:10-06:20 or sunset-sunrise")
    begin, end = (_edge({k[2:]: v for k, v in match.groupdict().items() if k[0] == side}, text) for side in "ab")
    if begin == end or begin == Edge(None, 24 * 60):
        raise ScheduleError(f"{text!r}: lasts no time; always on is 24/7")
    return begin, end


def _edge(parts: dict[str, str | None], text: str) -> Edge:
    if (clock := parts["clock"]) is not None:
        return Edge(None, _minutes(clock, text))
    if (event := parts["sun"]) is not None:
        return Edge(event, 0)
    shift = _minutes(parts["offset"] or "", text)
    return Edge(parts["around"], -shift if parts["sign"] == "-" else shift)


def _minutes(text: str, whole: str) -> int:
    hours, minutes = (int(part) for part in text.split(":"))
    if minutes > 59 or hours * 60 + minutes > 24 * 60:
        raise ScheduleError(f"{whole!r}: {text} is no time of day; wanted 00:00 to 24:00")
    return hours * 60 + minutes


def _span(
    span: tuple[Edge, Edge], day: date, zone: ZoneInfo, place: tuple[float, float] | None
) -> tuple[datetime, datetime] | None:
    begin = _instant(span[0], day, zone, place)
    end = _instant(span[1], day, zone, place)
    if begin is not None and end is not None and end > begin:
        return begin, end
    if span[0].event is None and span[1].event is None and span[1].minutes > span[0].minutes:
        return None  # all of it lies in the hour that is left out
    end = _instant(span[1], day + timedelta(days=1), zone, place)
    if begin is None or end is None:
        return _polar(span, day, zone, place)
    return (begin, end) if end > begin else None


def _instant(edge: Edge, day: date, zone: ZoneInfo, place: tuple[float, float] | None) -> datetime | None:
    """The instant of an edge on a local day; None where the sun does neither rise nor set."""
    if edge.event is None:
        days, minutes = divmod(edge.minutes, 24 * 60)
        local = datetime.combine(day + timedelta(days=days), time(minutes // 60, minutes % 60), zone)
        return _there(local)
    if place is None:
        raise ScheduleError("goes by the sun: wanted latitude and longitude")
    noon = datetime.combine(day, time(12), zone).astimezone(UTC)
    times = sun_times(noon, *place)
    if times is None:
        return None
    return times[0 if edge.event == "sunrise" else 1] + timedelta(minutes=edge.minutes)


def _there(local: datetime) -> datetime:
    """The instant [UTC] at which a wall clock shows a time or, where the clocks skip it, at which they do."""
    found = local.astimezone(UTC)
    shown = found.astimezone(local.tzinfo)
    late = shown.replace(tzinfo=None) - local.replace(tzinfo=None)
    if late <= timedelta():
        return found
    # skipped: `found` counts from before the change, so it lies as far after the change as the time lies in the gap
    low, high = local.replace(fold=1).astimezone(UTC), found
    before = low.astimezone(local.tzinfo).utcoffset()
    while high - low > _MINUTE:
        middle = low + (high - low) // 2
        low, high = (middle, high) if middle.astimezone(local.tzinfo).utcoffset() == before else (low, middle)
    return high.replace(second=0, microsecond=0)


def _polar(
    span: tuple[Edge, Edge], day: date, zone: ZoneInfo, place: tuple[float, float] | None
) -> tuple[datetime, datetime] | None:
    """Where the sun does not cross the horizon: lamps burn all through a day that stays dark, and not in the other."""
    if place is None or (span[0].event, span[1].event) not in (("sunset", "sunrise"), ("sunrise", "sunset")):
        return None
    noon = datetime.combine(day, time(12), zone).astimezone(UTC)
    if polar_night(noon, place[0]) != (span[0].event == "sunset"):
        return None
    start = datetime.combine(day, time(), zone).astimezone(UTC)
    return start, datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
