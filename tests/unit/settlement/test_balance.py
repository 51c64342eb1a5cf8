"""The area balance worked by hand: aligned and complete intervals only, and what a sum leaves out is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reconciliation.balance import MeteredEnergy, UnmeteredEnergy, interval_balance, technical_loss_wh
from reconciliation.day_balance import DayBalance, Limits, Sources, State, day_balances, judge
from reconciliation.registers import NO_VALUE
from reconciliation.registers import IntervalQuality as Q
from reconciliation.report import TechnicalLossModel
from reconciliation.uncertainty import (
    Accuracy,
    EnergyVariance,
    MeterErrors,
    SigmaRule,
    class_sd,
    energy_variance,
    gain_sd,
)

X = NO_VALUE


def _energy(
    import_wh: list[list[int]], export_wh: list[list[int]] | None = None, quality: list[list[int]] | None = None
) -> MeteredEnergy:
    into = np.array(import_wh, dtype=np.int64)
    out = np.zeros_like(into) if export_wh is None else np.array(export_wh, dtype=np.int64)
    made = np.where(into == X, Q.ABSENT, Q.MEASURED) if quality is None else np.array(quality)
    every = np.ones(into.shape, dtype=np.bool_)
    return MeteredEnergy(
        import_wh=into,
        export_wh=out,
        quality=made.astype(np.int8),
        counted=every,
        served=every.copy(),
    )


def _errors(count: int, percent: float = 1.0, step_wh: float = 1.0, days: int = 1) -> MeterErrors:
    return MeterErrors(
        gain_sd=np.full((count, days), class_sd(percent)), resolution_wh=np.full((count, days), step_wh),
        unread_s=np.zeros((count, days + 1)), fluctuation=np.ones((count, days)),
    )  # fmt: skip


def _day(
    area: MeteredEnergy,
    points: MeteredEnergy,
    technical: float = np.nan,
    limits: Limits | None = None,
    elapsed: int | None = None,
    unmetered: UnmeteredEnergy | None = None,
) -> DayBalance:
    count = area.import_wh.shape[1]
    many = len(points.import_wh)
    sources = Sources(
        area=area, points=points, area_errors=_errors(len(area.import_wh), 0.5), point_errors=_errors(many),
        area_coarser_wh=np.zeros((len(area.import_wh), 1)), point_coarser_wh=np.zeros((many, 1)),
    )  # fmt: skip
    (found,) = day_balances(
        interval_balance(area, points, unmetered), sources, days=np.array([0, count]),
        elapsed=np.array([count if elapsed is None else elapsed]),
        technical_wh=np.full(count, technical), interval_s=900, limits=limits or Limits(), accuracy=Accuracy(),
    )  # fmt: skip
    return found


def test_a_day_with_photovoltaics() -> None:
    # supplied = (1000 - 0) + (200 - 300) = 900; delivered = (600 + 350) + (150 - 350 + 90) = 840; loss 60
    # gross = area import 1200 + household export 350 = 1550; rate 60 / 1550
    area = _energy([[1000, 200]], [[0, 300]])
    points = _energy([[600, 150], [350, 90]], [[0, 350], [0, 0]])
    day = _day(area, points)
    assert (day.supplied_wh, day.delivered_wh, day.loss_wh, day.gross_wh) == (900, 840, 60, 1550)
    assert day.loss_rate == pytest.approx(60 / 1550)
    assert (day.state, day.reason, day.technical_wh, day.unexplained_wh) == (State.NORMAL, None, None, None)
    assert (day.coverage_intervals, day.intervals_complete, day.estimated_share) == (1.0, 2, 0.0)


def test_an_interval_that_one_meter_lacks_enters_no_sum() -> None:
    area = _energy([[100] * 20])
    points = _energy([[40] * 20, [50] * 19 + [X]])
    day = _day(area, points)
    assert (day.supplied_wh, day.delivered_wh, day.intervals_complete) == (1900, 1710, 19)
    assert day.coverage_intervals == pytest.approx(59 / 60), "19 + 20 + 20 of 3 x 20"


def test_estimates_complete_an_interval_but_do_not_cover_it() -> None:
    area = _energy([[100] * 10])
    points = _energy([[95] * 10], quality=[[Q.MEASURED] * 6 + [Q.ESTIMATED] * 4])
    day = _day(area, points)
    assert day.intervals_complete == 10
    assert day.coverage_intervals == pytest.approx(16 / 20)
    assert day.estimated_share == pytest.approx(0.4)
    assert (day.state, day.reason) == (State.NOT_COMPUTABLE, "coverage_too_low")
    assert day.loss_wh == 50, "the numbers stay, the judgement does not"


def test_why_a_day_cannot_be_judged() -> None:
    points = _energy([[95] * 10])
    assert _day(_energy([[100] * 5 + [X] * 5]), points).reason == "area_meter_missing"
    assert _day(_energy([[X] * 10]), points).supplied_wh is None
    assert _day(_energy([[100] * 10]), points, elapsed=0).reason == "no_interval_over"
    nobody = MeteredEnergy(
        import_wh=np.empty((0, 10), np.int64), export_wh=np.empty((0, 10), np.int64),
        quality=np.empty((0, 10), np.int8),
        counted=np.empty((0, 10), np.bool_), served=np.empty((0, 10), np.bool_),
    )  # fmt: skip
    assert _day(_energy([[100] * 10]), nobody).reason == "no_household_meter"
    assert _day(_energy([[100] * 10]), nobody).state == State.NOT_COMPUTABLE


def test_a_running_day_is_judged_by_what_is_over() -> None:
    day = _day(_energy([[100] * 5 + [X] * 5]), _energy([[98] * 5 + [X] * 5]), elapsed=5)
    assert (day.state, day.coverage_intervals, day.intervals, day.intervals_complete) == (State.NORMAL, 1.0, 10, 5)


def test_a_point_that_is_not_counted_then_enters_neither_sum_nor_coverage() -> None:
    area = _energy([[100] * 4])
    points = _energy([[90] * 4, [7] * 2 + [X] * 2])
    points.counted[1] = False
    day = _day(area, points)
    assert (day.delivered_wh, day.intervals_complete, day.coverage_intervals) == (360, 4, 1.0)


@pytest.mark.parametrize(
    ("loss", "rate", "technical", "state"),
    [
        (71, 0.071, None, State.HIGH),
        (70, 0.070, None, State.NORMAL),
        (-11, -0.011, None, State.NEGATIVE),
        (-10, -0.010, None, State.NORMAL),
        (50, 0.05, 20, State.HIGH),  # spread: sqrt(5^2 + (0.2 x 20)^2) = 6.40; 3 x 6.40 = 19.2 < 50 - 20
        (39, 0.039, 20, State.NORMAL),  # 19 < 19.2
        (10, None, None, State.NORMAL),
    ],
)
def test_states(loss: int, rate: float | None, technical: int | None, state: State) -> None:
    found = judge(
        loss_wh=loss, loss_rate=rate, technical_wh=technical, uncertainty_wh=5.0, limits=Limits(), accuracy=Accuracy()
    )
    assert found.state == state
    assert found.unexplained_wh == (None if technical is None else loss - technical)


def test_technical_loss_at_another_interval_length_is_the_same_power() -> None:
    # 900 s: 10 + 1e-4 x 200^2 = 14 Wh a quarter, 56 Wh an hour of four quarters at 200 Wh, which is 800 Wh in the hour
    model = TechnicalLossModel(constant_wh=10.0, quadratic_per_wh=1e-4)
    assert technical_loss_wh(model, 900, np.array([200]), 900) == pytest.approx([14.0])
    assert technical_loss_wh(model, 900, np.array([800]), 3600) == pytest.approx([56.0])


def _variance(
    energy_wh: list[float], used: list[bool] | None = None, *, accuracy: Accuracy | None = None, **errors: float
) -> EnergyVariance:
    """Of one meter's day."""
    energy = np.array([energy_wh], dtype=np.int64)
    there = np.ones(energy.shape, dtype=np.bool_) if used is None else np.array([used])
    known = replace(_errors(1, 1.0, errors.get("step_wh", 0.0)))
    if "unread_s" in errors:
        known = replace(known, unread_s=np.array([[0.0, errors["unread_s"]]]))
    return energy_variance(
        energy, there, np.zeros((1, 1), dtype=np.bool_), np.array([0, energy.shape[1]]), errors=known, interval_s=900,
        accuracy=accuracy or Accuracy(skew_s=5.0),
    )  # fmt: skip


def _whole(variance: EnergyVariance) -> float:
    """Of one meter on one day [Wh²]."""
    return float((variance.gain + variance.start + variance.end + variance.inner)[0, 0])


def test_uncertainty_by_hand() -> None:
    # one meter, 4 intervals of 250, 250, 250, 400 Wh: gain 1 % / 2.576 of 1150 = 4.464; one stretch of registers of
    # 10 Wh: 100 / 12 at either end;
    # skew 5 s x (400 - 250) / 900 W·s... = 0.8333 Wh; together sqrt(19.93 + 16.67 + 0.69) = 6.107
    found = _variance([250, 250, 250, 400], step_wh=10.0)
    assert class_sd(1.0) * 1150 == pytest.approx(4.464, abs=1e-3)
    assert (found.start[0, 0], found.end[0, 0]) == (pytest.approx(100 / 12), pytest.approx(100 / 12))
    assert found.inner[0, 0] == pytest.approx(0.8333**2, abs=1e-3)
    assert _whole(found) ** 0.5 == pytest.approx(6.107, abs=1e-3)


def test_a_limit_of_which_nothing_else_is_known_is_uniform() -> None:
    assert class_sd(1.0, SigmaRule.UNIFORM) == pytest.approx(0.01 / 3**0.5)
    # class 0.5S behind transformers of class 0.5S, each 0.5 % / 2.576 = 0.1941 %: 0.2745 %
    assert gain_sd(0.5, Accuracy(), transformers=True) == pytest.approx(0.002745, abs=1e-6)
    assert gain_sd(0.5, Accuracy(), transformers=False) == class_sd(0.5)


def test_two_stretches_have_twice_the_resolution() -> None:
    found = _variance([0, 0, 0], [True, False, True], step_wh=6.0)
    assert _whole(found) == pytest.approx(2 * 36 / 6)
    assert found.inner[0, 0] == pytest.approx(36 / 6), "the two ends in the middle of the day; no other day has them"


def test_an_export_register_that_moves_is_cut_off_too() -> None:
    used = np.ones((1, 2), dtype=np.bool_)
    found = energy_variance(
        np.zeros((1, 2), dtype=np.int64), used, np.ones((1, 1), dtype=np.bool_), np.array([0, 2]),
        errors=_errors(1, 1.0, 6.0), interval_s=900, accuracy=Accuracy(),
    )  # fmt: skip
    assert _whole(found) == pytest.approx(2 * 36 / 6)


def test_a_gain_acts_on_import_and_export_alike() -> None:
    # 1000 Wh in and 400 Wh out by one meter: what its gain moves is 600 Wh
    area = _energy([[1000]])
    points = _energy([[1000]], [[400]])
    assert _day(area, points).systematic_wh == round(np.hypot(class_sd(0.5) * 1000, class_sd(1.0) * 600))


def test_a_midnight_that_was_not_read_is_uncertain_and_a_gap_inside_the_day_is_not() -> None:
    # readings an hour before and after midnight: w = 1800 s; power 400 W there; walk 900 x 1800 = 1.62e6 s², share
    # (0.3 x 1800)² = 2.916e5 s²: sqrt(1.9116e6) = 1382.6 s of 400 W = 153.6 Wh
    accuracy = Accuracy(skew_s=0.0)
    assert _variance([100] * 4, accuracy=accuracy).end[0, 0] == 0
    found = _variance([100] * 4, accuracy=accuracy, unread_s=1800.0)
    assert found.end[0, 0] ** 0.5 == pytest.approx(153.6, abs=0.1)
    assert (found.start[0, 0], found.inner[0, 0]) == (0, 0)


def test_each_day_is_balanced_for_itself() -> None:
    # two days of 2 and 3 intervals: the second one's last interval lacks a meter
    area, points = _energy([[100] * 5]), _energy([[90, 80, 70, 60, X]])
    sources = Sources(
        area=area, points=points, area_errors=_errors(1, 0.5, days=2), point_errors=_errors(1, days=2),
        area_coarser_wh=np.zeros((1, 2)), point_coarser_wh=np.zeros((1, 2)),
    )  # fmt: skip
    one, two = day_balances(
        interval_balance(area, points), sources, days=np.array([0, 2, 5]), elapsed=np.array([2, 3]),
        technical_wh=np.full(5, np.nan), interval_s=900, limits=Limits(), accuracy=Accuracy(),
    )  # fmt: skip
    assert (one.supplied_wh, one.delivered_wh, one.intervals_complete) == (200, 170, 2)
    assert (two.supplied_wh, two.delivered_wh, two.intervals_complete, two.intervals) == (200, 130, 2, 3)
    assert (two.coverage_intervals, two.reason) == (pytest.approx(5 / 6), "coverage_too_low")


def test_unmetered_loads_are_delivered_and_carry_their_own_tolerance() -> None:
    area, points = _energy([[1000] * 4]), _energy([[900] * 4])
    lamps = UnmeteredEnergy(np.array([[0, 50, 50, 0]]), np.array([0.1]))
    day = _day(area, points, unmetered=lamps)
    assert (day.delivered_wh, day.unmetered_wh, day.loss_wh) == (3700, 100, 300)
    assert day.systematic_wh == round(((class_sd(0.5) * 4000) ** 2 + (class_sd(1.0) * 3600) ** 2 + 10**2) ** 0.5)


def test_an_area_of_street_lights_alone_has_a_balance() -> None:
    nobody = MeteredEnergy(
        import_wh=np.empty((0, 4), np.int64), export_wh=np.empty((0, 4), np.int64),
        quality=np.empty((0, 4), np.int8),
        counted=np.empty((0, 4), np.bool_), served=np.empty((0, 4), np.bool_),
    )  # fmt: skip
    day = _day(_energy([[52] * 4]), nobody, unmetered=UnmeteredEnergy(np.full((1, 4), 50), np.array([0.1])))
    assert (day.state, day.loss_wh, day.gross_wh) == (State.NORMAL, 8, 208)


def test_the_split_of_what_was_delivered() -> None:
    points = _energy([[10, 20, 40]], [[1, 0, 0]], [[Q.MEASURED, Q.ESTIMATED, Q.EDITED]])
    day = _day(_energy([[100] * 3]), points)
    assert (day.measured_wh, day.estimated_wh, day.edited_wh) == (11, 20, 40)
    assert day.estimated_share == pytest.approx(20 / 71)


def test_where_power_had_failed_there_was_nothing_to_measure() -> None:
    dark = [[Q.MEASURED] * 6 + [Q.ZERO_BY_EVENT] * 4]
    points = _energy([[95] * 6 + [0] * 4], quality=dark)
    area = _energy([[100] * 6 + [0] * 4], quality=dark)
    day = _day(area, points)
    assert (day.state, day.coverage_intervals, day.intervals_complete) == (State.NORMAL, 1.0, 10)
    assert (day.measured_wh, day.estimated_wh) == (570, 0)
    nobody_counts = MeteredEnergy(
        import_wh=area.import_wh, export_wh=area.export_wh, quality=area.quality,
        counted=np.zeros((1, 10), np.bool_), served=area.served,
    )  # fmt: skip
    assert _day(nobody_counts, points).reason == "area_meter_missing"


def test_a_day_without_power_throughout_says_so_and_no_schedule_burns_in_it() -> None:
    dark = [[Q.ZERO_BY_EVENT] * 4]
    lamps = UnmeteredEnergy(np.full((1, 4), 50), np.array([0.1]))
    day = _day(_energy([[0] * 4], quality=dark), _energy([[0] * 4], quality=dark), unmetered=lamps)
    assert (day.state, day.reason, day.coverage_intervals) == (State.NOT_COMPUTABLE, "power_failed", None)
    assert (day.intervals_complete, day.supplied_wh, day.delivered_wh, day.unmetered_wh) == (4, 0, 0, 0)


def test_lamps_are_off_while_the_transformer_has_no_power_and_only_then() -> None:
    # 1000 in, 900 through the meter, 50 by schedule; two intervals without power at the transformer, and one in which
    # only the household had none: 3 x (1000 - 50) - 2 x 900 = 1050 lost, 3 x 50 burned
    here = [[Q.MEASURED, Q.MEASURED, Q.ZERO_BY_EVENT, Q.ZERO_BY_EVENT, Q.MEASURED]]
    home = [[Q.MEASURED, Q.MEASURED, Q.ZERO_BY_EVENT, Q.ZERO_BY_EVENT, Q.ZERO_BY_EVENT]]
    area, points = _energy([[1000, 1000, 0, 0, 1000]], quality=here), _energy([[900, 900, 0, 0, 0]], quality=home)
    lamps = UnmeteredEnergy(np.full((1, 5), 50), np.array([1.0]))
    day = _day(area, points, unmetered=lamps)
    assert (day.unmetered_wh, day.delivered_wh, day.loss_wh) == (150, 1950, 1050)
    assert day.systematic_wh == round(((class_sd(0.5) * 3000) ** 2 + (class_sd(1.0) * 1800) ** 2 + 150**2) ** 0.5)
