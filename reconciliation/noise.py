"""What a balance looks like when every meter is honest: r = Z·η + e, with the variances estimated from the area itself.

Z and the priors of η are design.py's. τ of the groups with many columns is re-estimated (EM, with Student-t weights so
that one thief does not widen everybody's tolerance, and PRIOR_WEIGHT pseudo-observations). e: rounding of registers
(differences of a counter, so MA(1) with −½; phase energies are rounded values: step²/12, white), filled readings, the
technical loss's error, the changing unbalance of three-phase loads, and an excess estimated robustly. Unbalance moves
energy between phases and adds none: it is the only error with a negative covariance between them, −s²/2 where each
phase's variance is s² = ρ²·Σ_three p_i², and that covariance is what ρ² is estimated from. The rows are whitened by the
AR filter of e's covariance and weighted by 1/var and Student-t (ν = 4) weights. With A = ZᵀR⁻¹Z + D⁻¹ (Woodbury), for
any test column x:
xᵀV⁻¹r = xᵀR⁻¹(r − Zη̂) and xᵀV⁻¹x = xᵀR⁻¹x − xᵀR⁻¹Z A⁻¹ ZᵀR⁻¹x.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, signal

from reconciliation.design import CURVE, FROM_VOLTAGE, GAIN, SKEW, Design, Faults, build_design
from reconciliation.prepare import Prepared
from reconciliation.window import Bools, Floats, Ints

NU = 4.0
"""Student-t degrees of freedom of the rows."""
LOSS_ERROR, LOSS_ERROR_MODEL = 0.02, 0.25
"""Error of an interval's technical loss, relative: from voltage at 15 min (grows with the interval: load and drop vary
within it); from a load model, which does not know where on the feeder the load is."""
QUANTILE, QUANTILE_SD = 0.85, 1.44
"""Robust scale: the quantile of |u| where a Gaussian and a uniform error of equal variance agree (1.44 SD); rounding
is uniform."""
MAX_WIDENING = 4.0
"""A group's SD is never more than this many times its prior: four classes worse than specified is a fault, not
noise."""
PRIOR_WEIGHT = 10.0
"""Pseudo-observations behind a group's prior variance."""
ORDER = 10
"""Order of the whitening filter; a rounded register's MA(1) is nearly non-invertible and needs about ten lags."""
UNBALANCE = 2.0 / 9.0
"""Largest ρ²: everything on one phase, each as probable as the others."""
ROUNDS = 2
"""Rounds of re-estimating variances and weights."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseFit:
    """The fitted noise of one area. K streams, T intervals, m random effects."""

    filters: Floats
    """(K, p+1) whitening filter per stream."""
    root_weight: Floats
    """(K, T) square root of each row's weight [1/Wh]; 0 where the row is not usable."""
    columns: tuple[Ints, ...]
    """Per stream: index of its random effects."""
    design: tuple[Floats, ...]
    """Per stream: (m_k, T) whitened, weighted columns."""
    factor: tuple[Floats, bool]
    """Cholesky factor of A (m, m)."""
    effects: Floats
    """(m,) η̂."""
    group: Ints
    """(m,) 0 gain, 1 skew, 2 area gain, 3 area skew, 4 loss, 5 curve, 6 drift, 7 own use, 8 split, 9 a fault's
    coefficient."""
    residual: Floats
    """(K, T) r − Z η̂ [Wh]."""
    innovation: Floats
    """(K, T) whitened, weighted r − Z η̂ [1]."""
    tau: Floats
    """(9,) SD of each group."""
    ratio: Floats
    """(K,) robust innovation SD over the SD that rounding and filled readings alone explain."""
    sigma: Floats
    """(K,) robust innovation SD [Wh]."""
    modelled: Floats
    """(K,) share of the floor's variance that is estimated unbalance, 0..1."""
    log_likelihood: float
    """Student-t log-likelihood of the innovations at η̂, with the effects' penalty [nat]; compares fits on the same
    rows."""

    def whiten(self, stream: int, x: Floats) -> Floats:
        """(n, T) columns of one stream [Wh] → whitened and weighted."""
        return np.asarray(signal.lfilter(self.filters[stream], [1.0], x, axis=-1) * self.root_weight[stream])

    def solve(self, cross: Floats) -> Floats:
        """A⁻¹ · cross for (m, n)."""
        return np.asarray(linalg.cho_solve(self.factor, cross))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Floor:
    """Variance of e that needs no explanation. K streams, T intervals."""

    white: Floats
    """(K,) rounded values [Wh²]."""
    register: Floats
    """(K,) rounded registers; their differences have twice this, with lag-1 covariance −this [Wh²]."""
    rows: Floats
    """(K, T) filled readings and the technical loss's error [Wh²]."""
    three_phase: Floats
    """(T,) Σ p² of the three-phase meters [Wh²]; 0 where there are no phase energies."""


def fit_noise(
    area: Prepared, *, share: Floats, loss: Floats, loss_sd: float, rows: Bools, faults: Faults | None = None
) -> NoiseFit:
    """Fit the honest-meters model, with given faults as further effects.

    ``share`` (N, K); ``loss`` (K, T) [Wh]; ``loss_sd`` its relative SD; ``rows`` (K, T) to use.
    """
    design = build_design(area, share, loss, loss_sd, faults)
    k_streams, t = area.supplied.shape
    usable = area.supplied_ok & rows
    floor = _floor(area, share, loss, loss_sd)
    order = ORDER if _valid(usable[0], ORDER).mean() > 0.7 * usable[0].mean() else 1
    valid = np.stack([_valid(u, order) for u in usable])
    tau, excess, weights = design.tau.copy(), np.zeros(k_streams), np.ones((k_streams, t))
    # what most rows have in them of filled readings is no rounding: its errors do not cancel in the next row
    white = floor.white + np.median(floor.rows, axis=1)
    unbalance, level = 0.0, float(floor.three_phase.mean())
    for turn in range(ROUNDS + 1):
        last = turn == ROUNDS
        filters = np.stack(
            [
                ar_filter(w + x + unbalance * level, g, order)
                for w, x, g in zip(white, excess, floor.register, strict=True)
            ]
        )
        power = np.square(filters).sum(axis=1)
        base = _floor_innovation(filters, floor, unbalance)
        root = np.where(valid, np.sqrt(weights / (base + (excess * power)[:, None])), 0.0)
        whitened, gram, cross = _normal_equations(design, filters, root)
        for _ in range(1 if last else 2):
            sd = design.sd(tau)
            factor = linalg.cho_factor(gram + np.diag(1.0 / np.square(sd)), lower=True)
            effects = linalg.cho_solve(factor, cross)
            if not last:
                inverse = linalg.solve_triangular(factor[0], np.eye(sd.size), lower=True)
                tau = _update_tau(tau, design.tau, effects, np.square(inverse).sum(axis=0), design.group)
        residual = design.balance.copy()
        for k in range(k_streams):
            residual[k] -= effects[design.columns[k]] @ design.matrices[k]
        inno = np.stack([signal.lfilter(filters[k], [1.0], residual[k]) for k in range(k_streams)])
        ratio, sigma = _scales(inno, base, valid)
        if not last:
            middle = np.array([np.median(b[v]) if v.any() else 0.0 for b, v in zip(base, valid, strict=True)])
            surplus = np.maximum(np.square(ratio) - 1.0, 0.0) * middle
            excess = surplus / power
            weights = (NU + 1) / (NU + np.square(inno) / (base + surplus[:, None]))
            if level > 0:
                unbalance = _unbalance(inno * np.sqrt(weights), filters, floor.three_phase, valid)
    modelled = 1.0 - _floor_innovation(filters, floor, 0.0).sum(axis=1) / base.sum(axis=1)
    total = base + (excess * power)[:, None]
    density = -0.5 * np.log(total) - 0.5 * (NU + 1) * np.log1p(np.square(inno) / total / NU)
    return NoiseFit(
        filters=filters,
        root_weight=root,
        columns=design.columns,
        design=whitened,
        factor=factor,
        effects=effects,
        group=design.group,
        residual=residual,
        innovation=inno * root,
        tau=tau,
        ratio=ratio,
        sigma=sigma,
        modelled=modelled,
        log_likelihood=float(np.sum(density[valid])) - 0.5 * float(np.sum(np.square(effects / sd))),
    )


def _normal_equations(design: Design, filters: Floats, root: Floats) -> tuple[tuple[Floats, ...], Floats, Floats]:
    """Whitened columns per stream, ZᵀR⁻¹Z (m, m) and ZᵀR⁻¹r (m,)."""
    m = design.group.size
    gram, cross, whitened = np.zeros((m, m)), np.zeros(m), []
    for k, c in enumerate(design.columns):
        w = np.asarray(signal.lfilter(filters[k], [1.0], design.matrices[k], axis=-1) * root[k])
        gram[np.ix_(c, c)] += w @ w.T
        cross[c] += w @ (signal.lfilter(filters[k], [1.0], design.balance[k]) * root[k])
        whitened.append(w)
    return tuple(whitened), gram, cross


def _scales(inno: Floats, base: Floats, valid: Bools) -> tuple[Floats, Floats]:
    """(K,) robust innovation SD over the floor's, and (K,) robust innovation SD [Wh]; 1 where rows are too few."""
    ratio, sigma = np.ones(inno.shape[0]), np.ones(inno.shape[0])
    for k, use in enumerate(valid):
        if use.sum() >= 20:
            u2 = np.square(inno[k, use])
            ratio[k] = float(np.sqrt(np.quantile(u2 / base[k, use], QUANTILE))) / QUANTILE_SD
            sigma[k] = float(np.sqrt(np.quantile(u2, QUANTILE))) / QUANTILE_SD
    return ratio, sigma


def _floor(area: Prepared, share: Floats, loss: Floats, loss_sd: float) -> _Floor:
    hours = area.window.interval_s / 900.0
    error = LOSS_ERROR * np.sqrt(hours) if loss_sd <= FROM_VOLTAGE else LOSS_ERROR_MODEL
    rows = np.square(share).T @ area.fill_var + np.square(error * loss)
    meters = (np.square(share) * np.square(area.step)[:, None]).sum(axis=0) / 12.0
    own = area.area_step**2 / 12.0
    if area.n_streams == 3:  # phase energies are rounded values of 15 min at most: a longer interval sums several
        three = np.square(area.net[area.window.three_phase]).sum(axis=0)
        return _Floor(white=np.full(3, own * max(hours, 1.0)), register=meters, rows=rows, three_phase=three)
    white = np.full(1, 1e-3 * own + 1e-6)
    return _Floor(white=white, register=meters + own, rows=rows, three_phase=np.zeros(area.n_intervals))


def _unbalance(inno: Floats, filters: Floats, three_phase: Floats, valid: Bools) -> float:
    """ρ² of the three-phase loads' changing unbalance, from the covariance of (3, T) innovations between phases."""
    use = valid.all(axis=0)
    expected = signal.lfilter(np.square(filters).mean(axis=0), [1.0], three_phase)[use]
    covariance = inno[0] * inno[1] + inno[1] * inno[2] + inno[2] * inno[0]
    return float(np.clip(-2.0 / 3.0 * covariance[use].sum() / max(float(expected.sum()), 1e-9), 0.0, UNBALANCE))


def _floor_innovation(filters: Floats, floor: _Floor, unbalance: float) -> Floats:
    """(K, T) variance of the innovations that the floor and the unbalance ρ² alone give [Wh²]."""
    out = np.zeros_like(floor.rows)
    for k, f in enumerate(filters):
        register = floor.register[k] * np.square(np.convolve(f, [1.0, -1.0])).sum()
        rows = signal.lfilter(np.square(f), [1.0], floor.rows[k] + unbalance * floor.three_phase)
        out[k] = floor.white[k] * np.square(f).sum() + register + rows
    return out


def ar_filter(white: float, ma: float, order: int) -> Floats:
    """(order+1,) prediction-error filter of white noise (variance ``white``) plus a differenced rounding error
    (variance 2·``ma``)."""
    gamma = np.zeros(order + 1)
    gamma[0] = white + 2 * ma
    if order:
        gamma[1] = -ma
    if gamma[0] <= 0:
        gamma[0] = 1.0
    gamma[0] *= 1 + 1e-9
    phi = linalg.solve_toeplitz(gamma[:-1], gamma[1:]) if order else np.zeros(0)
    return np.concatenate([[1.0], -phi])


def _valid(usable: Bools, order: int) -> Bools:
    """(T,) rows whose whole filter span was measured."""
    bad = np.convolve((~usable).astype(float), np.ones(order + 1))[: usable.size] > 0
    bad[:order] = True
    return ~bad


def _update_tau(tau: Floats, prior: Floats, effects: Floats, spread: Floats, group: Ints) -> Floats:
    out = tau.copy()
    for g in (GAIN, SKEW, CURVE):
        e2, c = np.square(effects[group == g]), spread[group == g]
        w = (NU + 1) / (NU + e2 / tau[g] ** 2)
        # an effect the data cannot see (posterior = prior) says nothing about the variance
        seen = np.clip(1 - c / tau[g] ** 2, 0, 1)
        total = PRIOR_WEIGHT * prior[g] ** 2 + float(
            np.sum(seen * (np.minimum(w, 1.0) * e2 + np.minimum(c, tau[g] ** 2)))
        )
        out[g] = min(float(np.sqrt(total / (PRIOR_WEIGHT + float(seen.sum())))), MAX_WIDENING * float(prior[g]))
    return out
