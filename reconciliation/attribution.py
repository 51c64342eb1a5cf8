"""Which meter would explain the balance: log evidence of every family of wrong readings for every meter, against
honest meters.

The statistics are exact for faults that act always (Woodbury, see noise.py); for subsets of days the blur by the
random effects is taken over from there. Meters on several streams (three-phase) add their streams' statistics.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from reconciliation.evidence_of_days import ALWAYS, DayEvidence, bayes_factor, evaluate
from reconciliation.noise import NoiseFit
from reconciliation.prepare import Prepared
from reconciliation.shapes import FAMILIES, LOAD, Family, typical_load
from reconciliation.window import Bools, Floats, Ints

NEVER = 50.0
"""Log evidence below which a family is not ranked further [nat]."""
FLOOR_SD, UNBALANCE_SD = 0.05, 0.25
"""How well the noise floor's SD is known, relative: from rounding; as far as it is the three-phase loads' unbalance."""
MIN_DEVIATION = 0.1
"""Smallest share of a reading that counts as a fault: ten times a class-1 meter's limit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """Day-level statistics of all columns of all meters. D days, S columns."""

    b: Floats
    """(N, D, S)."""
    h: Floats
    """(N, D, S, S)."""
    blurred: Floats
    """(N, S, S) XᵀR⁻¹Z A⁻¹ ZᵀR⁻¹X over all days."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribution:
    """Evidence per meter and family [nat]."""

    by_family: Floats
    """(N, F)."""
    total: Floats
    """(N,) log mean evidence over the families."""
    load: Floats
    """(N,) log evidence of an unmetered load on the meter's streams, whatever the meter reads."""
    detail: tuple[DayEvidence, ...]
    """(F,)."""

    def best(self, i: int) -> int:
        """Index of the family that explains meter i best."""
        return int(np.argmax(self.by_family[i]))


def statistics(area: Prepared, share: Floats, fit: NoiseFit, columns: Floats, meters: Ints | None = None) -> Statistics:
    """Day-level statistics of (N, S, T) columns, placed on the streams by ``share`` (N, K)."""
    n, s, t = columns.shape
    which = np.arange(n) if meters is None else meters
    days = area.n_days
    starts = np.searchsorted(area.day, np.arange(days))
    b = np.zeros((which.size, days, s))
    h = np.zeros((which.size, days, s, s))
    m = fit.effects.size
    cross = np.zeros((which.size, s, m))
    for k in range(area.n_streams):
        on = np.flatnonzero(share[which, k] > 0)
        for lo in range(0, on.size, 64):  # bounds memory for large areas
            part = on[lo : lo + 64]
            x = fit.whiten(k, columns[which[part]] * share[which[part], k][:, None, None])
            b[part] += np.swapaxes(np.add.reduceat(x * fit.innovation[k], starts, axis=2), 1, 2)
            for d in range(days):
                xd = x[:, :, starts[d] : starts[d + 1] if d + 1 < days else t]
                h[part, d] += xd @ np.swapaxes(xd, 1, 2)
            flat = x.reshape(part.size * s, t) @ fit.design[k].T
            cross[np.ix_(part, np.arange(s), fit.columns[k])] += flat.reshape(part.size, s, -1)
    solved = fit.solve(cross.reshape(-1, m).T).T.reshape(cross.shape)
    return Statistics(b=b, h=h, blurred=cross @ np.swapaxes(solved, 1, 2))


def attribute(area: Prepared, stats: Statistics) -> Attribution:
    """Evidence of every family for every meter."""
    load = typical_load(area)
    by_family, detail = [], []
    for family in FAMILIES:
        result = family_evidence(family, stats, load)
        by_family.append(result.log_evidence)
        detail.append(result)
    table = np.stack(by_family, axis=1)
    return Attribution(
        by_family=table,
        total=special.logsumexp(table, axis=1) - np.log(len(FAMILIES)),
        load=family_evidence(LOAD, stats, load).log_evidence,
        detail=tuple(detail),
    )


def prior_of(family: Family, load: float) -> tuple[Floats, Floats]:
    """(q,) mean and (q,) variance of the coefficients."""
    unit = np.where(np.array(family.in_loads), load, 1.0)
    return np.array(family.mean) * unit, np.square(np.array(family.sd) * unit)


def family_evidence(family: Family, stats: Statistics, load: float) -> DayEvidence:
    """Evidence of one family for every meter."""
    c = np.array(family.columns)
    mean, var = prior_of(family, load)
    h = stats.h[:, :, c[:, None], c[None, :]]
    whole = h.sum(axis=1)
    blur = stats.blurred[:, c[:, None], c[None, :]]
    tiny = 1e-9 * np.einsum("nqq->n", whole)[:, None, None] * np.eye(c.size) + 1e-30 * np.eye(c.size)
    left = whole - blur + tiny
    inverse = np.linalg.inv(whole + tiny)
    corr = inverse @ blur @ inverse
    corr = (corr + np.swapaxes(corr, 1, 2)) / 2
    result = evaluate(stats.b[:, :, c], h, corr, mean, var)
    seen = np.einsum("nqq->n", whole) > 0
    value, mode, active, theta = result.log_evidence, result.mode, result.active, result.theta
    off = ~plausible(family, theta)
    if off.any():  # the best activity is impossible: fall back on "always"
        plain, fixed = bayes_factor(stats.b[off][:, :, c].sum(axis=1), left[off], mean, var)
        value, mode, active, theta = value.copy(), mode.copy(), active.copy(), theta.copy()
        value[off], mode[off], active[off], theta[off] = plain - np.log(3.0), ALWAYS, 1.0, fixed
    possible = seen & plausible(family, theta)
    return DayEvidence(np.where(possible, np.maximum(value, -NEVER), -NEVER), mode, active, theta)


def plausible(family: Family, theta: Floats) -> Bools:
    """(n,) whether (n, q) coefficients are physically possible and worth a name.

    A reading cannot hide more than −90 % of itself (a wrong multiplier: −97 %; beyond, it is no meter of this area),
    and a deviation under MIN_DEVIATION is accuracy, not a fault; hidden loads are positive.
    """
    if family.name in ("scaled", "multiplier"):
        return np.asarray(
            (theta[:, 0] > (-0.9 if family.name == "scaled" else -0.97)) & (np.abs(theta[:, 0]) > MIN_DEVIATION)
        )
    if family.name == "replaced":
        return np.asarray(theta[:, 1] + theta[:, 2] > 0)
    if family.name == "reversed":
        return np.ones(theta.shape[0], bool)
    return np.asarray(theta.sum(axis=1) > 0)


def variance_evidence(fit: NoiseFit) -> Floats:
    """(K,) log evidence that the innovations are larger than rounding and filled readings explain [nat].

    ½ (ln ratio / SD)² for ratio > 1: the floor is known to about 5 % (the share of clocks, rounding mode, filled
    readings), the unbalance of three-phase loads to a quarter (its course is only roughly that of their energy).
    """
    z = np.log(np.maximum(fit.ratio, 1e-6)) / (FLOOR_SD + (UNBALANCE_SD - FLOOR_SD) * fit.modelled)
    return np.asarray(0.5 * np.square(np.maximum(z, 0.0)))


def unmetered_evidence(area: Prepared, fit: NoiseFit, profile: Floats) -> tuple[Floats, Floats]:
    """(K,) log evidence of an extra load (constant + area profile) on each stream, and (K,) its mean energy per
    interval [Wh]."""
    load = typical_load(area)
    columns = np.repeat(np.stack([np.ones_like(profile), profile])[None], area.n_streams, axis=0)
    stats = statistics(area, np.eye(area.n_streams), fit, columns)
    mean, var = prior_of(LOAD, load)
    bf, theta = bayes_factor(stats.b.sum(axis=1), stats.h.sum(axis=1) - stats.blurred, mean, var)
    energy = theta.sum(axis=1)
    return np.where(energy > 0, bf, 0.0), energy
