"""Finds the set of meters that explains an area together: greedy, refitting everything after each; judged leaving one
out.

The evidence a suspect was chosen by is of one linear step from the fit before it: rows it explains may still have been
set aside as outliers, and later suspects may explain its share better. So once the set is complete, the area is fitted
again without each in turn, with an unmetered load in its place, and with the next meter in its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reconciliation.attribution import Attribution, attribute, prior_of, statistics
from reconciliation.design import FAULT, Faults
from reconciliation.evidence_of_days import ALWAYS
from reconciliation.model import AreaModel
from reconciliation.noise import NoiseFit
from reconciliation.shapes import FAMILIES, LOAD, Family, typical_load
from reconciliation.window import Floats

MIN_EVIDENCE = 8.0
"""Evidence from which a meter is tried [nat]."""
MIN_GAIN = 8.0
"""Gain of the whole fit's log-likelihood from which it stays [nat]: more than its coefficients and its choice of days
can buy."""
STUCK = next(k for k, family in enumerate(FAMILIES) if family.name == "stuck")
FAMILIES_TRIED = 3
"""Ways of being wrong whose whole fits are compared."""
WORTH_TRYING = 0.2
"""Evidence of a family as share of the best one from which its whole fit is looked at."""
PER_COEFFICIENT = 4.0
"""[nat] what a coefficient more may buy by chance: ½ ln(T) for T ≈ 2,700 rows."""
NO_EXCESS = 1.05
"""Ratio up to which there is no excess to explain: the floor is not known better."""
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
    rival: int | None = None
    """The meter it took most evidence from when chosen."""
    rival_family: int = 0
    """Index of the rival's family."""
    gain: float = 0.0
    """Of the whole fit's log-likelihood over one without it, given the others [nat]."""
    load_gain: float = 0.0
    """The same with an unmetered load on its streams in its place [nat]."""
    rival_gain: float = 0.0
    """The same with the rival in its place [nat]."""
    explained: float = 0.0
    """Share of the excess innovation variance on its streams that it takes away, given the others, 0..1."""


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
        chosen = _best_family(model, columns, suspects, present, i)
        gain = chosen[1].log_likelihood - fit.log_likelihood
        if gain < MIN_GAIN:
            break
        trial = replace(chosen[0], evidence=float(total[i]), load_evidence=float(load[i]))
        fit = chosen[1]
        refresh = np.array(order[1 : 1 + REFRESH], dtype=np.int64)
        if refresh.size == 0:
            suspects.append(trial)
            break
        part = attribute(model.area, statistics(model.area, model.share, fit, columns, refresh))
        taken_over = total[refresh] - np.maximum(part.total, 0.0)
        rival = int(refresh[int(np.argmax(taken_over))])
        if taken_over.max() > 0:
            trial = replace(trial, rival=rival, rival_family=present.best(rival))
        suspects.append(trial)
        total[:] = np.minimum(total, 0.0)
        total[refresh] = part.total
        load[refresh] = part.load
        present = _merge(present, part, refresh)
    suspects = _given_the_others(model, columns, suspects, fit, first)
    own, hidden, sd = _own_evidence(model, columns, suspects, fit)
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


def _best_family(
    model: AreaModel, columns: Floats, suspects: Sequence[Suspect], present: Attribution, i: int
) -> tuple[Suspect, NoiseFit]:
    """Meter i with the way of being wrong that fits best, of the FAMILIES_TRIED with most evidence, and that fit."""
    fits = []
    if present.best(i) == STUCK:  # a reading that stands still makes several families alike; only this one says why
        trial = _suspect(present, i, STUCK)
        return trial, model.refit(_faults(model, columns, [*suspects, trial]))
    most = present.by_family[i].max()
    for j in np.argsort(-present.by_family[i], kind="stable")[:FAMILIES_TRIED]:
        if present.by_family[i, j] >= WORTH_TRYING * most:
            trial = _suspect(present, i, int(j))
            fits.append((trial, model.refit(_faults(model, columns, [*suspects, trial]))))
    return max(fits, key=lambda f: f[1].log_likelihood - PER_COEFFICIENT * len(f[0].family.columns))


def _suspect(present: Attribution, i: int, j: int) -> Suspect:
    detail = present.detail[j]
    return Suspect(
        meter=i,
        family=FAMILIES[j],
        active=(detail.active[i] > 0.5).astype(np.float64),
        mode=int(detail.mode[i]),
        evidence=float(present.total[i]),
        load_evidence=float(present.load[i]),
    )


def _given_the_others(
    model: AreaModel, columns: Floats, suspects: Sequence[Suspect], fit: NoiseFit, first: Attribution
) -> list[Suspect]:
    """The suspects with gain, unmetered load's and rival's gain, and explained share, each given the others."""
    out = []
    taken = {s.meter for s in suspects}
    for k, s in enumerate(suspects):
        others = [*suspects[:k], *suspects[k + 1 :]]
        on = model.share[s.meter] > 0
        without = model.refit(_faults(model, columns, others)) if others else model.fit
        load = replace(s, family=LOAD, active=np.ones_like(s.active))
        instead = model.refit(_faults(model, columns, [*others, load])).log_likelihood
        if s.mode != ALWAYS:  # a load may begin on the same day, or be there on the same days
            same = replace(s, family=LOAD)
            instead = max(instead, model.refit(_faults(model, columns, [*others, same])).log_likelihood)
        rival_gain = 0.0
        if s.rival is not None and s.rival not in taken:
            rival = _suspect(first, s.rival, s.rival_family)
            rival_gain = model.refit(_faults(model, columns, [*others, rival])).log_likelihood - without.log_likelihood
        out.append(
            replace(
                s,
                gain=fit.log_likelihood - without.log_likelihood,
                load_gain=instead - without.log_likelihood,
                rival_gain=rival_gain,
                explained=explained_share(without.ratio[on], fit.ratio[on]),
            )
        )
    return out


def explained_share(before: Floats, after: Floats) -> float:
    """Share of the excess variance over the floor that is gone, NaN where there is none; (K,) innovation ratios."""
    floor = min(1.0, float(before.min()))
    if float(before.max()) < NO_EXCESS:
        return float("nan")
    excess = np.maximum(np.square(before) - floor**2, 0.0)
    left = np.maximum(np.square(after) - floor**2, 0.0)
    return float(np.clip(1.0 - left.sum() / excess.sum(), 0.0, 1.0)) if excess.sum() > 1e-9 else 1.0


def _own_evidence(
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
        rows = columns[s.meter, list(s.family.columns)] * s.active[model.area.day]
        live = np.abs(rows).max(axis=1) > 0
        index = np.arange(at, at + live.size)[live]
        at += live.size
        rows, q = rows[live], int(live.sum())
        if q == 0:
            own.append(0.0)
            hidden.append(np.zeros(t))
            sd.append(0.0)
            continue
        unit = np.zeros((fit.effects.size, q))
        unit[index, np.arange(q)] = 1.0
        cov = fit.solve(unit)[index]
        mean, var = (x[live] for x in prior_of(s.family, load))
        theta = fit.effects[index] + mean
        _, logdet = np.linalg.slogdet(cov)
        posterior = -0.5 * float(theta @ np.linalg.solve(cov, theta)) - 0.5 * float(logdet)
        prior = -0.5 * float(np.sum(np.square(mean) / var)) - 0.5 * float(np.sum(np.log(var)))
        own.append(prior - posterior)
        hidden.append(theta @ rows)
        total = rows.sum(axis=1)
        sd.append(float(np.sqrt(max(total @ cov @ total, 0.0))))
    return np.array(own), np.array(hidden), np.array(sd)
