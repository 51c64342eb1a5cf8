"""The curves that evidence is made of: by day, by hour of the day, of one telling day, and in pairs.

The rule it keeps: a day, hour or interval that was not read is NaN, never what it was filled with.
"""

import numpy as np

from reconciliation.model import AreaModel
from reconciliation.report import EvidencePicture, EvidenceSeries
from reconciliation.window import Bools, Floats, Ints

DIGITS = 5
"""Significant digits that are kept: better than any meter, and it bounds the size of what is stored."""
MOST_PAIRS = 150
"""Pairs of a picture: a straight line is seen in fewer."""
READ_SHARE = 0.95
"""Least share of a day's intervals that must have been read for it to be shown interval by interval."""
HALF = 0.5
"""Share of the missing energy that the hours named hold together."""
FULL_DAY_S = 86400


def series(name: str, unit: str, values: Floats) -> EvidenceSeries:
    """One curve, to DIGITS significant digits."""
    return EvidenceSeries(name=name, unit=unit, values=significant(values))


def significant(values: Floats) -> Floats:
    """(k,) to DIGITS significant digits; NaN stays."""
    size = np.abs(values)
    scale = np.power(10.0, DIGITS - 1 - np.floor(np.log10(np.where(np.isfinite(size) & (size > 0), size, 1.0))))
    return np.asarray(np.round(values * scale) / scale)


def daily(model: AreaModel, values: Floats, seen: Bools | None = None) -> Floats:
    """(D,) sum per day of (T,) values; NaN on days with nothing ``seen`` (T,), by default by the area meter."""
    area = model.area
    total = np.bincount(area.day, weights=np.nan_to_num(values), minlength=area.n_days)
    read = np.bincount(area.day, weights=area.supplied_ok if seen is None else seen, minlength=area.n_days) > 0
    return np.where(read, total, np.nan)


def day_share(model: AreaModel, on: Bools) -> Floats:
    """(D,) share of each day's intervals that are ``on`` (T,)."""
    area = model.area
    count = np.bincount(area.day, minlength=area.n_days)
    return np.asarray(np.bincount(area.day, weights=on, minlength=area.n_days) / np.maximum(count, 1))


def unexplained(model: AreaModel, on: Bools | None = None) -> Floats:
    """(T,) loss beyond the technical one [Wh], of all streams or of those ``on`` (K,)."""
    streams = model.area.supplied - model.share.T @ model.area.net - model.loss.stream_wh
    return np.asarray((streams if on is None else streams[on]).sum(axis=0))


def mean_of_days(values: Floats, days: Bools) -> float:
    """Mean of (D,) values over ``days`` (D,) that were read; NaN where none was."""
    known = days & np.isfinite(values)
    return float(values[known].mean()) if known.any() else float("nan")


def hours(model: AreaModel, days: Bools, **curves: Floats) -> EvidencePicture:
    """Mean energy by hour of the local day [Wh], over the ``days`` (D,), of each of the (T,) curves."""
    area = model.area
    hour = np.minimum(area.slot * area.window.interval_s // 3600, 23).astype(np.int64)
    use = days[area.day] & area.supplied_ok
    per_hour = max(3600 / area.window.interval_s, 1.0)
    shown = []
    for name, values in curves.items():
        known = use & np.isfinite(values)
        count = np.bincount(hour[known], minlength=24)
        total = np.bincount(hour[known], weights=values[known], minlength=24)
        shown.append(series(name, "Wh", np.where(count > 0, total / np.maximum(count, 1) * per_hour, np.nan)))
    return EvidencePicture(name="hours", resolution="hour", series=tuple(shown))


def peak_hours(picture: EvidencePicture) -> dict[str, float]:
    """Shortest stretch of the day that holds HALF of the first curve's energy, as ``peak_from_h`` and ``peak_to_h``.

    Empty where an hour is not known, or nothing is missing; around midnight the end is before the beginning.
    """
    course = np.maximum(picture.series[0].values, 0.0)
    if not np.isfinite(course).all() or course.sum() <= 0:
        return {}
    twice = np.concatenate([[0.0], np.cumsum(np.concatenate([course, course]))])
    for length in range(1, 25):
        held = twice[length : length + 24] - twice[:24]
        if float(held.max()) >= HALF * float(course.sum()):
            start = int(np.argmax(held))
            share = float(held.max() / course.sum())
            return {"peak_from_h": float(start), "peak_to_h": float((start + length) % 24), "peak_share": share}
    return {}


def whole_days(model: AreaModel, seen: Bools | None = None) -> Bools:
    """(D,) whether a day is a whole one and was read throughout, by the area meter and where ``seen`` (T,)."""
    area = model.area
    ok = area.supplied_ok if seen is None else area.supplied_ok & seen
    count = np.bincount(area.day, minlength=area.n_days) * area.window.interval_s
    return np.asarray((day_share(model, ok) >= READ_SHARE) & (count >= 0.9 * FULL_DAY_S))


def telling_day(amount: Floats, possible: Bools) -> int | None:
    """The possible day (D,) with most at stake; None where there is none."""
    size = np.where(possible & np.isfinite(amount), np.abs(amount), -1.0)
    return int(np.argmax(size)) if size.size and size.max() > 0 else None


def one_day(model: AreaModel, name: str, day: int, curves: dict[str, tuple[str, Floats]]) -> EvidencePicture:
    """One day of (T,) ``curves``, (unit, values) by name, interval by interval."""
    rows = np.flatnonzero(model.area.day == day)
    shown = tuple(series(key, unit, values[rows]) for key, (unit, values) in curves.items())
    return EvidencePicture(name=name, resolution="interval", series=shown, first_interval=int(rows[0]))


def pairs(
    model: AreaModel, x: tuple[str, Floats], y: tuple[str, Floats], on: Bools, **slopes: float
) -> EvidencePicture:
    """Hours in which both (T,) courses are known and ``on``, as pairs [Wh an hour]; lines of the given slopes."""
    area = model.area
    per_hour = max(3600 // area.window.interval_s, 1)
    hour = np.arange(area.n_intervals) // per_hour
    known = on & area.supplied_ok & np.isfinite(x[1]) & np.isfinite(y[1])
    whole = np.bincount(hour, weights=known) == per_hour
    across = np.bincount(hour, weights=np.where(known, x[1], 0.0))[whole]
    up = np.bincount(hour, weights=np.where(known, y[1], 0.0))[whole]
    take = evenly(across.size, MOST_PAIRS)
    most = float(across[take].max(initial=0.0))
    lines = (series(f"line_{name}", "Wh", np.array([0.0, slope * most])) for name, slope in slopes.items())
    shown = (series(x[0], "Wh", across[take]), series(y[0], "Wh", up[take]), *lines)
    return EvidencePicture(name="pairs", resolution="pair", series=shown)


def evenly(count: int, most: int) -> Ints:
    """At most so many of ``count`` places, evenly spread."""
    return (
        np.unique(np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(np.int64))
        if count
        else np.zeros(0, np.int64)
    )
