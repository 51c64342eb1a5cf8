"""How the area meter's phase energies were rounded, told from the energies themselves.

Two forms are common. Each value is rounded for itself: errors of step²/12, independent of each other, whose sum
wanders. Or the values are differences of a register that shows whole steps: the error of one interval is taken back
in the next, variance step²/6 and lag-1 covariance −step²/12 (MA(1)), and their sum stays within a step. The true
energies cancel in e = Σ_k phase_k − total, where only rounding is left: its lag-1 correlation is −1/2 for registers,
and −t²/(3p² + 2t²) for rounded values of step p beside a total register of step t.
"""

from dataclasses import dataclass

import numpy as np

from reconciliation.window import AreaWindow, Bools, Floats

APART = 0.1
"""Difference of the two forms' correlations below which they are not told apart: four SD of 2,000 rows' correlation."""
ROWS = 96
"""Pairs of neighbouring intervals from which they are."""
ALIVE = 0.5
"""Of the busiest day's energy: a day with less may have lost the phase."""
RESOLVED = 1.5
"""Register steps below which a value is next to nothing."""
MOSTLY = 0.25
"""Share of such values from which a phase's rounding follows its households."""


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """Rounding of one phase's energies [Wh²]."""

    value: float
    """Variance of each value's own error."""
    register: float
    """Variance of a register's error; the values have twice this, with lag-1 covariance −this."""


def rounding(window: AreaWindow, total_wh: Floats, step_wh: float, area_step_wh: float) -> Rounding:
    """Of the phases' energies of ``step_wh`` beside a (T,) total whose register shows ``area_step_wh``; both forms
    where they cannot be told apart. A longer interval than a quarter of an hour sums several rounded values."""
    hours = max(window.interval_s / 900.0, 1.0)
    variance = step_wh**2 / 12.0
    registers = _are_registers(window.area_phase_wh, total_wh, step_wh * np.sqrt(hours), area_step_wh)
    least = 1e-3 * variance + 1e-6
    return Rounding(
        value=least if registers is True else variance * hours, register=0.0 if registers is False else variance
    )


def _are_registers(phases: Floats | None, total_wh: Floats, step_wh: float, area_step_wh: float) -> bool | None:
    """Whether (3, T) phases are differences of registers; None where it cannot be told. ``step_wh`` as if each were one
    rounded value."""
    if phases is None:
        return None
    error = phases.sum(axis=0) - total_wh
    error = error - np.nanmean(error) if np.isfinite(error).any() else error
    both = np.isfinite(error[1:]) & np.isfinite(error[:-1])
    power = float(np.sum(np.square(error[np.isfinite(error)])))
    if int(both.sum()) < ROWS or power <= 0:
        return None
    correlation = float(np.sum(error[1:][both] * error[:-1][both])) / power * (np.isfinite(error).sum() / both.sum())
    of_values = -(area_step_wh**2) / max(3.0 * step_wh**2 + 2.0 * area_step_wh**2, 1e-12)
    if of_values - -0.5 < APART:
        return None
    return bool(correlation < (of_values - 0.5) / 2.0)


def coarse_phases(window: AreaWindow, step_wh: float) -> bool:
    """Whether a phase often carries too little to move its own last digit.

    Only a value that varies over more than a step has a rounding error that is noise (Widrow's quantising theorem); of
    a smaller one it follows the value itself, and with it the reading of whoever is on that phase: at night most are
    rounded to nothing. Only days on which a phase carries at least half of what it does on its busiest count: one that
    never moves is another matter, it may be dead.
    """
    return any(bool(x.any() and (x < RESOLVED * step_wh).mean() > MOSTLY) for x in _alive(window) if step_wh > 0)


def silent_phases(window: AreaWindow, step_wh: float) -> bool:
    """Whether a phase carries less than a step on every day: then nothing is told of it, but where it is dead."""
    return any(bool(x.any() and x.mean() < step_wh) for x in _alive(window, busiest=1.0))


def _alive(window: AreaWindow, busiest: float = ALIVE) -> list[Floats]:
    """The energies of each phase [Wh], without their sign, on days with at least so much of its ``busiest`` day's."""
    phases = window.area_phase_wh
    if phases is None:
        return []
    day = window.day_index()
    known: Bools = np.asarray(np.isfinite(phases).all(axis=0))
    read = np.maximum(np.bincount(day, weights=known), 1.0)
    out = []
    for size in np.abs(phases):
        mean = np.bincount(day, weights=np.where(known, size, 0.0)) / read
        out.append(size[known & (mean >= busiest * mean.max(initial=0.0))[day]])
    return out
