"""Settled windows are explained once, findings are kept as cases, and nothing is said while history "
"is still loading."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from headend.settlement.reconcile import Engine
from headend.settlement.service import SettlementService
from reconciliation import (
    AreaReport,
    AreaWindow,
    Cause,
    Evidence,
    EvidenceSeries,
    Finding,
    FindingKind,
    Priors,
    TechnicalLossModel,
    analyse,
)
from support.field import DAY0, T0, Field

DAYS = 14
INTERVALS = DAYS * 96
SEED = 20260302
HOUSES = 12


class Accuser:
    """Stands in for the engine where a test is about what becomes of its answer: accuses one meter of all the loss."""

    def __init__(self, accused: str | None) -> None:
        self.accused = accused
        self.windows: list[AreaWindow] = []
        self.priors = Priors()

    def __call__(self, windows: Sequence[AreaWindow], *, priors: Priors) -> Mapping[str, AreaReport]:
        self.windows, self.priors = list(windows), priors
        return {w.area: self._report(w) for w in windows}

    def _report(self, w: AreaWindow) -> AreaReport:
        supplied = w.area_import_wh - w.area_export_wh
        model = TechnicalLossModel(constant_wh=6.0, quadratic_per_wh=2.5e-6)
        technical = model.predict(supplied)
        series = (EvidenceSeries(name="loss_before", unit="Wh", values=np.array([1.0, np.nan] * (DAYS // 2))),)
        finding = Finding(
            kind=FindingKind.UNDER_REGISTERING,
            meter=self.accused,
            confidence=0.9,
            energy_wh=1000.0,
            energy_low_wh=900.0,
            energy_high_wh=1100.0,
            onset_interval=96,
            evidence=Evidence(series=series, numbers={"share": float("nan")}),
        )
        return AreaReport(
            anomaly_score=3.0,
            alarm=self.accused is not None,
            cause=Cause.METER if self.accused else Cause.CLEAN,
            suspicion={},
            accused=(),
            misplaced=(),
            technical_loss_wh=float(np.nansum(technical)),
            findings=(finding,) if self.accused else (),
            technical_interval_wh=technical,
            technical_model=model,
        )


class World:
    """Twelve households behind one transformer with resistive lines; `bad` registers only a part of what it draws."""

    def __init__(self, field: Field, *, bad: int | None = 3, share: float = 0.4) -> None:
        print("seed", SEED)
        rng = np.random.default_rng(SEED)
        self.field = field
        self.area = field.area()
        hour = np.arange(INTERVALS) % 96 / 4
        habit = 60 + 250 * np.exp(-((hour[None, :] - rng.uniform(17, 21, (HOUSES, 1))) ** 2) / 4)
        true = habit * rng.gamma(2.0, 0.5, (HOUSES, INTERVALS))
        total = true.sum(axis=0)
        self.technical = 6 + 2.5e-6 * total**2
        drop = 230 * (self.technical - 6) / np.maximum(total, 1)
        read = true.copy()
        if bad is not None:
            read[bad, INTERVALS // 3 :] *= share
        self.area_point = field.point(self.area, "sum", "area", rated=None)
        self.area_meter = field.meter("sum", phases=3)
        field.install(self.area_point, self.area_meter, multiplier="40", start=0)
        stamps = [T0 + timedelta(minutes=15 * k) for k in range(INTERVALS + 1)]
        self.meters: list[int] = []
        rows: list[tuple[Any, ...]] = []
        for h in range(HOUSES):
            meter = field.meter(f"h{h}")
            field.install(field.point(self.area, f"h{h}"), meter, start=0)
            self.meters.append(meter)
            register = np.concatenate([[0], np.cumsum(read[h])]).astype(int)
            volts = np.concatenate([[230], 230 - drop])
            rows += [(meter, t, int(r), int(v * 10)) for t, r, v in zip(stamps, register, volts, strict=True)]
        into = np.concatenate([[0], np.cumsum(total + self.technical)]) / 40
        rows += [(self.area_meter, t, int(r), 2300) for t, r in zip(stamps, into, strict=True)]
        with field.store.transaction() as c, c.cursor() as cursor:
            with cursor.copy(
                "copy register_reading (meter_id, ts, import_wh, voltage_dv, export_wh, flags, source, "
                "uncertainty_ms) from stdin"
            ) as copy:
                for row in rows:
                    copy.write_row((*row, 0, 0, 3, 0))
            phase = [
                (self.area_meter, t, *[int(r / 3)] * 3, *[0] * 3, *[2300] * 3)
                for t, r in zip(stamps, into, strict=True)
            ]
            with cursor.copy(
                "copy phase_reading (meter_id, ts, import_l1_wh, import_l2_wh, import_l3_wh, export_l1_wh, "
                "export_l2_wh, export_l3_wh, "
                "voltage_l1_dv, voltage_l2_dv, voltage_l3_dv) from stdin"
            ) as copy:
                for row in phase:
                    copy.write_row(row)
        field.mark_reading(self.area, stamps)

    @property
    def now(self) -> Any:
        return T0 + timedelta(days=DAYS, minutes=5)

    engine: Engine = Accuser("Acme/h3")

    def service(self, later: timedelta = timedelta()) -> SettlementService:
        return SettlementService(self.field.store, self.field.settings, lambda: self.now + later, engine=self.engine)

    def work(self, later: timedelta = timedelta()) -> int:
        service = self.service(later)
        steps = 0
        while service.step():
            steps += 1
            assert steps < 50
        return steps


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
    engine = Accuser(None)
    world.engine = lambda windows, *, priors: {
        area: replace(r, cause=cause) for area, r in engine(windows, priors=priors).items()
    }
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


def test_the_window_holds_what_was_measured_and_the_real_engine_takes_it(world: World) -> None:
    engine = Accuser(None)
    world.engine = engine
    world.field.run(
        "delete from register_reading where meter_id = %s and ts > %s and ts < %s",
        [world.meters[5], T0 + timedelta(days=4), T0 + timedelta(days=4, hours=3)],
    )
    world.work()
    (window,) = engine.windows
    assert window.meters == tuple(f"Acme/h{h}" for h in range(HOUSES))
    assert window.start == T0
    assert window.n_intervals == INTERVALS
    hidden = np.isnan(window.household_import_wh[5])
    assert np.flatnonzero(hidden).tolist() == list(range(4 * 96, 4 * 96 + 12)), "estimates do not enter"
    assert not np.isnan(np.delete(window.household_import_wh, 5, axis=0)).any()
    assert window.household_voltage_v is not None
    assert np.nanmax(window.household_voltage_v) <= 230.0
    total = np.floor(np.cumsum(window.area_import_wh[:96]) / 40)
    assert window.area_import_wh.sum() % 40 == 0, "primary side: registers x 40"
    assert window.area_phase_wh is not None
    assert np.abs(window.area_phase_wh.sum(axis=0) - window.area_import_wh).max() <= 240
    assert total[-1] > 0
    reports = analyse([window])
    assert set(reports) == {"A1"}


def test_readings_that_are_set_aside_are_left_out_of_the_phases_too(world: World) -> None:
    """The area meter's readings of an hour are not believed: neither its energy nor its voltages are looked at."""
    gone = T0 + timedelta(days=4)
    spoilt = "ts between %s and %s"
    world.field.run(
        f"update phase_reading set import_l1_wh = import_l1_wh + 9000, voltage_l1_dv = 900 where {spoilt}",
        [gone, gone + timedelta(hours=1)],
    )
    world.field.run(
        "insert into edit (edit_id, kind, usage_point_id, meter_id, from_ts, to_ts, set_aside, first_day, last_day, "
        "made_at, made_by, reason) "
        "values (gen_random_uuid(), 'readings', %s, %s, %s, %s, 5, %s, %s, %s, 'Wang', 'spoilt')",
        [world.area_point, world.area_meter, gone, gone + timedelta(hours=1), DAY0, DAY0, T0],
    )
    engine = Accuser(None)
    world.engine = engine
    world.work()
    (window,) = engine.windows
    assert window.area_phase_wh is not None
    assert window.area_voltage_v is not None
    assert np.nanmin(window.area_voltage_v) == 230.0
    # without the five readings there is nothing to say of the six intervals between those around them
    there = np.isfinite(window.area_phase_wh).all(axis=0)
    assert np.flatnonzero(~there).tolist() == list(range(4 * 96 - 1, 4 * 96 + 5))
    assert np.abs(window.area_phase_wh.sum(axis=0) - window.area_import_wh)[there].max() <= 240
