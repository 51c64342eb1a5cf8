"""Where on the feeders is the energy that the balance misses? Log evidence for every meter from all meters' voltages.

A load pulls down the voltage of everybody who shares its path. With D_i = V_ref,i − V_i (busbar voltage of the meter's
phase less its own) and p the true loads, D_i(t) = a_i + Σ_j R_ij p_j(t) + noise, R_ij ≥ 0 the resistance of the shared
path, so R_ij = R_ji and R_ii ≥ R_ij. Where a meter c hides h(t), every D_i contains R_ic·h, whatever c's register
shows. Two regressions, both for all meters at once:

1. R̂: D on all readings and the unexplained balances r_k, with a ridge no tighter than cables are long. What a quiet
   meter's load cannot tell comes from R_ij = R_ji and from the feeder being a tree (``_patterns``).
2. S_i: the response of D_i to r_q, of the part of r_q that neither the readings nor the other phases' balances explain
   (unbalance of three-phase loads is in them too, with the opposite sign). q is a phase, or the sum of the phases for
   three-phase meters.

If c alone hides what r_q misses, S = κ·R_c· with κ ≤ 1, the share of r_q that is not rounding. R_c· is row c of R̂:
c's *voltage's* response to the others' readings, so it is known although c's register lies. Against it stands "no one
alone": S = Σ_j w_j R_j·, w_j ~ N(0, τ²). Both contain what else is in r_q: what readings round off or had to be filled
(at each meter, in the known amount), the unbalance of three-phase loads at their places, other sources with τ.

  S ~ N(κ R_c·, Q/H + κ² C_c + τ² Σ_j R_j·ᵀR_j· + U),

Q the noise's covariance between the meters (the busbar's own noise is in all of them), inflated by what day sums vary
more than independent intervals, H = Σ_t h̃², C_c the uncertainty of R_c·, U rounding, filling and
unbalance. The evidence is the difference of the logs of the two, divided by the misfit of the best meter where even
that one fits worse than its covariance says (what the model does not know weighs on all alike).

It knows nothing of the shape of what is hidden, so it is independent of the balance's evidence but for r itself, and
cannot be for or against a fault that is a multiple of the own reading: then r has no part that readings do not explain,
and the evidence is about 0 for all. Meters at one joint answer alike: a tap beside a meter looks as if it were at it.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from reconciliation.design import SKEW_SD
from reconciliation.model import AreaModel
from reconciliation.prepare import central_difference
from reconciliation.technical_loss import reference_voltage
from reconciliation.window import Bools, Floats, Ints

MIN_SAMPLES = 100
"""Intervals more than coefficients that a regression needs."""
CARRIED = 0.3
"""Share of the intervals in which a meter's voltage must be known to be used."""
ROUNDS = 2
"""Rounds of fitting the holes and the noise's variance."""
RESISTANCE_MAX = 2.0
"""Prior SD of R [V/kW]: 0.5 Ω at 230 V, a kilometre of cable; more than any that is let stand."""
RESISTANCE_SD = 0.1
"""Relative error of R_c·: it acts on P + Q·X/R, and power factors of 0.9–1 at X/R ≤ 0.25 in cables differ by that."""
FLOOR_SD = 0.02
"""The same for small entries, as share of the row's largest."""
PATH, PATH_SD = 1.15, 0.4
"""R over its lower bound from the tree, and its SD over that: a service cable of some ten metres behind some hundred of
main."""
LYING = 0.5
"""Relative error of what a meter's own reading says about R: it may hide half."""
FOLLOWS = 3.0
"""SDs from which a voltage follows the own reading rather than not."""
SURE = 2.0
"""SDs by which an entry must be known to stand for a shared path."""
SPREAD = (0.0, 0.03, 0.1, 0.3, 1.0)
"""τ·√n tried, n meters on the stream: nobody else … everybody as much as all together."""
SHARE_MIN, SHARE_MAX = 0.05, 1.1
"""Limits of κ; above 1 by what the balance's own errors may make it."""
NOTHING = 1e-6
"""Share of a balance's energy below which readings explain all of it, to rounding."""
SHRINK = 0.1
"""Shrinkage of Q to its diagonal: N × N covariances from some thousand samples."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Field:
    """How voltages answer loads in one area. N meters, V of them with voltages, K streams, T intervals in use."""

    model: AreaModel
    meters: Ints
    """(V,) meters whose voltages are used."""
    used: Bools
    """(T_all,) intervals in use."""
    drop: Floats
    """(V, T) D less its mean [V]; holes filled with the fit."""
    seen: Bools
    """(V, T) where D was measured."""
    noise: float
    """Variance of D's noise [V²]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fit:
    """Regression of all D on readings and balances."""

    rows: Floats
    """(V, N) R̂ [V/kW]."""
    covariance: Floats
    """(N, N) of a row, per unit of noise variance."""
    errors: Floats
    """(V, T) residuals [V], 0 where not seen."""
    own: Floats
    """(V, K) coefficients of the balances."""
    variance: Floats
    """(V,) noise of each meter [V²]."""


def voltage_field(model: AreaModel) -> Field | None:
    """The field, fitted with the honest-meters balance; None where voltages do not carry it."""
    area, window = model.area, model.area.window
    v, av = window.household_voltage_v, window.area_voltage_v
    if v is None or av is None:
        return None
    used = np.isfinite(av).all(axis=0) & area.supplied_ok
    reference = reference_voltage(area, model.share)
    d = (np.square(reference) - np.square(v)) / (2.0 * float(np.nanmedian(av)))
    meters = np.flatnonzero(np.isfinite(d[:, used]).mean(axis=1) > CARRIED) if used.any() else np.zeros(0, np.int64)
    n = len(area.meters)
    if meters.size < 2 or used.sum() < MIN_SAMPLES + n + area.n_streams:
        return None
    d = d[np.ix_(meters, used)]
    seen = np.isfinite(d)
    d = np.where(seen, d - np.nanmean(d, axis=1, keepdims=True), 0.0)
    steps = np.diff(d, axis=1)[seen[:, 1:] & seen[:, :-1]]
    noise = max(0.5 * float(np.median(np.square(steps))) / 0.4549, 1e-6)  # the median of a χ²₁ is 0.4549
    field = Field(
        model=model,
        meters=meters.astype(np.int64),
        used=used,
        drop=d,
        seen=seen,
        noise=noise,
    )
    for _ in range(ROUNDS):
        field, _fit = _regress(field, model.fit.residual, None)
    return field


def _kilowatts(model: AreaModel, energy: Floats) -> Floats:
    return energy * (3.6 / model.area.window.interval_s)


def _regressors(field: Field, residual: Floats, hidden: Floats | None, beside: Floats | None = None) -> Floats:
    """(N + K, T) centred readings, with what they are thought to hide, and balances [kW]; (N + 2 K, T) with those
    ``beside``."""
    net = field.model.area.net if hidden is None else field.model.area.net + hidden
    parts = [net, residual] if beside is None else [net, residual, beside]
    x = np.concatenate([_kilowatts(field.model, part) for part in parts])[:, field.used]
    return np.asarray(x - x.mean(axis=1, keepdims=True))


def _regress(field: Field, residual: Floats, hidden: Floats | None, beside: Floats | None = None) -> tuple[Field, _Fit]:
    """The fit, and the field with noise and holes from it."""
    x = _regressors(field, residual, hidden, beside)
    n = len(field.model.area.meters)
    precision = np.eye(x.shape[0]) / RESISTANCE_MAX**2
    gram = x @ x.T / field.noise
    factor = linalg.cho_factor(gram + precision, lower=True)
    coef = linalg.cho_solve(factor, x @ field.drop.T / field.noise).T
    covariance = linalg.cho_solve(factor, np.eye(x.shape[0]))
    fitted = coef @ x
    errors = np.where(field.seen, field.drop - fitted, 0.0)
    left = field.seen.sum(axis=1) / field.used.sum()  # share of the samples there are
    freedom = float(np.sum(covariance * gram))
    variance = np.square(errors).sum(axis=1) / np.maximum(left * (field.used.sum() - freedom), 1.0)
    rows = coef[:, :n]
    noise = max(float(np.median(variance)), 1e-6)
    again = Field(
        model=field.model,
        meters=field.meters,
        used=field.used,
        drop=np.where(field.seen, field.drop, fitted),
        seen=field.seen,
        noise=noise,
    )
    return again, _Fit(
        rows=rows, covariance=covariance[:n, :n] / field.noise, errors=errors, own=coef[:, n:], variance=variance
    )


def location_evidence(
    field: Field, residual: Floats, hidden: Floats | None = None, beside: Floats | None = None
) -> Floats:
    """(N,) log evidence that what the balance misses is at each meter, against "no one alone" on its stream [nat].

    ``residual`` (K, T_all): the unexplained balance [Wh]; ``hidden`` (N, T_all) what suspects are already thought to
    hide [Wh]; ``beside`` (K, T_all): what else is unexplained, and not asked for [Wh]. 0 where a meter's voltage is
    not known.
    """
    model = field.model
    n, k = len(field.model.area.meters), residual.shape[0]
    field, fit = _regress(field, residual, hidden, beside)
    x = _regressors(field, residual, hidden, beside)
    whole = residual if beside is None else residual + beside
    noise = fit.errors @ fit.errors.T / max(field.used.sum() - x.shape[0], 1)
    noise = (1 - SHRINK) * noise + SHRINK * np.diag(np.diag(noise))
    rows, narrower = np.zeros((n, field.meters.size)), np.ones((n, field.meters.size))
    rows[field.meters], narrower[field.meters] = _patterns(field, fit)
    out = np.zeros(n)
    three = model.share.max(axis=1) <= 0.5 if k == 3 else np.zeros(n, bool)
    power = np.mean(np.square(model.area.net), axis=1) * three
    for q in range(4 if k == 3 else 1):
        phase = k == 3 and q < 3
        others = [*(n + p for p in range(k) if phase and p != q), *range(n + k, x.shape[0])]
        which = model.share[:, q] > 0.5 if phase else three if k == 3 else np.ones(n, bool)
        known = np.zeros(n, bool)
        known[field.meters] = True
        on = np.flatnonzero(which & known)
        if on.size == 0:
            continue
        course = x[n + q] if phase else x[n : n + k].sum(axis=0)
        gone = [q] if phase else list(range(k))
        e = fit.errors + np.where(field.seen, fit.own[:, gone] @ x[[n + g for g in gone]], 0.0)
        h = _unexplained(field, x[[*range(n), *others]], course)
        h_weighted = h * _trust(field, whole, model.share[:, q] if phase else model.share.sum(axis=1))
        energy = float(h @ h_weighted)
        if energy <= NOTHING * float(course @ course) or energy <= 0:
            continue
        clustered = _inflation(fit.errors * h_weighted, model.area.day[field.used])
        # D of another phase moves little and by its neutral: left out
        see = np.flatnonzero((which | three)[field.meters]) if phase else np.arange(field.meters.size)
        cov = noise[np.ix_(see, see)] * (clustered / energy)
        if phase and power.sum() > 0:
            cov = cov + _unbalance(x[n : n + k], q, power, rows[:, see], (which & known)[field.meters[see]])
        part = np.square(model.share[:, q] if phase else model.share.sum(axis=1)) if k == 3 else np.ones(n)
        wrong = part * _reading_errors(model) * field.used.sum() / energy
        errors = rows[:, see] * wrong[:, None]
        common = errors.sum(axis=0)
        cov = cov + errors.T @ errors + np.outer(common, common)
        out[on] = _stream_evidence(
            response=(e @ h_weighted / energy)[see],
            covariance=cov,
            rows=rows[np.ix_(on, see)],
            narrower=narrower[np.ix_(on, see)],
            spread=fit.covariance[np.ix_(field.meters[see], field.meters[see])] * clustered,
            variance=fit.variance[np.searchsorted(field.meters, on)],
        )
    return out


def follows(field: Field) -> Bools:
    """(N,) whether a meter's voltage falls with its own reading as it must if the reading is the load.

    D on all readings, without the balances: a reading that is not the load has coefficient 0 where R_cc ≥ max_j R_cj.
    False where the reading hardly moves: then nothing tells.
    """
    n = len(field.model.area.meters)
    field, fit = _regress(field, np.zeros_like(field.model.fit.residual), None)
    rows, _ = _patterns(field, fit)
    path = np.array([np.delete(r, i).max(initial=0.0) for i, r in enumerate(rows)])
    slope = np.diag(fit.rows[:, field.meters])
    sd = np.sqrt(np.diag(fit.covariance)[field.meters] * fit.variance)
    out = np.zeros(n, bool)
    out[field.meters] = slope - 0.5 * np.maximum(path, 0.0) > FOLLOWS * sd
    return out


def _patterns(field: Field, fit: _Fit) -> tuple[Floats, Floats]:
    """(V, V) R_c· of each meter with a voltage, and (V, V) their SDs over those of R̂'s rows.

    A quiet meter's load moves nobody's voltage, but its own voltage shows the loads of all: R_ci = R_ic. The column
    that c's own reading gives is only trusted to a factor, for it may be c who lies. Where both are quiet, the feeder
    is a tree: i and c share at least what both share with a third, R_ci ≥ max_k min(R_ck, R_ik).
    """
    value = fit.rows[:, field.meters]
    told = 1.0 / np.diag(fit.covariance)[field.meters]
    by_row = told[None, :] / fit.variance[:, None]
    by_column = 1.0 / (1.0 / by_row.T + np.square(LYING * value.T))
    np.fill_diagonal(by_column, 0.0)
    both = (by_row * value + by_column * value.T) / (by_row + by_column)
    safe = both - SURE / np.sqrt(by_row + by_column)
    np.fill_diagonal(safe, 0.0)
    path = _shared_path(safe, field.model.area.window.three_phase[field.meters])
    alone = by_row.copy()
    by_row[np.diag_indices(value.shape[0])] = 1.0 / (1.0 / np.diag(by_row) + np.square(LYING * np.diag(value)))
    by_tree = 1.0 / np.square(PATH_SD * path + FLOOR_SD * path.max(axis=1, keepdims=True) + 1e-6)
    total = by_row + by_column + by_tree
    mean = (by_row * value + by_column * value.T + by_tree * PATH * path) / total
    return mean, np.sqrt(alone / total)


def _shared_path(resistance: Floats, three: Bools) -> Floats:
    """(V, V) lower bound of R from the tree: max_k min(R_ik, R_jk), at least 0; k of one phase, where there are any."""
    out = np.zeros_like(resistance)
    for column in resistance.T[~three]:
        np.maximum(out, np.minimum.outer(column, column), out=out)
    block = np.ix_(three, three)
    inner, among = resistance[block], out[block]
    for column in inner.T:
        np.maximum(among, np.minimum.outer(column, column), out=among)
    out[block] = among
    return out


def _unexplained(field: Field, x: Floats, course: Floats) -> Floats:
    """(T,) the part of a balance that readings and other balances do not explain [kW]."""
    n = len(field.model.area.meters)
    a = x @ x.T
    a[np.diag_indices(a.shape[0])] *= 1 + 1e-6
    a[np.diag_indices(a.shape[0])] += 1e-6 * np.trace(a[:n, :n]) / n + 1e-9
    return np.asarray(course - linalg.cho_solve(linalg.cho_factor(a, lower=True), x @ course) @ x)


def _trust(field: Field, residual: Floats, share: Floats) -> Floats:
    """(T,) weight of an interval: what it has of filled readings weighs against the balance's usual size."""
    area = field.model.area
    filled = np.square(share) @ area.fill_var[:, field.used]
    usual = np.square(1.4826 * np.median(np.abs(residual[:, field.used]), axis=1)).mean()
    return np.asarray(usual / (usual + filled + 1e-12))


def _reading_errors(model: AreaModel) -> Floats:
    """(N,) mean square error of each meter's readings [kW²]: rounding, clock, filling.

    What a register rounds off is drawn all the same: it is in D and, with the opposite sign of the reading, in r.
    """
    area = model.area
    clock = np.mean(np.square(SKEW_SD * central_difference(area.net)), axis=1)
    return np.asarray(
        (np.square(area.step) / 6.0 + clock + area.fill_var.mean(axis=1)) * (3.6 / area.window.interval_s) ** 2
    )


def _inflation(products: Floats, day: Ints) -> float:
    """How much more Σ_t e·h̃ varies than independent intervals would make it, from sums by day; at least 1."""
    starts = np.flatnonzero(np.concatenate([[True], np.diff(day) != 0]))
    by_day = np.add.reduceat(products, starts, axis=1)
    return max(1.0, float(np.square(by_day).sum() / max(float(np.square(products).sum()), 1e-30)))


def _unbalance(balances: Floats, q: int, power: Floats, rows: Floats, on: Bools) -> Floats:
    """(V, V) covariance of S that the three-phase loads' changing unbalance brings: v_m² U_m U_mᵀ.

    Unbalance adds up to zero over the phases, so its variance in r_q is −Σ_{l≠q} cov(r_q, r_l); it is shared out by the
    loads' mean squares. On phase q the whole of it flows, where a balanced load has a third: U_m = 3 R_m· there.
    """
    cov = np.cov(balances)
    share = max(-(cov[q].sum() - cov[q, q]), 0.0) / max(float(cov[q, q]), 1e-30)
    u = 3.0 * rows * on * (min(share, 1.0) * power / power.sum())[:, None]
    return np.asarray(u.T @ u)


def _stream_evidence(
    *, response: Floats, covariance: Floats, rows: Floats, narrower: Floats, spread: Floats, variance: Floats
) -> Floats:
    """(n,) evidence for the n candidates of a stream; ``rows`` (n, V) their R_c·, ``spread`` (V, V) · ``variance`` (n,)
    the covariances of R̂'s rows, ``narrower`` (n, V) what is left of their SDs."""
    n = rows.shape[0]
    background = rows.T @ rows / n
    base = max(_log_density(response, covariance + t * t * background)[0] for t in SPREAD)
    model = np.square(RESISTANCE_SD * rows) + np.square(FLOOR_SD * rows.max(axis=1, keepdims=True))

    def candidate(c: int, t: float) -> tuple[float, float]:
        v = covariance + t * t * background
        part = spread * (variance[c] * np.outer(narrower[c], narrower[c]))
        part[np.diag_indices(part.shape[0])] += model[c]
        share, width = _share(response, rows[c], v + 0.25 * part)
        value, misfit = _log_density(response - share * rows[c], v + share * share * part)
        return value + np.log(min(width, SHARE_MAX) / SHARE_MAX), misfit

    first = np.array([candidate(c, SPREAD[2])[0] for c in range(n)])
    best = np.argsort(-first, kind="stable")[:4]
    tau = max(SPREAD, key=lambda t: max(candidate(int(c), t)[0] for c in best))
    found = [candidate(c, tau) for c in range(n)]
    value, misfit = np.array([f[0] for f in found]), np.array([f[1] for f in found])
    return np.asarray((value - base) / max(1.0, float(misfit[int(np.argmax(value))]) / response.size))


def _share(response: Floats, mean: Floats, covariance: Floats) -> tuple[float, float]:
    """κ by generalised least squares within its limits, and the width of its likelihood √(2π)·SE."""
    factor = linalg.cho_factor(covariance + 1e-15 * np.eye(mean.size), lower=True, check_finite=False)
    solved = linalg.cho_solve(factor, mean, check_finite=False)
    information = max(float(mean @ solved), 1e-30)
    share = float(np.clip(response @ solved / information, SHARE_MIN, SHARE_MAX))
    return share, float(np.sqrt(2 * np.pi / information))


def _log_density(x: Floats, covariance: Floats) -> tuple[float, float]:
    """Log density of N(0, covariance) at x less its constant, and the squared distance."""
    size = covariance.shape[0]
    jitter = (1e-9 * float(np.trace(covariance)) / size + 1e-15) * np.eye(size)
    factor = linalg.cholesky(covariance + jitter, lower=True, check_finite=False)
    y = linalg.solve_triangular(factor, x, lower=True, check_finite=False)
    misfit = float(y @ y)
    return -0.5 * misfit - float(np.log(np.diag(factor)).sum()), misfit
