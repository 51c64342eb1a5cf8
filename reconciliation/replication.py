"""Does a suspected fault repeat itself day by day? Evidence that counts days, not intervals, and its posterior odds.

The likelihood of the rows knows registers and instruments, not the courses of loads that no meter sees; where there is
one, a neighbour whose reading is somewhat like it takes up part of it with hundreds of nats. What such luck cannot do
is to fit every day alike. For a suspect with hidden energy h(t) = θ̂·columns (θ̂ from the joint fit, all other suspects
in it), x = h whitened and u the whitened residual, both freed of a smooth daily course of unknown shape (constant and
HARMONICS of the day, separately on the days it acts and the days it does not: what an unmetered load with habits could
do as well), each day gives

    z₁(d) = x_dᵀu_d / √H_d  and  z₀(d) = z₁(d) + a_d √H_d,  H_d = x_dᵀx_d,  a_d = 1 on the days it acts,

which are N(0, 1) if the meter is to blame exactly so (z₁), or if it is honest and the model right (z₀). As the model is
not, days follow a Student-t (ν = 4) of unknown scale c ≥ 1, estimated under each hypothesis from the area's own days:
evidence = max_c ℓ(z₁; c) − max_c ℓ(z₀; c). A fault that explains all days alike has c = 1 where the honest hypothesis
needs a large c, and gets about ½ D ln c₀; one that explains a few days by chance gets nothing. The TRIM best days count
no more than the next: no accusation rests on two days. From it go what the choice of days could buy, ln of the number
of such choices,
½ ln D for each coefficient, and the prior odds.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from reconciliation.evidence_of_days import ALWAYS, ONSET, SOME_DAYS
from reconciliation.model import AreaModel
from reconciliation.noise import NU, NoiseFit
from reconciliation.window import Bools, Floats, Ints, Numbers

HARMONICS = 3
"""Of the day: a course smooth over four hours, as the sum of a household's habits is."""
TRIM = 2
"""Days, of those that speak most for the fault, that count no more than the next: an outage is no habit."""
LEAST = 1e-3
"""Share of a mean day's information below which a day says nothing about a meter."""
SCALES = np.exp(np.linspace(0.0, np.log(1e6), 160))
"""Candidates for c; at least 1, because nothing is known better than registers and clocks allow."""
ROUGH_SCALES = SCALES[::4]
"""Where many meters are looked at."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DayScores:
    """A suspect's scores, day by day. D days."""

    rest: Floats
    """(D,) x_dᵀu_d with the fault in the fit."""
    information: Floats
    """(D,) H_d."""


def smooth_course(slot: Floats, slots: int) -> Floats:
    """(1 + 2·HARMONICS, T) constant and harmonics of the day."""
    phase = 2.0 * np.pi * np.asarray(slot, np.float64) / slots
    waves = [f(k * phase) for k in range(1, HARMONICS + 1) for f in (np.cos, np.sin)]
    return np.stack([np.ones_like(phase), *waves])


class DayTests:
    """Scores of suspects against one fit: what all of them share is whitened once."""

    def __init__(self, model: AreaModel, fit: NoiseFit) -> None:
        """``fit``: with all suspects' faults as effects."""
        area = model.area
        self._model, self._fit = model, fit
        course = smooth_course(area.slot.astype(np.float64), int(area.slot.max()) + 1)
        self._course = [fit.whiten(k, course) for k in range(area.n_streams)]
        self._starts = np.searchsorted(area.day, np.arange(area.n_days))

    def scores(self, meter: int, hidden: Floats, acts: Bools) -> DayScores:
        """Scores of a ``meter`` whose fault would hide ``hidden`` (T,) [Wh] on every day; ``acts`` (D,) on which it is
        in the fit."""
        model, fit = self._model, self._fit
        days = model.area.n_days
        on = acts[model.area.day]
        rest, information = np.zeros(days), np.zeros(days)
        for k in np.flatnonzero(model.share[meter] > 0):
            pair = np.stack([fit.whiten(int(k), (hidden * model.share[meter, k])[None])[0], fit.innovation[k]])
            white = self._course[int(k)]
            for rows in (on, ~on):
                if rows.all():
                    pair -= _projection(white, pair)
                elif rows.any():
                    pair[:, rows] -= _projection(white[:, rows], pair[:, rows])
            rest += np.add.reduceat(pair[0] * pair[1], self._starts)
            information += np.add.reduceat(np.square(pair[0]), self._starts)
        return DayScores(rest=rest, information=information)

    def scores_of_many(self, meters: Ints, hidden: Numbers) -> DayScores:
        """The same of many, none of them in the fit: ``meters`` (n,), not all different, whose faults would hide
        ``hidden`` (n, T) [Wh]; (n, D) each."""
        model, fit, days = self._model, self._fit, self._model.area.n_days
        rest, information = np.zeros((meters.size, days)), np.zeros((meters.size, days))
        for k in range(model.area.n_streams):
            share = model.share[meters, k]
            on = np.flatnonzero(share > 0)
            if on.size == 0:
                continue
            basis = np.linalg.qr(self._course[k].T)[0].T
            left = fit.innovation[k] - (fit.innovation[k] @ basis.T) @ basis
            x = fit.whiten_many(k, hidden, on)
            x *= share[on, None].astype(x.dtype)
            x -= (x @ basis.T.astype(x.dtype)) @ basis.astype(x.dtype)
            rest[on] += np.add.reduceat(x * left.astype(x.dtype), self._starts, axis=1)
            information[on] += np.add.reduceat(np.square(x), self._starts, axis=1)
        return DayScores(rest=rest, information=information)


def _projection(basis: Floats, values: Floats) -> Floats:
    gram = basis @ basis.T
    gram[np.diag_indices_from(gram)] += 1e-9 * np.trace(gram) / gram.shape[0] + 1e-300
    return np.asarray(np.linalg.solve(gram, basis @ values.T).T @ basis)


def replicated_evidence(scores: DayScores, fitted: Bools, acts: Bools, trim: int = TRIM) -> float:
    """Log evidence [nat] for a fault on the days ``acts`` (D,) against an honest meter; ``fitted`` (D,) the days on
    which the fit that gave the scores had it."""
    h = scores.information
    use = h > LEAST * float(h.mean())
    if int(use.sum()) <= trim:
        return 0.0
    root = np.sqrt(h[use])
    honest = scores.rest[use] / root + fitted[use] * root
    faulty = honest - acts[use] * root
    gain = np.sort(_density(faulty, _best_scale(faulty)) - _density(honest, _best_scale(honest)))
    return float(np.minimum(gain, gain[gain.size - 1 - trim]).sum())


def left_scale(scores: DayScores) -> float:
    """Scale c ≥ 1 of what the days leave over with the fault in the fit; 1: explained to within noise."""
    use = scores.information > LEAST * float(scores.information.mean())
    return _best_scale(scores.rest[use] / np.sqrt(scores.information[use])) if use.any() else 1.0


def roughly(scores: DayScores, coefficients: Ints) -> Floats:
    """(n,) evidence less the cost of the choice, of (n, D) scores of faults of (n,) ``coefficients``, none of them in
    the fit: what ``best_days`` finds, to half a nat, of many at once; −∞ where no more than TRIM days say anything."""
    h, rest = np.maximum(scores.information, 1e-12), scores.rest
    n, days = h.shape
    use = scores.information > LEAST * scores.information.mean(axis=1, keepdims=True)
    root = np.sqrt(h)
    honest = np.where(use, rest / root, 0.0)
    before = _at_best_scale(honest, use)
    onset = 1 + np.argmax(np.cumsum((rest - 0.5 * h)[:, :0:-1], axis=1)[:, ::-1], axis=1) if days > 1 else np.zeros(n)
    some = rest / h > 0.5
    out = np.full(n, -np.inf)
    for mode, acts in (
        (ALWAYS, np.ones((n, days), bool)),
        (ONSET, np.arange(days) >= onset[:, None]),
        (SOME_DAYS, some),
    ):
        gain = np.where(use, _at_best_scale(honest - acts * np.where(use, root, 0.0), use) - before, -np.inf)
        gain.sort(axis=1)
        gain = np.minimum(gain, gain[:, [max(days - 1 - TRIM, 0)]])
        value = np.where(np.isfinite(gain), gain, 0.0).sum(axis=1)
        value -= [cost_of_choice(mode, a, q) for a, q in zip(acts, coefficients.tolist(), strict=True)]
        number = acts.sum(axis=1)
        out = np.where((number >= 2) & (number < days) if mode == SOME_DAYS else True, np.maximum(out, value), out)
    return np.where(use.sum(axis=1) > TRIM, out, -np.inf)


def _at_best_scale(z: Floats, use: Bools) -> Floats:
    """(n, D) log density of (n, D) scores, each row's at the scale that suits its days in ``use``."""
    density = np.stack([(_density(z, c) * use).sum(axis=1) for c in ROUGH_SCALES])
    return _density(z, ROUGH_SCALES[np.argmax(density, axis=0)][:, None])


def _density(z: Floats, scale: Floats | float) -> Floats:
    x = np.square(z) / scale / NU
    return np.asarray(-0.5 * np.log(scale) - 0.5 * (NU + 1.0) * np.log1p(x))


def _best_scale(z: Floats) -> float:
    return float(SCALES[int(np.argmax(_density(z[None], SCALES[:, None]).sum(axis=1)))])


def cost_of_choice(mode: int, acts: Bools, coefficients: int) -> float:
    """What free choices can buy by chance [nat]: three kinds of activity, an onset or a set of days of uniform size,
    ½ ln D a coefficient."""
    days, active = acts.size, int(acts.sum())
    cost = np.log(3.0) + 0.5 * coefficients * np.log(max(days, 2))
    if mode == ONSET:
        cost += np.log(max(days - 1, 1))
    elif mode != ALWAYS:
        choose = special.gammaln(days + 1) - special.gammaln(active + 1) - special.gammaln(days - active + 1)
        cost += float(choose) + np.log(days + 1.0)
    return float(cost)


def best_days(scores: DayScores, fitted: Bools, coefficients: int) -> tuple[int, Bools, float]:
    """Mode, days and evidence less the cost of the choice, for the best of: always, from an onset, on the days whose
    own coefficient is nearer to the common one than to none."""
    days = fitted.size
    h = np.maximum(scores.information, 1e-12)
    some = scores.rest / h + fitted > 0.5
    candidates = [(ALWAYS, np.ones(days, bool))]
    if days > 1:
        gain = scores.rest + (fitted - 0.5) * scores.information
        onset = 1 + int(np.argmax(np.cumsum(gain[::-1])[::-1][1:]))
        candidates.append((ONSET, np.arange(days) >= onset))
    if 2 <= some.sum() < days:
        candidates.append((SOME_DAYS, some))
    scored = [
        (m, a, replicated_evidence(scores, fitted, a) - cost_of_choice(m, a, coefficients)) for m, a in candidates
    ]
    return max(scored, key=lambda c: c[2])
