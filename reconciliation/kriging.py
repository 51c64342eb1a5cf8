"""Estimates a stationary series at its holes from the values around them, with the variance of each estimate.

û = cᵀΓ⁻¹u_near and s = γ_0 − cᵀΓ⁻¹c (simple kriging), with γ the series' own autocovariance, Γ that between the values
used, c that between them and the hole. Used are the nearest values on either side and those a day before and after.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft

from reconciliation.places import Places
from reconciliation.window import Bools, Floats, Ints

NEAR = 2
"""Known values used on either side of a hole."""
NUGGET = 1e-3
"""Of γ_0: keeps Γ invertible for a reading that is the same for hours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Near:
    """The values around h intervals: on the left, on the right, a day before, a day after; q of them."""

    at: Ints
    """(h, q) their intervals; any where there is none."""
    there: Bools
    """(h, q) whether there is one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Holes:
    """h intervals of n series, all that were not read."""

    row: Ints
    """(h,) series."""
    at: Ints
    """(h,) interval."""
    near: Near
    value: Floats
    """(h, q) of the values around, 0 where there is none."""
    estimate: Floats
    """(h,) û."""
    variance: Floats
    """(h,) s."""


def autocovariance(u: Floats, where: Places, lags: int) -> Floats:
    """(n, lags+1) autocovariance of (n, T) series with holes (0 there). Single holes are bridged, so that it is that of
    an actual series, and every Γ made of it has an inverse."""
    t = u.shape[1]
    bridged = u.astype(np.float32)  # beside the nugget, its digits are enough
    inner = (where.at > 0) & (where.at < t - 1)
    row, at = where.row[inner], where.at[inner]
    single = where.known[row, at - 1] & where.known[row, at + 1]
    row, at = row[single], at[single]
    bridged[row, at] = (u[row, at - 1] + u[row, at + 1]) / 2
    size = fft.next_fast_len(t + lags, real=True)
    spectrum = fft.rfft(bridged, size, axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    gamma = fft.irfft(power, size, axis=1)[:, : lags + 1].astype(np.float64) / t
    gamma[:, 0] += NUGGET * gamma[:, 0] + 1e-6
    return np.asarray(gamma)


@dataclass(frozen=True, kw_only=True, eq=False)
class Complete:
    """The estimate of a value of n series around which all are known. q values around."""

    step: Ints
    """(q,) distance of each."""
    there: Bools
    """(q,) whether the series are long enough for it."""
    weight: Floats
    """(n, q)."""
    variance: Floats
    """(n,) s."""
    power: Floats
    """(n,) γ_0."""


def complete(gamma: Floats, t: int, day: int) -> Complete:
    """Of n series of T values; ``day``: intervals in a day; ``gamma``: see ``autocovariance``."""
    n = gamma.shape[0]
    step = np.concatenate([-np.arange(1, NEAR + 1), np.arange(1, NEAR + 1), [-day, day]])
    place = t // 2 + step
    usable = (place >= 0) & (place < t)
    if day <= NEAR:
        usable[-2:] = False
    near = Near(at=np.tile(np.clip(place, 0, t - 1), (n, 1)), there=np.tile(usable, (n, 1)))
    weight, variance = weights(gamma, np.arange(n), np.full(n, t // 2), near)
    return Complete(step=step, there=usable, weight=weight, variance=variance, power=gamma[:, 0])


def fill_holes(u: Floats, where: Places, gamma: Floats, usual: Complete) -> Holes:
    """Estimate every hole of (n, T) series; ``usual``, ``gamma``: see above."""
    row, at = where.row, where.at
    near = _around(where, int(usual.step[-1]))
    value = np.where(near.there, u[row[:, None], near.at], 0.0)
    weight, variance = usual.weight[row], usual.variance[row]
    alike = (near.there == usual.there) & ((near.at - at[:, None] == usual.step) | ~near.there)
    others = np.flatnonzero(~alike.all(axis=1))
    some = Near(at=near.at[others], there=near.there[others])
    weight[others], variance[others] = weights(gamma, row[others], at[others], some)
    estimate = np.sum(weight * value, axis=1)
    return Holes(row=row, at=at, near=near, value=value, estimate=estimate, variance=variance)


def weights(gamma: Floats, row: Ints, at: Ints, near: Near) -> tuple[Floats, Floats]:
    """(h, q) weights cᵀΓ⁻¹ and (h,) variances s."""
    top = gamma.shape[1] - 1
    apart = np.abs(near.at[:, :, None] - near.at[:, None, :])
    both = near.there[:, :, None] & near.there[:, None, :] & (apart <= top)
    a = np.where(both, gamma[row[:, None, None], np.minimum(apart, top)], 0.0)
    q = near.at.shape[1]
    a[:, np.arange(q), np.arange(q)] = gamma[row, 0][:, None]
    far = np.abs(near.at - at[:, None])
    c = np.where(near.there & (far <= top), gamma[row[:, None], np.minimum(far, top)], 0.0)
    weight = np.linalg.solve(a, c[:, :, None])[:, :, 0]
    return weight, np.maximum(gamma[row, 0] - np.sum(weight * c, axis=1), NUGGET * gamma[row, 0])


def _around(where: Places, day: int) -> Near:
    """NEAR known intervals on either side, up to a quarter of a day away, and the same time a day before and after."""
    known, good, row, at = where.known, where.good, where.row, where.at
    t = known.shape[1]
    rank = where.rank[:, None] + np.concatenate([-np.arange(1, NEAR + 1), np.arange(NEAR)])
    beside = good[np.clip(rank, 0, good.size - 1)] - row[:, None] * t
    beside = np.where((rank >= 0) & (rank < good.size), beside, -1)
    place = np.concatenate([beside, at[:, None] - day, at[:, None] + day], axis=1)
    inside = (place >= 0) & (place < t)
    place = np.clip(place, 0, t - 1)
    there = inside & known[row[:, None], place]
    there[:, : 2 * NEAR] &= np.abs(place[:, : 2 * NEAR] - at[:, None]) <= max(day // 4, NEAR)
    if day <= NEAR:
        there[:, 2 * NEAR :] = False  # the same time of the next day is a neighbour already
    return Near(at=place, there=there)
