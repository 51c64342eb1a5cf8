"""The next suspect of an area: who explains most of what those before have left, with the way of being wrong that
suits it, and the fit with all of them.

The evidence a meter is looked at by is of one linear step from the fit before, and of rows, not of days: where loads
run that no meter sees, it is large for whoever resembles them, and a way of being wrong that has a load of its own
gains by all that nobody explains yet. So the excess keeps its own autocovariance where that is more likely than white
noise (noise.py), and who repeats himself over the days (replication.py) comes first, in the way that he does. Where
nobody does, those with most evidence are tried: a large fault drowns its own days until it is in the fit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reconciliation.attribution import Attribution, attribute, statistics
from reconciliation.columns import MeterColumns
from reconciliation.design import Faults
from reconciliation.model import AreaModel
from reconciliation.noise import NoiseFit
from reconciliation.replication import DayScores, DayTests, best_days, roughly
from reconciliation.shapes import FAMILIES
from reconciliation.suspects import Suspect, coefficients, faults_of, suspect_of
from reconciliation.window import Floats, Ints

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
"""Ratio up to which there is no excess to explain, nor a colour of it to know: the floor is not known better."""
REFRESH = 24
"""After the first, only this many meters' evidence is recomputed per step."""
MOST, MOST_SHARE = 24, 0.2
"""Suspects at most, and as share of the meters: where more are wrong, it is not the meters."""
AT_LEAST = 3
"""So many are tried even if none repeats itself: the largest hides the others' days."""
TRIED = 3
"""Of these, so many are put into the fit before nobody is found."""
UNREPEATED = -20.0
"""Rank of a meter with no evidence at all [nat]: the days of one that has some, but does not repeat itself, pay for
their choice with about this much."""
LEAST_REPEATED = UNREPEATED + MIN_EVIDENCE
"""Replicated evidence of the best of all candidates [nat] from which, after AT_LEAST suspects, another is tried; who
has evidence of rows ranks no lower."""


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """Of the search: who is in, the fit with them, and everybody's evidence beside them."""

    suspects: tuple[Suspect, ...]
    fit: NoiseFit
    present: Attribution
    complete: bool = True
    """Whether the evidence of all of them is of this fit."""


def refit(model: AreaModel, columns: MeterColumns, suspects: Sequence[Suspect]) -> NoiseFit:
    """The fit with some suspects, and with the excess as coloured as it is more likely: white where little is left,
    for the colour of little is not known."""
    faults = faults_of(model, columns, suspects) if suspects else None
    return _likelier(model, faults, model.refit(faults) if suspects else model.fit)


def _likelier(model: AreaModel, faults: Faults | None, fit: NoiseFit) -> NoiseFit:
    """A fit with ``faults``, or the other one, with white or with coloured noise, if that is likelier."""
    if not fit.coloured and float(fit.ratio.max()) <= NO_EXCESS:
        return fit
    other = model.refit(faults, coloured=not fit.coloured)
    return other if other.log_likelihood > fit.log_likelihood else fit


def evidence_beside(model: AreaModel, columns: MeterColumns, fit: NoiseFit, meters: Ints | None = None) -> Attribution:
    """Evidence of all (or some) meters beside whoever is in the fit."""
    return attribute(model.area, statistics(model.area, model.share, fit, columns, meters))


def forward(model: AreaModel, columns: MeterColumns, state: State, gone: set[int]) -> State:
    """Adds meters while one has evidence and its whole fit gains."""
    suspects, fit, present = list(state.suspects), state.fit, state.present
    total = present.total.copy()
    n, fresh = total.size, True
    while len(suspects) < max(3, min(MOST, int(MOST_SHARE * n))):
        taken = {s.meter for s in suspects} | gone
        order = [int(i) for i in np.argsort(-total, kind="stable") if int(i) not in taken]
        candidates = [i for i in order if total[i] >= MIN_EVIDENCE]
        now = State(suspects=tuple(suspects), fit=fit, present=present)
        repeated = repeated_of(model, columns, now, candidates)
        best = None
        if candidates and (len(suspects) < AT_LEAST or repeated.max() >= LEAST_REPEATED):
            best = _best_next(model, columns, now, _in_turn(candidates, repeated, total))
        if best is None and fresh:
            break
        if best is None:
            present, fresh = evidence_beside(model, columns, fit), True
            total = present.total.copy()
            continue
        trial, fit = best
        fresh = False
        order.remove(trial.meter)
        refresh = np.array(order[:REFRESH], dtype=np.int64)
        if refresh.size == 0:
            suspects.append(trial)
            break
        part = evidence_beside(model, columns, fit, refresh)
        taken_over = total[refresh] - np.maximum(part.total, 0.0)
        rival = int(refresh[int(np.argmax(taken_over))])
        if taken_over.max() > 0:
            trial = replace(trial, rival=suspect_of(present, rival, present.best(rival)))
        suspects.append(trial)
        total[:] = np.minimum(total, 0.0)
        total[refresh] = part.total
        present = _merge(present, part, refresh)
    return State(suspects=tuple(suspects), fit=fit, present=replace(present, total=total), complete=fresh)


def _in_turn(candidates: Sequence[int], repeated: Floats, total: Floats) -> list[int]:
    """The candidates that repeat themselves, the most first; then those with most evidence: a large fault drowns its
    own days until it is in the fit."""
    ranks = {i: (max(float(r), 0.0), float(total[i])) for i, r in zip(candidates, repeated, strict=True)}
    return sorted(candidates, key=lambda i: ranks[i], reverse=True)


def _best_next(
    model: AreaModel, columns: MeterColumns, state: State, candidates: Sequence[int]
) -> tuple[Suspect, NoiseFit] | None:
    """Of TRIED candidates by whom the whole fit gains, the first that repeats itself in it, or else the first; and that
    fit. None: nobody."""
    first = None
    for i in candidates[:TRIED]:
        chosen, refitted, repeated = _best_family(model, columns, state, i)
        if refitted.log_likelihood - state.fit.log_likelihood >= MIN_GAIN:
            if repeated > 0:
                return chosen, refitted
            first = first or (chosen, refitted)
    return first


def repeated_of(model: AreaModel, columns: MeterColumns, state: State, meters: Sequence[int]) -> Floats:
    """(len(meters),) replicated evidence, less its cost, of meters that are not in the fit, by one step from it: the
    best of the FAMILIES_TRIED ways with most evidence."""
    present = state.present
    which, ways = [], []
    for n, i in enumerate(meters):
        for j in np.argsort(-present.by_family[i], kind="stable")[:FAMILIES_TRIED].tolist():
            if present.by_family[i, j] < MIN_EVIDENCE:
                break
            which.append(n)
            ways.append(j)
    out = np.full(len(meters), -np.inf)
    if which:
        of = np.array(meters)[which]
        hidden = np.array(
            [present.detail[j].theta[i] @ columns[i, FAMILIES[j].columns] for i, j in zip(of, ways, strict=True)]
        )
        scores = DayTests(model, state.fit).scores_of_many(of, hidden)
        np.maximum.at(out, which, roughly(scores, np.array([len(FAMILIES[j].columns) for j in ways])))
    return out


def _best_family(model: AreaModel, columns: MeterColumns, state: State, i: int) -> tuple[Suspect, NoiseFit, float]:
    """Meter i with the way of being wrong that suits it best, of the FAMILIES_TRIED with most evidence; the fit with
    it; and its replicated evidence there.

    That is the way which repeats itself most; where none does, the likeliest: a way with a load of its own beside the
    reading gains by whatever else nobody explains yet. They are compared beside noise of the colour it has without
    them.
    """
    present, others = state.present, state.suspects
    most = present.by_family[i].max()
    ways = [int(j) for j in np.argsort(-present.by_family[i], kind="stable")[:FAMILIES_TRIED]]
    ways = [j for j in ways if present.by_family[i, j] >= WORTH_TRYING * most]
    if present.best(i) == STUCK:  # a reading that stands still makes several families alike; only this one says why
        ways = [STUCK]
    trials = []
    for j in ways:
        trial = suspect_of(present, i, j)
        faults = faults_of(model, columns, [*others, trial])
        fit = model.refit(faults, coloured=state.fit.coloured)
        with_it = State(suspects=(*others, trial), fit=fit, present=present)
        ((_, scores),) = all_scores(model, columns, with_it, only=[trial])
        q = len(trial.family.columns)
        repeated = best_days(scores, trial.days, q)[2]
        trials.append(_Trial(max(repeated, 0.0), fit.log_likelihood - PER_COEFFICIENT * q, trial, faults, fit))
    best = max(trials, key=_Trial.worth)
    return best.suspect, _likelier(model, best.faults, best.fit), best.repeated


@dataclass(frozen=True, slots=True)
class _Trial:
    """One way in which a meter may be wrong, in the fit with all suspects."""

    repeated: float
    likelihood: float
    suspect: Suspect
    faults: Faults
    fit: NoiseFit

    def worth(self) -> tuple[float, float]:
        return self.repeated, self.likelihood


def _merge(old: Attribution, part: Attribution, where: Ints) -> Attribution:
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


def all_scores(
    model: AreaModel, columns: MeterColumns, state: State, only: Sequence[Suspect] | None = None
) -> list[tuple[Suspect, DayScores]]:
    """The suspects, or ``only`` some, with the scores of their days in the fit with all of them."""
    tests, out = DayTests(model, state.fit), []
    for s, theta in zip(state.suspects, coefficients(model, state.suspects, state.fit), strict=True):
        if only is not None and s not in only:
            continue
        hidden = theta @ columns[s.meter, s.family.columns]
        out.append((s, tests.scores(s.meter, hidden, s.days)))
    return out
