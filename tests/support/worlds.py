"""Random worlds of one metering point: consumption, meters and readings with all that goes wrong, made from a number.

Every register is known in full, so that a test can say what its energy has to sum to.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import note

from headend.domain.calendar import LocalCalendar
from headend.settings import Settlement
from headend.settlement.grid import DayRange
from headend.settlement.inputs import Inputs
from headend.settlement.intervals import PointIntervals, point_intervals
from headend.settlement.rules import Rules
from headend.settlement.topology import FOREVER_US, Installed, Membership, Point
from headend.store.intervals import FEW, MeterReadings
from headend.store.vectors import ABSENT
from support.installed import installed

SECOND = 1_000_000
ZONES = (
    ("Asia/Shanghai", date(2026, 3, 5)), ("Europe/Berlin", date(2026, 3, 28)), ("Europe/Berlin", date(2026, 10, 24)),
    ("America/Sao_Paulo", date(2026, 6, 1)), ("Australia/Lord_Howe", date(2026, 4, 4)),
)  # fmt: skip


@dataclass(frozen=True)
class Meter:
    """One installation, its readings as the meter shows them, and what they are without rollovers."""

    installed: Installed
    ts_us: list[int]
    true_import: list[int]
    true_export: list[int]

    def readings(self, keep: Sequence[bool] | None = None) -> MeterReadings:
        span = 10**self.installed.digits * self.installed.resolution_wh
        rows = [i for i in range(len(self.ts_us)) if keep is None or keep[i]]
        n = len(rows)
        return MeterReadings(
            np.array([self.ts_us[i] for i in rows], dtype=np.int64),
            np.array([self.true_import[i] % span for i in rows], dtype=np.int64),
            np.array([self.true_export[i] % span for i in rows], dtype=np.int64),
            np.full(n, ABSENT), np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64),
        )  # fmt: skip


@dataclass(frozen=True)
class World:
    """One point over a few days, closed by a reading at both ends and at every swap."""

    days: DayRange
    rules: Rules
    meters: list[Meter]
    outages: dict[int, Any]

    @property
    def point(self) -> Point:
        spells = tuple(m.installed for m in self.meters)
        return Point(1, "P1", "customer", 60, (Membership(spells[0].from_us, FOREVER_US, None),), spells)

    def settle(
        self, days: DayRange | None = None, *, past: Any = None, few: bool = False, **changed: Any
    ) -> PointIntervals:
        """`few`: with no more readings around the days than the store gives."""
        days = days or self.days
        readings = changed.get("readings") or {m.installed.meter_id: m.readings() for m in self.meters}
        if few:
            readings = {meter: _around(own, days) for meter, own in readings.items()}
        point = self.point
        start, end = int(days.grid_us[0]), int(days.grid_us[-1])
        overlapping = tuple(i for i in point.installations if i.to_us > start and i.from_us < end)
        point = replace(point, installations=overlapping)
        return point_intervals(
            Inputs([point], readings, outages=self.outages), days, self.rules, past or (lambda *_: [])
        )


def _around(own: MeterReadings, days: DayRange) -> MeterReadings:
    low = int(np.searchsorted(own.ts_us, days.grid_us[0] - 5 * SECOND))
    high = int(np.searchsorted(own.ts_us, days.grid_us[-1] + 5 * SECOND))
    here = slice(max(low - FEW, 0), high + FEW)
    return MeterReadings(**{f.name: getattr(own, f.name)[here] for f in fields(own)})


def world(
    seed: int, *, swaps: bool = False, multipliers: Sequence[int] = (1,), spoilt: bool = False, days: int | None = None
) -> World:
    """Consumption at random power, read at random: on the grid or off it, with gaps short and long, outages within
    gaps, and registers so small that they roll over.
    """
    note(f"seed {seed}")
    choose = random.Random(seed)
    zone, first = choose.choice(ZONES)
    interval_s = choose.choice((300, 900, 1800, 3600))
    rules = Rules.of(Settlement.model_validate({"zone": zone, "interval_s": interval_s}))
    calendar: LocalCalendar = rules.calendar
    span = DayRange(calendar, first, first + timedelta(days=(days or choose.randint(1, 3)) - 1))
    start, end = int(span.grid_us[0]), int(span.grid_us[-1])
    cuts = [start, end]
    if swaps:
        cuts = sorted({start, end, *(choose.randrange(start // SECOND, end // SECOND) * SECOND for _ in range(3))})
    whole_until = choose.choice((start, start + 2 * 86_400 * SECOND))
    meters: list[Meter] = []
    dark: dict[int, Any] = {}
    for number, (begin, finish) in enumerate(pairwise(cuts), start=1):
        served = installed(
            number, begin, finish if finish != end else FOREVER_US, multiplier_e4=choose.choice(multipliers) * 10_000,
            sign=choose.choice((1, 1, 1, -1)), phases=3, resolution_wh=choose.choice((1, 1, 10)),
        )  # fmt: skip
        meters.append(
            _metered(choose, served, begin=begin, finish=finish, interval_s=interval_s, whole_until=whole_until)
        )
        if choose.random() < 0.6:
            spans = _outages(choose, meters[-1])
            if spans:
                dark[number] = np.array(spans, dtype=np.int64)
    if spoilt:
        meters = [_spoilt(choose, m) for m in meters]
    return World(span, rules, meters, dark)


def _metered(
    choose: random.Random, served: Installed, *, begin: int, finish: int, interval_s: int, whole_until: int
) -> Meter:
    stamps = [begin]
    while stamps[-1] < finish:
        step, apart = 1, choose.choice((0, 2, -3))
        if stamps[-1] >= whole_until:
            step = choose.choice((1, 1, 1, 1, 1, 2, 3, 9, choose.randint(1, 60)))
            apart = choose.choice((0, 0, 2, -3, 70, 250))
        at = ((stamps[-1] // SECOND + 5) // interval_s * interval_s + step * interval_s + apart) * SECOND
        stamps.append(min(at, finish))
    span = 10**served.digits * served.resolution_wh
    into = choose.choice((0, 41_000, span - choose.randint(1, 3000))) // served.resolution_wh * served.resolution_wh
    out = choose.choice((0, 7_000))
    true_import, true_export = [into], [out]
    exact_in, exact_out = float(into), float(out)
    for before, after in pairwise(stamps):
        hours = (after - before) / 3.6e9
        exact_in += choose.choice((0, 150, 700, 3_000)) * hours
        exact_out += choose.choice((0, 0, 400)) * hours
        for exact, register in ((exact_in, true_import), (exact_out, true_export)):
            register.append(int(exact) // served.resolution_wh * served.resolution_wh)
    return Meter(served, stamps, true_import, true_export)


def _outages(choose: random.Random, meter: Meter) -> list[tuple[int, int]]:
    found = []
    for before, after in pairwise(meter.ts_us):
        if after - before > 1_200 * SECOND and choose.random() < 0.5:
            edges = sorted(choose.randrange(before, after) for _ in range(2))
            found.append((edges[0], edges[1]))
    return found


def _spoilt(choose: random.Random, meter: Meter) -> Meter:
    """Single registers that cannot be, with at least five good ones between them."""
    values = list(meter.true_import)
    for i in range(5, len(values) - 5, 11):
        if choose.random() < 0.5:
            values[i] = choose.choice((0, 60_000_000, values[i] - 900, values[i] + 40_000_000))
    return replace(meter, true_import=[max(v, 0) for v in values])
