"""Relates the errors of the estimates within one gap, and makes them sum to what registers say of it.

Errors of one gap resemble each other: C_tj = ρ(t−j)·√(v_t·v_j). Where registers give the gap's energy G,
û += C1(G − 1ᵀû)/(1ᵀC1) and C −= C11ᵀC/(1ᵀC1). The variance reported for an interval is Σ_j |C_tj|: the diagonal with
these sums dominates C, so whoever treats the errors as independent is never too sure.
"""

import numpy as np

from reconciliation.window import Floats, Ints

LONGEST = 96
"""Longest gap whose errors are related one by one; in a longer one, each to those within this many intervals of it."""
AT_ONCE = 2_000_000
"""Elements of the gaps' matrices made at a time: bounds memory."""


def relate(
    row: Ints, at: Ints, value: Floats, v: Floats, rho: Floats, *, gap_wh: Floats | None
) -> tuple[Floats, Floats]:
    """(h,) values and variances of h filled intervals, in order of series and time.

    ``rho`` (n, L) autocorrelation; ``gap_wh`` (n, T) energy of each gap at its last interval, NaN where not known.
    """
    new = np.concatenate([[True], (np.diff(at) != 1) | (np.diff(row) != 0)])
    first = np.flatnonzero(new)
    length = np.diff(np.append(first, row.size))
    last = first + length - 1
    whole = np.full(first.size, np.nan) if gap_wh is None else gap_wh[row[last], at[last]]
    out, var = value.copy(), v.copy()
    for m in np.unique(length):
        which = np.flatnonzero(length == m)
        if m > LONGEST:
            for g in which:
                part = slice(int(first[g]), int(first[g] + m))
                out[part], var[part] = _long(value[part], v[part], rho[row[first[g]]], float(whole[g]))
        elif m > 1 or gap_wh is not None:
            for some in np.array_split(which, max(which.size * int(m) ** 2 // AT_ONCE, 1)):
                index = first[some][:, None] + np.arange(m)
                out[index], var[index] = _short(value[index], v[index], rho[row[first[some]]], whole[some])
    return out, var


def _short(value: Floats, v: Floats, rho: Floats, whole: Floats) -> tuple[Floats, Floats]:
    """Values and variances of g gaps of m intervals: (g, m) values and variances, (g, L) ρ, (g,) energies."""
    m = value.shape[1]
    lag = np.abs(np.arange(m)[:, None] - np.arange(m)[None])
    alike = np.where(lag < rho.shape[1], rho[:, np.minimum(lag, rho.shape[1] - 1)], 0.0)
    sd = np.sqrt(v)
    cov = alike * sd[:, :, None] * sd[:, None, :]
    given = np.isfinite(whole)
    with_sum = cov.sum(axis=2)
    of_sum = np.maximum(with_sum.sum(axis=1), 1e-9)
    miss = np.where(given, np.where(given, whole, 0.0) - value.sum(axis=1), 0.0)
    # the errors' sum may be next to certain (a series that alternates): then each takes its part of the rest
    part = np.where((of_sum > 1e-6 * v.sum(axis=1))[:, None], with_sum / of_sum[:, None], 1.0 / m)
    cov = cov - np.where(given, of_sum, 0.0)[:, None, None] * part[:, :, None] * part[:, None, :]
    return value + part * miss[:, None], np.abs(cov).sum(axis=2)


def _long(value: Floats, v: Floats, rho: Floats, whole: float) -> tuple[Floats, Floats]:
    """The same of one long gap: (m,) values and variances, (L,) ρ."""
    related = float(1.0 + 2.0 * np.abs(rho[1 : LONGEST + 1]).sum())
    if np.isfinite(whole):
        value = value + v / v.sum() * (whole - value.sum())
    return value, v * related
