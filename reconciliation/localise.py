"""Finds the set of meters that explains an area together: forward, refitting everything after each; then each member
is looked at day by day with all the others in the fit, takes the days that suit it best, or leaves.

The evidence a meter is chosen by is of one linear step from the fit before it, and of rows, not of days: where loads
run that no meter sees, it is large for whoever resembles them. So the excess that nobody explains yet keeps its own
autocovariance where that is more likely than white noise (noise.py), and a member stays only while its fault repeats
itself over the days (replication.py): seen with it in the fit, for a large fault drowns its own days before. Who left
without hope is not tried again; the others' evidence is taken anew without
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reconciliation.attribution import Attribution, attribute, statistics
from reconciliation.columns import MeterColumns
from reconciliation.evidence_of_days import ALWAYS
from reconciliation.model import AreaModel
from reconciliation.noise import NoiseFit
from reconciliation.replication import (
    DayScores,
    DayTests,
    best_days,
    cost_of_choice,
    left_scale,
    replicated_evidence,
    roughly,
)
from reconciliation.shapes import FAMILIES
from reconciliation.shapes import STUCK as STUCK_COLUMN
from reconciliation.suspects import Suspect, coefficients, faults_of, own_evidence, suspect_of
from reconciliation.window import Bools, Floats, Ints

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
MOST, MOST_SHARE = 24, 0.2
"""Suspects at most, and as share of the meters: where more are wrong, it is not the meters."""
AT_LEAST = 3
"""So many are tried even if none repeats itself: the largest hides the others' days."""
TRIED = 3
"""Of these, so many are put into the fit before nobody is found."""
ROUNDS = 4
"""Of choosing and sending away."""
UNREPEATED = -20.0
"""Rank of a meter with no evidence at all [nat]: the days of one that has some, but does not repeat itself, pay for
their choice with about this much."""
UNKNOWN_COURSE = ("replaced", "stuck")
"""Faults whose hidden load nobody knows the course of: what the fit knows of it is its habit, and the rest is left."""
HOPELESS = -5.0
"""Replicated evidence below which a meter is not tried again in the next round [nat]; above, it may do better in other
company."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Localisation:
    """The suspects, and the area with and without them."""

    columns: MeterColumns
    """What the faults are made of."""
    suspects: tuple[Suspect, ...]
    fit: NoiseFit
    """With the suspects' faults as effects; comparable with the model's own."""
    first: Attribution
    beside_plain: Attribution
    """Of all meters, with the suspects' faults in ``fit`` where a register stands still; else the first."""
    ranking: Floats
    """(N,) evidence of each meter's days [nat]: the suspects' given each other, the others' given all suspects."""
    own_evidence: Floats
    """(len(suspects),) log evidence of each, given all others [nat]."""
    hidden_wh: Floats
    """(len(suspects), T) energy each hides [Wh]."""
    hidden_sd_wh: Floats
    """(len(suspects),) SD of its sum [Wh]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    """Of the search: who is in, the fit with them, and everybody's evidence beside them."""

    suspects: tuple[Suspect, ...]
    fit: NoiseFit
    present: Attribution


def localise(model: AreaModel, columns: MeterColumns, first: Attribution) -> Localisation:
    """Search; ``columns`` (N, S, T) from columns.meter_columns; ``first``: evidence with nobody in the fit."""
    state = _State(suspects=(), fit=_refit(model, columns, ()), present=first)
    state = replace(state, present=_evidence(model, columns, state.fit))
    gone: set[int] = set()
    tried: set[int] = set()
    for _ in range(ROUNDS):
        before = len(state.suspects)
        state = _forward(model, columns, state, gone)
        if len(state.suspects) == before:
            break
        kept, left = _settled(model, columns, state)
        if not left and all(a.days.tolist() == b.days.tolist() for a, b in zip(kept, state.suspects, strict=True)):
            break
        gone |= {m for m, evidence in left.items() if evidence < HOPELESS or m in tried}
        tried |= left.keys()
        fit = _refit(model, columns, kept)
        state = _State(suspects=kept, fit=fit, present=_evidence(model, columns, fit))
    suspects = _scored(model, columns, state)
    fit = model.refit(faults_of(model, columns, suspects)) if suspects else model.fit
    own, hidden, sd = own_evidence(model, columns, suspects, fit)
    return Localisation(
        columns=columns,
        suspects=tuple(suspects),
        fit=fit,
        first=first,
        beside_plain=_still(model, columns, fit, first) if suspects else first,
        ranking=_ranking(model, columns, state, suspects),
        own_evidence=own,
        hidden_wh=hidden,
        hidden_sd_wh=sd,
    )


def _refit(model: AreaModel, columns: MeterColumns, suspects: Sequence[Suspect]) -> NoiseFit:
    """The fit with some suspects, and with the excess as coloured as it is more likely: white where little is left,
    for the colour of little is not known."""
    faults = faults_of(model, columns, suspects) if suspects else None
    coloured, white = model.refit(faults, coloured=True), model.refit(faults) if suspects else model.fit
    return coloured if coloured.log_likelihood > white.log_likelihood else white


def _still(model: AreaModel, columns: MeterColumns, fit: NoiseFit, first: Attribution) -> Attribution:
    """The attribution beside the suspects, which only the rule on registers that stand still asks for."""
    return _evidence(model, columns, fit) if columns.held(STUCK_COLUMN) else first


def _evidence(model: AreaModel, columns: MeterColumns, fit: NoiseFit, meters: Ints | None = None) -> Attribution:
    """Evidence of all (or some) meters beside whoever is in the fit."""
    return attribute(model.area, statistics(model.area, model.share, fit, columns, meters))


def _forward(model: AreaModel, columns: MeterColumns, state: _State, gone: set[int]) -> _State:
    """Adds meters while one has evidence and its whole fit gains."""
    suspects, fit, present = list(state.suspects), state.fit, state.present
    total, load = present.total.copy(), present.load.copy()
    n, fresh = total.size, True
    while len(suspects) < max(3, min(MOST, int(MOST_SHARE * n))):
        taken = {s.meter for s in suspects} | gone
        order = [int(i) for i in np.argsort(-total, kind="stable") if int(i) not in taken]
        candidates = [i for i in order if total[i] >= MIN_EVIDENCE]
        now = _State(suspects=tuple(suspects), fit=fit, present=present)
        repeated = _repeated(model, columns, now, candidates)
        best = None
        if candidates and (len(suspects) < AT_LEAST or repeated.max() >= UNREPEATED + MIN_EVIDENCE):
            best = _best_next(model, columns, now, _in_turn(candidates, repeated, total))
        if best is None and fresh:
            break
        if best is None:
            present, fresh = _evidence(model, columns, fit), True
            total, load = present.total.copy(), present.load.copy()
            continue
        chosen, fit = best
        fresh = False
        i = chosen.meter
        order.remove(i)
        trial = replace(chosen, evidence=float(total[i]), load_evidence=float(load[i]))
        refresh = np.array(order[:REFRESH], dtype=np.int64)
        if refresh.size == 0:
            suspects.append(trial)
            break
        part = _evidence(model, columns, fit, refresh)
        taken_over = total[refresh] - np.maximum(part.total, 0.0)
        rival = int(refresh[int(np.argmax(taken_over))])
        if taken_over.max() > 0:
            trial = replace(trial, rival=suspect_of(present, rival, present.best(rival)))
        suspects.append(trial)
        total[:] = np.minimum(total, 0.0)
        total[refresh] = part.total
        load[refresh] = part.load
        present = _merge(present, part, refresh)
    return _State(suspects=tuple(suspects), fit=fit, present=replace(present, total=total))


def _in_turn(candidates: Sequence[int], repeated: Floats, total: Floats) -> list[int]:
    """The candidates that repeat themselves, the most first; then those with most evidence: a large fault drowns its
    own days until it is in the fit."""
    ranks = {i: (max(float(r), 0.0), float(total[i])) for i, r in zip(candidates, repeated, strict=True)}
    return sorted(candidates, key=lambda i: ranks[i], reverse=True)


def _best_next(
    model: AreaModel, columns: MeterColumns, state: _State, candidates: Sequence[int]
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


def _repeated(model: AreaModel, columns: MeterColumns, state: _State, meters: Sequence[int]) -> Floats:
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


def _settled(model: AreaModel, columns: MeterColumns, state: _State) -> tuple[tuple[Suspect, ...], dict[int, float]]:
    """The suspects with the days that suit them best; and, with their evidence, those whose fault does not repeat
    itself."""
    kept: list[Suspect] = []
    left: dict[int, float] = {}
    for s, scores in _all_scores(model, columns, state):
        if s.family.name == "stuck":  # its days are those on which the register stands still
            kept.append(s)
            continue
        mode, days, evidence = best_days(scores, s.days, len(s.family.columns))
        if evidence <= 0 and not s.days.all():
            mode, days, evidence = max((mode, days, evidence), _of_all_days(model, columns, state, s), key=_worth)
        if evidence > 0:
            kept.append(replace(s, mode=mode, active=days.astype(np.float64)))
        else:
            left[s.meter] = evidence
    return tuple(kept), left


def _of_all_days(model: AreaModel, columns: MeterColumns, state: _State, suspect: Suspect) -> tuple[int, Bools, float]:
    """The days that suit a suspect best, how they were chosen and their evidence, with the fault of all days in the
    fit: the days that gave most evidence give too large a fault for the rest."""
    always = replace(suspect, mode=ALWAYS, active=np.ones(suspect.active.size))
    suspects = tuple(always if s is suspect else s for s in state.suspects)
    trial = replace(state, suspects=suspects, fit=_refit(model, columns, suspects))
    scores = next(scores for s, scores in _all_scores(model, columns, trial) if s is always)
    return best_days(scores, always.days, len(suspect.family.columns))


def _worth(choice: tuple[int, Bools, float]) -> float:
    """Evidence of a choice of days [nat]."""
    return choice[2]


def _scored(model: AreaModel, columns: MeterColumns, state: _State) -> list[Suspect]:
    """The suspects with their replicated evidence, and where that is positive, their margin over the rival: in its
    place, or, where the rival does as well, beside it, for it may be wrong, too. That says nothing where nobody knows
    the course of what the rival hides: whoever is somewhat like it gains beside it."""
    out = []
    taken = {s.meter for s in state.suspects}
    for s, scores in _all_scores(model, columns, state):
        replicated = replicated_evidence(scores, s.days, s.days) - cost_of_choice(s.mode, s.days, len(s.family.columns))
        margin = np.inf
        if s.rival is not None and s.rival.meter not in taken and replicated > 0:
            others = [o for o in state.suspects if o is not s]
            swapped = _refit(model, columns, [*others, s.rival])
            margin = state.fit.log_likelihood - swapped.log_likelihood
            if margin < MIN_GAIN and s.rival.family.name not in UNKNOWN_COURSE:  # both may be wrong
                both = _refit(model, columns, [*state.suspects, s.rival])
                margin = max(margin, both.log_likelihood - swapped.log_likelihood)
        scale = left_scale(scores)
        out.append(replace(s, replicated=replicated, scale=scale, rival_margin=float(margin)))
    return out


def _ranking(model: AreaModel, columns: MeterColumns, state: _State, suspects: Sequence[Suspect]) -> Floats:
    """All meters on one scale: who does not repeat himself ranks by what evidence there is, below who does."""
    total = state.present.total
    out = UNREPEATED + np.minimum(total, MIN_EVIDENCE)
    taken = {s.meter: s.replicated for s in suspects}
    others = [int(i) for i in np.argsort(-total, kind="stable") if int(i) not in taken and total[i] >= MIN_EVIDENCE]
    if others:
        repeated = _repeated(model, columns, state, others)
        out[others] = np.maximum(repeated, UNREPEATED + MIN_EVIDENCE)
    for meter, value in taken.items():
        out[meter] = value
    return np.asarray(out)


def _all_scores(
    model: AreaModel, columns: MeterColumns, state: _State, only: Sequence[Suspect] | None = None
) -> list[tuple[Suspect, DayScores]]:
    """The suspects, or ``only`` some, with the scores of their days in the fit with all of them."""
    tests, out = DayTests(model, state.fit), []
    for s, theta in zip(state.suspects, coefficients(model, state.suspects, state.fit), strict=True):
        if only is not None and s not in only:
            continue
        hidden = theta @ columns[s.meter, s.family.columns]
        out.append((s, tests.scores(s.meter, hidden, s.days)))
    return out


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


def _best_family(model: AreaModel, columns: MeterColumns, state: _State, i: int) -> tuple[Suspect, NoiseFit, float]:
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
        fit = model.refit(faults_of(model, columns, [*others, trial]), coloured=state.fit.coloured)
        with_it = _State(suspects=(*others, trial), fit=fit, present=present)
        ((_, scores),) = _all_scores(model, columns, with_it, only=[trial])
        q = len(trial.family.columns)
        repeated = best_days(scores, trial.days, q)[2]
        trials.append((max(repeated, 0.0), fit.log_likelihood - PER_COEFFICIENT * q, trial, fit))
    repeated, _, trial, fit = max(trials, key=_worth_of_trial)
    other = model.refit(faults_of(model, columns, [*others, trial]), coloured=not state.fit.coloured)
    return trial, max((fit, other), key=_likelihood), repeated


def _worth_of_trial(trial: tuple[float, float, Suspect, NoiseFit]) -> tuple[float, float]:
    return trial[:2]


def _likelihood(fit: NoiseFit) -> float:
    return fit.log_likelihood


def explained_share(before: Floats, after: Floats) -> float:
    """Share of the excess variance over the floor that is gone, NaN where there is none; (K,) innovation ratios."""
    floor = min(1.0, float(before.min()))
    if float(before.max()) < NO_EXCESS:
        return float("nan")
    excess = np.maximum(np.square(before) - floor**2, 0.0)
    left = np.maximum(np.square(after) - floor**2, 0.0)
    return float(np.clip(1.0 - left.sum() / excess.sum(), 0.0, 1.0)) if excess.sum() > 1e-9 else 1.0
