"""Autocovariance of what a balance leaves over, and the filter that whitens it.

Known: white noise of rounded values, and the differences of rounded counters (MA(1)). Where loads run that no meter
sees, there is an excess that stays on for a while: neighbouring intervals are alike. A likelihood that takes it for
white counts one appliance's run as many observations, and whoever's reading resembles it gets hundreds of nats for
nothing.
"""

import numpy as np
from scipy import linalg

from reconciliation.window import Bools, Floats

QUANTILE, QUANTILE_SD = 0.85, 1.44
"""Robust scale: the quantile of |u| where a Gaussian and a uniform error of equal variance agree (1.44 SD); rounding
is uniform."""
CUT_SD = 4.0
"""Robust SD beyond which a residual is cut off: a single switching is no course."""


def ma_covariance(white: float, ma: float, order: int) -> Floats:
    """(order+1,) autocovariance of white noise plus a differenced rounding error (variance 2·``ma``) [Wh²]."""
    gamma = np.zeros(order + 1)
    gamma[0] = white + 2 * ma
    if order:
        gamma[1] = -ma
    return gamma


def ar_filter(white: float, ma: float, order: int, excess: Floats) -> Floats:
    """(order+1,) prediction-error filter of white noise (variance ``white``) plus a differenced rounding error
    (variance 2·``ma``) plus an excess with autocovariance ``excess`` (order+1,)."""
    gamma = ma_covariance(white, ma, order) + excess
    if gamma[0] <= 0:
        gamma[0] = 1.0
    gamma[0] *= 1 + 1e-9
    phi = linalg.solve_toeplitz(gamma[:-1], gamma[1:]) if order else np.zeros(0)
    return np.concatenate([[1.0], -phi])


def filtered_variance(filters: Floats, covariance: Floats) -> Floats:
    """(K,) variance of a process with autocovariance (K, p+1) after its filter (K, p+1)."""
    out = np.zeros(filters.shape[0])
    for k, (f, c) in enumerate(zip(filters, covariance, strict=True)):
        out[k] = f @ linalg.toeplitz(c) @ f
    return np.maximum(out, 0.0)


def excess_covariance(residual: Floats, usable: Bools, known: Floats, least: float) -> Floats:
    """(p+1,) autocovariance [Wh²] of what the residual (T,) holds beyond the ``known`` one; at lag 0 ``least`` or more.

    Products over usable pairs only, so that gaps do no harm; tapered (Parzen), so that it stays a covariance; outliers
    cut off.
    """
    lags = known.size
    x = np.where(usable, residual, 0.0)
    if usable.sum() < 20 or least <= 0:
        out = np.zeros(lags)
        out[0] = least
        return out
    cut = CUT_SD * float(np.quantile(np.abs(x[usable]), QUANTILE)) / QUANTILE_SD
    x = np.clip(x, -cut, cut)
    u = np.arange(lags) / lags
    taper = np.where(u <= 0.5, 1 - 6 * u**2 + 6 * u**3, 2 * (1 - u) ** 3)
    out = np.zeros(lags)
    for lag in range(lags):
        pairs = usable[lag:] & usable[: usable.size - lag]
        out[lag] = float(np.sum(x[lag:] * x[: x.size - lag])) / max(int(pairs.sum()), 1)
    out = taper * (out - known)
    out[0] = max(out[0], least)
    out[1:] = np.clip(out[1:], -out[0], out[0])
    return out
