"""Findings about meters whose reading does not tell what flows through them: accused, dead, or one of several."""

from dataclasses import dataclass

import numpy as np

from reconciliation.cause_probability import COINCIDENCE, posterior, stated
from reconciliation.decide import Verdict, log_odds
from reconciliation.evidence_grounds import Z90, Grounds, probability
from reconciliation.evidence_kind import FACTORS, kind_of
from reconciliation.evidence_odds import RARE, among, divided
from reconciliation.evidence_series import (
    daily,
    day_share,
    hours,
    mean_of_days,
    one_day,
    pairs,
    peak_hours,
    series,
    telling_day,
    unexplained,
    whole_days,
)
from reconciliation.evidence_voltage import place, place_of
from reconciliation.levels import still_registers
from reconciliation.localise import Localisation
from reconciliation.model import AreaModel
from reconciliation.replication import DayScores, DayTests, left_scale
from reconciliation.report import Evidence, EvidencePicture, EvidenceSeries, Explanation, Finding, FindingKind, Untold
from reconciliation.suspects import Suspect, coefficients
from reconciliation.window import Bools, Floats

LIKELY = 5
"""Meters named where it is not clear which."""
TEMPERED = 10.0
"""Divides log odds between candidates who were not clear enough to accuse [nat]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Explained:
    """One area with what was found in it."""

    model: AreaModel
    found: Localisation
    verdict: Verdict
    grounds: Grounds


def meter_findings(
    model: AreaModel, found: Localisation, verdict: Verdict, grounds: Grounds | None = None
) -> list[Finding]:
    """One finding per accused meter."""
    if not verdict.accused:
        return []
    courses = _hidden_every_day(model, found)
    tests = DayTests(model, found.fit)
    told = _Explained(model=model, found=found, verdict=verdict, grounds=grounds or Grounds())
    return [_accused(told, k, courses[k], tests) for k in verdict.accused]


def _hidden_every_day(model: AreaModel, found: Localisation) -> list[Floats]:
    """Of each suspect the (T,) course it would hide if it were wrong every day alike [Wh]."""
    thetas = coefficients(model, found.suspects, found.fit)
    return [t @ found.columns[s.meter, s.family.columns] for s, t in zip(found.suspects, thetas, strict=True)]


def _accused(told: _Explained, k: int, course: Floats, tests: DayTests) -> Finding:
    model, found, verdict, grounds = told.model, told.found, told.verdict, told.grounds
    s, hidden, area = found.suspects[k], found.hidden_wh[k], model.area
    reading, seen, days = area.imported[s.meter], area.measured[s.meter], s.days
    still = still_registers(area)[s.meter] if s.family.name == "stuck" else None
    if still is not None:  # this family acts wherever the register stands still, and nowhere else
        days = np.asarray(day_share(model, still) > 0.5)
    on = np.asarray(model.share[s.meter] > 0)
    others = np.zeros(area.n_intervals)
    for n, other in enumerate(found.suspects):
        if n != k:
            others += found.hidden_wh[n] * model.share[other.meter][on].sum()
    before = unexplained(model)
    first_day = int(np.flatnonzero(days)[0]) if days.any() else 0
    onset = int(np.searchsorted(area.day, first_day)) if first_day > 0 else None
    if still is not None and still.any():
        onset = int(np.flatnonzero(still)[0]) or None
    energy, sd = float(hidden.sum()), float(found.hidden_sd_wh[k])
    own_sd = max(sd, 0.05 * abs(energy))
    confidence = stated(log_odds(s))
    kind = kind_of(s.family.name, hidden, sd, reading, s.active[area.day])
    with_it, without = daily(model, before), daily(model, before - hidden)
    technical = daily(model, model.loss.stream_wh.sum(axis=0))
    hides = np.bincount(area.day, weights=np.abs(course), minlength=area.n_days) > 0
    told_days = hides if still is None else hides & days
    coefficient, follows = _coefficients(s, days, tests.scores(s.meter, course, s.days), told_days)
    place_picture, place_numbers, place_untold = place(
        model, place_of(model, found, s.meter, grounds.field), on, s.meter, grounds.response
    )
    by_hour = hours(model, days, hidden=hidden)
    read_wh = float(reading[seen & days[area.day]].sum())
    numbers = {
        "log_evidence": float(found.own_evidence[k]),
        "replicated_evidence": s.replicated,
        **({"margin_over_next_meter": s.rival_margin} if np.isfinite(s.rival_margin) else {}),
        "explained_share": verdict.explained,
        "days": float(area.n_days),
        "days_active": float(days.sum()),
        **follows,
        "daily_technical_wh": mean_of_days(technical, days),
        "daily_loss_before_wh": mean_of_days(with_it, days),
        "daily_loss_after_wh": mean_of_days(without, days),
        "daily_hidden_wh": energy / max(int(days.sum()), 1),
        **({"registered_share": read_wh / (read_wh + energy)} if read_wh > 0 and read_wh + energy > 0 else {}),
        **({"factor_true_to_read": 1.0 + energy / read_wh} if s.family.name in FACTORS and read_wh > 0 else {}),
        "phase": _phase(model, s.meter),
        **peak_hours(by_hour),
        **place_numbers,
    }
    untold = (
        *((Untold.SINCE,) if onset is None else ()),
        *((Untold.MANNER,) if kind is FindingKind.UNDER_REGISTERING else ()),
        *_measured_roughly(model),
        *place_untold,
    )
    pictures = _pictures(model, s, days, hidden, others) + [by_hour] + ([place_picture] if place_picture else [])
    return Finding(
        kind=kind,
        meter=area.meters[s.meter],
        confidence=confidence,
        energy_wh=energy,
        energy_low_wh=energy - Z90 * own_sd,
        energy_high_wh=energy + Z90 * own_sd,
        onset_interval=onset,
        evidence=Evidence(
            series=(
                series("loss_before", "Wh", with_it),
                series("loss_after", "Wh", without),
                series("technical", "Wh", technical),
                series("reading", "Wh", daily(model, reading, seen)),
                series("hidden", "Wh", daily(model, hidden)),
                *coefficient,
                series("active", "1", days.astype(np.float64)),
            ),
            numbers=numbers,
            alternatives=divided(
                confidence,
                {
                    Explanation.OTHER_METER: 1.0 - posterior(s.rival_margin),
                    Explanation.UNMETERED: COINCIDENCE + 1.0 - posterior(log_odds(s)),
                    Explanation.AREA_METER: RARE,
                    Explanation.NOTHING: grounds.nothing,
                },
            ),
            pattern=s.family.name,
            pictures=tuple(pictures),
            untold=untold,
        ),
    )


def _coefficients(
    s: Suspect, days: Bools, scores: DayScores, hides: Bools
) -> tuple[tuple[EvidenceSeries, ...], dict[str, float]]:
    """Each day's own coefficient in units of the common one, with its SD, and on how many of the days it acts a day
    is nearer to the common one than to none. A day on which little flows, or that the fault does not concern (``hides``
    (D,)), tells nothing, and is NaN."""
    h = scores.information
    tells = hides & (h > 1.0)
    value = np.where(tells, s.days + scores.rest / np.where(tells, h, 1.0), np.nan)
    sd = np.where(tells, np.sqrt(left_scale(scores) / np.where(tells, h, 1.0)), np.nan)
    told = tells & days
    return (
        (series("coefficient", "1", value), series("coefficient_sd", "1", sd)),
        {"days_told": float(told.sum()), "days_following": float((told & (np.nan_to_num(value) > 0.5)).sum())},
    )


def _pictures(model: AreaModel, s: Suspect, days: Bools, hidden: Floats, others: Floats) -> list[EvidencePicture]:
    """The day with most at stake, against what its streams miss besides what the ``others`` hide; a day on which
    it does not act; and, where the reading is wrong by a factor, pairs of reading and what is missing."""
    area, seen, acts = model.area, model.area.measured[s.meter], days[model.area.day]
    on = np.asarray(model.share[s.meter] > 0)
    reading = np.where(seen, area.imported[s.meter], np.nan)
    missing = np.where(area.supplied_ok, unexplained(model, on) - others, np.nan)
    possible, curves = whole_days(model, seen), {"reading": ("Wh", reading), "missing": ("Wh", missing)}
    out: list[EvidencePicture] = []
    day = telling_day(daily(model, hidden), possible & days)
    if day is not None:
        out.append(one_day(model, "day", day, curves | {"hidden": ("Wh", hidden)}))
    earlier = np.flatnonzero(possible & ~days)
    if day is not None and earlier.size and area.window.interval_s >= 900:
        out.append(one_day(model, "day_before", int(earlier[-1]), curves | {"hidden": ("Wh", hidden)}))
    if s.family.name in FACTORS and float(reading[acts & seen].sum() if (acts & seen).any() else 0.0) > 0:
        slope = float(hidden[acts].sum() / area.imported[s.meter][acts].sum())
        out.insert(0, pairs(model, ("reading", reading), ("missing", missing), acts, claimed=slope))
    return out


def _phase(model: AreaModel, meter: int) -> float:
    """1, 2, 3; 0 where it is on all of them or the balance is of the total only."""
    if model.area.n_streams != 3 or float(model.share[meter].max()) < 0.9:
        return 0.0
    return float(int(np.argmax(model.share[meter])) + 1)


def _measured_roughly(model: AreaModel) -> tuple[Untold, ...]:
    """What the area's inputs leave open."""
    return (
        *((Untold.PHASE,) if model.area.n_streams != 3 else ()),
        *((Untold.LOSS_MODEL,) if not model.loss.from_voltage else ()),
    )


def dead_findings(
    model: AreaModel, found: Localisation, verdict: Verdict, registers: Bools, grounds: Grounds | None = None
) -> list[Finding]:
    """One finding per register that stands still where a load is missing; the energy is what its streams lose
    while it stands, less what the rest's faults and instruments explain."""
    told = _Explained(model=model, found=found, verdict=verdict, grounds=grounds or Grounds())
    return [_dead(told, i, registers[i]) for i in verdict.dead]


def _dead(told: _Explained, i: int, still: Bools) -> Finding:
    model, found, verdict, grounds = told.model, told.found, told.verdict, told.grounds
    area, before = model.area, unexplained(model)
    on = np.asarray(model.share[i] > 0)
    own = [h for s, h in zip(found.suspects, found.hidden_wh, strict=True) if s.meter == i]
    if own:  # its load as far as its own past tells, and what the whole fit leaves on its streams
        loss = (own[0] + found.fit.residual[on].sum(axis=0)) * still
    else:
        others = sum(found.hidden_wh[k] * model.share[found.suspects[k].meter][on].sum() for k in verdict.accused)
        loss = (unexplained(model, on) - others) * still
    energy = float(loss.sum())
    sd = 0.003 * float(np.abs(area.supplied[on][:, still]).sum()) + 0.05 * abs(energy)
    first = int(np.flatnonzero(still)[0])
    evidence = max(float(found.first.load[i]), float(found.first.by_family[i].max()))
    confidence = min(probability(evidence), 0.9)
    reading, seen = np.where(area.measured[i], area.imported[i], np.nan), area.measured[i]
    share = day_share(model, still)
    days = np.asarray(share > 0.5)
    loss_before, loss_after = daily(model, before), daily(model, before - loss)
    technical, habit = daily(model, model.loss.stream_wh.sum(axis=0)), daily(model, reading, seen)
    place_picture, place_numbers, place_untold = place(
        model, place_of(model, found, i, grounds.field), on, i, grounds.response
    )
    by_hour = hours(model, days, missing=np.where(still, loss, np.nan))
    missing = np.where(area.supplied_ok, unexplained(model, on), np.nan)
    curves = {"reading": ("Wh", reading), "missing": ("Wh", missing)}
    possible = whole_days(model, seen)
    day = telling_day(daily(model, loss), possible & (share > 0.99))
    lively = telling_day(habit, possible & (share == 0))
    pictures = [
        *([one_day(model, "day", day, curves)] if day is not None else []),
        *([one_day(model, "day_before", lively, curves)] if lively is not None else []),
        by_hour,
        *([place_picture] if place_picture else []),
    ]
    moved = mean_of_days(habit, np.asarray(share == 0))
    return Finding(
        kind=FindingKind.STUCK,
        meter=area.meters[i],
        confidence=confidence,
        energy_wh=energy,
        energy_low_wh=energy - Z90 * sd,
        energy_high_wh=energy + Z90 * sd,
        onset_interval=first or None,
        evidence=Evidence(
            series=(
                series("loss_before", "Wh", loss_before),
                series("loss_after", "Wh", loss_after),
                series("technical", "Wh", technical),
                series("reading", "Wh", habit),
                series("hidden", "Wh", daily(model, loss)),
                series("active", "1", share),
            ),
            numbers={
                "log_evidence": evidence,
                "standing_still_share": float(still.mean()),
                "days": float(area.n_days),
                "days_active": float(days.sum()),
                "daily_technical_wh": mean_of_days(technical, days),
                "daily_loss_before_wh": mean_of_days(loss_before, days),
                "daily_loss_after_wh": mean_of_days(loss_after, days),
                "daily_hidden_wh": energy / max(float(share.sum()), 1e-9),
                **({"daily_reading_before_wh": moved} if np.isfinite(moved) else {}),
                "phase": _phase(model, i),
                **peak_hours(by_hour),
                **place_numbers,
            },
            alternatives=divided(
                confidence,
                {
                    Explanation.UNMETERED: 1.0,  # and the flat is empty
                    Explanation.OTHER_METER: 1.0 - float(np.prod([1 - stated(log_odds(s)) for s in found.suspects])),
                    Explanation.AREA_METER: RARE,
                    Explanation.NOTHING: grounds.nothing,
                },
            ),
            pattern="dead",
            pictures=tuple(pictures),
            untold=(*((Untold.SINCE,) if first == 0 else ()), *_measured_roughly(model), *place_untold),
        ),
    )


def unclear_finding(model: AreaModel, found: Localisation, verdict: Verdict, grounds: Grounds | None = None) -> Finding:
    """Somebody's reading is wrong, but it is not clear enough whose to send anybody: the candidates with their odds."""
    known, area = grounds or Grounds(), model.area
    confidence = known.meter
    loss = unexplained(model)
    order = np.argsort(-found.first.total, kind="stable")[:LIKELY]
    energy, sd = float(loss.sum()), 0.003 * float(np.abs(area.supplied).sum())
    hidden = found.hidden_wh.sum(axis=0) if found.suspects else np.zeros_like(loss)
    every = np.ones(area.n_days, bool)
    before, after = daily(model, loss), daily(model, loss - hidden)
    technical = daily(model, model.loss.stream_wh.sum(axis=0))
    by_hour = hours(model, every, missing=loss)
    day = telling_day(before, whole_days(model))
    curves = {"missing": ("Wh", np.where(area.supplied_ok, loss, np.nan)), "hidden": ("Wh", hidden)}
    likely = {area.meters[i]: float(found.first.total[i]) / TEMPERED for i in order}
    return Finding(
        kind=FindingKind.UNDER_REGISTERING,
        meter=None,
        confidence=confidence,
        energy_wh=energy,
        energy_low_wh=energy - Z90 * sd,
        energy_high_wh=energy + Z90 * sd,
        evidence=Evidence(
            series=(
                series("loss_before", "Wh", before),
                series("loss_after", "Wh", after),
                series("technical", "Wh", technical),
            ),
            numbers={
                "log_evidence": float(found.first.total.max()),
                "explained_share": verdict.explained,
                "days": float(area.n_days),
                "daily_technical_wh": mean_of_days(technical, every),
                "daily_loss_before_wh": mean_of_days(before, every),
                "daily_loss_after_wh": mean_of_days(after, every),
                **peak_hours(by_hour),
            },
            alternatives=among(
                likely,
                confidence,
                {Explanation.UNMETERED: 1.0, Explanation.AREA_METER: RARE, Explanation.NOTHING: known.nothing},
            ),
            pictures=(*((one_day(model, "day", day, curves),) if day is not None else ()), by_hour),
            untold=(Untold.WHOSE, Untold.SINCE, *_measured_roughly(model)),
        ),
    )
