"""The area balance worked by hand: aligned and complete intervals only, and what a sum leaves out is said."""

from __future__ import annotations

import numpy as np
import pytest

from reconciliation.balance import (
    DayBalance,
    Limits,
    MeteredEnergy,
    State,
    day_balance,
    interval_balance,
    judge,
    technical_loss_wh,
)
from reconciliation.registers import NO_VALUE
from reconciliation.registers import IntervalQuality as Q
from reconciliation.report import TechnicalLossModel
from reconciliation.uncertainty import Accuracy, class_sd, energy_sd_wh

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
        served=every,
        resolution_wh=np.ones(len(into)),
    )


def _day(
    area: MeteredEnergy,
    points: MeteredEnergy,
    technical: float = np.nan,
    limits: Limits | None = None,
    elapsed: int | None = None,
) -> DayBalance:
    count = area.import_wh.shape[1]
    return day_balance(
        interval_balance(area, points), area, points, day=slice(0, count),
        elapsed=count if elapsed is None else elapsed,
        technical_wh=np.full(count, technical), interval_s=900, limits=limits or Limits(), accuracy=Accuracy(),
    )  # fmt: skip


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
        counted=np.empty((0, 10), np.bool_), served=np.empty((0, 10), np.bool_), resolution_wh=np.empty(0),
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


def test_uncertainty_by_hand() -> None:
    # one meter, 4 intervals of 250, 250, 250, 400 Wh: gain 1 % / sqrt(3) of 1150 = 6.640; one stretch of registers of
    # 10 Wh: 100 / 6 = 16.67;
    # skew 5 s x (400 - 250) / 900 W·s... = 0.8333 Wh; together sqrt(44.08 + 16.67 + 0.69) = 7.839
    energy = np.array([[250.0, 250, 250, 400]])
    used = np.ones((1, 4), dtype=np.bool_)
    found = energy_sd_wh(
        energy, used, ~used, percent=1.0, resolution_wh=np.array([10.0]), interval_s=900, accuracy=Accuracy()
    )
    assert class_sd(1.0) * 1150 == pytest.approx(6.640, abs=1e-3)
    assert found[0] == pytest.approx(7.839, abs=1e-3)


def test_two_stretches_have_twice_the_resolution() -> None:
    used = np.array([[True, False, True]])
    found = energy_sd_wh(
        np.zeros((1, 3)),
        used,
        ~used & False,
        percent=1.0,
        resolution_wh=np.array([6.0]),
        interval_s=900,
        accuracy=Accuracy(),
    )
    assert found[0] ** 2 == pytest.approx(2 * 36 / 6)


def test_estimates_that_reach_the_days_end_are_uncertain_and_those_inside_are_not() -> None:
    energy, used = np.full((1, 4), 100.0), np.ones((1, 4), dtype=np.bool_)
    accuracy = Accuracy(household_class=1.0)

    def sd(estimated: list[bool]) -> float:
        return float(
            energy_sd_wh(
                energy,
                used,
                np.array([estimated]),
                percent=1.0,
                resolution_wh=np.zeros(1),
                interval_s=900,
                accuracy=accuracy,
            )[0]
        )

    assert sd([False, True, True, False]) == pytest.approx(class_sd(1.0) * 400)
    assert sd([False, False, True, True]) == pytest.approx(np.hypot(class_sd(1.0) * 400, 0.3 * 200))
