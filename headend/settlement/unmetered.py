"""What known loads without a meter take, by schedule: integer Wh by interval, and exactly power × time by local day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import US_PER_S, to_us
from headend.domain.unmetered import Schedule, UnmeteredLoad, parse_schedule
from headend.settlement.grid import DayRange
from headend.settlement.topology import FOREVER_US
from reconciliation.balance import UnmeteredEnergy
from reconciliation.uncertainty import SigmaRule, class_sd

Ints = npt.NDArray[np.int64]
_US_PER_H = 3600 * US_PER_S


def unmetered_energy(loads: Sequence[UnmeteredLoad], days: DayRange) -> UnmeteredEnergy | None:
    """Energies of an area's loads over a stretch; None without any. Of a tolerance nothing but the limit is known."""
    if not loads:
        return None
    return UnmeteredEnergy(
        np.stack([load_energy(load, days) for load in loads]),
        np.array([class_sd(100 * load.tolerance, SigmaRule.UNIFORM) for load in loads]),
    )


def load_energy(load: UnmeteredLoad, days: DayRange) -> Ints:
    """(T,) int64 [Wh]. What has run since midnight is rounded, so that a day's intervals sum to its rounded energy."""
    schedule = parse_schedule(load.schedule)
    place = None
    if load.latitude_deg is not None and load.longitude_deg is not None:
        place = (load.latitude_deg, load.longitude_deg)
    valid = to_us(load.valid_from), FOREVER_US if load.valid_to is None else to_us(load.valid_to)
    found = np.zeros(days.intervals, dtype=np.int64)
    for d in range(len(days.days)):
        here = days.day_slice(d)
        grid = days.grid_us[here.start : here.stop + 1]
        on = _running_us(schedule, days, d, place, valid)
        since_midnight = sum((np.clip(grid, begin, end) - begin for begin, end in on), np.zeros(grid.size, np.int64))
        ran_wh = (2 * load.power_w * since_midnight + _US_PER_H) // (2 * _US_PER_H)
        found[here] = np.diff(ran_wh)
    return found


def _running_us(
    schedule: Schedule, days: DayRange, d: int, place: tuple[float, float] | None, valid: tuple[int, int]
) -> list[tuple[int, int]]:
    """When a load runs on one local day [µs UTC]: spans in order, none of which overlaps another."""
    start, end = (int(us) for us in days.grid_us[days.midnights[d : d + 2]])
    low, high = max(start, valid[0]), min(end, valid[1])
    zone: ZoneInfo = days.calendar.zone
    # The day before lasts past midnight; what goes by the sun may begin before the midnight of its own day.
    begun = [span for shift in (-1, 0, 1) for span in schedule.spans(days.days[d] + timedelta(shift), zone, place)]
    found: list[tuple[int, int]] = []
    for begin, finish in sorted((max(to_us(a), low), min(to_us(b), high)) for a, b in begun):
        if begin >= finish:
            continue
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], finish)
        else:
            found.append((begin, finish))
    return found
