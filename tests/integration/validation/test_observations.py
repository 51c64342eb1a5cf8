"""What rules look at besides registers, as other rooms store it: found where it is odd, and only there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from drivers.base import ReadingFlag
from headend.domain.quality import ValidationFlag as F
from headend.store import intervals, observations
from headend.store.observations import PhaseBounds
from support.field import DAY0, QUARTER, T0
from support.ward import Ward

NOON = T0 + timedelta(hours=12)
"""The end of interval 47."""


def _phases(ward: Ward, meter: int, at: datetime, **columns: Any) -> None:
    values = {"meter_id": meter, "ts": at} | columns
    names, marks = ", ".join(values), ", ".join(["%s"] * len(values))
    ward.field.run(f"insert into phase_reading ({names}) values ({marks})", list(values.values()))


def _volts(*decivolts: int | None) -> dict[str, Any]:
    return {f"voltage_l{n}_dv": dv for n, dv in enumerate(decivolts, start=1)}


def _amperes(*milliamperes: int | None) -> dict[str, Any]:
    return {f"current_l{n}_ma": ma for n, ma in enumerate(milliamperes, start=1)}


@pytest.mark.parametrize(
    ("phases", "columns", "flag"),
    [
        (3, _volts(1379, 2300, 2300), F.PHASE_MISSING),
        (3, _volts(1380, 2300, 2300), None),
        (3, _volts(None, 2300, 2300), None),
        (3, _volts(0, 0, 0), None),
        (1, _volts(0, 2300, 2300), None),
        (3, _volts(2300, 2300, 2300) | _amperes(299, 3001, 9000), F.PHASE_MISSING),
        (3, _volts(2300, 2300, 2300) | _amperes(9000, -3001, 299), F.PHASE_MISSING),
        (3, _volts(2300, 2300, 2300) | _amperes(301, 3001, 9000), None),
        (3, _volts(2300, 2300, 2300) | _amperes(0, 0, 9000), None),
        (3, _volts(2300, 2300, 2300) | _amperes(None, 9000, 9000), None),
        (1, _volts(2300, None, None) | {"power_w": -51}, F.REVERSED_FLOW),
        (1, _volts(2300, None, None) | {"power_w": -50}, None),
    ],
)
def test_phases(ward: Ward, phases: int, columns: dict[str, Any], flag: F | None) -> None:
    ward.read(ward.total, lambda k: 11)
    meter = ward.house("HOME", phases=phases)
    ward.read(meter, {})
    _phases(ward, meter, NOON, **columns)
    ward.settle()
    assert [k for k, flags in enumerate(ward.flags("HOME")) if flags] == ([] if flag is None else [47])
    if flag is not None:
        assert ward.slots("HOME", flag) == [47]


def test_only_readings_that_may_be_odd_are_fetched(ward: Ward) -> None:
    meters = [ward.house(f"H{n}", phases=3) for n in range(2)]
    for n, meter in enumerate(meters):
        for k in range(1, 97):
            odd = n == 0 and k in {5, 6}
            _phases(ward, meter, T0 + k * QUARTER, **_volts(2300, 2300, 900 if odd else 2300), **_amperes(9, 900, 900))
    bounds = PhaseBounds(gone_dv=1380, back_w=-50, idle_to_load=0.005)
    with ward.store.transaction() as connection:
        (row,) = observations.odd_phases(connection, meters, T0, T0 + timedelta(days=1), bounds)
    assert row["meter_id"] == meters[0]
    assert len(row["ts_us"]) == 2


def test_a_phase_reading_whose_registers_were_set_aside_says_nothing(ward: Ward) -> None:
    ward.read(ward.total, lambda k: 11)
    meter = ward.house("HOME", phases=3)
    ward.read(meter, {})
    _phases(ward, meter, NOON + timedelta(minutes=3), **_volts(0, 2300, 2300))
    ward.settle()
    assert ward.slots("HOME", F.PHASE_MISSING) == [], "no reading of that instant"


def test_another_value_of_one_instant(ward: Ward) -> None:
    ward.read(ward.total, lambda k: 11)
    one, two = ward.house("ONE"), ward.house("TWO")
    for meter in (one, two):
        ward.read(meter, {})
    insert = (
        "insert into reading_revision (meter_id, ts, noted_at, kept_import_wh, kept_export_wh, kept_source, "
        "other_import_wh, other_export_wh, other_source, rule) values (%s, %s, %s, %s, 0, 2, %s, 0, 3, 'first_stored')"
    )
    ward.field.run(insert, [one, NOON, T0, 5000, 5001])
    ward.field.run(insert, [two, NOON, T0, 5000, 5000])
    ward.settle()
    assert ward.slots("ONE", F.DUPLICATE_OTHER_VALUE) == [47]
    assert ward.slots("TWO", F.DUPLICATE_OTHER_VALUE) == [], "a voltage that differs is no other register"


def test_a_clock_found_off_counts_until_it_is_read_again(ward: Ward) -> None:
    ward.read(ward.total, lambda k: 11, days=2)
    one, two = ward.house("ONE"), ward.house("TWO")
    for meter in (one, two):
        ward.read(meter, {}, days=2)
    for meter, at, offset_ms in (
        (one, NOON, 61_000), (one, NOON + timedelta(hours=1), 200), (two, NOON, -60_000), (two, T0, None),
    ):  # fmt: skip
        ward.field.run(
            "insert into clock_reading (meter_id, at, offset_ms, uncertainty_ms, drifted) "
            "values (%s, %s, %s, 20, true)",
            [meter, at, offset_ms],
        )
    days = [DAY0, DAY0 + timedelta(days=1)]
    ward.settle(*days)
    assert ward.slots("ONE", F.CLOCK_DRIFT) == [48, 49, 50, 51]
    assert ward.slots("ONE", F.CLOCK_DRIFT, days[1]) == []
    assert ward.slots("TWO", F.CLOCK_DRIFT) == list(range(48)), "until noon, when it was within its limit"
    ward.field.run("delete from clock_reading where offset_ms is not null")
    ward.settle(*days)
    assert ward.slots("TWO", F.CLOCK_DRIFT) == list(range(96))
    assert ward.slots("TWO", F.CLOCK_DRIFT, days[1]) == [], "for 24 hours"


def test_what_readings_say_of_their_own_stamps(ward: Ward) -> None:
    ward.read(ward.total, lambda k: 11)
    meter = ward.house("HOME")
    ward.read(meter, {})
    for hours, flags in ((6, ReadingFlag.CLOCK_SUSPECT | ReadingFlag.AHEAD), (12, ReadingFlag.CLOCK_SUSPECT)):
        ward.field.run(
            "update register_reading set flags = %s where meter_id = %s and ts = %s",
            [int(flags), meter, T0 + timedelta(hours=hours)],
        )
    ward.settle()
    assert (ward.slots("HOME", F.IN_FUTURE), ward.slots("HOME", F.CLOCK_DRIFT)) == ([23], [23, 47])


def test_a_meter_that_was_read_before_it_is_said_to_be_there(ward: Ward) -> None:
    ward.read(ward.total, lambda k: 11)
    stray, moved = ward.house("STRAY", since=NOON), ward.house("MOVED", since=NOON)
    for meter in (stray, moved):
        ward.read(meter, {})
    elsewhere = ward.field.point(ward.area, "OLD")
    ward.field.install(elsewhere, moved, until=NOON)
    ward.settle()
    assert ward.slots("STRAY", F.BEFORE_INSTALLATION) == [48], "where its service begins"
    assert ward.slots("MOVED", F.BEFORE_INSTALLATION) == [], "it served elsewhere"


def test_the_category_is_that_of_the_day(ward: Ward) -> None:
    ward.read(ward.total, lambda k: 11, days=3)
    ward.read(ward.house("HOME"), lambda k: 700 if k % 96 == 40 else 100 + 7 * (k % 5), days=3)
    change = T0 + timedelta(days=1, hours=8)
    ward.field.run(
        "update usage_point_category c set valid_to = %s from usage_point u "
        "where u.usage_point_id = c.usage_point_id and u.code = 'HOME'",
        [change],
    )
    ward.field.run(
        "insert into usage_point_category (usage_point_id, category, valid_from) "
        "select usage_point_id, 'production', %s from usage_point where code = 'HOME'",
        [change],
    )
    days = [DAY0 + timedelta(days=d) for d in range(3)]
    ward.configure(spike={"factor": 3.0}, category={"production": {"spike": {"factor": 20.0}}})
    ward.settle(*days)
    assert [ward.slots("HOME", F.SPIKE, day) for day in days] == [[40], [], []]


def _idle(ward: Ward, days: int) -> int:
    ward.read(ward.total, lambda k: 11, days=days)
    meter = ward.house("HOME")
    ward.read(meter, lambda k: 0, days=days, base=500)
    return meter


def test_days_without_energy_are_told_whichever_way_they_were_settled(make_ward: Callable[..., Ward]) -> None:
    ward = make_ward(zero_days={"days": 3})
    _idle(ward, 6)
    days = [DAY0 + timedelta(days=d) for d in range(6)]
    ward.settle(*days)
    together = [ward.flags("HOME", day) for day in days]
    assert [bool(flags[0] & F.ZERO_DAYS) for flags in together] == [False, False, True, True, True, True]
    ward.field.run("delete from interval_day")
    for day in reversed(days):
        ward.settle(day)
    assert [ward.flags("HOME", day) for day in days] == together, "later days are looked at again"


def test_a_late_reading_that_shows_energy_takes_the_flag_back(make_ward: Callable[..., Ward]) -> None:
    ward = make_ward(zero_days={"days": 3})
    meter = _idle(ward, 6)
    days = [DAY0 + timedelta(days=d) for d in range(6)]
    ward.settle(*days)
    balances = len(ward.field.balances())
    ward.field.run(
        "update register_reading set import_wh = import_wh + 40 where meter_id = %s and ts > %s",
        [meter, T0 + timedelta(days=1, hours=12)],
    )
    ward.settle(days[1])
    found = [bool(ward.flags("HOME", day)[0] & F.ZERO_DAYS) for day in days]
    assert found == [False, False, False, False, True, True], "three days without energy, from the third on"
    assert len(ward.field.balances()) == balances
    assert ward.field.one("select count(*) from dirty_day") == 0


def test_what_settlement_reads_for_rules_is_bounded(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days before the stretch are asked for only of points without energy."""
    _idle(ward, 2)
    ward.read(ward.house("BUSY"), {}, days=2)
    asked: list[int] = []
    real = intervals.days_of_points

    def counting(connection: Any, points: Any, first: Any, last: Any) -> Any:
        asked.append(len(points))
        return real(connection, points, first, last)

    monkeypatch.setattr("headend.store.intervals.days_of_points", counting)
    ward.settle(DAY0 + timedelta(days=1))
    assert asked
    assert max(asked) <= 2
