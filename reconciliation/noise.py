"""What a balance looks like when every meter is honest: r = Z·η + e, with the variances of η and e estimated from the area itself.

r_k(t) = supplied_k − Σ_i w_ik p_i − L_k [Wh] for each stream k (phase, or total). Random effects η ~ N(0, τ²_group):

========== ===================================== =================================== ==========================================
group      column                                prior τ                             physical reason
========== ===================================== =================================== ==========================================
gain       w_ik p_i                              0.005                               class 1 meters, calibrated: ± 0.5 % (1 SD)
skew       w_ik (p_i(t+1) − p_i(t−1))/2          0.04 of an interval                 clocks kept within ± 60 s of 15 min
area_gain  delivered_k = Σ w_ik p_i + L_k        0.003                               class 0.5 S meter with class 0.5 S CTs
area_skew  (delivered_k(t+1) − delivered_k(t−1))/2 0.02 of an interval                 one clock, kept within ± 30 s
loss       L_k                                   0.1 (voltage) or 0.8 (load model)   how well the technical loss is known
curve      w_ik (p_i(t+1) − 2 p_i(t) + p_i(t−1))/2  0.02 of an interval              a shifted clock also smooths or sharpens a ramp
drift      mean |supplied_k| on one day          0.002 and FILL_DRIFT                slow drift of instruments, loss, filled readings
========== ===================================== =================================== ==========================================

Priors start the estimate; τ of the groups with many columns is re-estimated (EM, Student-t weights so that one thief does not widen
everybody's tolerance, PRIOR_WEIGHT pseudo-observations). e: rounding of registers (differences of a counter, so MA(1) with −½;
variance step²/6 each; phase energies are rounded values: step²/12, white), filled readings, and an excess estimated robustly.
The rows are whitened by the AR filter of that covariance and weighted by 1/var and Student-t (ν = 4) weights. With A = ZᵀR⁻¹Z + D⁻¹
(Woodbury), for any test column x: xᵀV⁻¹r = xᵀR⁻¹(r − Zη̂), xᵀV⁻¹x = xᵀR⁻¹x − xᵀR⁻¹Z A⁻¹ ZᵀR⁻¹x.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, signal

from reconciliation.prepare import Prepared, central_difference
from reconciliation.window import Bools, Floats, Ints

GAIN_SD, SKEW_SD, AREA_GAIN_SD, AREA_SKEW_SD, CURVE_SD, DRIFT_SD = 0.005, 0.04, 0.003, 0.02, 0.02, 0.002
NU = 4.0
"""Student-t degrees of freedom of the rows."""
LOSS_ERROR, LOSS_ERROR_MODEL = 0.02, 0.25
"""Error of an interval's technical loss, relative: from voltage at 15 min (grows with the interval: load and drop vary within it); from
a load model, which does not know where on the feeder the load is."""
FILL_DRIFT = 0.1
"""Daily drift as share of the SD of filled readings: a filled value's error lasts for hours, not for one interval."""
QUANTILE, QUANTILE_SD = 0.85, 1.44
"""Robust scale: the quantile of |u| where a Gaussian and a uniform error of equal variance agree (1.44 SD); rounding is uniform."""
MAX_WIDENING = 4.0
"""A group's SD is never more than this many times its prior: four classes worse than specified is a fault, not noise."""
PRIOR_WEIGHT = 10.0
"""Pseudo-observations behind a group's prior variance."""
ORDER = 10
"""Order of the whitening filter; a rounded register's MA(1) is nearly non-invertible and needs about ten lags."""


MAX_DRIFTS = 31
"""Drift is told by day, or by coarser blocks in windows longer than a month."""
FAULT = 7
"""Group number of the effects that stand for faults."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Faults:
    """Hypothesised faults as effects with their own Gaussian priors: e coefficients."""

    columns: Floats
    """(e, K, T) hidden energy per unit coefficient [Wh]."""
    mean: Floats
    """(e,) prior mean."""
    sd: Floats
    """(e,) prior SD."""


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
    """(m,) 0 gain, 1 skew, 2 area gain, 3 area skew, 4 loss, 5 curve, 6 drift, 7 a fault's coefficient."""
    residual: Floats
    """(K, T) r − Z η̂ [Wh]."""
    innovation: Floats
    """(K, T) whitened, weighted r − Z η̂ [1]."""
    tau: Floats
    """(7,) SD of each group."""
    ratio: Floats
    """(K,) robust innovation SD over the SD that rounding and filled readings alone explain."""
    sigma: Floats
    """(K,) robust innovation SD [Wh]."""
    log_likelihood: float
    """Student-t log-likelihood of the innovations at η̂, with the effects' penalty [nat]; compares fits on the same rows."""

    def whiten(self, stream: int, x: Floats) -> Floats:
        """(n, T) columns of one stream [Wh] → whitened and weighted."""
        return np.asarray(signal.lfilter(self.filters[stream], [1.0], x, axis=-1) * self.root_weight[stream])

    def solve(self, cross: Floats) -> Floats:
        """A⁻¹ · cross for (m, n)."""
        return np.asarray(linalg.cho_solve(self.factor, cross))


def fit_noise(area: Prepared, share: Floats, loss: Floats, loss_sd: float, rows: Bools | None = None,
              faults: Faults | None = None, rounds: int = 2) -> NoiseFit:
    """Fit the honest-meters model, with given faults as further effects.

    ``share`` (N, K); ``loss`` (K, T) [Wh]; ``rows`` (K, T) to use.
    """
    k_streams, t = area.supplied.shape
    balance = area.supplied - share.T @ area.net - loss
    usable = np.repeat(area.supplied_ok[None], k_streams, axis=0)
    if rows is not None:
        usable &= rows
    columns, design, group = _design(area, share, loss)
    if faults is not None and faults.columns.size:
        balance = balance - np.tensordot(faults.mean, faults.columns, axes=1)
        first = group.size
        group = np.concatenate([group, np.full(faults.sd.size, FAULT)])
        for k in range(k_streams):
            here = np.flatnonzero(np.abs(faults.columns[:, k]).max(axis=1) > 0)
            columns[k] = np.concatenate([columns[k], first + here])
            design[k] = np.concatenate([design[k], faults.columns[here, k]])
    tau = np.array([GAIN_SD, SKEW_SD, AREA_GAIN_SD, AREA_SKEW_SD, loss_sd, CURVE_SD, DRIFT_SD])
    prior_tau = tau.copy()
    m = group.size
    white_floor, ma_floor = _floors(area, share)
    own = LOSS_ERROR * np.sqrt(area.window.interval_s / 900.0) if loss_sd <= 0.2 else LOSS_ERROR_MODEL
    fill = np.square(share).T @ area.fill_var + np.square(own * loss)
    order = ORDER if _kept(usable[0], ORDER) > 0.7 * usable[0].mean() else 1
    excess = np.zeros(k_streams)
    weights_t = np.ones((k_streams, t))
    effects = np.zeros(m)
    for turn in range(rounds + 1):
        filters = np.stack([ar_filter(white_floor[k] + excess[k], ma_floor[k], order) for k in range(k_streams)])
        valid = np.stack([_valid(usable[k], order) for k in range(k_streams)])
        base = np.array([_innovation_var(filters[k], white_floor[k], ma_floor[k]) for k in range(k_streams)])
        gain2 = np.square(filters)
        row_fill = np.stack([signal.lfilter(gain2[k], [1.0], fill[k]) for k in range(k_streams)])
        var = base[:, None] + excess[:, None] * gain2.sum(axis=1)[:, None] + row_fill
        root = np.where(valid, np.sqrt(weights_t / var), 0.0)
        zw, a, b = [], np.zeros((m, m)), np.zeros(m)
        for k in range(k_streams):
            w = signal.lfilter(filters[k], [1.0], design[k], axis=-1) * root[k]
            yw = signal.lfilter(filters[k], [1.0], balance[k]) * root[k]
            c = columns[k]
            a[np.ix_(c, c)] += w @ w.T
            b[c] += w @ yw
            zw.append(np.asarray(w))
        for _ in range(2 if turn < rounds else 1):
            sd = tau[np.minimum(group, FAULT - 1)]
            if faults is not None:
                sd[group == FAULT] = faults.sd
            precision = a + np.diag(1.0 / np.square(sd))
            factor = linalg.cho_factor(precision, lower=True)
            effects = linalg.cho_solve(factor, b)
            if turn < rounds:
                spread = np.square(linalg.solve_triangular(factor[0], np.eye(m), lower=True)).sum(axis=0)
                tau = _update_tau(tau, prior_tau, effects, spread, group)
        residual = balance.copy()
        for k in range(k_streams):
            residual[k] -= effects[columns[k]] @ design[k]
        inno = np.stack([signal.lfilter(filters[k], [1.0], residual[k]) for k in range(k_streams)])
        ratio, sigma = np.ones(k_streams), np.ones(k_streams)
        likelihood = -0.5 * float(np.sum(np.square(effects / sd)))
        for k in range(k_streams):
            use = valid[k]
            if use.sum() < 20:
                continue
            u2 = np.square(inno[k, use])
            floor = base[k] + row_fill[k, use]
            ratio[k] = float(np.sqrt(np.quantile(u2 / floor, QUANTILE))) / QUANTILE_SD
            sigma[k] = float(np.sqrt(np.quantile(u2, QUANTILE))) / QUANTILE_SD
            total = base[k] + excess[k] * float(gain2[k].sum()) + row_fill[k, use]
            likelihood += float(np.sum(-0.5 * np.log(total) - 0.5 * (NU + 1) * np.log1p(u2 / total / NU)))
            if turn < rounds:
                surplus = max(ratio[k] ** 2 - 1.0, 0.0) * float(np.median(floor))
                excess[k] = surplus / float(gain2[k].sum())
                total = floor + surplus
                weights_t[k, use] = (NU + 1) / (NU + u2 / total)
    return NoiseFit(
        filters=filters, root_weight=root, columns=tuple(columns), design=tuple(zw), factor=factor, effects=effects, group=group,
        residual=residual, innovation=inno * root, tau=tau, ratio=ratio, sigma=sigma, log_likelihood=likelihood,
    )


def _design(area: Prepared, share: Floats, loss: Floats) -> tuple[list[Ints], list[Floats], Ints]:
    n, k_streams = share.shape
    delivered = share.T @ area.net + loss  # not the supplied energy: its rounding is part of the balance
    slope, area_slope = central_difference(area.net), central_difference(delivered)
    curve = np.zeros_like(area.net)
    curve[:, 1:-1] = (area.net[:, 2:] - 2 * area.net[:, 1:-1] + area.net[:, :-2]) / 2
    blocks = min(area.n_days, MAX_DRIFTS)
    block = area.day * blocks // max(area.n_days, 1)
    drift = (block[None, :] == np.arange(blocks)[:, None]).astype(np.float64)
    sizes = [n, n, k_streams, 1, 1, n, blocks * k_streams]
    group = np.repeat(np.arange(7), sizes)
    first = np.concatenate([[0], np.cumsum(sizes)])
    columns, design = [], []
    for k in range(k_streams):
        on = np.flatnonzero(share[:, k] > 0)
        s = share[on, k][:, None]
        filled = float(np.sqrt((np.square(share[:, k]) @ area.fill_var).mean()))
        level = float(np.hypot(np.abs(area.supplied[k]).mean(), FILL_DRIFT * filled / DRIFT_SD))
        columns.append(np.concatenate([
            on, first[1] + on, [first[2] + k, first[3], first[4]], first[5] + on, first[6] + k * blocks + np.arange(blocks),
        ]).astype(np.int64))
        design.append(np.concatenate([
            s * area.net[on], s * slope[on], delivered[k][None], area_slope[k][None], loss[k][None], s * curve[on], level * drift,
        ]))
    return columns, design, group


def _floors(area: Prepared, share: Floats) -> tuple[Floats, Floats]:
    """(K,) white and (K,) telescoping rounding variance [Wh²]; the latter as variance of the register, step²/12."""
    meters = (np.square(share) * np.square(area.step)[:, None]).sum(axis=0) / 12.0
    own = area.area_step**2 / 12.0
    if area.n_streams == 3:
        return np.full(3, own), meters
    return np.full(1, 1e-3 * own + 1e-6), meters + own


def ar_filter(white: float, ma: float, order: int) -> Floats:
    """(order+1,) prediction-error filter of white noise (variance ``white``) plus a differenced rounding error (variance 2·``ma``)."""
    gamma = np.zeros(order + 1)
    gamma[0] = white + 2 * ma
    if order:
        gamma[1] = -ma
    if gamma[0] <= 0:
        gamma[0] = 1.0
    gamma[0] *= 1 + 1e-9
    phi = linalg.solve_toeplitz(gamma[:-1], gamma[1:]) if order else np.zeros(0)
    return np.concatenate([[1.0], -phi])


def _innovation_var(filt: Floats, white: float, ma: float) -> float:
    return float(white * np.square(filt).sum() + ma * np.square(np.convolve(filt, [1.0, -1.0])).sum())


def _valid(usable: Bools, order: int) -> Bools:
    """(T,) rows whose whole filter span was measured."""
    bad = np.convolve((~usable).astype(float), np.ones(order + 1))[: usable.size] > 0
    bad[:order] = True
    return ~bad


def _kept(usable: Bools, order: int) -> float:
    return float(_valid(usable, order).mean()) if usable.size else 0.0


def _update_tau(tau: Floats, prior: Floats, effects: Floats, spread: Floats, group: Ints) -> Floats:
    out = tau.copy()
    for g in (0, 1, 5):
        e2, c = np.square(effects[group == g]), spread[group == g]
        w = (NU + 1) / (NU + e2 / tau[g] ** 2)
        # an effect the data cannot see (posterior = prior) says nothing about the variance
        seen = np.clip(1 - c / tau[g] ** 2, 0, 1)
        total = PRIOR_WEIGHT * prior[g] ** 2 + float(np.sum(seen * (np.minimum(w, 1.0) * e2 + np.minimum(c, tau[g] ** 2))))
        out[g] = min(float(np.sqrt(total / (PRIOR_WEIGHT + float(seen.sum())))), MAX_WIDENING * float(prior[g]))
    return out
