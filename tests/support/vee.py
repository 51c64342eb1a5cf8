"""Days worked by hand: registers in at wall-clock times, intervals out. No database.

Registers are Wh as the meter shows them; qualities are letters (`M` measured, `I` interpolated, `E` estimated, `Z` zero
by event, `-` absent), so that a day can be read in one line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from headend.domain.calendar import LocalCalendar, to_us
from headend.settings import Settlement
from headend.settlement.grid import DayRange
from headend.settlement.inputs import Inputs
from headend.settlement.intervals import PointIntervals, point_intervals
from headend.settlement.rules import Rules
from headend.settlement.topology import FOREVER_US, Installed, Membership, Point
from headend.store.intervals import MeterReadings
from headend.store.vectors import ABSENT
from reconciliation.estimation import BY_METHOD
from reconciliation.outages import outages
from reconciliation.registers import NO_VALUE, IntervalQuality
from support.installed import installed

MONDAY = date(2026, 3, 2)
_LETTERS = {
    IntervalQuality.ABSENT: "-", IntervalQuality.MEASURED: "M", IntervalQuality.INTERPOLATED: "I",
    IntervalQuality.ESTIMATED: "E", IntervalQuality.EDITED: "X", IntervalQuality.ZERO_BY_EVENT: "Z",
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """One metering point's intervals from the first day's midnight on."""

    energy: list[int | None]
    export: list[int | None]
    quality: str
    flags: list[int]
    whole: PointIntervals

    def between(self, first: int, end: int) -> tuple[list[int | None], str]:
        """Energy and qualities of the intervals from the first to before the end."""
        return self.energy[first:end], self.quality[first:end]


class Bench:
    """A zone, an interval length, and local times of one day as instants."""

    def __init__(
        self, day: date = MONDAY, *, zone: str = "Asia/Shanghai", interval_s: int = 900, **settings: Any
    ) -> None:
        self.day = day
        self.rules = Rules.of(Settlement.model_validate({"zone": zone, "interval_s": interval_s} | settings))
        self.calendar: LocalCalendar = self.rules.calendar

    def at(self, clock: str | datetime) -> datetime:
        """`HH:MM[:SS]` of the day on its wall clock, `24:00` its end, `-1 HH:MM` and `+1 HH:MM` the days beside it; a
        time that comes twice is its first one, its second one with a `*`.
        """
        if isinstance(clock, datetime):
            return clock
        day, _, time = clock.rpartition(" ")
        again = time.endswith("*")
        hour, minute, second = (int(part) for part in (*time.rstrip("*").split(":"), "0")[:3])
        midnight = datetime.combine(self.day + timedelta(days=int(day or 0) + hour // 24), datetime.min.time())
        local = midnight + timedelta(hours=hour % 24, minutes=minute, seconds=second)
        return local.replace(tzinfo=ZoneInfo(str(self.calendar.zone)), fold=again).astimezone(UTC)

    def installed(
        self, meter: int = 1, since: str | datetime = "-1 00:00", until: str | datetime | None = None, **changes: Any
    ) -> Installed:
        """A meter that counts to 99,999,999 Wh."""
        end_us = FOREVER_US if until is None else to_us(self.at(until))
        return installed(meter, to_us(self.at(since)), end_us, **changes)

    def readings(
        self,
        registers: Sequence[tuple[str | datetime, int]],
        export: Sequence[int] | None = None,
        suspect: Sequence[str] = (),
    ) -> MeterReadings:
        """Registers at times, in any order. `suspect`: times at which the device said that its clock is off."""
        suspicious = {to_us(self.at(t)) for t in suspect}
        rows = sorted(
            (to_us(self.at(t)), v, e) for (t, v), e in zip(registers, export or [0] * len(registers), strict=True)
        )
        ts = np.array([row[0] for row in rows], dtype=np.int64)
        n = ts.size
        return MeterReadings(
            ts, np.array([row[1] for row in rows], dtype=np.int64), np.array([row[2] for row in rows], dtype=np.int64),
            np.full(n, ABSENT), np.isin(ts, sorted(suspicious)).astype(np.int64), np.zeros(n, dtype=np.int64),
        )  # fmt: skip

    def outage(self, *events: tuple[str, bool] | tuple[str, bool, float]) -> Any:
        """Spans without power of (time, failed, uncertainty [s]) in order of time."""
        return outages(
            np.array([to_us(self.at(e[0])) for e in events], dtype=np.int64),
            np.array([e[1] for e in events], dtype=np.bool_),
            np.array([round(e[2] * 1e6) if len(e) == 3 else 0 for e in events], dtype=np.int64),
        )

    def settle(
        self,
        readings: Mapping[int, MeterReadings] | Sequence[tuple[str | datetime, int]],
        *installations: Installed,
        days: int = 1,
        past: Sequence[Mapping[str, Any]] = (),
        dark: Any = None,
    ) -> Found:
        """Settle one point from the day on. `past`: as `reference` makes it; `dark`: outages of meter 1."""
        by_meter = readings if isinstance(readings, Mapping) else {1: self.readings(readings)}
        chosen = installations or (self.installed(),)
        point = Point(1, "P1", "customer", 60, (Membership(chosen[0].from_us, FOREVER_US, None),), tuple(chosen))
        span = DayRange(self.calendar, self.day, self.day + timedelta(days=days - 1))
        inputs = Inputs([point], by_meter, outages={} if dark is None else {1: dark})
        whole = point_intervals(
            inputs, span, self.rules, lambda _, first, last: [row for row in past if first <= row["day"] <= last]
        )
        return Found(
            _plain(whole.import_wh[0]), _plain(whole.export_wh[0]),
            "".join(_LETTERS[IntervalQuality(q)] for q in whole.quality[0].tolist()), whole.flags[0].tolist(), whole,
        )  # fmt: skip

    def reference(
        self,
        days_ago: int,
        energy_wh: Mapping[int, int],
        *,
        quality: int = 1,
        export_wh: Mapping[int, int] | None = None,
    ) -> dict[str, Any]:
        """A settled day before: energy by place of the interval in the day, nothing in the others."""
        slots = 86_400 // self.calendar.interval_s
        vectors = {"import_wh": energy_wh, "export_wh": export_wh or {}}
        filled = {name: np.zeros(slots, dtype=np.int64) for name in vectors}
        for name, given in vectors.items():
            filled[name][list(given)] = list(given.values())
        return {
            "usage_point_id": 1, "day": self.day - timedelta(days=days_ago), "quality": np.full(slots, quality),
            "flags": np.zeros(slots, dtype=np.int64), **filled,
        }  # fmt: skip


def _plain(values: Any) -> list[int | None]:
    return [None if v == NO_VALUE else int(v) for v in values.tolist()]


def methods(found: Found, first: int, end: int) -> set[int]:
    """How the intervals from the first to before the end were estimated: bits of Flag, 0: not at all."""
    return {flags & int(BY_METHOD) for flags in found.flags[first:end]}
