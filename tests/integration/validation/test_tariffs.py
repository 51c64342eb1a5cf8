"""Registers per rate that do not add up to the total: flagged where the reading ends an interval, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta

import pytest

from headend.domain.quality import ValidationFlag as F
from headend.store import observations
from support.field import DAY0, QUARTER, T0
from support.ward import Ward

NOON = T0 + timedelta(hours=12)
"""The end of interval 47."""
DAY1 = date(2026, 3, 3)


def _total(ward: Ward, meter: int, at: datetime) -> int:
    return int(ward.field.one("select import_wh from register_reading where meter_id = %s and ts = %s", [meter, at]))


def _rates(ward: Ward, meter: int, at: datetime, rates: Sequence[int | None]) -> None:
    """As ingest stores them beside a reading."""
    columns = ", ".join(f"import_t{rate}_wh" for rate in range(1, len(rates) + 1))
    marks = ", ".join(["%s"] * (len(rates) + 2))
    ward.field.run(f"insert into phase_reading (meter_id, ts, {columns}) values ({marks})", [meter, at, *rates])
    ward.field.run("insert into tariff_meter values (%s) on conflict do nothing", [meter])


def _counted(ward: Ward, code: str = "HOME", days: int = 1) -> int:
    """A house whose two rates share every quarter's total evenly."""
    meter = ward.house(code)
    ward.read(meter, {}, days=days)
    for k in range(days * 96 + 1):
        at = T0 + k * QUARTER
        total = _total(ward, meter, at)
        _rates(ward, meter, at, [total // 2, total - total // 2])
    return meter


@pytest.fixture
def counted(ward: Ward) -> int:
    ward.read(ward.total, lambda k: 11)
    return _counted(ward)


def _change(ward: Ward, meter: int, at: datetime, **rates: int | None) -> None:
    for column, value in rates.items():
        ward.field.run(f"update phase_reading set {column} = %s where meter_id = %s and ts = %s", [value, meter, at])


def test_a_sum_that_is_off_is_flagged_where_its_reading_ends(ward: Ward, counted: int) -> None:
    half = _total(ward, counted, NOON) // 2
    _change(ward, counted, NOON, import_t1_wh=half + 3)
    _change(ward, counted, NOON + QUARTER, import_t2_wh=_total(ward, counted, NOON + QUARTER) // 2 - 9)
    _change(ward, counted, NOON + 2 * QUARTER, import_t1_wh=_total(ward, counted, NOON + 2 * QUARTER) // 2 + 1)
    ward.settle()
    assert ward.slots("HOME", F.TARIFF_SUM) == [47, 48], "two registers of 1 Wh may lack one step each, not three"


def test_the_step_that_a_reading_states_counts(ward: Ward, counted: int) -> None:
    _change(ward, counted, NOON, import_t1_wh=_total(ward, counted, NOON) // 2 + 20)
    for step_wh, slots in ((None, [47]), (9, [47]), (10, [])):
        ward.field.run(
            "update register_reading set resolution_wh = %s where meter_id = %s and ts = %s", [step_wh, counted, NOON]
        )
        ward.settle()
        assert ward.slots("HOME", F.TARIFF_SUM) == slots, step_wh


def test_whole_turns_of_the_total_are_no_difference(ward: Ward) -> None:
    ward.read(ward.total, lambda k: 11)
    meter = ward.house("HOME")
    span = ward.field.one("select 10::bigint ^ digits * resolution_wh from meter where meter_id = %s", [meter])
    ward.read(meter, {})
    for at, off in ((NOON, 0), (NOON + QUARTER, 5)):
        total = _total(ward, meter, at)
        _rates(ward, meter, at, [int(span) - 10, total + 10 + off])
    ward.settle()
    assert ward.slots("HOME", F.TARIFF_SUM) == [48]


@pytest.mark.parametrize(
    ("rates", "judged"),
    [
        ([None, 100], False),
        ([100], False),
        ([None, None], False),
        ([0, 0], False),
        ([0, 1], True),
        ([1 << 60, None], True),
        ([100, 100], True),
        ([9_000_000_000_000_000_000, 9_000_000_000_000_000_000], True),
    ],
    ids=[
        "first lacks",
        "second lacks",
        "none",
        "not counted",
        "hardly counted",
        "too much without it",
        "both",
        "64 bits",
    ],
)
def test_a_reading_that_lacks_a_rate_is_judged_only_where_it_can_be(
    ward: Ward, counted: int, rates: list[int | None], judged: bool
) -> None:
    ward.field.run("delete from phase_reading where meter_id = %s and ts = %s", [counted, NOON])
    _rates(ward, counted, NOON, rates)
    ward.settle()
    assert ward.slots("HOME", F.TARIFF_SUM) == ([47] if judged else [])


def test_which_rates_a_meter_has_is_told_by_the_day_and_the_reading_before_it(ward: Ward) -> None:
    """One reading a day: total, and fewer rates than the day before."""
    ward.read(ward.total, lambda k: 11, days=3)
    meter = ward.house("HOME")
    at = [T0 + timedelta(days=d, hours=12) for d in range(3)]
    ward.field.store_readings([(meter, T0, 0), *((meter, t, 1000 * (d + 1)) for d, t in enumerate(at))])
    days = [DAY0 + timedelta(days=d) for d in range(3)]
    _rates(ward, meter, at[0], [400, 600])
    _rates(ward, meter, at[1], [800])
    _rates(ward, meter, at[2], [1200])
    for settled in (days, days[2:], days[1:]):  # what is said of a day does not depend on where the stretch begins
        ward.settle(*settled)
        told = {day: ward.slots("HOME", F.TARIFF_SUM, day) for day in days}
        assert told == {days[0]: [], days[1]: [], days[2]: [47]}
    ward.field.run("delete from phase_reading where meter_id = %s and ts = %s", [meter, at[0]])
    ward.settle(*days)
    assert ward.slots("HOME", F.TARIFF_SUM, days[1]) == [47], "it never told of another rate"


def test_a_rule_that_is_off_asks_for_nothing(make_ward: Callable[..., Ward], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(observations, "odd_tariffs", lambda *_, **__: asked.append(1) or [])
    ward = make_ward(tariff_sum={"enabled": False})
    ward.read(ward.total, lambda k: 11)
    meter = _counted(ward)
    _change(ward, meter, NOON, import_t1_wh=0)
    ward.settle()
    assert ward.slots("HOME", F.TARIFF_SUM) == []
    assert asked == []
    ward.configure()
    ward.settle()
    assert asked, "it does where the rule is on"


def test_only_readings_that_do_not_add_up_are_fetched(ward: Ward, counted: int) -> None:
    other = _counted(ward, "OTHER")
    _change(ward, counted, NOON, import_t1_wh=0)
    with ward.store.transaction() as connection:
        found = observations.odd_tariffs(connection, [counted, other], T0, T0 + timedelta(days=1), steps=1.0)
        assert [(row["meter_id"], len(row["ts_us"])) for row in found] == [(counted, 1)]
        connection.execute(b"delete from tariff_meter")
        assert observations.odd_tariffs(connection, [counted], T0, T0 + timedelta(days=1), steps=1.0) == []


def test_a_reading_that_was_set_aside_says_nothing(ward: Ward, counted: int) -> None:
    ward.field.run("delete from register_reading where meter_id = %s and ts = %s", [counted, NOON])
    _change(ward, counted, NOON, import_t1_wh=0)
    ward.settle()
    assert ward.slots("HOME", F.TARIFF_SUM) == []
