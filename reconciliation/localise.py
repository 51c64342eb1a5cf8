"""Finds the set of meters that explains an area together: forward, refitting everything after each (search.py); then
each member is looked at day by day with all the others in the fit, takes the days that suit it best, or leaves, for a
member stays only while its fault repeats itself over the days (replication.py).

Who left without hope, or twice, is not tried again; the others' evidence is taken anew, and the search goes on until
it finds nobody, or ROUNDS times.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from reconciliation.attribution import Attribution
from reconciliation.columns import MeterColumns
from reconciliation.evidence_of_days import ALWAYS
from reconciliation.model import AreaModel
from reconciliation.noise import NoiseFit
from reconciliation.replication import best_days, cost_of_choice, left_scale, replicated_evidence
from reconciliation.search import (
    LEAST_REPEATED,
    MIN_EVIDENCE,
    MIN_GAIN,
    NO_EXCESS,
    UNREPEATED,
    State,
    all_scores,
    evidence_beside,
    forward,
    refit,
    repeated_of,
)
from reconciliation.shapes import STUCK as STUCK_COLUMN
from reconciliation.suspects import Suspect, faults_of, own_evidence
from reconciliation.window import Bools, Floats

ROUNDS = 4
"""Of choosing and sending away."""
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
    """(len(suspects),) log evidence of each, given all others, beside white or coloured noise, which is likelier
    [nat]."""
    hidden_wh: Floats
    """(len(suspects), T) energy each hides [Wh]."""
    hidden_sd_wh: Floats
    """(len(suspects),) SD of its sum [Wh]."""


def localise(model: AreaModel, columns: MeterColumns, first: Attribution) -> Localisation:
    """Search; ``columns`` (N, S, T) from columns.meter_columns; ``first``: evidence with nobody in the fit."""
    state = State(suspects=(), fit=refit(model, columns, ()), present=first)
    if state.fit is not model.fit:
        state = replace(state, present=evidence_beside(model, columns, state.fit))
    gone: set[int] = set()
    tried: set[int] = set()
    for _ in range(ROUNDS):
        before = len(state.suspects)
        state = forward(model, columns, state, gone)
        if len(state.suspects) == before:
            break
        kept, left = _settled(model, columns, state)
        if not left and all(a.days.tolist() == b.days.tolist() for a, b in zip(kept, state.suspects, strict=True)):
            break
        gone |= {m for m, evidence in left.items() if evidence < HOPELESS or m in tried}
        tried |= left.keys()
        fit = refit(model, columns, kept)
        state = State(suspects=kept, fit=fit, present=evidence_beside(model, columns, fit))
    suspects = _scored(model, columns, state)
    fit = state.fit if suspects else model.fit
    if suspects and fit.coloured:
        fit = model.refit(faults_of(model, columns, suspects))
    own, hidden, sd = own_evidence(model, columns, suspects, fit)
    if fit is not state.fit and suspects:
        own, _, _ = own_evidence(model, columns, suspects, state.fit)
    return Localisation(
        columns=columns,
        suspects=tuple(suspects),
        fit=fit,
        first=first,
        beside_plain=_beside(model, columns, state, fit) if suspects and columns.held(STUCK_COLUMN) else first,
        ranking=_ranking(model, columns, state, suspects),
        own_evidence=own,
        hidden_wh=hidden,
        hidden_sd_wh=sd,
    )


def _beside(model: AreaModel, columns: MeterColumns, state: State, fit: NoiseFit) -> Attribution:
    """Evidence of all meters beside the suspects in ``fit``, which only the rule on registers that stand still asks
    for."""
    return state.present if fit is state.fit and state.complete else evidence_beside(model, columns, fit)


def _settled(model: AreaModel, columns: MeterColumns, state: State) -> tuple[tuple[Suspect, ...], dict[int, float]]:
    """The suspects with the days that suit them best; and, with their evidence, those whose fault does not repeat
    itself."""
    kept: list[Suspect] = []
    left: dict[int, float] = {}
    for s, scores in all_scores(model, columns, state):
        if s.family.name == "stuck":  # what it may hide has any course: the others are seen better beside it
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


def _of_all_days(model: AreaModel, columns: MeterColumns, state: State, suspect: Suspect) -> tuple[int, Bools, float]:
    """The days that suit a suspect best, how they were chosen and their evidence, with the fault of all days in the
    fit: the days that gave most evidence give too large a fault for the rest."""
    always = replace(suspect, mode=ALWAYS, active=np.ones(suspect.active.size))
    suspects = tuple(always if s is suspect else s for s in state.suspects)
    trial = replace(state, suspects=suspects, fit=refit(model, columns, suspects))
    scores = all_scores(model, columns, trial, only=[always])[0][1]
    return best_days(scores, always.days, len(suspect.family.columns))


def _worth(choice: tuple[int, Bools, float]) -> float:
    """Evidence of a choice of days [nat]."""
    return choice[2]


def _scored(model: AreaModel, columns: MeterColumns, state: State) -> list[Suspect]:
    """The suspects with their replicated evidence, and where that is positive, their margin over the rival: in its
    place, or, where the rival does as well, beside it, for it may be wrong, too. That says nothing where nobody knows
    the course of what the rival hides: whoever is somewhat like it gains beside it."""
    out = []
    taken = {s.meter for s in state.suspects}
    for s, scores in all_scores(model, columns, state):
        replicated = replicated_evidence(scores, s.days, s.days) - cost_of_choice(s.mode, s.days, len(s.family.columns))
        margin = np.inf
        if s.rival is not None and s.rival.meter not in taken and replicated > 0:
            others = [o for o in state.suspects if o is not s]
            swapped = refit(model, columns, [*others, s.rival])
            margin = state.fit.log_likelihood - swapped.log_likelihood
            if margin < MIN_GAIN and s.rival.family.name not in UNKNOWN_COURSE:  # both may be wrong
                both = refit(model, columns, [*state.suspects, s.rival])
                margin = max(margin, both.log_likelihood - swapped.log_likelihood)
        scale = left_scale(scores)
        out.append(replace(s, replicated=replicated, scale=scale, rival_margin=float(margin)))
    return out


def _ranking(model: AreaModel, columns: MeterColumns, state: State, suspects: Sequence[Suspect]) -> Floats:
    """All meters on one scale: who does not repeat himself ranks by what evidence there is, below who does."""
    total = state.present.total
    out = UNREPEATED + np.minimum(total, MIN_EVIDENCE)
    taken = {s.meter: s.replicated for s in suspects}
    others = [int(i) for i in np.argsort(-total, kind="stable") if int(i) not in taken and total[i] >= MIN_EVIDENCE]
    if others:
        repeated = repeated_of(model, columns, state, others)
        out[others] = np.maximum(repeated, LEAST_REPEATED)
    for meter, value in taken.items():
        out[meter] = value
    return np.asarray(out)


def explained_share(before: Floats, after: Floats) -> float:
    """Share of the excess variance over the floor that is gone, NaN where there is none; (K,) innovation ratios."""
    floor = min(1.0, float(before.min()))
    if float(before.max()) < NO_EXCESS:
        return float("nan")
    excess = np.maximum(np.square(before) - floor**2, 0.0)
    left = np.maximum(np.square(after) - floor**2, 0.0)
    return float(np.clip(1.0 - left.sum() / excess.sum(), 0.0, 1.0)) if excess.sum() > 1e-9 else 1.0
