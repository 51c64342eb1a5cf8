"""What a balance looks like when every meter is honest: r = Z·η + e, with the variances estimated from the area itself.

Z and the priors of η are design.py's. τ of the groups with many columns is re-estimated (EM, with Student-t weights so
that one thief does not widen everybody's tolerance, and PRIOR_WEIGHT pseudo-observations). e: what needs no explanation
(noise_floor.py), and an excess estimated robustly. The rows are whitened by the AR filter of e's covariance and
weighted by 1/var and Student-t (ν = 4) weights. With A = ZᵀR⁻¹Z + D⁻¹ (Woodbury), for any test column x:
xᵀV⁻¹r = xᵀR⁻¹(r − Zη̂) and xᵀV⁻¹x = xᵀR⁻¹x − xᵀR⁻¹Z A⁻¹ ZᵀR⁻¹x.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from reconciliation.colour import QUANTILE, QUANTILE_SD, ar_filter, excess_covariance, filtered_variance, ma_covariance
from reconciliation.design import CURVE, GAIN, SKEW, SPLIT, Design, Faults, build_design
from reconciliation.noise_floor import Floor, floor_innovation, floor_of, unbalance_of, white_share
from reconciliation.normal_equations import factor_of, inverse_diagonal, normal_equations, score, whitened_courses
from reconciliation.prepare import Prepared
from reconciliation.streams import Stream, filtered, filtered_back, filtered_singles
from reconciliation.window import Bools, Floats, Ints, Numbers, Singles

NU = 4.0
"""Student-t degrees of freedom of the rows."""
MAX_WIDENING = 4.0
"""A group's SD is never more than this many times its prior: four classes worse than specified is a fault, not
noise."""
PRIOR_WEIGHT = 10.0
"""Pseudo-observations behind a group's prior variance."""
ORDER = 10
"""Order of the whitening filter; a rounded register's MA(1) is nearly non-invertible and needs about ten lags."""
ROUNDS = 2
"""Rounds of re-estimating variances and weights."""
FEW = 4
"""From a quarter of all effects on, the whole diagonal of A⁻¹ is cheaper than some of it."""
SINGLE = 1e4
"""Information of an effect over that of its prior from which float32 is too coarse: products err by 1e-6 of themselves,
and what is left of a column once the effects have taken their part is that much smaller than the column."""
ENOUGH = 1.1
"""Ratio of the innovations' SD to the floor's up to which an honest fit needs one round only: the floor is known to 5 %
(1 SD), and there is no excess that the second round could tell from it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseFit:
    """The fitted noise of one area. K streams, T intervals, m random effects."""

    honest: "Honest"
    """What the fit started from, without any fault."""
    coloured: bool
    """Whether its excess keeps the autocovariance it shows."""
    filters: Floats
    """(K, p+1) whitening filter per stream."""
    root_weight: Floats
    """(K, T) square root of each row's weight [1/Wh]; 0 where the row is not usable."""
    streams: tuple[Stream, ...]
    """(K,) the random effects on each stream."""
    whitened: tuple[Singles, ...] | None
    """(K,) their courses, filtered and weighted, in float32; None where faults are among them, or that is too
    coarse."""
    factor: tuple[Floats, bool]
    """Cholesky factor of A (m, m)."""
    effects: Floats
    """(m,) η̂."""
    group: Ints
    """(m,) 0 gain, 1 skew, 2 area gain, 3 area skew, 4 loss, 5 curve, 6 drift, 7 own use, 8 split, 9
    rounding, 10 a fault's coefficient."""
    residual: Floats
    """(K, T) r − Z η̂ [Wh]."""
    innovation: Floats
    """(K, T) whitened, weighted r − Z η̂ [1]."""
    tau: Floats
    """(10,) SD of each group."""
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
        out = filtered(self.filters[stream], x)
        out *= self.root_weight[stream]
        return out

    def whiten_many(self, stream: int, x: Numbers, rows: Ints | None = None) -> Numbers:
        """The same for many columns, or for some ``rows`` of them, in float32 where that is enough."""
        if self.honest.fine:
            return self.whiten(stream, (x if rows is None else x[rows]).astype(np.float64))
        return filtered_singles(self.filters[stream], x, self.root_weight[stream], rows)

    def against_innovation(self, stream: int, x: Floats) -> Floats:
        """(n,) xᵀR⁻¹(r − Zη̂) of (n, T) columns of one stream [Wh], without whitening them."""
        return np.asarray(x @ filtered_back(self.filters[stream], self.innovation[stream] * self.root_weight[stream]))

    def courses(self, stream: int) -> Numbers:
        """(courses, T) of one stream, whitened and weighted, in float32 where that is enough; see ``cross``."""
        if self.whitened is not None:
            return self.whitened[stream]
        s, taps, root = self.streams[stream], self.filters[stream], self.root_weight[stream]
        return s.whitened(taps, root) if self.honest.fine else s.whitened_singles(taps, root)

    def cross(self, stream: int, x: Numbers, courses: Numbers | None = None) -> Floats:
        """(q, m) ZᵀR⁻¹x of (q, T) whitened columns of one stream; for many columns in several calls give the whitened
        ``courses``."""
        here = self.streams[stream]
        out = np.zeros((x.shape[0], self.effects.size))
        if courses is None and self.whitened is not None and x.dtype == np.float32:
            courses = self.whitened[stream]
        if courses is not None:
            products = here.spread(x @ courses.T)
        elif 3 * x.shape[0] > here.n_courses:
            whitened = here.whitened if x.dtype == np.float64 else here.whitened_singles
            products = here.spread(x @ whitened(self.filters[stream], self.root_weight[stream]).T)
        else:
            products = here.against(self.filters[stream], self.root_weight[stream], x)
        out[:, here.effects] = products
        return out

    def solve(self, cross: Floats) -> Floats:
        """A⁻¹ · cross for (m, n)."""
        return np.asarray(linalg.cho_solve(self.factor, cross, check_finite=False))

    def informed(self, effects: Ints) -> Floats:
        """(n,) xᵀV⁻¹x of some effects' own columns [1/unit²]: (1 − C/τ²)/τ², C the diagonal of A⁻¹."""
        var, m = np.square(self.tau[self.group[effects]]), self.effects.size
        if FEW * effects.size > m:
            return np.asarray((1.0 - inverse_diagonal(self.factor[0])[effects] / var) / var)
        unit = np.zeros((m, effects.size))
        unit[effects, np.arange(effects.size)] = 1.0
        return np.asarray((1.0 - np.square(self.half_solve(unit)).sum(axis=0) / var) / var)

    def half_solve(self, cross: Floats) -> Floats:
        """(m, n) G⁻¹ · cross, where A = G·Gᵀ: products of its columns are those of cross with A⁻¹ between."""
        return np.asarray(linalg.solve_triangular(self.factor[0], cross, lower=True, check_finite=False))


@dataclass(frozen=True, kw_only=True, eq=False)
class Honest:
    """Everything about an area's honest model that no hypothesised fault changes: fits with faults start here."""

    design: Design
    floor: Floor
    usable: Bools
    """(K, T) rows that were measured and are in use."""
    valid: Bools
    """(K, T) rows whose whole filter span was measured."""
    order: int
    """Of the whitening filters."""
    white: Floats
    """(K,) variance of e that is white in most rows [Wh²]."""
    filters: Floats
    """(K, p+1) whitening filters of the floor alone: the first round's."""
    base: Floats
    """(K, T) variance of the innovations that the floor alone gives [Wh²]."""
    root: Floats
    """(K, T) root weights of the first round [1/Wh]."""
    fine: bool
    """Whether so much is known of an effect that float32 is too coarse for products; see SINGLE."""
    gram: Floats
    """(m, m) ZᵀR⁻¹Z of the first round."""
    cross: Floats
    """(m,) ZᵀR⁻¹r of the first round."""


def fit_noise(area: Prepared, *, share: Floats, loss: Floats, loss_sd: float, rows: Bools) -> NoiseFit:
    """Fit the honest-meters model.

    ``share`` (N, K); ``loss`` (K, T) [Wh]; ``loss_sd`` its relative SD; ``rows`` (K, T) to use.
    """
    return fit_from(honest(area, share, loss, loss_sd, rows))


def honest(area: Prepared, share: Floats, loss: Floats, loss_sd: float, rows: Bools) -> Honest:
    """The honest model before its variances are estimated, with the first round's normal equations."""
    design = build_design(area, share, loss, loss_sd)
    usable = area.supplied_ok & rows
    floor = floor_of(area, share, loss, loss_sd)
    order = ORDER if _valid(usable[0], ORDER).mean() > 0.7 * usable[0].mean() else 1
    valid = np.stack([_valid(u, order) for u in usable])
    white, filters = white_share(floor, order, valid)
    base = floor_innovation(filters, floor, 0.0)
    root = np.where(valid, np.sqrt(1.0 / base), 0.0)
    gram, cross = normal_equations(design, filters, root, whitened_courses(design, filters, root))
    known = np.diagonal(gram) * np.square(design.sd(design.tau))
    fine = bool((known[design.group != SPLIT] > SINGLE).any())  # no other effect is like a split
    if fine:
        gram, cross = normal_equations(design, filters, root)
    return Honest(
        design=design,
        floor=floor,
        usable=usable,
        valid=valid,
        order=order,
        white=white,
        filters=filters,
        base=base,
        root=root,
        fine=fine,
        gram=gram,
        cross=cross,
    )


def fit_from(start: Honest, faults: Faults | None = None, *, coloured: bool = False) -> NoiseFit:
    """Estimate variances, weights and effects, with given faults as further effects.

    ``coloured``: whether the excess keeps the autocovariance it shows (colour.py) instead of being taken for white.
    """
    design = start.design if faults is None else start.design.with_faults(faults)
    floor, valid, order = start.floor, start.valid, start.order
    k_streams, t = design.balance.shape
    tau, excess = design.tau.copy(), np.zeros((k_streams, order + 1))
    filters, base, root = start.filters, start.base, start.root
    surplus = np.zeros(k_streams)
    gram, cross = _bordered(start, design)
    unbalance, level = 0.0, float(floor.three_phase.mean())
    weights = np.ones((k_streams, t))
    courses: tuple[Singles, ...] | None = None
    settled = False
    for turn in range(ROUNDS + 1):
        last = settled or turn == ROUNDS
        if turn:
            filters = np.stack(
                [
                    ar_filter(w + unbalance * level, g, order, x)
                    for w, x, g in zip(start.white, excess, floor.register, strict=True)
                ]
            )
            surplus = filtered_variance(filters, excess)
            base = floor_innovation(filters, floor, unbalance)
            root = np.where(valid, np.sqrt(weights / (base + surplus[:, None])), 0.0)
            exact = start.fine or (last and faults is not None)
            courses = None if exact else whitened_courses(design, filters, root)
            gram, cross = normal_equations(design, filters, root, courses)
        for _ in range(1 if last else 2):
            sd = design.sd(tau)
            factor = factor_of(gram, 1.0 / np.square(sd))
            effects = linalg.cho_solve(factor, cross, check_finite=False)
            if not last:
                tau = _update_tau(tau, design.tau, effects, inverse_diagonal(factor[0]), design.group)
        residual, inno = _left(design, filters, effects)
        if last and faults is None:
            slope = score(design, filters, root, inno) - effects / np.square(sd)
            effects += linalg.cho_solve(factor, slope, check_finite=False)
            residual, inno = _left(design, filters, effects)
        ratio, sigma = _scales(inno, base, valid)
        if last:
            break
        middle = np.array([np.median(b[v]) if v.any() else 0.0 for b, v in zip(base, valid, strict=True)])
        white_excess = np.maximum(np.square(ratio) - 1.0, 0.0) * middle / np.square(filters).sum(axis=1)
        excess = np.zeros((k_streams, order + 1))
        excess[:, 0] = white_excess
        if coloured:
            for k in range(k_streams):
                known = ma_covariance(start.white[k] + unbalance * level, floor.register[k], order)
                excess[k] = excess_covariance(residual[k], start.usable[k], known, float(white_excess[k]))
        surplus = filtered_variance(filters, excess)
        weights = (NU + 1) / (NU + np.square(inno) / (base + surplus[:, None]))
        if level > 0:
            unbalance = unbalance_of(inno * np.sqrt(weights), filters, floor.three_phase, valid)
        settled = faults is None and not coloured and float(ratio.max()) <= ENOUGH
    modelled = 1.0 - floor_innovation(filters, floor, 0.0).sum(axis=1) / base.sum(axis=1)
    total = base + surplus[:, None]
    density = -0.5 * np.log(total) - 0.5 * (NU + 1) * np.log1p(np.square(inno) / total / NU)
    return NoiseFit(
        honest=start,
        coloured=coloured,
        filters=filters,
        root_weight=root,
        streams=design.streams,
        whitened=courses if faults is None else None,
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


def _left(design: Design, filters: Floats, effects: Floats) -> tuple[Floats, Floats]:
    """(K, T) r − Z η, and (K, T) the same filtered [Wh]."""
    residual = np.stack([r - s.sum(effects) for r, s in zip(design.balance, design.streams, strict=True)])
    return residual, np.stack([filtered(f, r) for f, r in zip(filters, residual, strict=True)])


def _bordered(start: Honest, design: Design) -> tuple[Floats, Floats]:
    """The first round's ZᵀR⁻¹Z and ZᵀR⁻¹r: only what the faults add is new, all others stand."""
    if design is start.design:
        return start.gram, start.cross
    old, m = start.gram.shape[0], design.group.size
    gram, cross = np.zeros((m, m)), np.zeros(m)
    gram[:old, :old] = start.gram
    for k, s in enumerate(design.streams):
        added = int(np.sum(s.effects >= old))
        columns = np.concatenate([s.others[s.others.shape[0] - added :], design.balance[k][None]])
        x = filtered(start.filters[k], columns) * start.root[k]
        products = s.against(start.filters[k], start.root[k], x)
        new = s.effects[s.effects.size - added :]
        gram[np.ix_(new, s.effects)] += products[:-1]
        cross[s.effects] += products[-1]
    gram[:old, old:] = gram[old:, :old].T
    return gram, cross


def _scales(inno: Floats, base: Floats, valid: Bools) -> tuple[Floats, Floats]:
    """(K,) robust innovation SD over the floor's, and (K,) robust innovation SD [Wh]; 1 where rows are too few."""
    ratio, sigma = np.ones(inno.shape[0]), np.ones(inno.shape[0])
    for k, use in enumerate(valid):
        if use.sum() >= 20:
            u2 = np.square(inno[k, use])
            ratio[k] = _scale(u2 / base[k, use])
            sigma[k] = _scale(u2)
    return ratio, sigma


def _scale(square: Floats) -> float:
    """SD of (n,) squared innovations: the robust one, or, where few coarse registers leave multiples of their step and
    its quantile jumps from one to the next, the root mean square, which outliers only raise."""
    return min(float(np.sqrt(_quantile(square))) / QUANTILE_SD, float(np.sqrt(square.mean())))


def _quantile(x: Floats) -> float:
    """QUANTILE of (n,) values, linear between the two nearest; np.quantile takes many times as long."""
    at = (x.size - 1) * QUANTILE
    low = int(at)
    lower, upper = np.partition(x, [low, low + 1])[low : low + 2]
    return float(lower + (at - low) * (upper - lower))


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
