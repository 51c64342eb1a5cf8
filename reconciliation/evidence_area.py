"""Findings about an area as a whole: an unmetered load, what nobody explains, and the area meter's own faults."""

from collections.abc import Mapping

import numpy as np
from scipy import special

from reconciliation.area_meter import AreaMeterFault
from reconciliation.evidence_grounds import Z90, Grounds, probability
from reconciliation.evidence_odds import RARE, divided
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
from reconciliation.evidence_voltage import place, place_of_nobody
from reconciliation.model import AreaModel
from reconciliation.report import Evidence, EvidencePicture, EvidenceSeries, Explanation, Finding, FindingKind, Untold
from reconciliation.window import Bools, Floats

MOST_OF_IT = 0.7
"""Share of what is missing that must be on one phase for the phase to be named."""
NOT_KNOWN = 0.5
"""Most confidence in an irregularity that no cause explains."""


def tap_finding(model: AreaModel, tap: Floats, some_meter: float, grounds: Grounds | None = None) -> Finding:
    """An unmetered load, somewhere on the area; or, where no energy is missing, an irregularity nobody explains.

    ``tap`` (K,): log evidence of an unmetered load on each stream [nat]; ``some_meter``: probability that a meter's
    error explains more than it. That energy is missing is part of the claim: its probability multiplies the confidence,
    and it is none where the energy's interval reaches zero.
    """
    known, area, loss = grounds or Grounds(), model.area, unexplained(model)
    log_evidence, stream = float(tap.max()), int(np.argmax(tap))
    by_day = daily(model, loss)
    energy = float(np.nansum(by_day))
    sd = float(np.nanstd(by_day) * np.sqrt(max(by_day.size, 1))) + 0.003 * float(np.abs(area.supplied).sum())
    missing = energy > Z90 * sd
    confidence = known.unmetered * float(special.ndtr(energy / sd))
    typical = float(np.median(by_day[by_day > 0])) if (by_day > 0).any() else 0.0
    active = by_day > 0.5 * max(typical, 1e-9)
    first = np.flatnonzero(active)
    onset = int(np.searchsorted(area.day, first[0])) if missing and first.size and first[0] > 2 else None
    days = active if missing and active.any() else np.ones(area.n_days, bool)
    phase, by_phase, phase_numbers = _by_phase(model, days)
    on = np.ones(area.n_streams, bool) if phase == 0 else np.arange(area.n_streams) == phase - 1
    place_picture, place_numbers, place_untold = place(
        model, place_of_nobody(model, None, known.field) if missing else None, on, None, known.response
    )
    by_hour = hours(model, days, missing=loss)
    technical = daily(model, model.loss.stream_wh.sum(axis=0))
    day = telling_day(by_day, whole_days(model) & days)
    here = "missing" if phase == 0 else f"missing_l{phase}"
    lines = {here: ("Wh", np.where(area.supplied_ok, unexplained(model, on), np.nan))}
    kind = FindingKind.DIRECT_TAP if missing else FindingKind.UNEXPLAINED
    claim = confidence if missing else min(confidence, NOT_KNOWN)
    return Finding(
        kind=kind,
        meter=None,
        confidence=claim,
        energy_wh=energy,
        energy_low_wh=energy - Z90 * sd,
        energy_high_wh=energy + Z90 * sd,
        onset_interval=onset,
        evidence=Evidence(
            series=(
                series("loss_before", "Wh", by_day),
                series("technical", "Wh", technical),
                *by_phase,
            ),
            numbers={
                "log_evidence": log_evidence,
                "largest_on_phase": float(stream + 1 if area.n_streams == 3 else 0),
                "phase": float(phase),
                **phase_numbers,
                "days": float(area.n_days),
                "days_active": float(days.sum()),
                "daily_technical_wh": mean_of_days(technical, days),
                "daily_loss_before_wh": mean_of_days(by_day, days),
                **(peak_hours(by_hour) if missing else {}),
                **place_numbers,
            },
            alternatives=divided(
                claim,
                {
                    Explanation.SOME_METER: some_meter,
                    Explanation.AREA_METER: RARE,
                    Explanation.NOTHING: known.nothing + float(special.ndtr(-energy / sd) if missing else 0.0),
                },
            ),
            pictures=(
                *((one_day(model, "day", day, lines),) if day is not None else ()),
                by_hour,
                *((place_picture,) if place_picture else ()),
            ),
            untold=(
                *((Untold.WHAT,) if not missing else ()),
                *((Untold.SINCE,) if onset is None else ()),
                *((Untold.PHASE,) if area.n_streams != 3 else ()),
                *(place_untold if missing else ()),
                *((Untold.LOSS_MODEL,) if not model.loss.from_voltage else ()),
            ),
        ),
    )


def _by_phase(model: AreaModel, days: Bools) -> tuple[int, tuple[EvidenceSeries, ...], Mapping[str, float]]:
    """On which phase most is missing (0: not one alone, or not known), by day and phase, and each phase's mean."""
    if model.area.n_streams != 3:
        return 0, (), {}
    each = [daily(model, unexplained(model, np.arange(3) == k)) for k in range(3)]
    means = np.nan_to_num([mean_of_days(values, days) for values in each])
    positive = np.maximum(means, 0.0)
    largest = int(np.argmax(positive))
    phase = largest + 1 if positive.sum() > 0 and positive[largest] >= MOST_OF_IT * positive.sum() else 0
    curves = tuple(series(f"missing_l{k + 1}", "Wh", values) for k, values in enumerate(each))
    return phase, curves, {f"daily_missing_l{k + 1}_wh": float(value) for k, value in enumerate(means)}


def area_meter_finding(before: AreaModel, fault: AreaMeterFault) -> Finding:
    """The area meter is wrong."""
    area, energy, loss = before.area, float(fault.missing_wh.sum()), unexplained(before)
    sd = 0.02 * abs(energy)
    confidence = probability(fault.evidence)
    acts = np.arange(area.n_intervals) >= fault.onset
    if fault.kind is FindingKind.AREA_METER_PHASE and fault.ratio == 0.0:
        acts = np.asarray(fault.missing_wh != 0)
    days = np.asarray(day_share(before, acts) > 0.5)
    curves, more, pictures = _of_ratio(before, fault, acts)
    if fault.ratio == 0.0:
        curves, more, pictures = _of_dead_phase(before, fault, acts)
    elif fault.numbers:
        curves, more, pictures = _of_swapped(before, fault)
    technical = daily(before, fault.model.loss.stream_wh.sum(axis=0))
    loss_before, loss_after = daily(before, loss), daily(before, loss + fault.missing_wh)
    return Finding(
        kind=fault.kind,
        meter=None,
        confidence=confidence,
        energy_wh=0.0 - energy,  # no negative zero
        energy_low_wh=0.0 - energy - Z90 * sd,
        energy_high_wh=0.0 - energy + Z90 * sd,
        onset_interval=fault.onset or None,
        evidence=Evidence(
            series=(
                series("loss_before", "Wh", loss_before),
                series("loss_after", "Wh", loss_after),
                series("technical", "Wh", technical),
                series("supplied", "Wh", daily(before, area.supplied.sum(axis=0))),
                *curves,
            ),
            numbers={
                "log_evidence": fault.evidence,
                "phase": float(0 if fault.stream is None else fault.stream + 1),
                "ratio_read_to_true": fault.ratio,
                **fault.numbers,
                "days": float(area.n_days),
                "days_active": float(days.sum()),
                "daily_technical_wh": mean_of_days(technical, days),
                "daily_loss_before_wh": mean_of_days(loss_before, days),
                "daily_loss_after_wh": mean_of_days(loss_after, days),
                **more,
            },
            alternatives=divided(
                confidence,  # its tests leave nothing that would tell the rest apart
                {Explanation.SOME_METER: 1.0, Explanation.UNMETERED: 1.0, Explanation.NOTHING: 1.0},
            ),
            pictures=tuple(pictures),
            untold=((Untold.SINCE,) if not fault.onset else ()),
        ),
    )


_Shown = tuple[list[EvidenceSeries], dict[str, float], list[EvidencePicture]]


def _true(fault: AreaMeterFault) -> Floats:
    """(K, T) what households took and the conductors lost: what the area meter should show [Wh]."""
    return np.asarray(fault.model.share.T @ fault.model.area.net + fault.model.loss.stream_wh)


def _of_ratio(before: AreaModel, fault: AreaMeterFault, acts: Bools) -> _Shown:
    """Read over true by day, and hour by hour."""
    area = before.area
    on = np.ones(area.n_streams, bool) if fault.stream is None else np.arange(area.n_streams) == fault.stream
    read = np.where(area.supplied_ok, area.supplied[on].sum(axis=0), np.nan)
    true = _true(fault)[on].sum(axis=0)
    ok = area.supplied_ok
    square = np.bincount(area.day[ok], weights=np.square(true[ok]), minlength=area.n_days)
    count = np.bincount(area.day[ok], minlength=area.n_days)
    known = (square > 0) & (count > 2)
    product = np.bincount(area.day[ok], weights=(read * true)[ok], minlength=area.n_days)
    ratio = np.where(known, product / np.where(known, square, 1.0), np.nan)
    left = np.bincount(area.day[ok], weights=np.square(read - ratio[area.day] * true)[ok], minlength=area.n_days)
    sd = np.sqrt(left / np.maximum(count - 1, 1) / np.where(known, square, 1.0))
    curves = [series("ratio", "1", ratio), series("ratio_sd", "1", np.where(known, sd, np.nan))]
    first = int(area.day[int(np.flatnonzero(acts)[0])]) if acts.any() else 0
    told = known & (np.arange(area.n_days) >= first)
    near = told & (np.abs(np.nan_to_num(ratio) - fault.ratio) < np.abs(np.nan_to_num(ratio) - 1.0))
    day = telling_day(daily(before, true), whole_days(before) & told)
    lines = {"area_meter": ("Wh", read), "households": ("Wh", true)}
    pictures = [pairs(before, ("households", true), ("area_meter", read), acts, claimed=fault.ratio, honest=1.0)]
    if day is not None:
        pictures.append(one_day(before, "day", day, lines))
    return curves, {"days_told": float(told.sum()), "days_following": float(near.sum())}, pictures


def _of_dead_phase(before: AreaModel, fault: AreaMeterFault, dead: Bools) -> _Shown:
    """What each phase shows by day against what its households use, and the day it died."""
    area, true = before.area, _true(fault)
    phases = area.window.area_phase_wh
    shown = area.supplied if phases is None else phases
    silent = [np.asarray(dead & (fault.model.area.supplied[k] != area.supplied[k])) for k in range(3)]
    k = int(np.argmax([rows.sum() for rows in silent]))
    curves = [series(f"supplied_l{n + 1}", "Wh", daily(before, shown[n], np.isfinite(shown[n]))) for n in range(3)]
    curves.append(series("expected_on_phase", "Wh", daily(before, true[k])))
    edges = np.diff(np.concatenate([[0], dead.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    hours_dead = float(dead.sum()) * area.window.interval_s / 3600.0
    numbers = {
        "hours_dead": hours_dead,
        "times_dead": float(starts.size),
        "back_again": float(bool(ends.size and ends[-1] < area.n_intervals)),
        "largest_on_phase": float(k + 1),
        "phases_dead": float(sum(bool(rows.any()) for rows in silent)),
    }
    begins = int(area.day[int(np.flatnonzero(silent[k])[0])]) if silent[k].any() else 0
    lines = {"phase_shown": ("Wh", shown[k]), "expected_on_phase": ("Wh", true[k])}
    return curves, numbers, [one_day(before, "day", begins, lines)]


def _of_swapped(before: AreaModel, fault: AreaMeterFault) -> _Shown:
    """Households' voltages against the busbar's as recorded and as put right, on the phase that tells most."""
    busbar, right = before.area.window.area_voltage_v, fault.model.area.window.area_voltage_v
    volts = before.area.window.household_voltage_v
    if busbar is None or right is None or volts is None:
        return [], {}, []
    best, found = -np.inf, None
    for name in fault.numbers:
        k = int(name[-1]) - 1
        mine = fault.model.share[:, k] > 0.9
        if not mine.any():
            continue
        mean = np.full(busbar.shape[1], np.nan)
        some = np.isfinite(volts[mine]).any(axis=0)
        mean[some] = np.nanmean(volts[mine][:, some], axis=0)
        recorded, turned = correlation(mean, busbar[k]), correlation(mean, right[k])
        if np.isfinite(turned) and turned - recorded > best:
            best, found = turned - recorded, (k, mean, recorded, turned)
    if found is None:
        return [], {}, []
    k, mean, recorded, turned = found
    apart = np.abs(np.nan_to_num(busbar[k] - right[k]))
    day = telling_day(daily(before, apart), whole_days(before, np.isfinite(mean)))
    lines = {"households_v": ("V", mean), "busbar_recorded": ("V", busbar[k]), "busbar_right": ("V", right[k])}
    numbers = {"largest_on_phase": k + 1.0, "correlation_recorded": recorded, "correlation_right": turned}
    return [], numbers, [one_day(before, "voltages", day, lines)] if day is not None else []


def correlation(a: Floats, b: Floats) -> float:
    """Of the changes from one interval to the next, of two (T,) courses; NaN where fewer than 20 are known."""
    x, y = np.diff(a), np.diff(b)
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 20 or float(np.ptp(x[known])) == 0.0 or float(np.ptp(y[known])) == 0.0:
        return float("nan")
    return float(np.corrcoef(x[known], y[known])[0, 1])
