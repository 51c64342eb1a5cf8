"""The variance of a balance's errors that needs no explanation, and of their innovations.

Rounding of registers (differences of a counter, so MA(1) with −½; phase energies are rounded values: step²/12, white),
filled readings, the technical loss's error, and the changing unbalance of three-phase loads. Unbalance moves energy
between phases and adds none: it is the only error with a negative covariance between them, −s²/2 where each phase's
variance is s² = ρ²·Σ_three p_i², and that covariance is what ρ² is estimated from.
"""

from dataclasses import dataclass

import numpy as np

from reconciliation.colour import ar_filter
from reconciliation.design import FROM_VOLTAGE
from reconciliation.prepare import Prepared
from reconciliation.streams import filtered
from reconciliation.window import Bools, Floats

LOSS_ERROR, LOSS_ERROR_MODEL = 0.02, 0.25
"""Error of an interval's technical loss, relative: from voltage at 15 min (grows with the interval: load and drop vary
within it); from a load model, which does not know where on the feeder the load is."""
SMEARED = (0.0, 0.3, 1.0, 4.0, 16.0, 64.0, 256.0)
"""Variance that a filter is made for besides the median row's, in units of the registers' rounding, as far as rows have
so much: what is best for rows of which some are filled lies between."""
UNBALANCE = 2.0 / 9.0
"""Largest ρ²: everything on one phase, each as probable as the others."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Floor:
    """Variance of e that needs no explanation. K streams, T intervals."""

    white: Floats
    """(K,) rounded values [Wh²]."""
    register: Floats
    """(K,) rounded registers; their differences have twice this, with lag-1 covariance −this [Wh²]."""
    rows: Floats
    """(K, T) filled readings and the technical loss's error [Wh²]."""
    three_phase: Floats
    """(T,) Σ p² of the three-phase meters [Wh²]; 0 where there are no phase energies."""


def floor_of(area: Prepared, share: Floats, loss: Floats, loss_sd: float) -> Floor:
    """The floor of one area; ``share`` (N, K), ``loss`` (K, T) [Wh], ``loss_sd`` the loss's relative SD."""
    hours = area.window.interval_s / 900.0
    error = LOSS_ERROR * np.sqrt(hours) if loss_sd <= FROM_VOLTAGE else LOSS_ERROR_MODEL
    rows = np.square(share).T @ area.fill_var + np.square(error * loss)
    meters = (np.square(share) * np.square(area.step)[:, None]).sum(axis=0) / 12.0
    if area.n_streams == 3:
        three, phases = np.square(area.net[area.window.three_phase]).sum(axis=0), area.phase_rounding
        return Floor(white=np.full(3, phases.value), register=meters + phases.register, rows=rows, three_phase=three)
    own = area.area_step**2 / 12.0
    white = np.full(1, 1e-3 * own + 1e-6)
    return Floor(white=white, register=meters + own, rows=rows, three_phase=np.zeros(area.n_intervals))


def floor_innovation(filters: Floats, floor: Floor, unbalance: float) -> Floats:
    """(K, T) variance of the innovations that the floor and the unbalance ρ² alone give [Wh²]."""
    rows = floor.rows + unbalance * floor.three_phase
    return np.stack([_of_innovations(*each) for each in zip(filters, floor.white, floor.register, rows, strict=True)])


def _of_innovations(taps: Floats, white: float, register: float, rows: Floats) -> Floats:
    """(T,) variance that white noise, a register's rounding and the (T,) rows' own errors leave after a filter."""
    square = np.square(taps)
    constant = white * square.sum() + register * np.square(np.convolve(taps, [1.0, -1.0])).sum()
    return np.asarray(constant + filtered(square, rows))


def white_share(floor: Floor, order: int, valid: Bools) -> tuple[Floats, Floats]:
    """(K,) white variance [Wh²] and (K, order+1) the filters made for it, with which the floor's innovations are
    smallest, Σ_t ln variance, over (K, T) ``valid`` rows.

    Filled readings and the technical loss's error differ from row to row, and do not cancel in the next as a register's
    rounding does; a filter takes all rows for alike. One made for the rounding alone carries each filled reading's
    error over the rows after it, one made for the worst rows leaves the rounding in all others.
    """
    none = np.zeros(order + 1)
    white, filters = np.zeros(floor.white.size), np.zeros((floor.white.size, order + 1))
    for k, (own, register, rows) in enumerate(zip(floor.white, floor.register, floor.rows, strict=True)):
        best = np.inf
        most = float(rows.max(initial=0.0))
        for smeared in SMEARED:
            if smeared > 1.0 and smeared * register > most:
                break
            value = own + float(np.median(rows)) + smeared * register
            taps = ar_filter(value, register, order, none)
            size = float(np.log(_of_innovations(taps, own, register, rows))[valid[k]].sum())
            if size < best:
                best, white[k], filters[k] = size, value, taps
    return white, filters


def unbalance_of(inno: Floats, filters: Floats, three_phase: Floats, valid: Bools) -> float:
    """ρ² of the three-phase loads' changing unbalance, from the covariance of (3, T) innovations between phases."""
    use = valid.all(axis=0)
    expected = filtered(np.square(filters).mean(axis=0), three_phase)[use]
    covariance = inno[0] * inno[1] + inno[1] * inno[2] + inno[2] * inno[0]
    return float(np.clip(-2.0 / 3.0 * covariance[use].sum() / max(float(expected.sum()), 1e-9), 0.0, UNBALANCE))
