"""Finds the set of meters that explains an area together: greedy, refitting everything after each, judged leaving one
out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reconciliation.attribution import Attribution, attribute, prior_of, statistics
from reconciliation.design import FAULT, Faults
from reconciliation.model import AreaModel
from reconciliation.noise import NoiseFit
from reconciliation.shapes import FAMILIES, Family, typical_load
from reconciliation.window import Floats

MIN_EVIDENCE = 8.0
"""Evidence from which a meter is tried [nat]."""
MIN_GAIN = 8.0
"""Gain of the whole fit's log-likelihood from which it stays [nat]: more than its coefficients and its choice of days
can buy."""
REFRESH = 24
"""After the first, only this many meters' evidence is recomputed per step."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Suspect:
    """One meter with the way it is wrong."""

    meter: int
    family: Family
    active: Floats
    """(D,) 1 on the days it acts."""
    mode: int
    evidence: float
    """When chosen [nat]."""
    load_evidence: float
    """Of an unmetered load on its streams, when chosen [nat]."""
    runner_up: float
    """Most evidence that choosing it took from another meter [nat]: what that meter would have explained instead of
    it."""
    gain: float
    """Of the whole fit's log-likelihood when added [nat]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Localisation:
    """The suspects, and the area with and without them."""

    suspects: tuple[Suspect, ...]
    fit: NoiseFit
    """With the suspects' faults as effects."""
    first: Attribution
    last: Attribution
    own_evidence: Floats
    """(len(suspects),) log evidence of each, given all others [nat]."""
    hidden_wh: Floats
    """(len(suspects), T) energy each hides [Wh]."""
    hidden_sd_wh: Floats
    """(len(suspects),) SD of its sum [Wh]."""


def localise(model: AreaModel, columns: Floats, first: Attribution) -> Localisation:
    """Greedy search from the first attribution; ``columns`` (N, S, T) from shapes.meter_columns."""
    n = columns.shape[0]
    suspects: list[Suspect] = []
    fit, present = model.fit, first
    total, load = first.total.copy(), first.load.copy()
    rejected: set[int] = set()
    for _ in range(max(3, min(12, n // 6))):
        taken = {s.meter for s in suspects} | rejected
        order = [int(i) for i in np.argsort(-total, kind="stable") if int(i) not in taken]
        if not order or total[order[0]] < MIN_EVIDENCE:
            break
        i = order[0]
        j = present.best(i)
        detail = present.detail[j]
        trial = Suspect(
            meter=i,
            family=FAMILIES[j],
            active=(detail.active[i] > 0.5).astype(np.float64),
            mode=int(detail.mode[i]),
            evidence=float(total[i]),
            load_evidence=float(load[i]),
            gain=0.0,
            runner_up=0.0,
        )
        new = model.refit(_faults(model, columns, [*suspects, trial]))
        gain = new.log_likelihood - fit.log_likelihood
        if gain < MIN_GAIN:
            break
        fit = new
        refresh = np.array(order[1 : 1 + REFRESH], dtype=np.int64)
        if refresh.size == 0:
            suspects.append(replace(trial, gain=gain))
            break
        part = attribute(model.area, statistics(model.area, model.share, fit, columns, refresh))
        taken_over = total[refresh] - np.maximum(part.total, 0.0)
        suspects.append(replace(trial, gain=gain, runner_up=float(taken_over.max())))
        total[:] = np.minimum(total, 0.0)
        total[refresh] = part.total
        load[refresh] = part.load
        present = _merge(present, part, refresh)
    own, hidden, sd = _leave_one_out(model, columns, suspects, fit)
    return Localisation(
        suspects=tuple(suspects),
        fit=fit,
        first=first,
        last=present,
        own_evidence=own,
        hidden_wh=hidden,
        hidden_sd_wh=sd,
    )


def _merge(old: Attribution, part: Attribution, where: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Attribution:
    by_family, total, load = old.by_family.copy(), old.total.copy(), old.load.copy()
    by_family[where], total[where], load[where] = part.by_family, part.total, part.load
    details = []
    for a, b in zip(old.detail, part.detail, strict=True):
        copy = type(a)(a.log_evidence.copy(), a.mode.copy(), a.active.copy(), a.theta.copy())
        copy.log_evidence[where], copy.mode[where], copy.active[where], copy.theta[where] = (
            b.log_evidence,
            b.mode,
            b.active,
            b.theta,
        )
        details.append(copy)
    return Attribution(by_family=by_family, total=total, load=load, detail=tuple(details))


def _faults(model: AreaModel, columns: Floats, suspects: Sequence[Suspect]) -> Faults:
    load = typical_load(model.area)
    blocks, means, sds = [], [], []
    for s in suspects:
        on = s.active[model.area.day]
        rows = columns[s.meter, list(s.family.columns)] * on
        mean, var = prior_of(s.family, load)
        scale = np.sqrt(np.mean(np.square(rows), axis=1))
        for row, m, v, size in zip(rows, mean, var, scale, strict=True):
            blocks.append(model.share[s.meter][:, None] * row[None])
            means.append(m)
            sds.append(np.sqrt(v) if size > 0 else 1e-6)
    return Faults(columns=np.array(blocks), mean=np.array(means), sd=np.array(sds))


def _leave_one_out(
    model: AreaModel, columns: Floats, suspects: Sequence[Suspect], fit: NoiseFit
) -> tuple[Floats, Floats, Floats]:
    """Savage–Dickey: log BF = log prior density at θ = 0 − log posterior density at θ = 0, all other effects
    integrated out."""
    t = columns.shape[2]
    if not suspects:
        return np.zeros(0), np.zeros((0, t)), np.zeros(0)
    load = typical_load(model.area)
    own, hidden, sd = [], [], []
    at = int(np.flatnonzero(fit.group == FAULT)[0])
    for s in suspects:
        q = len(s.family.columns)
        index = np.arange(at, at + q)
        at += q
        unit = np.zeros((fit.effects.size, q))
        unit[index, np.arange(q)] = 1.0
        cov = fit.solve(unit)[index]
        mean, var = prior_of(s.family, load)
        theta = fit.effects[index] + mean
        _, logdet = np.linalg.slogdet(cov)
        posterior = -0.5 * float(theta @ np.linalg.solve(cov, theta)) - 0.5 * float(logdet)
        prior = -0.5 * float(np.sum(np.square(mean) / var)) - 0.5 * float(np.sum(np.log(var)))
        own.append(prior - posterior)
        rows = columns[s.meter, list(s.family.columns)] * s.active[model.area.day]
        hidden.append(theta @ rows)
        total = rows.sum(axis=1)
        sd.append(float(np.sqrt(max(total @ cov @ total, 0.0))))
    return np.array(own), np.array(hidden), np.array(sd)
