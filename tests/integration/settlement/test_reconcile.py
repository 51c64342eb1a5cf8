"""Settled windows are explained once, findings are kept as cases, nothing is said while history is still loading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from headend.metrics import RECONCILE_SECONDS, RECONCILED_AREAS
from reconciliation import AreaReport, AreaWindow, Cause, FindingKind, Priors
from reconciliation.mapping import WRONG_AREA_RATE
from support.accuser import DAYS, Accuser, World
from support.field import DAY0, T0, Field


@pytest.fixture
def world(make_field: Callable[..., Field]) -> World:
    return World(make_field(window_days=DAYS))


def test_an_under_registering_meter_becomes_one_case(world: World) -> None:
    world.work()
    report = world.field.rows("select * from area_report")[0]
    assert (report["window_from"], report["window_to"]) == (DAY0, DAY0 + timedelta(days=DAYS - 1))
    findings = world.field.rows("select * from finding")
    assert [(f["meter_id"], f["kind"], f["state"]) for f in findings] == [
        (world.meters[3], "under_registering", "open")
    ]
    assert findings[0]["onset_at"] == T0 + timedelta(days=1)
    evidence = findings[0]["evidence"]
    assert evidence["interval_s"] == 900
    assert evidence["starts_at"] == T0.isoformat()
    assert evidence["series"] == [{"name": "loss_before", "unit": "Wh", "values": [1.0, None] * (DAYS // 2)}]
    assert evidence["numbers"] == {"share": None}

    again = world.field.rows("select marker, reported_at from area_report")
    assert world.work(timedelta(minutes=10)) == 0, "nothing changed, so there is nothing to explain again"
    assert world.field.rows("select marker, reported_at from area_report") == again


def test_balances_of_the_window_get_the_reports_technical_loss(world: World) -> None:
    world.work()
    days = world.field.rows("select * from balance_day where day < %s order by day", [DAY0 + timedelta(days=DAYS)])
    for d, day in enumerate(days):
        assert day["technical_wh"] == pytest.approx(sum(day["technical_interval_wh"]), abs=96)
        assert day["unexplained_wh"] == day["loss_wh"] - day["technical_wh"]
        assert day["technical_wh"] == pytest.approx(world.technical[d * 96 : (d + 1) * 96].sum(), rel=0.1)
    model = world.field.rows("select * from technical_model")[0]
    assert (model["constant_wh"], model["quadratic_per_wh"], model["interval_s"]) == (6.0, 2.5e-6, 900)


def test_the_report_keeps_what_could_not_be_told_and_how_probable_each_cause_is(world: World) -> None:
    world.work()
    kept = world.field.rows("select limits, cause_probability from area_report")[0]
    assert kept["limits"] == [
        {"code": "few_days", "numbers": {"days": DAYS, "days_wanted": None}},
        {"code": "no_neighbours", "numbers": {}},
    ]
    assert kept["cause_probability"] == {"clean": 0.25, "meter": 0.75}


@pytest.mark.parametrize(("given", "told"), [({}, WRONG_AREA_RATE), ({"wrong_area_rate": 0.04}, 0.04)])
def test_how_many_meters_are_expected_on_the_wrong_area_is_configured(
    make_field: Callable[..., Field], given: dict[str, float], told: float
) -> None:
    world = World(make_field(window_days=DAYS, **given))
    world.engine = engine = Accuser(None)
    world.work()
    assert engine.wrong_area_rate == told


def test_what_was_screened_and_explained_is_counted(world: World) -> None:
    def counted() -> dict[tuple[str, str], float]:
        return {
            (sample.name, sample.labels.get("step", "")): sample.value
            for metric in (RECONCILED_AREAS, RECONCILE_SECONDS)
            for family in metric.collect()
            for sample in family.samples
            if sample.name.endswith(("_total", "_count"))
        }

    before = counted()
    world.work()
    world.engine = Accuser(None)
    world.field.run("update area_report set marker = 'other'")
    world.work(timedelta(hours=1))
    more = {key: value - before.get(key, 0) for key, value in counted().items()}
    assert more["headend_reconciled_areas_total", "screen"] == 2
    assert more["headend_reconciled_areas_total", "explain"] == 1, "the second time nothing stood out"
    assert more["headend_reconcile_seconds_count", "screen"] == more["headend_reconcile_seconds_count", "explain"] == 2


def test_with_a_time_of_day_a_station_is_explained_once_a_night(make_field: Callable[..., Field]) -> None:
    """The window's last day ended at midnight; the night's turn comes at half past two."""
    world = World(make_field(window_days=DAYS, reconcile_at="02:30"))
    reported = "select reported_at from area_report"
    midnight = T0 + timedelta(days=DAYS)
    world.field.run("insert into area_report (area_id, window_from, window_to, anomaly_score, alarm, cause, marker, "
                    "reported_at) values (%s, %s, %s, 0, false, 'clean', 'before', %s)",
                    [world.area, DAY0, DAY0, midnight - timedelta(hours=21)])  # fmt: skip
    world.work(timedelta(hours=2, minutes=20))  # 02:25
    assert world.field.one(reported) == midnight - timedelta(hours=21), "its turn has not come"
    world.work(timedelta(hours=2, minutes=26))
    first = world.field.one(reported)
    assert first == midnight + timedelta(hours=2, minutes=31)

    late = (world.meters[5], T0 + timedelta(days=4, minutes=15))
    world.field.run("update register_reading set import_wh = import_wh + 1 where meter_id = %s and ts = %s", late)
    world.field.mark_reading(world.area, [late[1]])
    assert world.work(timedelta(hours=9)) > 0, "it is settled"
    assert world.field.one(reported) == first, "what comes late waits for the next night"
    world.field.run("update balance_day set changed_at = changed_at")  # nothing else happens until then
    world.work(timedelta(hours=26, minutes=20))
    assert world.field.one(reported) == first
    world.work(timedelta(hours=26, minutes=26))
    assert world.field.one(reported) == midnight + timedelta(hours=26, minutes=31)


def test_without_a_time_of_day_what_comes_late_is_looked_at_soon(world: World) -> None:
    world.work()
    first = world.field.one("select reported_at from area_report")
    late = (world.meters[5], T0 + timedelta(days=4, minutes=15))
    world.field.run("update register_reading set import_wh = import_wh + 1 where meter_id = %s and ts = %s", late)
    world.field.mark_reading(world.area, [late[1]])
    world.work(timedelta(minutes=10))
    assert world.field.one("select reported_at from area_report") == first + timedelta(minutes=10)


def test_a_finding_that_is_no_longer_seen_is_closed_and_one_that_was_inspected_is_left(world: World) -> None:
    world.work()
    case = world.field.one("select finding_id from finding")
    world.field.run(
        "insert into finding (area_id, kind, confidence, energy_wh, energy_low_wh, energy_high_wh, "
        "window_from, window_to, evidence, opened_at, seen_at, state) "
        "select area_id, 'stuck', 1, 0, 0, 0, window_from, window_to, '{}', opened_at, seen_at, s from "
        "finding, unnest(array['open']) s"
    )
    world.field.run(
        "insert into finding (area_id, meter_id, kind, confidence, energy_wh, energy_low_wh, energy_high_wh, "
        "window_from, window_to, evidence, opened_at, seen_at, state) "
        "select area_id, meter_id, 'wrong_area', 1, 0, 0, 0, window_from, window_to, '{}', opened_at, seen_at, "
        "'inspected' from finding where kind = 'under_registering'"
    )
    world.field.run("update area_report set marker = 'other'")
    world.work(timedelta(hours=1))
    states = {
        (r["kind"], r["meter_id"] is None): r["state"]
        for r in world.field.rows("select kind, meter_id, state from finding")
    }
    assert states == {
        ("under_registering", False): "open",
        ("stuck", True): "closed",
        ("wrong_area", False): "inspected",
    }
    seen = world.field.rows("select opened_at, seen_at from finding where finding_id = %s", [case])[0]
    assert seen["seen_at"] == seen["opened_at"] + timedelta(hours=1)


def test_a_rejected_finding_is_not_opened_again_in_its_window(world: World) -> None:
    world.work()
    world.field.run("update finding set state = 'rejected', closed_at = now()")
    world.field.run("update area_report set marker = 'other'")
    world.work(timedelta(hours=1))
    assert [r["state"] for r in world.field.rows("select state from finding")] == ["rejected"]


def test_the_engine_is_given_what_verdicts_have_taught_and_the_report_says_so(world: World) -> None:
    world.engine = engine = Accuser("Acme/h3")
    world.work()
    assert engine.priors == Priors()
    world.field.run("update finding set state = 'rejected', verdict = 'rejected', verdict_at = %s", [world.now])
    world.field.run("update area_report set marker = 'other'")
    world.work(timedelta(hours=1))
    assert engine.priors.shift(FindingKind.UNDER_REGISTERING) < 0
    kept = world.field.one("select priors from area_report")
    assert kept == {kind.value: pytest.approx(odds, abs=1e-4) for kind, odds in engine.priors.log_odds.items()}


def test_nothing_is_final_or_reported_while_history_is_loading(world: World) -> None:
    field = world.field
    field.run(
        "insert into concentrator (code, area_id, backlog, online, last_seen_at) values ('C1', %s, 3, true, %s)",
        [world.area, world.now],
    )
    world.work()
    assert field.one("select count(*) from area_report") == 0
    assert field.one("select count(*) from finding") == 0
    assert field.one("select count(*) from balance_day where final") == 0
    # never heard of is below the watermark too, until it has been silent for long enough
    field.run("update concentrator set backlog = null, last_seen_at = null, online = null")
    world.work()
    assert field.one("select count(*) from area_report") == 0
    field.run("update concentrator set backlog = 0, last_seen_at = %s", [world.now])
    world.work()
    assert field.one("select count(*) from area_report") == 1
    assert field.one("select count(*) from finding") == 1
    assert field.one("select count(*) from balance_day where final") == DAYS


def test_a_silent_concentrator_does_not_hold_its_area_for_ever(world: World) -> None:
    field = world.field
    field.run(
        "insert into concentrator (code, area_id, backlog, last_seen_at) values ('C1', %s, 3, %s)",
        [world.area, world.now],
    )
    world.work()
    assert field.one("select count(*) from area_report") == 0
    world.work(timedelta(seconds=field.settings.settlement.silent_concentrator_s + 60))
    assert field.one("select count(*) from area_report") == 1


def test_a_meter_that_is_hardly_read_is_a_finding_even_without_the_engine(make_field: Callable[..., Field]) -> None:
    world = World(make_field(window_days=DAYS), bad=None)
    world.engine = Accuser(None)
    world.field.run(
        "delete from register_reading where meter_id = %s and ts > %s and ts < %s",
        [world.meters[5], T0 + timedelta(days=4), T0 + timedelta(days=7, hours=3)],
    )
    world.work()
    found = world.field.rows("select * from finding where meter_id = %s", [world.meters[5]])
    assert [(f["kind"], f["onset_at"]) for f in found] == [("missing_data", T0 + timedelta(days=4))]
    assert not world.field.rows("select * from finding where kind <> 'missing_data'")


@pytest.mark.parametrize("cause", [Cause.CLEAN, Cause.NOT_COMPUTABLE])
def test_prolonged_estimation_is_a_finding_until_its_readings_come(
    make_field: Callable[..., Field], cause: Cause
) -> None:
    """Thirty hours of fourteen days: nine tenths are measured, but the curve of more than a day is made up."""
    world = World(make_field(window_days=DAYS), bad=None)

    class Believer(Accuser):
        def report(self, w: AreaWindow) -> AreaReport:
            return replace(super().report(w), cause=cause)

    world.engine = Believer(None)
    silent = (world.meters[5], T0 + timedelta(days=4), T0 + timedelta(days=5, hours=6))
    late = world.field.rows("select * from register_reading where meter_id = %s and ts > %s and ts < %s", silent)
    world.field.run("delete from register_reading where meter_id = %s and ts > %s and ts < %s", silent)
    world.work()
    (found,) = world.field.rows("select * from finding")
    assert (found["meter_id"], found["kind"], found["state"]) == (silent[0], "prolonged_estimation", "open")
    assert found["onset_at"] == silent[1]
    numbers = found["evidence"]["numbers"]
    assert (numbers["longest_estimate_h"], numbers["estimated_intervals"], numbers["absent_intervals"]) == (30, 120, 0)
    at_stake = world.field.one(
        "select sum(e) from interval_day, unnest(import_wh, day_vector(quality, cardinality(import_wh))) v (e, q) "
        "where meters[1] = %s and q = 3",
        [silent[0]],
    )
    assert found["energy_wh"] == at_stake > 0

    world.field.run("update area_report set marker = 'other'")
    world.work(timedelta(hours=1))
    again = world.field.rows("select finding_id, state, opened_at, seen_at from finding")
    assert [(f["finding_id"], f["state"]) for f in again] == [(found["finding_id"], "open")], "one case, seen again"

    world.field.readings(silent[0], [(row["ts"], row["import_wh"]) for row in late], export=0)
    world.field.mark_reading(world.area, [row["ts"] for row in late])
    world.work(timedelta(hours=2))
    assert [f["state"] for f in world.field.rows("select state from finding")] == ["closed"]


def test_how_long_is_too_long_is_configured(make_field: Callable[..., Field]) -> None:
    world = World(make_field(window_days=DAYS, prolonged_estimation_h=31), bad=None)
    world.engine = Accuser(None)
    world.field.run(
        "delete from register_reading where meter_id = %s and ts > %s and ts < %s",
        [world.meters[5], T0 + timedelta(days=4), T0 + timedelta(days=5, hours=6)],
    )
    world.work()
    assert not world.field.rows("select * from finding")


def test_time_without_power_lacks_no_data(make_field: Callable[..., Field]) -> None:
    """Three days of outage are a fifth of the window: nothing was read, and nothing is missing."""
    world = World(make_field(window_days=DAYS), bad=None)
    world.engine = Accuser(None)
    failed, back = T0 + timedelta(days=4), T0 + timedelta(days=7, hours=3)
    dark = (world.meters[5], failed, back)
    used = world.field.one(
        "select max(import_wh) - min(import_wh) from register_reading where meter_id = %s and ts between %s and %s",
        dark,
    )
    world.field.run("delete from register_reading where meter_id = %s and ts > %s and ts < %s", dark)
    world.field.run(
        "update register_reading set import_wh = import_wh - %s where meter_id = %s and ts >= %s", [used, dark[0], back]
    )
    world.field.run(
        "insert into device_event (meter_id, kind, occurred_at, received_at, source) "
        "select %s, k, t, t, 'mqtt' from unnest(array['power_failed', 'power_restored'], %s::timestamptz[]) e (k, t)",
        [dark[0], [failed, back]],
    )
    world.work()
    assert not world.field.rows("select * from finding")
    (day,) = world.field.rows(
        "select * from interval_day where meters[1] = %s and day = %s", [dark[0], DAY0 + timedelta(days=5)]
    )
    assert set(day["quality"]) == {5}
    assert set(day["import_wh"]) == {0}
