"""DOMAIN §5 sentence by sentence, on a small area worked by hand, through the store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from headend.domain.calendar import LocalCalendar
from headend.domain.unmetered import UnmeteredLoad
from headend.settlement.grid import DayRange
from headend.settlement.inputs import load_inputs
from headend.settlement.rules import Rules
from headend.settlement.settler import settle_area
from headend.settlement.windows import load_window
from headend.store import balances, dirty, unmetered
from support.field import DAY0, QUARTER, T0, Field

DAY1 = DAY0 + timedelta(days=1)


class Yard:
    """An area of one area meter (x 40) and some houses."""

    def __init__(self, field: Field, houses: int = 2) -> None:
        self.field = field
        self.area = field.area("A1")
        _, self.total = field.metered(self.area, "sum", "area", phases=3, multiplier="40")
        self.houses = [field.metered(self.area, f"h{h}")[1] for h in range(houses)]

    def fill(self, meter: int, import_wh: int, export_wh: int = 0, *, first: int = 0, last: int = 96) -> None:
        """So much a quarter."""
        with self.field.store.transaction() as c, c.cursor() as cursor:
            cursor.executemany(
                b"insert into register_reading (meter_id, ts, import_wh, export_wh, flags, source, uncertainty_ms)"
                b" values (%s, %s, %s, %s, 0, 3, 0) on conflict do nothing",
                [(meter, T0 + k * QUARTER, k * import_wh, k * export_wh) for k in range(first, last + 1)],
            )

    def settle(self, days: int = 1) -> dict[str, Any]:
        rules = Rules.of(self.field.settings.settlement)
        with self.field.store.transaction() as connection:
            wanted = [DAY0 + timedelta(days=d) for d in range(days)]
            settle_area(connection, self.area, wanted, rules, T0 + timedelta(days=days, hours=2))
        return self.day()

    def day(self, day: Any = DAY0) -> dict[str, Any]:
        (found,) = self.field.balances(day)
        return found

    def load(self, schedule: str, power_w: int, **changes: Any) -> UnmeteredLoad:
        values = {
            "code": "SL-1", "area": "A1", "kind": "street_light", "name": "", "power_w": power_w, "tolerance": 0.1,
            "schedule": schedule, "latitude_deg": None, "longitude_deg": None, "valid_from": T0, "valid_to": None,
        }  # fmt: skip
        return UnmeteredLoad(**(values | changes))

    def add(self, load: UnmeteredLoad, *, replace_open: bool = False) -> None:
        with self.field.store.transaction() as connection:
            unmetered.add(
                connection, load, by="Li Wei", replace_open=replace_open, calendar=LocalCalendar(self.field.zone),
                now=T0 + timedelta(days=5),
            )  # fmt: skip

    def dirty(self) -> list[Any]:
        return [r["day"] for r in self.field.rows("select day from dirty_day order by day")]


def test_photovoltaics_feed_in_and_the_rate_is_by_gross_energy(field: Field) -> None:
    # a quarter: area 4 x 40 = 160 in, 1 x 40 = 40 out; house 0: 200 in; house 1: 10 in, 100 out
    # supplied 120, delivered 200 + 10 - 100 = 110, loss 10; gross 160 + 100 = 260
    yard = Yard(field)
    yard.fill(yard.total, 4, 1)
    yard.fill(yard.houses[0], 200)
    yard.fill(yard.houses[1], 10, 100)
    day = yard.settle()
    assert (day["supplied_wh"], day["delivered_wh"], day["loss_wh"]) == (120 * 96, 110 * 96, 10 * 96)
    assert day["gross_wh"] == 260 * 96
    assert day["loss_rate"] == pytest.approx(10 / 260)
    assert day["measured_wh"] == 310 * 96, "what passed through household meters, either way"
    # gains on the difference: area 120, house 0: 200, house 1: -90 Wh a quarter
    meter, both = 1 / 257.6, 0.5 / 257.6 * 2**0.5
    expected = 96 * ((both * 120) ** 2 + (meter * 200) ** 2 + (meter * 90) ** 2) ** 0.5
    assert day["systematic_wh"] == pytest.approx(expected, abs=1)


def test_unmetered_loads_are_delivered_and_shown_apart(field: Field) -> None:
    yard = Yard(field)
    yard.fill(yard.total, 20)  # 800 Wh a quarter
    for meter in yard.houses:
        yard.fill(meter, 250)
    yard.add(yard.load("18:10-06:20", 1000))
    day = yard.settle()
    # 06:20 ends the night before, on which the load did not hold yet at midnight; it does from T0 on: 380 + 350 min
    assert day["unmetered_wh"] == 12_167
    assert day["delivered_wh"] == 2 * 250 * 96 + 12_167
    assert day["loss_wh"] == 800 * 96 - 2 * 250 * 96 - 12_167
    assert sum(day["delivered_interval_wh"]) == day["delivered_wh"]
    assert day["systematic_wh"] > 0.1 / 3**0.5 * 12_167


def test_a_change_of_a_load_marks_the_days_that_it_touches(field: Field) -> None:
    yard = Yard(field)
    yard.fill(yard.total, 20, last=3 * 96)
    for meter in yard.houses:
        yard.fill(meter, 250, last=3 * 96)
    yard.settle(days=3)
    yard.add(yard.load("24/7", 100, valid_from=T0 + timedelta(days=1)))
    marked = yard.dirty()
    assert marked[:2] == [DAY1, DAY0 + timedelta(days=2)], "not the day before it began"
    yard.add(yard.load("24/7", 50, valid_from=T0 + timedelta(days=2)), replace_open=True)
    yard.settle(days=3)
    assert [yard.day(DAY0 + timedelta(days=d))["unmetered_wh"] for d in range(3)] == [0, 2400, 1200]
    with field.store.transaction() as connection:
        was = unmetered.withdraw(
            connection, "SL-1", T0 + timedelta(days=1), by="Wang Fang", calendar=LocalCalendar(field.zone),
            now=T0 + timedelta(days=5),
        )  # fmt: skip
    assert was.power_w == 100
    assert field.rows("select power_w, noted_by, withdrawn_by from unmetered_load order by valid_from") == [
        {"power_w": 100, "noted_by": "Li Wei", "withdrawn_by": "Wang Fang"},
        {"power_w": 50, "noted_by": "Li Wei", "withdrawn_by": None},
    ]
    yard.add(yard.load("24/7", 70, valid_from=T0 + timedelta(days=1), valid_to=T0 + timedelta(days=2)))
    yard.settle(days=3)
    assert yard.day(DAY1)["unmetered_wh"] == 1680, "another takes its place"


def test_a_load_goes_by_what_was_known(field: Field) -> None:
    """As `headend settle --as-known-at` reads it."""
    yard = Yard(field)
    rules = Rules.of(field.settings.settlement)
    days = DayRange(rules.calendar, DAY0, DAY0)
    before = field.one("select clock_timestamp()")
    yard.add(yard.load("24/7", 100))
    with field.store.transaction() as connection:
        assert len(load_inputs(connection, yard.area, days, rules).unmetered) == 1
        assert len(load_inputs(connection, yard.area, days, rules, known_at=before).unmetered) == 0


def test_the_loss_of_an_area_meter_that_states_its_class(field: Field) -> None:
    yard = Yard(field, houses=1)
    yard.fill(yard.total, 20)
    yard.fill(yard.houses[0], 790)
    usual = yard.settle()["systematic_wh"]
    field.run("update meter set accuracy_class = 0.2")
    better = yard.settle()["systematic_wh"]
    # area: hypot(0.2, 0.5) % of 800 Wh a quarter, house: 0.2 % of 790; over 2.576
    expected = 96 / 257.6 * ((0.2**2 + 0.5**2) * 800**2 + (0.2 * 790) ** 2) ** 0.5
    assert better == pytest.approx(expected, abs=1)
    assert better < usual


@pytest.mark.parametrize(
    ("house", "limits", "model", "state"),
    [
        (390, {}, None, "normal"),  # 800 in, 780 out: 2.5 %
        (370, {}, None, "high"),  # 7.5 %
        (370, {"high_loss_rate": 0.08}, None, "normal"),
        (405, {}, None, "negative"),  # -1.25 %
        (405, {"negative_loss_rate": -0.02}, None, "normal"),
        (390, {}, (2.0, 0.0), "high"),  # 20 Wh a quarter lost, 2 of them technical: far beyond 3 sigma
        (390, {"high_loss_sigmas": 50.0}, (2.0, 0.0), "normal"),
    ],
)
def test_states_by_configured_limits(
    make_field: Callable[..., Field], house: int, limits: dict[str, float], model: Any, state: str
) -> None:
    field = make_field(**limits)
    yard = Yard(field)
    if model:
        field.run(
            "insert into technical_model values (%s, %s, %s, 900, now(), '2026-01-01', '2026-01-28')",
            [yard.area, *model],
        )
    yard.fill(yard.total, 20)
    for meter in yard.houses:
        yard.fill(meter, house)
    day = yard.settle()
    assert day["state"] == state
    assert day["technical_source"] == ("model" if model else None)


def test_an_areas_own_limits_win(field: Field) -> None:
    yard = Yard(field)
    field.run("update area set high_loss_rate = 0.02")
    yard.fill(yard.total, 20)
    for meter in yard.houses:
        yard.fill(meter, 390)
    assert yard.settle()["state"] == "high"


def test_below_the_coverage_limit_a_day_is_not_computable(make_field: Callable[..., Field]) -> None:
    field = make_field(coverage_limit=0.95)
    yard = Yard(field)
    yard.fill(yard.total, 20)
    yard.fill(yard.houses[0], 390)
    yard.fill(yard.houses[1], 390, last=40)
    yard.fill(yard.houses[1], 390, first=76)  # nine hours without a reading: estimated, not measured
    day = yard.settle()
    assert (day["state"], day["reason"]) == ("not_computable", "coverage_too_low")
    assert day["intervals_complete"] == 96, "the sums stand"
    assert day["estimated_wh"] == 36 * 390
    assert day["measured_wh"] == (96 + 60) * 390
    assert day["estimated_share"] == pytest.approx(36 / 192)


def test_only_aligned_and_complete_intervals_count(field: Field) -> None:
    yard = Yard(field)
    yard.fill(yard.total, 20)
    yard.fill(yard.houses[0], 390)
    yard.fill(yard.houses[1], 390, last=90)  # nothing after: no number, and no guess
    day = yard.settle()
    assert (day["intervals"], day["intervals_complete"]) == (96, 90)
    assert day["supplied_wh"] == 90 * 800
    assert day["delivered_wh"] == 90 * 780


def test_the_reports_technical_loss_is_told_from_the_models(field: Field) -> None:
    yard = Yard(field)
    yard.fill(yard.total, 20)
    for meter in yard.houses:
        yard.fill(meter, 390)
    yard.settle()
    with field.store.transaction() as connection:
        balances.put_technical(
            connection,
            [
                {
                    "area_id": yard.area, "day": DAY0, "technical_wh": 100, "unexplained_wh": 1820, "state": "high",
                    "technical_interval_wh": [1] * 96, "technical_source": "report",
                }
            ],
        )  # fmt: skip
    assert yard.day()["technical_source"] == "report"


def test_marks_of_another_area_stay_alone(field: Field) -> None:
    yard = Yard(field)
    other = field.area("A2")
    field.mark(other, [DAY0])
    yard.add(yard.load("24/7", 100))
    with field.store.transaction() as connection:
        assert dirty.waiting(connection, yard.area) == 0, "nobody has ever seen a day of it"
        assert dirty.waiting(connection, other) == 1


def test_the_engine_does_not_look_for_a_thief_of_street_lights(field: Field) -> None:
    yard = Yard(field)
    yard.fill(yard.total, 20)
    for meter in yard.houses:
        yard.fill(meter, 390)
    yard.add(yard.load("24/7", 40))  # 10 Wh a quarter
    yard.settle()
    rules = Rules.of(field.settings.settlement)
    with field.store.transaction() as connection:
        window = load_window(connection, yard.area, "A1", DayRange(rules.calendar, DAY0, DAY0), rules).window
    assert window.area_import_wh.tolist() == [790.0] * 96


def test_a_day_without_power_says_so_and_the_lamps_did_not_burn(field: Field) -> None:
    """Power fails at 23:50 and is back at 00:10 of the day after next: five minutes with power lie on either side of
    the outage between the readings at 23:45 and 00:15, and share its 390 Wh.
    """
    yard = Yard(field)
    yard.add(yard.load("24/7", 200))
    for meter, per in ((yard.total, 21), *((h, 390) for h in yard.houses)):
        rows = [(meter, T0 + k * QUARTER, per * (k if k <= 95 else k - 97)) for k in (*range(96), *range(193, 289))]
        field.store_readings(rows)
        field.run(
            "insert into device_event (meter_id, kind, occurred_at, received_at, source)"
            " select %s, k, t, t, 'mqtt'"
            " from unnest(array['power_failed', 'power_restored'], %s::timestamptz[]) e (k, t)",
            [meter, [T0 + timedelta(hours=23, minutes=50), T0 + timedelta(days=2, minutes=10)]],
        )
    yard.settle(3)
    dark = yard.day(DAY1)
    assert (dark["state"], dark["reason"], dark["coverage_intervals"]) == ("not_computable", "power_failed", None)
    assert (dark["intervals_complete"], dark["supplied_wh"], dark["delivered_wh"], dark["unmetered_wh"]) == (
        96,
        0,
        0,
        0,
    )
    lit = yard.day(DAY0)
    assert (lit["state"], lit["unmetered_wh"], lit["delivered_wh"]) == ("normal", 4800, 4800 + 2 * (95 * 390 + 195))
    assert sum(yard.day(DAY0 + timedelta(days=n))["supplied_wh"] for n in range(3)) == 40 * 21 * 191
