"""Metering points over local days: swaps, multipliers, signs, days on which the clocks change, reference days. No
database.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from headend.domain.calendar import LocalCalendar, to_us
from headend.settings import Settlement
from headend.settlement.balances import balance_rows
from headend.settlement.grid import DayRange, stretches
from headend.settlement.inputs import Inputs
from headend.settlement.intervals import PointIntervals, point_intervals
from headend.settlement.presence import Presence
from headend.settlement.rules import Rules
from headend.settlement.topology import FOREVER_US, Installed, Membership, Point
from headend.store.intervals import MeterReadings
from headend.store.vectors import ABSENT
from reconciliation.registers import NO_VALUE
from reconciliation.registers import IntervalQuality as Q
from reconciliation.validation import Flag

T0 = datetime(2026, 3, 1, 16, 0, tzinfo=UTC)
DAY0 = date(2026, 3, 2)
QUARTER = timedelta(minutes=15)


def _rules(zone: str = "Asia/Shanghai") -> Rules:
    return Rules.of(Settlement(zone=zone))


def _installed(meter: int, since: datetime, until: datetime | None = None, **changes: Any) -> Installed:
    begin, end = to_us(since), FOREVER_US if until is None else to_us(until)
    values: dict[str, Any] = {
        "meter_id": meter, "identity": f"Acme/{meter}", "from_us": begin, "to_us": end,
        "scope_from_us": begin, "scope_to_us": end,
        "multiplier_e4": 10_000, "sign": 1, "start_import_wh": None, "start_export_wh": None, "end_import_wh": None,
        "end_export_wh": None, "phases": 1, "digits": 8, "resolution_wh": 1,
    }  # fmt: skip
    return Installed(**(values | changes))


def _point(
    *installations: Installed,
    kind: str = "customer",
    since: datetime = T0,
    number: int = 1,
    memberships: tuple[Membership, ...] | None = None,
) -> Point:
    stays = memberships or (Membership(to_us(since), FOREVER_US, None),)
    return Point(number, f"P{number}", kind, 60, stays, installations)


def _readings(
    values: list[tuple[datetime, int]],
    export: int = 0,
    voltage_dv: int = ABSENT,
    flags: int = 0,
    resolution_wh: int = 0,
) -> MeterReadings:
    n = len(values)
    return MeterReadings(
        np.array([to_us(t) for t, _ in values], dtype=np.int64), np.array([v for _, v in values], dtype=np.int64),
        np.full(n, export), np.full(n, voltage_dv), np.full(n, flags), np.full(n, resolution_wh),
    )  # fmt: skip


def _settle(
    points: list[Point],
    readings: dict[int, MeterReadings],
    days: int = 1,
    first: date = DAY0,
    rules: Rules | None = None,
    past: Any = None,
) -> PointIntervals:
    rules = rules or _rules()
    span = DayRange(rules.calendar, first, first + timedelta(days=days - 1))
    return point_intervals(Inputs(points, readings), span, rules, past or (lambda *_: []))


def _plain(values: np.ndarray) -> list[int | None]:
    return [None if v == NO_VALUE else v for v in values.tolist()]


def test_a_swap_in_mid_interval_is_one_number() -> None:
    # 00:00 old 1000; 00:07 old out at 1030, new in at 5; 00:15 new 25; 00:30 new 75
    swap = T0 + timedelta(minutes=7)
    point = _point(_installed(1, T0 - QUARTER, swap, end_import_wh=1030), _installed(2, swap, start_import_wh=5))
    found = _settle([point], {1: _readings([(T0, 1000)]), 2: _readings([(T0 + QUARTER, 25), (T0 + 2 * QUARTER, 75)])})
    assert _plain(found.import_wh[0])[:3] == [30 + 20, 50, None]
    assert found.quality[0, :3].tolist() == [Q.MEASURED, Q.MEASURED, Q.ABSENT]
    assert found.flags[0, 0] == Flag.METER_SWAP
    assert found.flags[0, 2] == Flag.MISSING


def test_a_swap_without_noted_registers_has_no_number_where_nothing_is_known() -> None:
    swap = T0 + timedelta(minutes=7)
    point = _point(_installed(1, T0 - QUARTER, swap), _installed(2, swap))
    found = _settle([point], {1: _readings([(T0, 1000)]), 2: _readings([(T0 + QUARTER, 25), (T0 + 2 * QUARTER, 75)])})
    assert _plain(found.import_wh[0])[:2] == [None, 50]


def test_minutes_without_a_meter_between_two_make_the_interval_an_estimate() -> None:
    out, back = T0 + timedelta(minutes=5), T0 + timedelta(minutes=9)
    point = _point(_installed(1, T0 - QUARTER, out, end_import_wh=1030), _installed(2, back, start_import_wh=5))
    found = _settle([point], {1: _readings([(T0, 1000)]), 2: _readings([(T0 + QUARTER, 25)])})
    assert (_plain(found.import_wh[0])[0], found.quality[0, 0]) == (50, Q.ESTIMATED)


def test_a_new_multiplier_counts_from_its_instant_although_nobody_noted_a_register() -> None:
    # 100 Wh a quarter; x 1 until 00:20, x 40 from then: 00:15-00:30 is 33.33 x 1 + 66.67 x 40 = 2700 Wh
    change = T0 + timedelta(minutes=20)
    first = _installed(1, T0, change, scope_to_us=FOREVER_US)
    then = _installed(1, change, multiplier_e4=400_000, scope_from_us=to_us(T0))
    found = _settle([_point(first, then)], {1: _readings([(T0 + k * QUARTER, 100 * k) for k in range(4)])})
    assert _plain(found.import_wh[0])[:3] == [100, 2700, 4000]
    assert found.flags[0, 1] & Flag.METER_SWAP, "two installations served in it"


def test_a_meter_wired_the_other_way_round_counts_the_other_energy() -> None:
    point = _point(_installed(1, T0, sign=-1))
    values = _readings([(T0, 7), (T0 + QUARTER, 8)])
    values = replace(values, export_wh=np.array([100, 160]))
    found = _settle([point], {1: values})
    assert (found.import_wh[0, 0], found.export_wh[0, 0]) == (60, 1)
    assert found.start_registers[0][0, 0] == 100, "the register that counts the point's import, as the meter shows it"


def test_a_meter_without_an_export_register_has_no_export_and_is_measured_all_the_same() -> None:
    found = _settle([_point(_installed(1, T0))], {1: _readings([(T0, 7), (T0 + QUARTER, 8)], export=ABSENT)})
    assert (_plain(found.import_wh[0])[0], _plain(found.export_wh[0])[0], found.quality[0, 0]) == (1, None, Q.MEASURED)


def test_registers_at_midnight_and_voltages() -> None:
    values = [(T0 + k * QUARTER, 10 * k) for k in range(97)]
    found = _settle([_point(_installed(1, T0))], {1: _readings(values, voltage_dv=2301)})
    assert (found.start_registers[0][0, 0], found.end_registers[0][0, 0]) == (0, 960)
    assert found.voltage_dv[0].tolist() == [2301] * 96


def test_flags_of_readings_and_of_voltages_reach_their_intervals() -> None:
    values = [(T0, 0), (T0 + QUARTER, 10)]
    found = _settle([_point(_installed(1, T0))], {1: _readings(values, voltage_dv=1900, flags=1)})
    assert found.flags[0, 0] == Flag.VOLTAGE_BAND | Flag.CLOCK_DRIFT


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)])
def test_days_of_23_and_25_hours_in_berlin(day: date, hours: int) -> None:
    rules = _rules("Europe/Berlin")
    start, end = rules.calendar.bounds(day)
    values = [(start + k * QUARTER, 5 * k) for k in range(hours * 4 + 1)]
    found = _settle([_point(_installed(1, start))], {1: _readings(values)}, first=day, rules=rules)
    assert found.import_wh.shape == (1, hours * 4)
    assert found.import_wh.sum() == hours * 20
    assert found.end_registers[0][0, 0] == hours * 20
    assert end - start == timedelta(hours=hours)


def test_on_a_day_of_25_hours_the_shape_follows_the_wall_clock() -> None:
    # every day 1 Wh a quarter, but 101 Wh from 18:00 to 18:15; the meter is silent from 25 October 00:00 to 26
    # October 00:00, local time
    rules = _rules("Europe/Berlin")
    first = date(2026, 10, 11)
    calendar: LocalCalendar = rules.calendar
    register, values = 0, []
    at = calendar.bounds(first)[0]
    end = calendar.bounds(date(2026, 10, 26))[1]
    gap = calendar.bounds(date(2026, 10, 25))
    zone = ZoneInfo("Europe/Berlin")
    while at <= end:
        if not gap[0] < at < gap[1]:
            values.append((at, register))
        local = at.astimezone(zone)
        register += 101 if (local.hour, local.minute) == (18, 0) else 1
        at += QUARTER
    found = _settle(
        [_point(_installed(1, calendar.bounds(first)[0]))], {1: _readings(values)}, days=16, first=first, rules=rules
    )
    day = DayRange(calendar, first, date(2026, 10, 26)).day_slice(14)
    energy = found.import_wh[0, day]
    assert len(energy) == 100
    assert energy.sum() == 200
    assert int(np.argmax(energy)) == 76, "18:00 is the 77th quarter of the day on which 02:00-03:00 comes twice"
    assert set(found.quality[0, day].tolist()) == {Q.ESTIMATED}


def test_a_long_gap_takes_its_shape_from_stored_days_before_the_stretch() -> None:
    shape = np.full(96, 1)
    shape[72] = 105  # 18:00
    past = [
        {
            "usage_point_id": 1,
            "day": DAY0 - timedelta(days=d),
            "import_wh": shape,
            "export_wh": shape * 0,
            "quality": np.full(96, Q.MEASURED),
        }
        for d in (3, 4, 5)
    ]
    asked: list[Any] = []

    def stored(points: Any, first: date, last: date) -> Any:
        asked.append((list(points), first, last))
        return past

    values = [(T0, 0), (T0 + timedelta(days=1), 400)]
    found = _settle([_point(_installed(1, T0 - timedelta(days=30)))], {1: _readings(values)}, past=stored)
    assert asked == [([1], DAY0 - timedelta(days=28), DAY0 - timedelta(days=1))]
    assert found.import_wh[0].sum() == 400
    assert found.import_wh[0, 72] == 210, "the shape holds 200 Wh, the gap 400"
    assert found.import_wh[0, 0] == 2


def test_estimated_days_are_no_reference() -> None:
    shape = np.arange(96)
    past = [
        {
            "usage_point_id": 1,
            "day": DAY0 - timedelta(days=1),
            "import_wh": shape,
            "export_wh": shape * 0,
            "quality": np.full(96, Q.ESTIMATED),
        }
    ]
    values = [(T0, 0), (T0 + timedelta(days=1), 960)]
    found = _settle([_point(_installed(1, T0 - timedelta(days=30)))], {1: _readings(values)}, past=lambda *_: past)
    assert set(found.import_wh[0].tolist()) == {10}, "a straight line"


def test_a_start_register_noted_long_before_the_first_reading_is_not_spread() -> None:
    recent, old = T0 - timedelta(days=61), T0 - timedelta(days=63)
    values = {1: _readings([(T0 + QUARTER, 6_000), (T0 + 2 * QUARTER, 6_010)])}
    assert (
        _plain(_settle([_point(_installed(1, recent, start_import_wh=0), since=recent)], values).import_wh[0])[0]
        is not None
    )
    assert _plain(_settle([_point(_installed(1, old, start_import_wh=0), since=old)], values).import_wh[0])[:2] == [
        None,
        10,
    ]


def test_what_the_marks_of_a_midnight_tell() -> None:
    point = [_point(_installed(1, T0 - timedelta(days=9)))]
    values = [(T0 + k * QUARTER, k) for k in range(-2, 99)]
    both = _settle(point, {1: _readings(values)}, days=2)
    first, second = (
        _settle(point, {1: _readings(values)}),
        _settle(point, {1: _readings(values)}, first=DAY0 + timedelta(days=1)),
    )
    assert both.marks[0].tolist() == [first.marks[0, 0], first.marks[0, 1], second.marks[0, 1]]
    assert first.marks[0, 1] == second.marks[0, 0]
    without = [v for v in values if v[0] != T0 + timedelta(days=1)]
    assert _settle(point, {1: _readings(without)}).marks[0, 1] != first.marks[0, 1]
    other = [(t, v + (t == T0 + timedelta(days=1))) for t, v in values]
    assert _settle(point, {1: _readings(other)}).marks[0, 1] != first.marks[0, 1]


def test_members_count_from_the_instant_they_hang_there_and_shared_meters_stand_for_those_behind() -> None:
    day = DayRange(_rules().calendar, DAY0, DAY0)
    noon = T0 + timedelta(hours=12)
    shared = _point(memberships=(Membership(to_us(T0), to_us(noon), None),), kind="shared")
    house = _point(
        memberships=(Membership(to_us(T0), to_us(noon), 1), Membership(to_us(noon), FOREVER_US, None)), number=2
    )
    both = Presence([shared, house], day)
    mask = both.counted
    assert mask.sum(axis=1).tolist() == [48, 48]
    assert (mask[0] ^ mask[1]).all(), "one of them at any time"
    assert both.aligned.all()
    off_grid = to_us(noon + timedelta(minutes=3))
    moved = _point(memberships=(Membership(to_us(T0), off_grid, None),))
    assert np.flatnonzero(~Presence([moved], day).aligned).tolist() == [48]


def test_balance_rows_of_a_day() -> None:
    values = [(T0 + k * QUARTER, k) for k in range(97)]
    area = _point(_installed(9, T0, multiplier_e4=400_000, phases=3), kind="area", number=9)
    points = [_point(_installed(1, T0)), _point(number=2), area]
    readings = {1: _readings([(t, 39 * v) for t, v in values]), 9: _readings(values)}
    rules = _rules()
    days = DayRange(rules.calendar, DAY0, DAY0)
    settled = point_intervals(Inputs(points, readings), days, rules, lambda *_: [])
    limits = {"area_id": 5, "high_loss_rate": None, "negative_loss_rate": None}
    (row,) = balance_rows(limits, None, settled, days, rules=rules, now=T0 + timedelta(days=1))
    assert (row["supplied_wh"], row["delivered_wh"], row["loss_wh"]) == (3840, 3744, 96)
    assert (row["households"], row["households_measured"], row["coverage_households"]) == (2, 1, 0.5)
    assert row["coverage_intervals"] == pytest.approx(2 / 3), "the customer without a meter counts as not measured"
    assert (row["state"], row["reason"]) == ("not_computable", "coverage_too_low")
    assert row["technical_interval_wh"] == [None] * 96
    limits["high_loss_rate"] = 0.02
    points = [points[0], area]
    settled = point_intervals(Inputs(points, readings), days, rules, lambda *_: [])
    (row,) = balance_rows(limits, None, settled, days, rules=rules, now=T0 + timedelta(days=1))
    assert (row["state"], row["loss_rate"]) == ("high", 0.025)


FLOAT_STEP_WH = 8
"""A 32-bit float of kWh at 100,000 kWh: its last bit is 2^-7 kWh."""


def _as_float(wh: int) -> int:
    """What is read of a register of so many Wh when it comes as a 32-bit float of kWh, to the Wh."""
    return round(float(np.float32(wh / 1000)) * 1000)


def test_a_float_of_a_hundred_thousand_kwh_has_the_step_that_is_stated_for_it() -> None:
    assert np.spacing(np.float32(100_000)) * 1000 <= FLOAT_STEP_WH
    assert {_as_float(100_000_000 + n) - 100_000_000 for n in range(9)} == {0, 8}


def test_a_fall_that_is_only_a_floats_step_is_no_decrease() -> None:
    """Noted to the Wh by a crew, read as a float: the first reading is lower than the start register."""
    point = Point(
        1, "P1", "customer", 1, (Membership(to_us(T0), FOREVER_US, None),),
        (_installed(1, T0, digits=10, start_import_wh=1_000_000_031),),
    )  # fmt: skip
    values = [(T0 + QUARTER, 1_000_000_000), (T0 + 2 * QUARTER, 1_000_000_064), (T0 + 3 * QUARTER, 1_000_000_064)]
    refused = _settle([point], {1: _readings(values)})
    assert refused.flags[0, 0] & (Flag.REGISTER_DECREASED | Flag.RESET), "a meter that counts to the Wh"
    stated = _settle([point], {1: _readings(values, resolution_wh=64)})
    assert not (stated.flags & (Flag.REGISTER_DECREASED | Flag.RESET)).any()
    assert stated.import_wh[0, :3].sum() == 1_000_000_064 - 1_000_000_031, "and the energy is conserved"


def test_the_step_of_a_day_is_the_coarsest_stated_and_holds_where_it_was_stated() -> None:
    values = [(T0 + k * QUARTER, 10 * k) for k in range(3 * 96 + 1)]
    readings = _readings(values)
    steps = np.zeros(len(values), dtype=np.int64)
    steps[100:110] = 8
    found = _settle(
        [_point(_installed(1, T0, multiplier_e4=20_000))], {1: replace(readings, resolution_wh=steps)}, days=3
    )
    assert found.resolution_wh.tolist() == [[2.0, 16.0, 2.0]]
    steps[192] = 8  # a midnight's register belongs to both days
    found = _settle([_point(_installed(1, T0))], {1: replace(readings, resolution_wh=steps)}, days=3)
    assert found.resolution_wh.tolist() == [[1.0, 8.0, 8.0]]


def _float_area(step_wh: int, stolen_wh: int = 0) -> dict[str, Any]:
    """A day's balance of five small households at 100,000 kWh, read as floats, and an area meter that counts to the Wh.

    Each used 120 Wh and stands where its float is cut off by almost one step more in the evening than in the morning.
    """
    used, midnight = 120, T0 + timedelta(days=1)
    starts = [100_000_004 + 8 * house for house in range(5)]  # read as 8 more than the step below
    points = [_point(_installed(n, T0, digits=10), number=n) for n in range(1, 6)]
    grid = [T0 + k * QUARTER for k in range(97)]
    readings = {
        n: _readings([(t, _as_float(start + used * k // 96 - 1)) for k, t in enumerate(grid)], resolution_wh=step_wh)
        for n, start in enumerate(starts, start=1)
    }
    points.append(_point(_installed(9, T0, phases=3), kind="area", number=9))
    supplied = 5 * used + stolen_wh
    readings[9] = _readings([(t, supplied * k // 96) for k, t in enumerate(grid)])
    rules = _rules()
    days = DayRange(rules.calendar, DAY0, DAY0)
    settled = point_intervals(Inputs(points, readings), days, rules, lambda *_: [])
    limits = {"area_id": 5, "high_loss_rate": 0.005, "negative_loss_rate": None}
    (row,) = balance_rows(limits, None, settled, days, rules=rules, now=midnight)
    return row


def test_an_area_of_float_meters_is_not_accused_of_a_loss_that_is_only_quantisation() -> None:
    accused, stated = _float_area(0), _float_area(FLOAT_STEP_WH)
    assert accused["loss_wh"] == stated["loss_wh"]
    assert accused["loss_wh"] != 0, "the floats' steps"
    assert accused["state"] != "normal", "as long as nobody says that the registers are coarse"
    assert stated["state"] == "normal"
    assert stated["uncertainty_wh"] > accused["uncertainty_wh"]
    assert _float_area(FLOAT_STEP_WH, stolen_wh=100)["state"] == "high", "a loss beyond the steps is seen all the same"


def test_stretches_of_days() -> None:
    days = [DAY0 + timedelta(days=d) for d in (0, 1, 2, 5, 7, 8)]
    assert [(b - a).days + 1 for a, b in stretches(days)] == [3, 1, 2]
    assert stretches([]) == []
