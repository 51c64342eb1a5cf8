"""Does a meter's voltage belong to an area's network? Held-out likelihood of it, given that area's busbar and meters.

V_m on [1, busbar voltages, phase energies, voltages of the area's meters without its own; its own energy], by a ridge
whose scale is the area's own best (of the scales, the one that predicts its own listed meters best): a fixed scale
favours whichever area has more meters. Two interleaved halves of the days predict each other. What is left is
whitened by its own AR filter, so that drifts which no area explains count once; the log-density is Student-t (ν = 4).
Two areas are compared on the same intervals, and the sum of the daily differences is shrunk by SHRINK standard errors
of itself: days differ more than the model says.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, signal

from reconciliation.model import AreaModel
from reconciliation.noise import NU
from reconciliation.window import Bools, Floats, Ints

RIDGES = (1e-3, 1e-2, 1e-1)
"""Ridge on standardised columns, as share of the number of samples."""
SHRINK = 3.0
"""Standard errors of a sum over days that its evidence is shrunk by."""
ORDER = 4
"""Order of the filter that whitens what is left: about an hour of 15 min intervals."""
JUDGES = 12
"""Meters of the area on which the ridge's scale is chosen."""
MIN_ROWS = 150
"""Intervals below which nothing is told."""
LISTED_SEEN = 0.3
"""Share of intervals a meter's voltage must be known in."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Half:
    """The ridge of one half of the days."""

    train: Ints
    test: Ints
    mean: Floats
    """(m, 1) of the columns."""
    inverse: Floats
    """(m, m) of ZZᵀ + ridge."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AreaVoltages:
    """What an area's network says about voltages. m columns, T intervals."""

    columns: Floats
    """(m, T) standardised."""
    own: Ints
    """(N,) column of each meter's own voltage; −1 = none."""
    halves: tuple[_Half, ...]
    day: Ints

    def unexplained(self, targets: Floats, leave_out: Ints) -> Floats:
        """(n, T) targets less what the other half's ridge predicts, NaN where unknown; ``leave_out`` (n,): a column
        not to be used for each, −1 = none."""
        out = np.full(targets.shape, np.nan)
        seen = np.isfinite(targets)
        for half in self.halves:
            z = self.columns[:, half.train] - half.mean
            y, use = targets[:, half.train], seen[:, half.train]
            count = np.maximum(use.sum(axis=1, keepdims=True), 1)
            level = np.sum(np.where(use, y, 0.0), axis=1, keepdims=True) / count
            # a hole weighs as if the rest were typical of it
            c = z @ np.where(use, y - level, 0.0).T * (use.shape[1] / count.T)
            w = half.inverse @ c
            without = np.flatnonzero(leave_out >= 0)
            col = leave_out[without]
            w[:, without] -= half.inverse[:, col] * (w[col, without] / half.inverse[col, col])[None]
            out[:, half.test] = targets[:, half.test] - level - w.T @ (self.columns[:, half.test] - half.mean)
        return out


def area_voltages(model: AreaModel) -> AreaVoltages | None:
    """The ridge of an area's network with the scale that predicts its own meters best; None without voltages."""
    window, area = model.area.window, model.area
    v = window.household_voltage_v
    if v is None:
        return None
    rows = np.flatnonzero(np.isfinite(v).mean(axis=1) > LISTED_SEEN)
    busbar = window.area_voltage_v
    parts = [bridged(v[rows])]
    if busbar is not None and np.isfinite(busbar).mean() > LISTED_SEEN:
        parts.append(bridged(busbar))
    elif rows.size < 3:
        return None
    parts.append(area.supplied)
    x = np.concatenate(parts)
    x = x - x.mean(axis=1, keepdims=True)
    scale = np.sqrt(np.mean(np.square(x), axis=1, keepdims=True))
    x = x / np.maximum(scale, 1e-9)
    own = np.full(v.shape[0], -1, dtype=np.int64)
    own[rows] = np.arange(rows.size)
    judges = (
        rows[np.unique(np.linspace(0, rows.size - 1, min(JUDGES, rows.size)).astype(np.int64))] if rows.size else rows
    )
    best: tuple[float, AreaVoltages] | None = None
    for ridge in RIDGES:
        halves = _halves(x, area.day, ridge)
        if halves is None:
            return None
        trial = AreaVoltages(columns=x, own=own, halves=halves, day=area.day)
        if not judges.size:
            return trial
        e = trial.unexplained(v[judges], own[judges])
        spread = float(np.sum(np.log(np.nanmedian(np.abs(e), axis=1) + 1e-9)))
        if best is None or spread < best[0]:
            best = (spread, trial)
    assert best is not None
    return best[1]


def _halves(x: Floats, day: Ints, ridge: float) -> tuple[_Half, ...] | None:
    parity = [np.flatnonzero(day % 2 == 0), np.flatnonzero(day % 2 == 1)]
    if min(p.size for p in parity) < MIN_ROWS // 2:
        return None
    out = []
    for train, test in (parity, parity[::-1]):
        mean = x[:, train].mean(axis=1, keepdims=True)
        z = x[:, train] - mean
        gram = z @ z.T
        gram[np.diag_indices_from(gram)] += ridge * train.size
        out.append(_Half(train=train, test=test, mean=mean, inverse=linalg.inv(gram)))
    return tuple(out)


def bridged(values: Floats) -> Floats:
    """(n, T) values with holes bridged by straight lines."""
    out = values.copy()
    where = np.arange(values.shape[1])
    for i in np.flatnonzero(np.isnan(values).any(axis=1)):
        good = np.flatnonzero(np.isfinite(values[i]))
        out[i] = np.interp(where, good, values[i, good]) if good.size else 0.0
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class Followed:
    """How meters' voltages follow a network. n meters, T intervals."""

    left: Floats
    """(n, T) what network and own energy leave of them [V]; NaN where unknown."""
    pull: Floats
    """(n,) slope on the own energy in standard errors: below zero where the reading is a load the voltage feels."""


def follows(network: AreaVoltages, voltage: Floats, net: Floats, leave_out: Ints) -> Followed:
    """Meters' voltages less what the network and their own energy explain.

    ``voltage`` and ``net`` (n, T) on the network's intervals. The own energy's coefficient is that of what the network
    leaves of both (Frisch–Waugh), each half's from the other.
    """
    e = network.unexplained(voltage, leave_out)
    p = network.unexplained(np.where(np.isfinite(voltage), net, np.nan), np.full(leave_out.size, -1, dtype=np.int64))
    left = e.copy()
    along, square = np.zeros(leave_out.size), np.zeros(leave_out.size)
    for half in network.halves:
        a, b = np.nan_to_num(e[:, half.train]), np.nan_to_num(p[:, half.train])
        ab, bb = np.sum(a * b, axis=1), np.sum(b * b, axis=1)
        left[:, half.test] -= (ab / np.maximum(bb, 1e-9))[:, None] * p[:, half.test]
        along, square = along + ab, square + bb
    noise = np.array([1.4826 * np.median(np.abs(x[np.isfinite(x)])) if np.isfinite(x).any() else np.inf for x in left])
    return Followed(left=left, pull=along / np.sqrt(np.maximum(square, 1e-9)) / np.maximum(noise, 1e-6))


def log_density(left: Floats) -> tuple[Floats, Bools]:
    """(T,) Student-t log-density of the AR innovations of what is left, and where it is known."""
    known = np.isfinite(left)
    x = np.where(known, left - np.nanmean(left), 0.0)
    spread = 1.4826 * float(np.median(np.abs(x[known]))) + 1e-6
    x = np.clip(x, -8 * spread, 8 * spread)
    f = whitening(x, known)
    valid = known & ~(np.convolve(~known, np.ones(f.size))[: known.size] > 0)
    valid[: f.size - 1] = False
    u = signal.lfilter(f, [1.0], x)
    var = (1.4826 * float(np.median(np.abs(u[valid]))) if valid.any() else spread) ** 2 + 1e-6
    return -0.5 * np.log(var) - 0.5 * (NU + 1) * np.log1p(np.square(u) / var / NU), valid


def whitening(x: Floats, known: Bools) -> Floats:
    """(p+1,) prediction-error filter from the autocovariances of the known values."""
    order = ORDER if known.mean() > 0.9 else 1
    lags = []
    for lag in range(order + 1):
        both = known[lag:] & known[: known.size - lag]
        lags.append(float(np.sum((x[lag:] * x[: x.size - lag])[both]) / max(int(both.sum()), 1)))
    gamma = np.array(lags)
    gamma[0] = gamma[0] * 1.001 + 1e-9
    return np.concatenate([[1.0], -linalg.solve_toeplitz(gamma[:-1], gamma[1:])])


def shrunk(daily: Floats) -> float:
    """A sum over days, brought towards zero by SHRINK standard errors of itself."""
    total, error = float(daily.sum()), float(np.std(daily)) * float(np.sqrt(daily.size))
    return float(np.sign(total)) * max(abs(total) - SHRINK * error, 0.0)


def support(listed: Floats, other: Floats, day: Ints) -> float:
    """Log evidence for the other network [nat] from what both leave (T,) of one meter's voltage; 0 where too little is
    known."""
    both = np.isfinite(listed) & np.isfinite(other)
    if both.sum() < MIN_ROWS:
        return 0.0
    (a, a_valid), (b, b_valid) = log_density(np.where(both, listed, np.nan)), log_density(np.where(both, other, np.nan))
    use = a_valid & b_valid
    if use.sum() < MIN_ROWS:
        return 0.0
    daily: Floats = np.bincount(day[use], weights=(b - a)[use]).astype(np.float64)
    return shrunk(daily[np.bincount(day[use]) > 0])
