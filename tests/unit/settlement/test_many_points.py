"""What is done for many points, meters and readings at once is what one after the other would give. No database."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.domain.calendar import to_us
from headend.settings import Settlement
from headend.settlement.grid import DayRange, stretches
from headend.settlement.inputs import Inputs
from headend.settlement.intervals import LARGEST_WH, PointIntervals, point_intervals
from headend.settlement.rules import Rules
from headend.settlement.topology import FOREVER_US, Installed, Membership, Point
from headend.store.intervals import MeterReadings, ReadingTable
from headend.store.vectors import ABSENT
from reconciliation.cleaning import Cleaned
from reconciliation.registers import NO_VALUE, _bracket
from reconciliation.validation import Flag

SECOND = 1_000_000
DAY0 = date(2026, 3, 28)
BERLIN = Rules.of(Settlement(zone="Europe/Berlin"))
DAYS = DayRange(BERLIN.calendar, DAY0, DAY0 + timedelta(days=2))
START, END = int(DAYS.grid_us[0]), int(DAYS.grid_us[-1])
some = settings(max_examples=60, deadline=None, derandomize=True)


def _readings(choose: random.Random, begin: int, end: int) -> MeterReadings:
    """Mostly on the grid; a few missing, late, wild, or without an export register."""
    count = choose.choice((0, 1, 40, 290))
    stamps = sorted({(begin // SECOND // 900 + choose.randrange(-8, 310)) * 900 * SECOND for _ in range(count)})
    stamps = [t + choose.choice((0, 0, 0, 0, 3, 400)) * SECOND for t in stamps if t < end + 7_200 * SECOND]
    n = len(stamps)
    into = np.cumsum([choose.choice((0, 10, 250)) for _ in stamps]) + choose.choice((0, 5_000))
    for _ in range(choose.choice((0, 0, 2)) if n else 0):
        into[choose.randrange(n)] = choose.choice((0, 900_000))
    out = np.cumsum([choose.choice((0, 0, 30)) for _ in stamps])
    whole = choose.choice((0, 0, 1))
    return MeterReadings(
        np.array(stamps, dtype=np.int64),
        np.array([ABSENT if choose.random() < 0.02 else v for v in into], dtype=np.int64),
        np.array([ABSENT if whole or choose.random() < 0.02 else v for v in out], dtype=np.int64),
        np.array([choose.choice((ABSENT, 2300, 1900)) for _ in stamps], dtype=np.int64),
        np.array([choose.choice((0, 0, 0, 1)) for _ in stamps], dtype=np.int64),
        np.array([choose.choice((0, 0, 64)) for _ in stamps], dtype=np.int64),
    )


def _point(choose: random.Random, number: int, readings: dict[int, MeterReadings]) -> Point:
    cuts = sorted({choose.randrange(START - 40 * 86_400 * SECOND, END) for _ in range(choose.choice((0, 1, 1, 1, 3)))})
    installed = []
    for i, begin in enumerate(cuts):
        meter = number * 10 + i
        end = cuts[i + 1] if i + 1 < len(cuts) else choose.choice((FOREVER_US, END - 3_600 * SECOND))
        noted = [choose.choice((None, 0, 700)) for _ in range(4)]
        installed.append(
            Installed(
                meter_id=meter,
                identity=f"Acme/{meter}",
                from_us=begin,
                to_us=end,
                scope_from_us=begin,
                scope_to_us=end,
                multiplier_e4=choose.choice((10_000, 400_000)),
                sign=choose.choice((1, 1, -1)),
                start_import_wh=noted[0],
                start_export_wh=noted[1],
                end_import_wh=noted[2],
                end_export_wh=noted[3],
                phases=choose.choice((1, 3)),
                digits=8,
                resolution_wh=choose.choice((1, 10)),
            )
        )
        if choose.random() < 0.9:
            readings[meter] = _readings(choose, max(begin, START), min(end, END))
    there = tuple(i for i in installed if i.to_us > START and i.from_us < END and i.to_us > i.from_us)
    return Point(number, f"P{number}", "customer", 60, (Membership(START, FOREVER_US, None),), there)


def _parts(settled: PointIntervals) -> dict[str, Any]:
    """Arrays by name, points first."""
    found: dict[str, Any] = {}
    for field in fields(settled):
        value = getattr(settled, field.name)
        pairs = enumerate(value) if isinstance(value, tuple) else ((0, value),)
        found |= {f"{field.name}{i}": one for i, one in pairs if isinstance(one, np.ndarray)}
    return found


@some
@given(st.integers(0, 2**32 - 1))
def test_points_settled_together_are_those_settled_alone(seed: int) -> None:
    choose, readings = random.Random(seed), dict[int, MeterReadings]()
    points = [_point(choose, number, readings) for number in range(1, 6)]
    together = _parts(point_intervals(Inputs(points, ReadingTable.of(readings)), DAYS, BERLIN, lambda *_: []))
    assert len(together) >= 12
    for p, point in enumerate(points):
        own = {i.meter_id: readings[i.meter_id] for i in point.installations if i.meter_id in readings}
        alone = _parts(point_intervals(Inputs([point], own), DAYS, BERLIN, lambda *_: []))
        for name, value in alone.items():
            assert together[name][p].tolist() == value[0].tolist(), (seed, p, name)


@some
@given(st.lists(st.lists(st.integers(-3, 25), unique=True, max_size=12), min_size=1, max_size=5), st.booleans())
def test_readings_around_instants_are_those_a_search_finds(series: list[list[int]], regular: bool) -> None:
    grid = np.array([0, 4, 8, 12, 16, 20] if regular else [0, 4, 8, 13, 16, 20], dtype=np.int64)
    stamps = [np.array(sorted(own), dtype=np.int64) for own in series]
    offsets = np.cumsum([0, *(own.size for own in stamps)])
    ts = np.concatenate(stamps)
    none = np.zeros(ts.size, dtype=np.int64)
    at = np.stack([np.clip(grid, *((3, 17) if s % 2 else (-9, 99))) for s in range(len(series))])
    cleaned = Cleaned(offsets, ts, none, none, none.astype(np.int32), none, none[:0])
    before, after = _bracket(cleaned, grid, at)
    for s, own in enumerate(stamps):
        for k, instant in enumerate(at[s].tolist()):
            earlier, later = np.flatnonzero(own <= instant), np.flatnonzero(own >= instant)
            assert before[s, k] == (offsets[s] + earlier[-1] if earlier.size else -1)
            assert after[s, k] == (offsets[s] + later[0] if later.size else -1)


@some
@given(st.integers(0, 2**32 - 1))
def test_a_table_of_readings_is_the_mapping_it_was_made_of(seed: int) -> None:
    choose = random.Random(seed)
    readings = {meter: _readings(choose, START, END) for meter in choose.sample(range(1, 50), 4)}
    table = ReadingTable.of(readings)
    assert ReadingTable.of(table) is table
    there = {meter: own for meter, own in readings.items() if own.ts_us.size}
    assert list(table) == sorted(there)
    for meter, own in there.items():
        for field in fields(own):
            assert getattr(table[meter], field.name).tolist() == getattr(own, field.name).tolist()
    wanted = np.array([*readings, 99])
    begin = np.array([START + choose.randrange(250) * 900 * SECOND for _ in wanted])  # where readings are, mostly
    rows, counts = table.rows_between(wanted, begin, begin + 9_000 * SECOND)
    ends = np.cumsum(counts)
    for i, meter in enumerate(wanted.tolist()):
        ts = readings[meter].ts_us if meter in readings else np.empty(0, dtype=np.int64)
        here = ts[(ts >= begin[i]) & (ts <= begin[i] + 9_000 * SECOND)]
        assert table.rows.ts_us[rows[ends[i] - counts[i] : ends[i]]].tolist() == here.tolist()


def test_what_no_network_carries_is_no_number() -> None:
    day = DayRange(BERLIN.calendar, date(2026, 6, 1), date(2026, 6, 1))
    at = [int(t) for t in day.grid_us[:4]]
    values = np.array([0, LARGEST_WH, 2 * LARGEST_WH + 1, 2 * LARGEST_WH + 11])
    own = MeterReadings(np.array(at), values, values * 0, np.full(4, ABSENT), values * 0, values * 0)
    installed = Installed(
        meter_id=1, identity="Acme/1", from_us=at[0], to_us=FOREVER_US, scope_from_us=at[0], scope_to_us=FOREVER_US,
        multiplier_e4=10_000, sign=1, start_import_wh=None, start_export_wh=None, end_import_wh=None,
        end_export_wh=None, phases=3, digits=12, resolution_wh=1,
    )  # fmt: skip
    point = Point(1, "P1", "customer", None, (Membership(at[0], FOREVER_US, None),), (installed,))
    found = point_intervals(Inputs([point], {1: own}), day, BERLIN, lambda *_: [])
    assert found.import_wh[0, :3].tolist() == [LARGEST_WH, NO_VALUE, 10]
    assert found.flags[0, 1] & Flag.ABOVE_CAPACITY
    assert found.quality[0, :3].tolist() == [1, 0, 1]
    small = point_intervals(Inputs([replace(point, installations=())], {1: own}), day, BERLIN, lambda *_: [])
    assert not small.served.any()


def test_stretches_are_no_longer_than_memory_allows() -> None:
    days = [date(2026, 3, 1) + timedelta(days=n) for n in (0, 1, 2, 3, 4, 8, 9)]
    assert [(b - a).days + 1 for a, b in stretches(days, 2)] == [2, 2, 1, 2]
    assert [(b - a).days + 1 for a, b in stretches(days)] == [5, 2]
    assert to_us(datetime(1970, 1, 2, 0, 0, 1, 5, tzinfo=UTC)) == 86_401_000_005
    assert to_us(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1
