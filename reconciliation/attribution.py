"""Which meter would explain the balance: log evidence of every family of wrong readings for every meter, against
honest meters.

The statistics are exact for faults that act always (Woodbury, see noise.py); for subsets of days the blur by the
random effects is taken over from there. Meters on several streams (three-phase) add their streams' statistics.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from reconciliation.columns import MeterColumns
from reconciliation.evidence_of_days import ALWAYS, DayEvidence, bayes_factor, evaluate, log_sum_exp
from reconciliation.noise import NoiseFit
from reconciliation.prepare import Prepared
from reconciliation.shapes import FAMILIES, LOAD, Family, typical_load
from reconciliation.window import Bools, Floats, Ints, Numbers

AT_ONCE = 64
"""Meters whose columns are whitened together: enough for long products, few enough to bound memory."""
FEW = 3
"""Up to this many meters, the area's own courses are not worth whitening for them."""
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
    h: Numbers
    """(N, D, S, S)."""
    blurred: Floats
    """(N, S, S) XᵀR⁻¹Z A⁻¹ ZᵀR⁻¹X over all days."""
    held: Bools
    """(N, S) columns that say anything on any day."""


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


def statistics(
    area: Prepared, share: Floats, fit: NoiseFit, columns: MeterColumns, meters: Ints | None = None
) -> Statistics:
    """Day-level statistics of (N, S, T) columns, placed on the streams by ``share`` (N, K)."""
    which = np.arange(columns.shape[0]) if meters is None else meters
    size, s, days, m = which.size, columns.shape[1], area.n_days, fit.effects.size
    innovation: Numbers = fit.innovation if fit.honest.fine else fit.innovation.astype(np.float32)
    out = Statistics(
        b=np.zeros((size, days, s)),
        h=np.zeros((size, days, s, s), innovation.dtype),
        blurred=np.zeros((size, s, s)),
        held=np.zeros((size, s), bool),
    )
    courses = [fit.courses(k) for k in range(area.n_streams)] if size > FEW else [None] * area.n_streams
    for batch in _batches(columns.where[which]):
        found = []
        for g in batch:
            n, q = g.kept.shape
            found.append((np.zeros((n, days, q, q)), np.zeros((n, days, q)), np.zeros((n * q, m))))
        for k in range(area.n_streams):
            on = [np.flatnonzero(share[which[g.meters], k] > 0) for g in batch]
            rows = np.concatenate([g.kept[o].ravel() for g, o in zip(batch, on, strict=True)])
            if rows.size == 0:
                continue
            weight = np.concatenate(
                [np.repeat(share[which[g.meters[o]], k], g.kept.shape[1]) for g, o in zip(batch, on, strict=True)]
            )
            x = fit.whiten_many(k, columns.courses, rows)
            if (weight != 1.0).any():
                x *= weight[:, None].astype(innovation.dtype)
            cross = fit.cross(k, x, courses[k])
            first = 0
            for g, o, (h, b, c) in zip(batch, on, found, strict=True):
                q = g.kept.shape[1]
                here = slice(first, first + o.size * q)
                by_day = _products_by_day(x[here].reshape(o.size, q, x.shape[1]), innovation[k], area.day, days)
                h[o] += by_day[0]
                b[o] += by_day[1]
                c[(o[:, None] * q + np.arange(q)).ravel()] += cross[here]
                first += o.size * q
        for g, (h, b, c) in zip(batch, found, strict=True):
            n, q = g.kept.shape
            half = fit.half_solve(c.T).T.reshape(n, q, m)
            blurred = half @ np.swapaxes(half, 1, 2)
            at = np.flatnonzero(g.position >= 0)
            source = g.position[at]
            i, d = g.meters[:, None, None, None], np.arange(days)[:, None, None]
            out.b[i[..., 0], d[..., 0], at] = b[:, :, source]
            out.h[i, d, at[:, None], at] = h[:, :, source[:, None], source]
            out.blurred[i[..., 0], at[:, None], at] = blurred[:, source[:, None], source]
            out.held[g.meters[:, None], at] = np.einsum("ndqq->nq", h)[:, source] > 0
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class _Alike:
    """Meters whose columns are zero, or equal to another, in the same places."""

    position: Ints
    """(S,) each column's position among the kept courses; −1 where it is zero."""
    meters: Ints
    """(n,)."""
    kept: Ints
    """(n, q) courses of each meter."""


def _batches(where: Ints) -> Iterator[list[_Alike]]:
    """All rows of (N, S) column courses, in batches of about AT_ONCE meters."""
    groups: dict[tuple[int, ...], list[tuple[int, list[int]]]] = {}
    for i, row in enumerate(where.tolist()):
        kept: dict[int, int] = {}
        position = tuple(kept.setdefault(c, len(kept)) if c >= 0 else -1 for c in row)
        groups.setdefault(position, []).append((i, list(kept)))
    batch: list[_Alike] = []
    for position, members in groups.items():
        for lo in range(0, len(members), AT_ONCE):
            part = members[lo : lo + AT_ONCE]
            batch.append(
                _Alike(
                    position=np.array(position),
                    meters=np.array([i for i, _ in part]),
                    kept=np.array([c for _, c in part], np.int64).reshape(len(part), -1),
                )
            )
            if sum(g.meters.size for g in batch) >= AT_ONCE:
                yield batch
                batch = []
    if batch:
        yield batch


def _products_by_day(x: Numbers, innovation: Numbers, day: Ints, days: int) -> tuple[Numbers, Numbers]:
    """(n, D, q, q) and (n, D, q) products of whitened (n, q, T) columns with each other and with the (T,) innovation,
    day by day; days of equal length at once."""
    n, q, _ = x.shape
    starts = np.searchsorted(day, np.arange(days + 1))
    length = np.diff(starts)
    h, b = np.empty((n, days, q, q), x.dtype), np.empty((n, days, q), x.dtype)
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(length)) + 1, [days]])
    for first, last in pairwise(bounds):
        shape = (last - first, length[first])
        part = np.swapaxes(x[:, :, starts[first] : starts[last]].reshape(n, q, *shape), 1, 2)
        h[:, first:last] = part @ np.swapaxes(part, 2, 3)
        b[:, first:last] = (part @ innovation[starts[first] : starts[last]].reshape(*shape, 1))[..., 0]
    return h, b


def attribute(area: Prepared, stats: Statistics) -> Attribution:
    """Evidence of every family for every meter."""
    *detail, load = _of_every((*FAMILIES, LOAD), stats, typical_load(area))
    table = np.stack([found.log_evidence for found in detail], axis=1)
    return Attribution(by_family=table, total=total_evidence(table), load=load.log_evidence, detail=tuple(detail))


def evidence_table(area: Prepared, stats: Statistics, families: Sequence[Family]) -> Floats:
    """(N, F) log evidence of some families alone, from statistics of their columns [nat]."""
    return np.stack([found.log_evidence for found in _of_every(families, stats, typical_load(area))], axis=1)


def total_evidence(table: Floats) -> Floats:
    """(N,) log mean evidence over the families of (N, F) [nat]."""
    return np.asarray(log_sum_exp(table, axis=1) - np.log(table.shape[1]))


def _of_every(families: Sequence[Family], stats: Statistics, load: float) -> list[DayEvidence]:
    """Evidence of each family; those of as many coefficients at once."""
    evidence: dict[str, DayEvidence] = {}
    for q in sorted({len(family.columns) for family in families}):
        alike = [family for family in families if len(family.columns) == q]
        evidence |= zip((family.name for family in alike), evidence_of(alike, stats, load), strict=True)
    return [evidence[family.name] for family in families]


def prior_of(family: Family, load: float) -> tuple[Floats, Floats]:
    """(q,) mean and (q,) variance of the coefficients."""
    unit = np.where(np.array(family.in_loads), load, 1.0)
    return np.array(family.mean) * unit, np.square(np.array(family.sd) * unit)


def evidence_of(families: Sequence[Family], stats: Statistics, load: float) -> list[DayEvidence]:
    """Evidence of each family for every meter; all have as many coefficients."""
    n, days = stats.b.shape[:2]
    some = [np.flatnonzero(stats.held[:, list(family.columns)].any(axis=1)) for family in families]
    of_family = np.repeat(np.arange(len(families)), [meters.size for meters in some])
    i = np.concatenate(some)
    c = np.array([family.columns for family in families])[of_family]
    priors = [prior_of(family, load) for family in families]
    mean, var = (np.array([prior[j] for prior in priors])[of_family] for j in range(2))

    def sound(theta: Floats) -> Bools:
        out = np.zeros(theta.shape[:-1], bool)
        for j, family in enumerate(families):
            out[of_family == j] = plausible(family, theta[of_family == j])
        return out

    all_days = np.arange(days)
    b = stats.b[i[:, None, None], all_days[:, None], c[:, None]]
    h = stats.h[i[:, None, None, None], all_days[:, None, None], c[:, None, :, None], c[:, None, None, :]].astype(float)
    whole, blur = h.sum(axis=1), stats.blurred[i[:, None, None], c[:, :, None], c[:, None]]
    one = np.eye(c.shape[1])
    tiny = (1e-9 * np.einsum("nqq->n", whole) + 1e-30)[:, None, None] * one
    inverse = np.linalg.inv(whole + tiny)
    corr = inverse @ blur @ inverse
    corr = (corr + np.swapaxes(corr, 1, 2)) / 2
    found = evaluate(b, h, corr, (mean, var), sound)
    value = np.maximum(found.log_evidence, -NEVER)
    out = []
    for j, meters in enumerate(some):
        here = of_family == j
        evidence, modes = np.full(n, -NEVER), np.full(n, ALWAYS, np.int64)
        acts, thetas = np.ones((n, days)), np.tile(priors[j][0], (n, 1))
        evidence[meters], modes[meters], acts[meters], thetas[meters] = (
            value[here],
            found.mode[here],
            found.active[here],
            found.theta[here],
        )
        out.append(DayEvidence(evidence, modes, acts, thetas))
    return out


def plausible(family: Family, theta: Floats) -> Bools:
    """(…,) whether (…, q) coefficients are physically possible and worth a name.

    A reading cannot hide more than −90 % of itself (a wrong multiplier: −97 %; beyond, it is no meter of this area),
    and a deviation under MIN_DEVIATION is accuracy, not a fault: a reading less the smoothed reading hides nothing, but
    is what a late clock leaves. Hidden loads are positive.
    """
    if family.name in ("scaled", "multiplier"):
        return np.asarray(
            (theta[..., 0] > (-0.9 if family.name == "scaled" else -0.97)) & (np.abs(theta[..., 0]) > MIN_DEVIATION)
        )
    if family.name == "random":
        return np.asarray(theta.sum(axis=-1) > MIN_DEVIATION)
    if family.name == "replaced":
        return np.asarray(theta[..., 1] + theta[..., 2] > 0)
    if family.name == "reversed":
        return np.ones(theta.shape[:-1], bool)
    return np.asarray(theta.sum(axis=-1) > 0)


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
    stats = statistics(area, np.eye(area.n_streams), fit, MeterColumns.all_of(columns))
    mean, var = prior_of(LOAD, load)
    bf, theta = bayes_factor(stats.b.sum(axis=1), stats.h.sum(axis=1, dtype=np.float64) - stats.blurred, mean, var)
    energy = theta.sum(axis=1)
    return np.where(energy > 0, bf, 0.0), energy
