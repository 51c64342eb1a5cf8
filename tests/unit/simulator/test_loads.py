"""Habits, seasons and days: reproducible one by one, with the shapes that a grid engineer expects."""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.simulator.appliances import Load, add_boxes, day_load
from drivers.simulator.days import US, Days, from_us, to_us
from drivers.simulator.households import HOUSEHOLD, WORKSHOP, Users, draw_users
from drivers.simulator.streams import smooth_noise, stream
from drivers.simulator.weather import weather

SHANGHAI = Days(ZoneInfo("Asia/Shanghai"))


def users(n: int = 60) -> Users:
    """Mostly homes, some with panels, two workshops."""
    kinds = [WORKSHOP] * 2 + [HOUSEHOLD] * (n - 2)
    workshop = np.array(kinds) == WORKSHOP
    return draw_users(5, "X", kinds, pv=np.arange(n) % 7 == 6, production=workshop)


def load(day: date, days: Days = SHANGHAI) -> Load:
    """One day of sixty users."""
    hours = days.hours(day)
    sky = weather(5, day, hours, 31.2)
    return day_load(users(), 5, day, hours=hours, weather=sky, since_epoch_s=days.grid_us(day) // US)


def test_the_sun_stands_highest_at_noon_and_nights_are_dark() -> None:
    day = date(2026, 6, 20)
    hours = SHANGHAI.hours(day)
    suns = [weather(seed, day, hours, 31.2) for seed in range(20)]
    mean = np.mean([w.sun for w in suns], axis=0)
    assert np.average(hours, weights=mean) == pytest.approx(12, abs=0.5)
    assert mean.max() > 0.6
    assert np.all(mean[(hours < 4) | (hours > 20)] == 0)
    assert np.all(suns[0].darkness[(hours < 4) | (hours > 20.5)] > 0.9)
    assert np.all(suns[0].darkness[(hours > 8) & (hours < 16)] < 0.1)


def test_a_day_is_the_same_whenever_it_is_computed() -> None:
    a, _, b = load(date(2026, 5, 4)), load(date(2026, 5, 5)), load(date(2026, 5, 4))
    assert np.array_equal(a.drawn_w, b.drawn_w)
    assert np.array_equal(a.fed_w, b.fed_w)
    assert not np.array_equal(a.drawn_w, load(date(2026, 5, 11)).drawn_w)


def test_homes_use_what_homes_use() -> None:
    week = [load(date(2026, 4, 6) + timedelta(days=i)).drawn_w[2:] for i in range(7)]
    daily_kwh = np.mean([w.sum(axis=1) / 4000 for w in week], axis=0)
    assert 4 < np.median(daily_kwh) < 15
    assert np.all(np.concatenate(week) >= 0)
    mean = np.mean([w.mean(axis=0) for w in week], axis=0)
    assert mean[4 * 19] > 2 * mean[4 * 3], "the evening is above the night"


def test_workshops_rest_on_sunday_and_seasons_show() -> None:
    monday, sunday = load(date(2026, 4, 6)).drawn_w[:2].sum(), load(date(2026, 4, 5)).drawn_w[:2].sum()
    assert monday > 3 * sunday
    winter, spring = load(date(2026, 1, 20)).drawn_w[2:].sum(), load(date(2026, 4, 20)).drawn_w[2:].sum()
    assert winter > 1.2 * spring
    assert load(date(2026, 6, 20)).fed_w.sum() > load(date(2026, 12, 20)).fed_w.sum()


@pytest.mark.parametrize(("day", "n"), [(date(2026, 3, 29), 92), (date(2026, 10, 25), 100), (date(2026, 7, 1), 96)])
def test_days_on_which_the_clocks_change(day: date, n: int) -> None:
    berlin = Days(ZoneInfo("Europe/Berlin"))
    assert berlin.grid_us(day).size == n + 1
    assert berlin.of(int(berlin.grid_us(day)[0])) == day
    assert berlin.of(int(berlin.grid_us(day)[-1])) == day + timedelta(days=1)
    assert load(day, berlin).drawn_w.shape == (60, n)
    assert from_us(to_us(from_us(1_700_000_000_123_456))) == from_us(1_700_000_000_123_456)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 86_300), st.floats(1, 12_000), st.floats(1, 3000))))
def test_switched_loads_keep_their_energy(boxes: list[tuple[int, float, float, float]]) -> None:
    total = np.zeros((5, 96))
    owner = np.array([b[0] for b in boxes], dtype=np.int64)
    start_s, length_s, power_w = (np.array([b[i] for b in boxes], dtype=float) for i in (1, 2, 3))
    add_boxes(total, owner, start_s=start_s, length_s=length_s, power_w=power_w)
    inside = np.minimum(start_s + length_s, 86_400) - start_s
    assert total.sum() * 900 == pytest.approx((inside * power_w).sum(), rel=1e-9, abs=1e-6)


def test_slow_noise_is_continuous_over_midnight() -> None:
    late = smooth_noise(3, "x", 100, np.array([23.99999]), knots=8, rows=4)
    early = smooth_noise(3, "x", 101, np.array([0.0]), knots=8, rows=4)
    assert late == pytest.approx(early, abs=1e-3)


def test_streams_are_apart() -> None:
    assert stream(1, "a", 2).random() == stream(1, "a", 2).random()
    assert len({stream(1, "a", 2).random(), stream(2, "a", 2).random(), stream(1, "b", 2).random()}) == 3
