"""A meter with the way it is wrong: as effects of a fit, and what the fit says of it given all others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reconciliation.attribution import Attribution, prior_of
from reconciliation.columns import MeterColumns
from reconciliation.design import FAULT, Faults
from reconciliation.model import AreaModel
from reconciliation.noise import NoiseFit
from reconciliation.shapes import FAMILIES, Family, typical_load
from reconciliation.window import Bools, Floats


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
    rival: "Suspect | None" = None
    """The meter it took most evidence from when chosen, with its own best way of being wrong."""
    replicated: float = 0.0
    """Evidence of its days given all others, less what the choice of days and coefficients could buy [nat]."""
    scale: float = 1.0
    """Of its days' scores with the fault in the fit; 1: explained to within noise."""
    rival_margin: float = np.inf
    """Gain of the whole fit's log-likelihood over one with the rival in its place, given the others; or by it beside
    the rival, if that is more [nat]."""
    place: float = 0.0
    """Log evidence of all meters' voltages that what it hides is at it, against "no one alone", given the others [nat];
    0 where voltages say nothing."""
    other_places: float = 0.0
    """Log of the mean evidence of all other places [nat]."""
    elsewhere: bool = False
    """Whether they place that at another meter, or all over its streams."""

    @property
    def days(self) -> Bools:
        """(D,) on which it acts."""
        return np.asarray(self.active > 0.5)


def suspect_of(present: Attribution, i: int, j: int) -> Suspect:
    """Meter i being wrong in way j, as an attribution found it."""
    detail = present.detail[j]
    return Suspect(
        meter=i,
        family=FAMILIES[j],
        active=(detail.active[i] > 0.5).astype(np.float64),
        mode=int(detail.mode[i]),
        evidence=float(present.total[i]),
        load_evidence=float(present.load[i]),
    )


def faults_of(model: AreaModel, columns: MeterColumns, suspects: Sequence[Suspect]) -> Faults:
    """The suspects' faults as effects of a fit, in their order."""
    load = typical_load(model.area)
    blocks, means, sds = [], [], []
    for s in suspects:
        on = s.active[model.area.day]
        rows = columns[s.meter, s.family.columns] * on
        mean, var = prior_of(s.family, load)
        scale = np.sqrt(np.mean(np.square(rows), axis=1))
        for row, m, v, size in zip(rows, mean, var, scale, strict=True):
            blocks.append(model.share[s.meter][:, None] * row[None])
            means.append(m)
            sds.append(np.sqrt(v) if size > 0 else 1e-6)
    return Faults(columns=np.array(blocks), mean=np.array(means), sd=np.array(sds))


def coefficients(model: AreaModel, suspects: Sequence[Suspect], fit: NoiseFit) -> list[Floats]:
    """Each suspect's coefficients (q,) in the fit with ``faults_of`` the same suspects."""
    load, out = typical_load(model.area), []
    at = int(np.flatnonzero(fit.group == FAULT)[0]) if suspects else 0
    for s in suspects:
        mean, _ = prior_of(s.family, load)
        out.append(fit.effects[at : at + mean.size] + mean)
        at += mean.size
    return out


def own_evidence(
    model: AreaModel, columns: MeterColumns, suspects: Sequence[Suspect], fit: NoiseFit
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
        rows = columns[s.meter, s.family.columns] * s.active[model.area.day]
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
