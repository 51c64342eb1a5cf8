"""Findings about what is recorded: a meter listed on the wrong area, and one that was hardly read."""

import numpy as np

from reconciliation.evidence_area import correlation
from reconciliation.evidence_grounds import probability
from reconciliation.evidence_odds import divided
from reconciliation.evidence_series import daily, mean_of_days, one_day, series, telling_day, unexplained, whole_days
from reconciliation.mapping import Move
from reconciliation.model import AreaModel
from reconciliation.report import Evidence, EvidencePicture, Explanation, Finding, FindingKind, Untold
from reconciliation.window import AreaWindow, Floats


def move_finding(move: Move, before: AreaModel, after: AreaModel, there: tuple[AreaModel, AreaModel] | None) -> Finding:
    """A meter listed here that hangs elsewhere: at stake is its own energy, booked to the wrong area's balance.

    ``there``: the correct area before and after, where it is known.
    """
    area, i = before.area, before.area.meters.index(move.meter)
    net, seen = area.net[i], area.measured[i]
    energy = float(net.sum())
    sd = max(0.01 * float(np.abs(net).sum()), 1.0)
    every = np.ones(area.n_days, bool)
    here, without = daily(before, unexplained(before)), daily(after, unexplained(after))
    technical = daily(after, after.loss.stream_wh.sum(axis=0))
    shown = [
        series("loss_before", "Wh", here),
        series("loss_after", "Wh", without),
        series("technical", "Wh", technical),
        series("reading", "Wh", daily(before, np.where(seen, net, np.nan), seen)),
    ]
    numbers = {
        "log_evidence": move.score,
        "evidence_listed_balance": move.remove,
        "evidence_voltage": move.voltage,
        "days": float(area.n_days),
        "daily_technical_wh": mean_of_days(technical, every),
        "daily_loss_before_wh": mean_of_days(here, every),
        "daily_loss_after_wh": mean_of_days(without, every),
        "daily_reading_wh": energy / max(area.n_days, 1),
    }
    if there is not None:
        for name, model in zip(("correct_area_before", "correct_area_after"), there, strict=True):
            late = (model.area.window.start - area.window.start).days
            values = days_from(daily(model, unexplained(model)), late, area.n_days)
            shown.append(series(name, "Wh", values))
            numbers[f"daily_{name}_wh"] = mean_of_days(values, every)
        numbers["evidence_correct_balance"] = move.add
    picture, volts = _voltages(before, i, there)
    p = probability(move.score)
    return Finding(
        kind=FindingKind.WRONG_AREA,
        meter=move.meter,
        correct_area=move.correct,
        confidence=p,
        energy_wh=energy,
        energy_low_wh=energy - sd,
        energy_high_wh=energy + sd,
        evidence=Evidence(
            series=tuple(shown),
            numbers=numbers | volts,
            alternatives=divided(p, {Explanation.LISTED_AREA: 1.0}),
            pictures=(picture,) if picture is not None else (),
            untold=(
                *((Untold.CORRECT_AREA,) if move.correct is None else ()),
                *((Untold.PLACE_NO_VOLTAGE,) if picture is None else ()),
                *((Untold.LOSS_MODEL,) if not before.loss.from_voltage else ()),
            ),
        ),
    )


def _voltages(
    before: AreaModel, i: int, there: tuple[AreaModel, AreaModel] | None
) -> tuple[EvidencePicture | None, dict[str, float]]:
    """The meter's voltage beside both busbars', on the day on which these differ most; the phase of each is the one
    that it follows best."""
    window = before.area.window
    volts, busbar = window.household_voltage_v, window.area_voltage_v
    if volts is None or busbar is None or not np.isfinite(volts[i]).any():
        return None, {}
    own = volts[i]
    listed, follows = _followed(own, busbar)
    numbers = {"correlation_listed": follows}
    lines = {"voltage_own": ("V", own), "voltage_listed": ("V", listed)}
    apart = np.abs(own - listed)
    other = None if there is None else there[1].area.window
    if other is not None and other.area_voltage_v is not None and other.interval_s == window.interval_s:
        late = round((other.start - window.start).total_seconds() / window.interval_s)
        moved = np.stack([days_from(phase, late, window.n_intervals) for phase in other.area_voltage_v])
        correct, numbers["correlation_correct"] = _followed(own, moved)
        lines["voltage_correct"] = ("V", correct)
        apart = np.abs(correct - listed)
    seen = np.asarray(np.isfinite(own) & np.isfinite(apart))
    day = telling_day(daily(before, apart, seen), whole_days(before, seen))
    return None if day is None else one_day(before, "voltages", day, lines), numbers


def _followed(own: Floats, busbar: Floats) -> tuple[Floats, float]:
    """Of (3, T) voltages the one whose changes (T,) ``own`` follows best, and how well."""
    fits = [correlation(own, phase) for phase in busbar]
    best = int(np.argmax(np.nan_to_num(fits, nan=-1.0)))
    return busbar[best], fits[best]


def days_from(values: Floats, late: int, days: int) -> Floats:
    """(days,) values of a window that begins ``late`` places after another, on the other's places; NaN where it has
    none."""
    out = np.full(days, np.nan)
    start, stop = max(late, 0), min(days, late + values.size)
    if stop > start:
        out[start:stop] = values[start - late : stop - late]
    return out


def missing_finding(window: AreaWindow, meter: str, missing: float) -> Finding:
    """A meter that was hardly read."""
    read = np.isfinite(window.household_import_wh[window.meters.index(meter)])
    day = window.day_index()
    count = np.bincount(day)
    edges = np.diff(np.concatenate([[0], (~read).astype(np.int8), [0]]))
    gaps = np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)
    return Finding(
        kind=FindingKind.MISSING_DATA,
        meter=meter,
        confidence=0.99,
        energy_wh=0.0,
        energy_low_wh=0.0,
        energy_high_wh=0.0,
        evidence=Evidence(
            series=(series("measured_share", "1", np.bincount(day, weights=read) / np.maximum(count, 1)),),
            numbers={
                "missing_share": missing,
                "measured_share": 1.0 - missing,
                "intervals": float(window.n_intervals),
                "longest_gap_intervals": float(gaps.max(initial=0)),
                "longest_gap_h": float(gaps.max(initial=0)) * window.interval_s / 3600.0,
                "days_without": float(np.sum((np.bincount(day, weights=read) == 0) & (count > 0))),
                "days": float(count.size),
            },
        ),
    )
