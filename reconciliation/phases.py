"""Finds the phase each single-phase meter hangs on, jointly from voltage and from energy.

Voltage: on the right phase the meter's voltage changes follow the busbar voltage of that phase and fall with that
phase's load: ΔV_i = α ΔV_k + β ΔE_k + γ Δp_i + ε; log-likelihood −(T/2)·log var(ε). Energy: Δ(area phase k) = Σ_i w_ik
Δp_i + ε with prior w ~ N(1/3, 0.5²); the posterior ŵ_i· is compared with the three corners (1,0,0), (0,1,0), (0,0,1).
"""

import numpy as np
from scipy import linalg, special

from reconciliation.normal_equations import factor_of, inverse_diagonal
from reconciliation.prepare import Prepared
from reconciliation.window import Floats

SHARE_SD = 0.5
"""Prior spread of a meter's share on one phase around 1/3: wide enough for every corner of the simplex."""
SHARE_ERROR = 0.02
"""Smallest error of a fitted share: gains and clocks differ between the meters."""
UNSURE = 0.9
"""Posterior below which a meter's energy is split over the phases by probability instead of being assigned."""


def shares(area: Prepared) -> tuple[Floats, Floats]:
    """(N, K) share of each meter's energy per stream, and (N, K) posterior of the phase (1/3 for three-phase
    meters)."""
    n, k = area.net.shape[0], area.n_streams
    if k == 1:
        return np.ones((n, 1)), np.ones((n, 1))
    score = energy_log_likelihood(area) + voltage_log_likelihood(area)
    posterior = special.softmax(score, axis=1)
    three = area.window.three_phase
    posterior[three] = 1.0 / 3.0
    share = np.where(posterior.max(axis=1, keepdims=True) > UNSURE, np.eye(3)[posterior.argmax(axis=1)], posterior)
    share[three] = 1.0 / 3.0
    return share, posterior


def energy_log_likelihood(area: Prepared) -> Floats:
    """(N, 3) log-likelihood of each phase from the differenced energies [nat]."""
    n = area.net.shape[0]
    use = area.supplied_ok[1:] & area.supplied_ok[:-1]
    if use.sum() < 50:
        return np.zeros((n, 3))
    together = np.abs(np.diff(area.net.sum(axis=0)))
    scale = np.median(together[use]) * 8 + 1e-9  # leave out the few steps of a load switched at the busbar
    keep = use & (together <= scale)
    dx = np.diff(area.net, axis=1).astype(np.float32)[:, keep]  # readings have fewer digits
    dy = np.diff(area.supplied, axis=1)[:, keep]
    noise = np.full(3, float(np.var(dy)) + 1e-9)
    gram, cross = (dx @ dx.T).astype(np.float64), (dx @ dy.T.astype(np.float32)).astype(np.float64)
    found, spread = np.zeros((n, 3)), np.zeros((n, 3))
    for last in (False, False, True):
        for k in range(3):
            factor = factor_of(gram / noise[k], np.full(n, 1.0 / SHARE_SD**2))
            found[:, k] = linalg.cho_solve(factor, cross[:, k] / noise[k] + (1.0 / 3.0) / SHARE_SD**2)
            if last:
                spread[:, k] = inverse_diagonal(factor[0])
                continue
            rest = dy[k] - found[:, k].astype(np.float32) @ dx
            noise[k] = (1.4826 * float(np.median(np.abs(rest)))) ** 2 + 1e-6
    miss = np.square(found[:, None, :] - np.eye(3)[None]) / (spread + SHARE_ERROR**2)[:, None, :]
    return np.asarray(-0.25 * miss.sum(axis=2))  # halved: differences of a rounded register are not white


def voltage_log_likelihood(area: Prepared) -> Floats:
    """(N, 3) log-likelihood of each phase from the voltages [nat]; zeros where voltages are missing."""
    n = area.net.shape[0]
    out = np.zeros((n, 3))
    v, av = area.window.household_voltage_v, area.window.area_voltage_v
    if v is None or av is None:
        return out
    dav, de = np.diff(av, axis=1), np.diff(area.supplied, axis=1)
    base = np.isfinite(dav).all(axis=0) & area.supplied_ok[1:] & area.supplied_ok[:-1]
    dav, de = np.where(base, dav, 0.0), np.where(base, de, 0.0)
    one = np.flatnonzero(~area.window.three_phase)
    y = np.diff(v[one], axis=1)
    ok = np.isfinite(y) & base
    np.copyto(y, 0.0, where=~ok)
    use = ok.astype(np.float64)
    own = np.diff(area.net[one], axis=1)
    own *= use
    t = ok.sum(axis=1)
    g, c = np.zeros((one.size, 3, 3, 3)), np.zeros((one.size, 3, 3))  # meter, phase, regressors ΔV_k, ΔE_k, Δp_i
    both = np.concatenate([dav, de])
    products = np.concatenate([left * right for left in (dav, de) for right in (dav, de)])
    g[:, :, :2, :2] = (use @ products.T).reshape(-1, 2, 2, 3).transpose(0, 3, 1, 2)
    g[:, :, :2, 2] = (own @ both.T).reshape(-1, 2, 3).transpose(0, 2, 1)
    g[:, :, 2, :2] = g[:, :, :2, 2]
    c[:, :, :2] = (y @ both.T).reshape(-1, 2, 3).transpose(0, 2, 1)
    g[:, :, 2, 2] = np.einsum("it,it->i", own, own)[:, None]
    c[:, :, 2] = np.einsum("it,it->i", y, own)[:, None]
    diagonal = np.arange(3)
    g[:, :, diagonal, diagonal] = g[:, :, diagonal, diagonal] * (1 + 1e-9) + 1e-12
    explained = np.sum(np.linalg.solve(g, c[..., None])[..., 0] * c, axis=2)
    rss = np.maximum(np.einsum("it,it->i", y, y)[:, None] - explained, 1e-12)
    # differences overlap: a third of the samples count
    out[one] = np.where((t >= 50)[:, None], -0.5 * (t / 3.0)[:, None] * np.log(rss / np.maximum(t, 1)[:, None]), 0.0)
    return out
