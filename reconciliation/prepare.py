"""Brings one window into the form the engine computes on: net energies without holes, with the variance of what was
filled.

Nothing filled here leaves the package: a filled interval only carries weight 1/(its variance) in the likelihoods.
"""

from dataclasses import dataclass

import numpy as np

from reconciliation.window import AreaWindow, Bools, Floats, Ints

SHORT_GAP = 4
"""Gaps up to this many intervals are bridged by a straight line, longer ones by the meter's own time-of-day mean."""

LONG_GAP = 8.0
"""Factor on the variance in a long gap: the errors of neighbouring intervals are alike there (a load stays on for
about two hours)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """One area, filled. N meters, T intervals, K streams (3 phases, or 1 = the total)."""

    window: AreaWindow
    meters: tuple[str, ...]
    """(N,) names."""
    net: Floats
    """(N, T) import − export, holes filled [Wh]."""
    imported: Floats
    """(N, T) import, holes filled [Wh]."""
    measured: Bools
    """(N, T) whether the meter was read."""
    fill_var: Floats
    """(N, T) variance of what was filled [Wh²]; 0 where measured."""
    step: Floats
    """(N,) register resolution [Wh]."""
    area_step: float
    """Register resolution of the area meter [Wh]."""
    supplied: Floats
    """(K, T) net energy into the area per stream, holes filled [Wh]."""
    supplied_ok: Bools
    """(T,) whether the area meter was read."""
    total: Floats
    """(T,) net energy by the area meter's total registers, holes filled [Wh]."""
    day: Ints
    """(T,) day of each interval."""
    slot: Ints
    """(T,) interval of the day."""
    n_days: int

    @property
    def n_intervals(self) -> int:
        """T."""
        return int(self.net.shape[1])

    @property
    def n_streams(self) -> int:
        """3 with phases, 1 without."""
        return int(self.supplied.shape[0])


def register_step(values: Floats, default: float) -> float:
    """Greatest common divisor of the values [Wh], to 0.1 Wh: the register's resolution. ``default`` where it cannot be
    told."""
    x = np.abs(values[np.isfinite(values)])
    tenths = np.rint(x[x > 0] * 10.0).astype(np.int64)
    if tenths.size < 8:
        return default
    step = int(np.gcd.reduce(tenths)) / 10.0
    return step if step < np.median(x[x > 0]) * 4 else default


def slots(window: AreaWindow) -> tuple[Ints, Ints, int]:
    """Day and time-of-day slot of each interval, and the number of days."""
    day = window.day_index()
    t = window.n_intervals
    if t == 0:
        return day, np.zeros(0, np.int64), 0
    first = np.searchsorted(day, np.arange(int(day[-1]) + 1))
    slot = np.arange(t) - first[day]
    return day, slot.astype(np.int64), int(day[-1]) + 1


def prepare(window: AreaWindow) -> Prepared:
    """Fill the holes and split the area meter into streams. Needs n_meters ≥ 1 and n_intervals ≥ 1."""
    day, slot, n_days = slots(window)
    imp, exp = window.household_import_wh, window.household_export_wh
    raw_net = imp - np.where(np.isnan(exp) & np.isfinite(imp), 0.0, exp)
    measured = np.isfinite(raw_net)
    net, var = fill(raw_net, slot)
    imported, _ = fill(np.where(measured, imp, np.nan), slot)
    if window.meter_step_wh is not None:
        step = np.where(np.isfinite(window.meter_step_wh), window.meter_step_wh, 1.0)
    else:
        step = np.array([register_step(np.concatenate([a, b]), 0.0) for a, b in zip(imp, exp, strict=True)])
        step[step == 0] = np.median(step[step > 0]) if (step > 0).any() else 1.0
    raw_total = window.area_import_wh - np.where(np.isnan(window.area_export_wh), 0.0, window.area_export_wh)
    area_step = window.area_step_wh or register_step(window.area_import_wh, 1.0)
    total, _ = fill(raw_total[None, :], slot)
    phases = window.area_phase_wh
    use_phases = phases is not None and float(np.isfinite(phases).all(axis=0).mean()) >= 0.5
    if use_phases and phases is not None:
        supplied, _ = fill(phases, slot)
        ok = np.asarray(np.isfinite(phases).all(axis=0))
    else:
        supplied, ok = total.copy(), np.asarray(np.isfinite(raw_total))
    return Prepared(
        window=window,
        meters=window.meters,
        net=net,
        imported=imported,
        measured=measured,
        fill_var=var,
        step=step,
        area_step=float(area_step),
        supplied=supplied,
        supplied_ok=ok,
        total=total[0],
        day=day,
        slot=slot,
        n_days=n_days,
    )


def fill(values: Floats, slot: Ints) -> tuple[Floats, Floats]:
    """Fill NaN in (n, T) series; the variance of a filled value is the mean square error the same filling makes on
    known ones.

    Short gaps: straight line between the neighbours; its error is measured on the series itself by leaving out known
    values at the same distance. Long gaps: time-of-day mean over the other days; its error is the variance around that
    mean.
    """
    n, t = values.shape
    out, var = values.copy(), np.zeros((n, t))
    holes = np.isnan(values)
    n_slots = int(slot.max()) + 1 if t else 0
    for i in np.flatnonzero(holes.any(axis=1)):
        x, bad = values[i], holes[i]
        good = np.flatnonzero(~bad)
        if good.size == 0:
            out[i], var[i] = 0.0, 1e12  # never read: whatever it used is unknown
            continue
        where = np.arange(t)
        linear = np.interp(where, good, x[good])
        count = np.bincount(slot[good], minlength=n_slots)
        mean = np.bincount(slot[good], weights=x[good], minlength=n_slots) / np.maximum(count, 1)
        mean = np.where(count > 0, mean, x[good].mean())
        left = where - good[np.clip(np.searchsorted(good, where, side="right") - 1, 0, None)]
        right = good[np.clip(np.searchsorted(good, where), None, good.size - 1)] - where
        reach = np.maximum(np.minimum(np.abs(left), np.abs(right)), 1)
        inside = (left >= 0) & (right >= 0)
        short = bad & inside & (np.abs(left) + np.abs(right) - 1 <= SHORT_GAP)
        spread = max(float(np.mean(np.square(x[good] - mean[slot[good]]))), 1e-6)
        out[i, bad] = np.where(short, linear, mean[slot])[bad]
        for d in (1, 2):
            lo, hi = np.roll(x, d), np.roll(x, -d)
            err = float(np.nanmean(np.square(x - (lo + hi) / 2))) if good.size > 2 * d + 1 else spread
            pick = short & (reach == d) if d == 1 else short & (reach >= d)
            var[i, pick] = err if np.isfinite(err) else spread
        var[i, bad & ~short] = LONG_GAP * spread
    return out, var


def dequantised(values: Floats, step: Floats) -> Floats:
    """(n, T) readings with the register's rounding averaged away where the reading is few steps.

    Centred mean whose width w ∈ {1, 3, 5, 9} grows until the mean of w intervals spans at least ten register steps: the
    rounding error of a mean over w intervals is step/(w·√6), because the error telescopes.
    """
    result = values.copy()
    done = np.abs(values) >= 10.0 * step[:, None]
    low = (~done).astype(np.float64)  # a load of many steps is known well enough, and must not leak into its neighbours
    for width in (3, 5, 9):
        count = moving_mean(low, width)
        mean = moving_mean(values * low, width) / np.maximum(count, 1e-9)
        span = np.abs(mean) * count * width
        take = ~done & ((span >= 10.0 * step[:, None]) | (width == 9))
        result[take] = mean[take]
        done |= take
    return result


def moving_mean(values: Floats, width: int) -> Floats:
    """(n, T) centred mean over ``width`` (odd) intervals, shorter at the ends."""
    t, half = values.shape[1], width // 2
    total = np.concatenate([np.zeros((values.shape[0], 1)), np.cumsum(values, axis=1)], axis=1)
    hi, lo = np.minimum(np.arange(t) + half + 1, t), np.maximum(np.arange(t) - half, 0)
    return np.asarray((total[:, hi] - total[:, lo]) / (hi - lo))


def central_difference(values: Floats) -> Floats:
    """(n, T) half the difference of the next and the previous interval's energy: what a clock late by one interval
    changes."""
    padded = np.concatenate([values[:, :1], values, values[:, -1:]], axis=1)
    return np.asarray((padded[:, 2:] - padded[:, :-2]) / 2)
