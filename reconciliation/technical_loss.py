"""Technical loss per interval: from the voltages where there are voltages, from a physics-bounded load model where not.

With voltages (Tellegen: the power that enters a network and does not leave it heats it): what meter i draws arrives at
V_i and left the busbar at V_ref, so L_i(t) = p_i(t)·(V_ref,i(t) − V_i(t) − a_i)/V_i(t), summed over meters. V_ref is
the busbar voltage of the meter's phase (mean of the phases for a three-phase meter), a_i the calibration offset
between the two instruments: the intercept of D_i = V_ref − V_i on all loads, because without load there is no drop.
The area meter's energy enters only as a regressor of D, so neither theft nor a wrong CT moves the result. Without
voltages: L = q·Σ_k (ρ·a_k² + (1 − ρ)·Σ_i w_ik² p_i²): the square of all currents where the paths are shared, each
meter's own where they are not, so that sun and load that cancel at the busbar still heat; q from the prior below.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from reconciliation.prepare import Prepared
from reconciliation.reactive import COMMON_PATH, loss_ratio
from reconciliation.report import TechnicalLossModel
from reconciliation.window import Bools, Floats, Ints, Singles

OFFSET_SD_V = 0.6
"""Prior of a_i [V]: class-0.2 to 0.5 voltage channels at 230 V, household and busbar instrument together."""
PRIOR_LOSS_SHARE = 0.010
"""Mean technical loss of a low-voltage network as share of gross energy where nothing is measured (1 %; published
0.5–3 %)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TechnicalLoss:
    """Technical loss of one area."""

    stream_wh: Floats
    """(K, T) [Wh]."""
    relative_sd: float
    """Prior relative uncertainty of its scale."""
    from_voltage: bool
    model: TechnicalLossModel


def technical_loss(area: Prepared, share: Floats) -> TechnicalLoss:
    """Technical loss of every stream and interval; ``share``: (N, K) of each meter's energy per stream."""
    drop = voltage_drop(area, share)
    if drop is not None:
        v_rel, _ = drop
        per_meter = area.net * v_rel
        stream = share.T @ per_meter
        floor = -0.02 * np.abs(share.T @ np.abs(area.net))  # noise may dip below zero, a network cannot make energy
        stream = np.maximum(stream, floor) * loss_ratio(area.net, share, area.window.household_export_wh, area.slot)
        return TechnicalLoss(
            stream_wh=stream, relative_sd=0.1, from_voltage=True, model=_load_model(area, stream.sum(axis=0))
        )
    own = np.square(share).T @ np.square(area.net)
    square = COMMON_PATH * np.square(area.supplied) + (1.0 - COMMON_PATH) * own
    gross = float(np.mean(np.abs(area.net).sum(axis=0)))
    q = PRIOR_LOSS_SHARE * gross / max(float(square.sum(axis=0).mean()), 1e-9)
    stream = q * square
    return TechnicalLoss(
        stream_wh=stream, relative_sd=0.8, from_voltage=False, model=_load_model(area, stream.sum(axis=0))
    )


def voltage_drop(area: Prepared, share: Floats) -> tuple[Floats, Floats] | None:
    """(N, T) relative drop (V_ref − V − a)/V and (N,) offsets a [V], or None where voltages do not carry it."""
    v, av = area.window.household_voltage_v, area.window.area_voltage_v
    if v is None or av is None:
        return None
    t = v.shape[1]
    ok_t = np.isfinite(av).all(axis=0)
    have = np.isfinite(v) & ok_t
    carried = have.mean(axis=1) > 0.3
    weight = np.abs(area.net).sum(axis=1)
    if ok_t.mean() < 0.3 or weight[carried].sum() < 0.8 * weight.sum() or t < 96:
        return None
    ref = reference_voltage(area, share)
    loads = (area.net, area.supplied) if area.n_streams == 3 else (area.net,)
    z = np.concatenate(loads, axis=0, dtype=np.float32)  # a load's part in a drop is known to far fewer digits
    z /= (np.sqrt(np.einsum("it,it->i", z, z) / t) + 1e-9)[:, None].astype(np.float32)
    # without the busbar's voltage an interval is no equation at all
    known, blind = int(ok_t.sum()), np.flatnonzero(~ok_t)
    z[:, blind] = 0.0
    drop = np.subtract(ref, v, out=ref)
    np.copyto(drop, 0.0, where=~have)
    row, at = np.divmod(np.flatnonzero(~have & ok_t), t)
    drop[row, at] = (drop.sum(axis=1) / np.maximum(have.sum(axis=1), 1))[row]
    offset = _ridge_with_offset(z, drop, row, at, known)
    drop -= offset[:, None]
    drop[:, blind] = 0.0
    drop[:, blind] = (drop.sum(axis=1) / known)[:, None]
    rel = np.divide(drop, np.where(v > 50.0, v, np.nanmedian(av)), out=drop)
    rel[~carried] = (
        float(np.average(rel[carried].mean(axis=1), weights=weight[carried] + 1e-9)) if carried.any() else 0.0
    )
    return np.clip(rel, -0.25, 0.25, out=rel), offset


def reference_voltage(area: Prepared, share: Floats) -> Floats:
    """(N, T) busbar voltage of each meter's phase [V], the phases' mean for three-phase meters; needs voltages."""
    v, av = area.window.household_voltage_v, area.window.area_voltage_v
    assert v is not None
    assert av is not None
    if share.shape[1] == 3:
        return np.asarray(share @ av)
    have = np.isfinite(v) & np.isfinite(av).all(axis=0)
    return _reference_without_phases(v, av, have, area.window.three_phase)


def _reference_without_phases(v: Floats, av: Floats, have: Bools, three: Bools) -> Floats:
    """(N, T) busbar voltage of the phase each meter's voltage follows best; the mean for three-phase meters."""
    ref = np.repeat(av.mean(axis=0)[None], v.shape[0], axis=0)
    dav = np.diff(av, axis=1)
    for i in np.flatnonzero(~three):
        ok = have[i, 1:] & have[i, :-1]
        if ok.sum() > 50:
            rss = [np.var(np.diff(v[i])[ok] - dav[k, ok]) for k in range(3)]
            ref[i] = av[int(np.argmin(rss))]
    return ref


def _ridge_with_offset(z: Singles, filled: Floats, row: Ints, at: Ints, known: int) -> Floats:
    """Ridge of (N, T) targets on (m, T) un-centred standardised loads plus an offset with prior N(0, OFFSET_SD_V²).

    The ridge scale (prior SD of a drop caused by one standardised load [V]) maximises the marginal likelihood over all
    targets. ``known``: intervals with any target; in the others loads and targets are 0. ``row`` (in order) and ``at``:
    targets not measured, with a first guess in ``filled``; they are replaced there by their fit once for each scale
    tried, in the end by the best fit. Returns (N,) the offsets. Only what is missing is ever fitted or summed anew.
    """
    m, n = z.shape[0], filled.shape[0]
    noise = 0.35**2
    some, first = np.unique(row, return_index=True)
    z_missing = np.ascontiguousarray(z[:, at].T)
    gram = (z @ z.T).astype(np.float64)
    one = z.sum(axis=1, dtype=np.float64)
    best: tuple[float, Floats] | None = None
    rhs = np.concatenate([z @ filled.astype(np.float32).T, filled.sum(axis=1)[None]], axis=0)
    square = np.einsum("it,it->i", filled, filled)
    for scale in (0.03, 0.1, 0.3, 1.0):
        a = np.zeros((m + 1, m + 1))
        a[:m, :m] = gram
        a[:m, m] = a[m, :m] = one
        a[m, m] = known
        prior = np.append(np.full(m, noise / scale**2), noise / OFFSET_SD_V**2)
        a[np.diag_indices(m + 1)] += prior
        factor = linalg.cho_factor(a, lower=True)
        coef = linalg.cho_solve(factor, rhs)
        rss = np.maximum(square - np.sum(coef * rhs, axis=0), 1e-9)
        logdet = 2 * np.sum(np.log(np.diag(factor[0]))) - np.sum(np.log(prior))
        evidence = -0.5 * float(np.sum(known * np.log(rss / known))) - 0.5 * n * float(logdet)
        if best is not None and evidence <= best[0]:
            break
        best = (evidence, coef)
        if row.size:
            fit = _fitted(z_missing, coef, row)
            old = filled[row, at]
            filled[row, at] = fit
            rhs[:m, some] += np.add.reduceat(z_missing * (fit - old)[:, None].astype(np.float32), first, axis=0).T
            rhs[m] += np.bincount(row, weights=fit - old, minlength=n)
            square = square + np.bincount(row, weights=np.square(fit) - np.square(old), minlength=n)
    assert best is not None
    filled[row, at] = _fitted(z_missing, best[1], row)
    return np.asarray(best[1][m])


def _fitted(z: Singles, coef: Floats, row: Ints) -> Floats:
    """(h,) fits of some targets ``row`` from their loads (h, m), with (m + 1, N) coefficients, the last of 1."""
    of_loads = np.ascontiguousarray(coef[:-1].T, dtype=np.float32)
    return np.asarray(np.einsum("hm,hm->h", z, of_loads[row]) + coef[-1, row])


def _load_model(area: Prepared, loss: Floats) -> TechnicalLossModel:
    """Constant and quadratic part of a loss (T,) against supplied energy, both ≥ 0 (least squares on the two-parameter
    cone)."""
    s2 = np.square(area.total)
    mean_l, mean_s = float(loss.mean()), float(s2.mean())
    spread = float(np.mean(np.square(s2 - mean_s)))
    q = float(np.mean((loss - mean_l) * (s2 - mean_s))) / spread if spread > 0 else 0.0
    q = min(max(q, 0.0), mean_l / mean_s if mean_s > 0 and mean_l > 0 else 0.0)
    return TechnicalLossModel(constant_wh=max(mean_l - q * mean_s, 0.0), quadratic_per_wh=q)
