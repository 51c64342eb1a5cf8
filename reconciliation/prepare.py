"""Brings one window into the form the engine computes on: net energies without holes, with the variance of what was
filled (filling.py).
"""

from dataclasses import dataclass

import numpy as np

from reconciliation.area_rounding import Rounding, coarse_phases, rounding, silent_phases
from reconciliation.filling import fill, filled
from reconciliation.window import AreaWindow, Bools, Floats, Ints, Numbers, Singles


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """One area, filled. N meters, T intervals, K streams (3 phases, or 1 = the total)."""

    window: AreaWindow
    meters: tuple[str, ...]
    """(N,) names."""
    net: Floats
    """(N, T) import − export, holes filled [Wh]."""
    imported: Floats
    """(N, T) import, holes filled, never below zero [Wh]."""
    measured: Bools
    """(N, T) whether the meter was read."""
    fill_var: Floats
    """(N, T) variance of what was filled [Wh²]; 0 where measured."""
    step: Floats
    """(N,) register resolution [Wh]."""
    area_step: float
    """Register resolution of the area meter [Wh]."""
    coarse_phases: bool
    """Whether phase energies were left out because they are too coarse to be used for more than the area meter."""
    phase_rounding: Rounding
    """Of the area meter's phase energies."""
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
    def coarse(self) -> Bools:
        """(N,) whether a register's rounding is seen in the balance: its step is a good part of all there."""
        square = np.square(self.step)
        return np.asarray(square >= COARSE * (square.sum() / self.n_streams + self.area_step**2))

    @property
    def n_streams(self) -> int:
        """3 with phases, 1 without."""
        return int(self.supplied.shape[0])


COARSE = 0.15
"""Share of a stream's squared register steps from which one meter's rounding is told apart from noise."""
FIRST = 64
"""Readings whose greatest common divisor is nearly always that of all, which then only has to be confirmed."""


def register_step(values: Floats, default: float) -> float:
    """Greatest common divisor of the values [Wh], to 0.1 Wh: the register's resolution. ``default`` where it cannot be
    told."""
    size = np.abs(values)
    positive = size[size > 0]  # not NaN
    positive = positive[positive < np.inf]
    tenths = np.rint(positive * 10.0)
    if tenths.size < 8:
        return default
    common = int(np.gcd.reduce(tenths[:FIRST].astype(np.int64)))
    of_all = tenths / max(common, 1)
    if (of_all != np.rint(of_all)).any():
        common = int(np.gcd.reduce(tenths.astype(np.int64)))
    step = common / 10.0
    if positive.min() >= 0.05:  # then the step is no larger than twice the smallest value
        return step
    return step if step < np.median(positive) * 4 else default


def area_step_wh(window: AreaWindow) -> float:
    """Resolution of the area meter's total registers [Wh]."""
    return float(window.area_step_wh or register_step(window.area_import_wh, 1.0))


def phase_step_wh(window: AreaWindow, area_step_wh: float) -> float:
    """Step of the area meter's phase energies [Wh]: no finer than its total's, of which it is the same device."""
    return area_step_wh if window.area_phase_wh is None else max(register_step(window.area_phase_wh, 0.0), area_step_wh)


def slots(window: AreaWindow) -> tuple[Ints, Ints, int]:
    """Day and time-of-day slot of each interval, and the number of days."""
    day = window.day_index()
    t = window.n_intervals
    if t == 0:
        return day, np.zeros(0, np.int64), 0
    first = np.searchsorted(day, np.arange(int(day[-1]) + 1))
    slot = np.arange(t) - first[day]
    return day, slot.astype(np.int64), int(day[-1]) + 1


def prepare(window: AreaWindow, *, coarse: bool = False) -> Prepared:
    """Fill the holes and split the area meter into streams. Needs n_meters ≥ 1 and n_intervals ≥ 1.

    ``coarse``: by phase, too, where the phases' rounding follows their households (area_rounding.py).
    """
    day, slot, n_days = slots(window)
    imp, exp = window.household_import_wh, window.household_export_wh
    raw_net = imp - np.where(np.isnan(exp) & np.isfinite(imp), 0.0, exp)
    measured = np.isfinite(raw_net)
    net, var = fill(raw_net, slot, window.household_gap_wh)
    feeding: Bools = np.asarray((exp > 0).any(axis=1))  # not NaN
    raw_total = window.area_import_wh - np.where(np.isnan(window.area_export_wh), 0.0, window.area_export_wh)
    phases = np.zeros((0, raw_total.size)) if window.area_phase_wh is None else window.area_phase_wh
    others = filled(np.concatenate([phases, raw_total[None], np.where(measured[feeding], imp[feeding], np.nan)]), slot)
    imported = np.maximum(net, 0.0)
    imported[feeding] = np.maximum(others[len(phases) + 1 :], 0.0)
    if window.meter_step_wh is not None:
        step = np.where(np.isfinite(window.meter_step_wh), window.meter_step_wh, 1.0)
    else:
        both = [np.append(a, b) if gives else a for a, b, gives in zip(imp, exp, feeding.tolist(), strict=True)]
        step = np.array([register_step(values, 0.0) for values in both])
        step[step == 0] = np.median(step[step > 0]) if (step > 0).any() else 1.0
    area_step = area_step_wh(window)
    total = others[len(phases) : len(phases) + 1]
    if window.area_gap_wh is not None:
        total, _ = fill(raw_total[None, :], slot, window.area_gap_wh[None, :])
    phase_step = phase_step_wh(window, area_step)
    told = len(phases) > 0 and float(np.isfinite(phases).all(axis=0).mean()) >= 0.5
    told = told and not silent_phases(window, phase_step)
    too_coarse = told and not coarse and coarse_phases(window, phase_step)
    if told and not too_coarse:
        supplied, ok = others[: len(phases)], np.asarray(np.isfinite(phases).all(axis=0))
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
        coarse_phases=too_coarse,
        phase_rounding=rounding(window, raw_total, phase_step, area_step),
        supplied=supplied,
        supplied_ok=ok,
        total=total[0],
        day=day,
        slot=slot,
        n_days=n_days,
    )


def dequantised(values: Floats, step: Floats) -> Singles:
    """(n, T) readings with the register's rounding averaged away where the reading is few steps.

    Centred mean whose width w ∈ {1, 3, 5, 9} grows until the mean of w intervals spans at least ten register steps: the
    rounding error of a mean over w intervals is step/(w·√6), because the error telescopes.
    """
    t, enough = values.shape[1], (10.0 * step[:, None]).astype(np.float32)
    result = values.astype(np.float32)  # a few readings' sum has fewer digits
    todo = np.abs(result) < enough
    # a load of many steps is known well enough, and must not leak into its neighbours
    padded, number = np.zeros((values.shape[0], t + 8), np.float32), np.zeros((values.shape[0], t + 8), np.int8)
    np.multiply(result, todo, out=padded[:, 4 : 4 + t])
    number[:, 4 : 4 + t] = todo
    total, count = padded[:, 4 : 4 + t].copy(), number[:, 4 : 4 + t].copy()
    for half in (1, 2, 4):
        for away in range(half // 2 + 1, half + 1):
            for side in (4 - away, 4 + away):
                total += padded[:, side : side + t]
                count += number[:, side : side + t]
        if half == 4:
            take = todo
        else:
            there = np.minimum(np.arange(t) + half, t - 1) - np.maximum(np.arange(t) - half, 0) + 1
            ends = np.flatnonzero(there <= 2 * half)
            size = np.abs(total)
            size[:, ends] *= ((2 * half + 1) / there[ends]).astype(np.float32)
            take = todo & (size >= enough)
            todo &= ~take
        np.divide(total, count, out=result, where=take)
    return result


def moving_mean(values: Numbers, width: int) -> Floats:
    """(n, T) centred mean over ``width`` (odd) intervals, shorter at the ends."""
    return _mean_of_sums(_running_sum(values), width)


def _running_sum(values: Numbers) -> Floats:
    """(n, T + 1) sums of the first 0, 1, … T values."""
    total = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, dtype=np.float64, out=total[:, 1:])
    return total


def _mean_of_sums(total: Floats, width: int) -> Floats:
    """``moving_mean`` from the running sums (n, T + 1)."""
    t, half = total.shape[1] - 1, width // 2
    if t <= width:
        hi, lo = np.minimum(np.arange(t) + half + 1, t), np.maximum(np.arange(t) - half, 0)
        return np.asarray((total[:, hi] - total[:, lo]) / (hi - lo))
    out = np.empty((total.shape[0], t))
    np.subtract(total[:, width:], total[:, :-width], out=out[:, half : t - half])
    out[:, half : t - half] /= width
    near = np.arange(half) + half + 1
    out[:, :half] = total[:, near] / near
    out[:, t - half :] = (total[:, t:] - total[:, t - near[::-1]]) / near[::-1]
    return out


def central_difference(values: Floats) -> Floats:
    """(n, T) half the difference of the next and the previous interval's energy: what a clock late by one interval
    changes."""
    padded = np.concatenate([values[:, :1], values, values[:, -1:]], axis=1)
    return np.asarray((padded[:, 2:] - padded[:, :-2]) / 2)


def spread(values: Floats) -> Floats:
    """(n, T) each reading above zero shared evenly among its interval and those at zero before it."""
    out = np.zeros(values.shape)
    for i, x in enumerate(values):
        ticks = np.flatnonzero(x > 0)
        if ticks.size:
            length = np.diff(ticks, prepend=-1)
            out[i, : ticks[-1] + 1] = np.repeat(x[ticks] / length, length)
    return out
