"""What users draw and feed in on one local day: appliances, habits, working days and seasons; nothing is carried over.

A pure function of seed and date, so that any day can be computed alone; 15-minute mean powers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from drivers.simulator.households import HOUSEHOLD, Users
from drivers.simulator.scenario import INTERVAL_S
from drivers.simulator.streams import Floats, Ints, smooth_noise, stream
from drivers.simulator.weather import Weather

_COP: Final = 3.0
"""Heat moved for each unit of electricity (split heat pumps)."""


_Appliance = tuple[str, npt.NDArray[Any], tuple[tuple[float, float, float], ...], float, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Load:
    """One day of U users and n intervals."""

    drawn_w: Floats
    """(U, n) mean power of all appliances."""
    fed_w: Floats
    """(U, n) mean power of the panels."""


def day_load(users: Users, seed: int, day: date, *, hours: Floats, weather: Weather, since_epoch_s: Ints) -> Load:
    """The day's powers. hours (n,) local clock at mid-interval; since_epoch_s (n + 1,) interval ends, for cycles."""
    ordinal, working = day.toordinal(), day.weekday() < 5
    n, u = hours.size, users.size
    home = users.kind == HOUSEHOLD
    travelling = stream(seed, "travel", ordinal // 7).random(u) < 0.03
    present = _presence(users, hours, working) * np.where(travelling & home, 0.02, 1.0)[:, None]
    mood = np.exp(0.5 * smooth_noise(seed, "mood", ordinal, hours, knots=32, rows=u))
    total = np.repeat(users.standby_w[:, None], n, axis=1)
    total += _fridge(users, weather, since_epoch_s)
    total += users.light_w[:, None] * (0.12 + 0.88 * weather.darkness) * present * mood * home[:, None]
    total += users.screen_w[:, None] * present * (0.45 + 0.55 * (hours > 18)) * mood[::-1] * home[:, None]
    total += _hvac(users, seed, ordinal, hours, weather) * np.where(travelling & home, 0.05, 1.0)[:, None]
    if day.weekday() < 6:
        total += _production(users, seed, ordinal, hours, weather)
    total += _events(users, seed, day, np.where(travelling & home, 0.0, 1.0), n)
    return Load(drawn_w=total, fed_w=users.pv_wp[:, None] * 0.82 * weather.sun)


def _presence(users: Users, hours: Floats, working: bool) -> Floats:
    """(U, n) 0..1 of being home and awake."""
    awake = _after(hours, users.wake_h, 3) - _after(hours, users.sleep_h, 3)
    if not working:
        return np.asarray(awake)
    out = _after(hours, np.array([8.2]), 4) - _after(hours, np.array([17.3]), 4)
    return np.asarray(awake * (1 - 0.9 * users.away[:, None] * out))


def _after(hours: Floats, when_h: Floats, steepness: float) -> Floats:
    """(U, n) 0 before, 1 after the hour `when_h` (U,), with a soft step."""
    return np.asarray(1 / (1 + np.exp(-steepness * (hours[None] - when_h[:, None]))))


def _fridge(users: Users, weather: Weather, at_s: Ints) -> Floats:
    """(U, n): a compressor that runs `duty` of each period, longer when it is warm; energy exact in each interval."""
    period = users.fridge_period_s[:, None]
    warm = float(np.clip(1 + 0.025 * (weather.temperature_c.mean() - 20.0), 0.6, 1.5))
    on_s = period * np.clip(users.fridge_duty * warm, 0.15, 0.8)[:, None]
    t = at_s[None].astype(np.float64)
    running = np.floor(t / period) * on_s + np.minimum(t % period, on_s)
    return np.asarray(users.fridge_w[:, None] * np.diff(running, axis=1) / INTERVAL_S)


def _hvac(users: Users, seed: int, ordinal: int, hours: Floats, weather: Weather) -> Floats:
    """(U, n): heats below 17 °C, cools above 26 °C, less while everybody sleeps."""
    t = weather.temperature_c[None]
    need = users.heat_w_per_k[:, None] * (np.clip(17 - t, 0, None) + 1.4 * np.clip(t - 26, 0, None)) / _COP
    up = _after(hours, users.wake_h, 2) - _after(hours, users.sleep_h, 2)
    cycling = np.exp(0.45 * smooth_noise(seed, "hvac", ordinal, hours, knots=48, rows=users.size))
    return np.asarray(np.minimum(users.hvac_w[:, None], need * (0.3 + 0.7 * up) * cycling))


def _production(users: Users, seed: int, ordinal: int, hours: Floats, weather: Weather) -> Floats:
    """(U, n): machines between 7:45 and 17:45 with a lunch break, and the hall's lights."""
    who = np.flatnonzero(users.production_w)
    shift = ((hours > 7.75) & (hours < 12)) | ((hours > 13.25) & (hours < 17.75))
    orders = stream(seed, "orders", ordinal).uniform(0.4, 1.0, users.size)[who]
    pace = 0.75 + 0.25 * np.tanh(smooth_noise(seed, "pace", ordinal, hours, knots=64, rows=users.size)[who])
    total = np.zeros((users.size, hours.size))
    total[who] = users.production_w[who, None] * orders[:, None] * pace * shift
    total[who] += users.light_w[who, None] * (0.3 + 0.7 * weather.darkness) * shift
    return total


def _events(users: Users, seed: int, day: date, kept: Floats, n: int) -> Floats:
    """(U, n): what is switched on, runs for a while and stops."""
    ordinal, free = day.toordinal(), 1.0 if day.weekday() < 5 else 1.5
    home = (users.kind == HOUSEHOLD).astype(np.float64)
    evening = ((7.0, 0.5, 0.3), (12.0, 0.7, 0.3), (18.7, 1.2, 0.4))
    appliances: tuple[_Appliance, ...] = (
        # name, times a day (U,), when (hour, SD, weight), minutes, power (U,)
        ("kettle", 0.8 + 0.35 * users.people, evening, 7, users.kettle_w),
        ("rice", 0.9 * home, ((11.2, 0.4, 0.45), (17.6, 0.6, 0.55)), 30, 0.35 * users.kettle_w),
        ("hob", 1.6 * (users.cook_w > 0), ((6.8, 0.4, 0.2), (11.6, 0.4, 0.3), (18.2, 0.7, 0.5)), 22, users.cook_w),
        ("wash", users.washes_per_week / 7 * free, ((9.0, 1.2, 0.5), (20.0, 1.0, 0.5)), 55, np.full(users.size, 380.0)),
        ("boiler", 1.5 * (users.boiler_w > 0), ((6.4, 0.6, 0.4), (20.8, 0.9, 0.6)), 38, users.boiler_w),
        ("bike", 0.5 * users.bike, ((20.5, 1.0, 1.0),), 170, np.full(users.size, 130.0)),
        ("clean", 0.25 * home * free, ((10.0, 1.5, 0.6), (19.0, 1.0, 0.4)), 25, np.full(users.size, 900.0)),
    )
    total = np.zeros((users.size, n))
    for name, times, peaks, minutes, power in appliances:
        rng = stream(seed, "event", name, ordinal)
        owner = np.repeat(np.arange(users.size), rng.poisson(times * kept))
        which = rng.choice(len(peaks), owner.size, p=[w for _, _, w in peaks])
        hour = np.array([p[0] for p in peaks])[which] + np.array([p[1] for p in peaks])[which] * rng.standard_normal(
            owner.size
        )
        length_s = minutes * 60 * rng.gamma(9.0, 1 / 9.0, owner.size)
        drawn = power[owner] * rng.uniform(0.85, 1.0, owner.size)
        add_boxes(total, owner, start_s=np.clip(hour, 0, 23.9) * 3600, length_s=length_s, power_w=drawn)
    return total


def add_boxes(total_w: Floats, owner: Ints, *, start_s: Floats, length_s: Floats, power_w: Floats) -> None:
    """Add loads that run from `start_s` after midnight for `length_s` to (U, n) mean powers, cut at the day's end."""
    n = total_w.shape[1]
    first = (start_s // INTERVAL_S).astype(np.int64)
    end_s = start_s + length_s
    longest = int(np.max(end_s // INTERVAL_S - first, initial=-1.0)) + 1
    for offset in range(longest):
        bin_ = first + offset
        begin = np.maximum(start_s, bin_ * INTERVAL_S)
        share = np.clip(np.minimum(end_s, (bin_ + 1) * INTERVAL_S) - begin, 0, None) / INTERVAL_S
        ok = (bin_ < n) & (share > 0)
        np.add.at(total_w, (owner[ok], bin_[ok]), (share * power_w)[ok])


def tap_load(seed: int, ordinal: int, hours: Floats, *, key: str, base_w: float, evening_w: float) -> Floats:
    """(n,) of a load tapped off the line before any meter."""
    noise = np.exp(0.25 * smooth_noise(seed, key, ordinal, hours, knots=24, rows=1)[0])
    return np.asarray((base_w + evening_w * np.exp(-(((hours - 20.0) / 2.2) ** 2))) * noise)
