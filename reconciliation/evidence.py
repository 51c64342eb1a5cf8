"""Turns verdicts into findings with the series and numbers a page needs to show why."""

import numpy as np

from reconciliation.area_meter import AreaMeterFault
from reconciliation.cause_probability import posterior, stated
from reconciliation.decide import Verdict, log_odds
from reconciliation.localise import Localisation
from reconciliation.mapping import Move
from reconciliation.model import AreaModel
from reconciliation.report import Evidence, EvidenceSeries, Finding, FindingKind
from reconciliation.window import AreaWindow, Bools, Floats

Z90 = 1.645
"""Half-width of a Gaussian 90 % interval in SD."""
CT_RATIOS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0)
"""Standard primary currents (IEC 61869-2: 10, 15, 20, 25, 30, 40, 50, 75, 100 … A) over a secondary of 5 A."""
RATIO_KNOWN = 0.04
"""Relative SD of a factor from which it says nothing about a ratio, and how far it may miss one: the technical loss and
both accuracy classes are in it."""
TEMPER = 10.0
"""Divides log odds between candidates who were not clear enough to accuse [nat]."""


def daily(model: AreaModel, values: Floats) -> Floats:
    """(D,) sum per day of (T,) values."""
    total = np.bincount(model.area.day, weights=np.nan_to_num(values), minlength=model.area.n_days)
    return np.asarray(total, dtype=np.float64)


def unexplained(model: AreaModel) -> Floats:
    """(T,) loss beyond the technical one, all streams [Wh]."""
    return np.asarray((model.area.supplied - model.share.T @ model.area.net - model.loss.stream_wh).sum(axis=0))


def probability(log_odds: float) -> float:
    """Log odds [nat] → probability, tempered by 2 because the model is not exact, kept within [0.01, 0.99]."""
    return float(np.clip(1.0 / (1.0 + np.exp(-np.clip(log_odds / 2.0, -40, 40))), 0.01, 0.99))


def meter_findings(model: AreaModel, found: Localisation, verdict: Verdict) -> list[Finding]:
    """One finding per accused meter."""
    before = unexplained(model)
    all_hidden = found.hidden_wh.sum(axis=0) if found.suspects else np.zeros_like(before)
    out = []
    for k in verdict.accused:
        s = found.suspects[k]
        hidden = found.hidden_wh[k]
        reading = model.area.imported[s.meter]
        days = np.flatnonzero(s.active > 0.5)
        first_day = int(days[0]) if days.size else 0
        onset = int(np.searchsorted(model.area.day, first_day)) if first_day > 0 else None
        energy, sd = float(hidden.sum()), float(found.hidden_sd_wh[k])
        own_sd = max(sd, 0.05 * abs(energy))
        odds = log_odds(s)
        out.append(
            Finding(
                kind=_kind(s.family.name, hidden, sd, reading, s.active[model.area.day]),
                meter=model.area.meters[s.meter],
                confidence=stated(odds),
                energy_wh=energy,
                energy_low_wh=energy - Z90 * own_sd,
                energy_high_wh=energy + Z90 * own_sd,
                onset_interval=onset,
                evidence=Evidence(
                    series=(
                        EvidenceSeries(name="loss_before", unit="Wh", values=daily(model, before)),
                        EvidenceSeries(name="loss_after", unit="Wh", values=daily(model, before - all_hidden)),
                        EvidenceSeries(name="reading", unit="Wh", values=daily(model, reading)),
                        EvidenceSeries(name="hidden", unit="Wh", values=daily(model, hidden)),
                        EvidenceSeries(name="active", unit="1", values=s.active.copy()),
                    ),
                    numbers={
                        "log_evidence": float(found.own_evidence[k]),
                        "replicated_evidence": s.replicated,
                        **({"margin_over_next_meter": s.rival_margin} if np.isfinite(s.rival_margin) else {}),
                        "explained_share": verdict.explained,
                    },
                    alternatives={
                        "unmetered": 1 - stated(odds),
                        "other_meter": 1 - posterior(s.rival_margin),
                    },
                ),
            )
        )
    return out


def dead_findings(model: AreaModel, found: Localisation, verdict: Verdict, registers: Bools) -> list[Finding]:
    """One finding per register that stands still where a load is missing; the energy is what its streams lose
    while it stands, less what the rest's faults and instruments explain."""
    before = unexplained(model)
    out = []
    for i in verdict.dead:
        still = registers[i]
        on = model.share[i] > 0
        own = [h for s, h in zip(found.suspects, found.hidden_wh, strict=True) if s.meter == i]
        if own:  # its load as far as its own past tells, and what the whole fit leaves on its streams
            loss = (own[0] + found.fit.residual[on].sum(axis=0)) * still
        else:
            others = sum(found.hidden_wh[k] * model.share[found.suspects[k].meter][on].sum() for k in verdict.accused)
            loss = model.area.supplied - model.share.T @ model.area.net - model.loss.stream_wh
            loss = (loss[on].sum(axis=0) - others) * still
        energy = float(loss.sum())
        sd = 0.003 * float(np.abs(model.area.supplied[on][:, still]).sum()) + 0.05 * abs(energy)
        first = int(np.flatnonzero(still)[0])
        evidence = max(float(found.first.load[i]), float(found.first.by_family[i].max()))
        out.append(
            Finding(
                kind=FindingKind.STUCK,
                meter=model.area.meters[i],
                confidence=min(probability(evidence), 0.9),
                energy_wh=energy,
                energy_low_wh=energy - Z90 * sd,
                energy_high_wh=energy + Z90 * sd,
                onset_interval=first or None,
                evidence=Evidence(
                    series=(
                        EvidenceSeries(name="loss_before", unit="Wh", values=daily(model, before)),
                        EvidenceSeries(name="loss_after", unit="Wh", values=daily(model, before - loss)),
                        EvidenceSeries(name="reading", unit="Wh", values=daily(model, model.area.imported[i])),
                        EvidenceSeries(
                            name="active", unit="1", values=np.minimum(daily(model, still.astype(np.float64)), 1.0)
                        ),
                    ),
                    numbers={"log_evidence": evidence, "standing_still_share": float(still.mean())},
                    alternatives={"unmetered": 0.1},
                ),
            )
        )
    return out


def _kind(family: str, hidden: Floats, hidden_sd: float, reading: Floats, active: Floats) -> FindingKind:
    on = active > 0.5
    if float(np.ptp(reading[on])) == 0.0 if on.any() else False:
        return FindingKind.STUCK
    if family == "stuck":
        return FindingKind.STUCK
    if family == "reversed":
        return FindingKind.CLOCK_SKEW
    read, true = float(reading[on].sum()), float((reading + hidden)[on].sum())
    if family in ("multiplier", "scaled", "random") and read > 0 and true > 0:
        factor = true / read
        # over-registering, or less than a fifth of the truth; a bypass leaves more
        if factor < 0.9 or factor > 5.0 or (on.all() and _is_ratio(factor, hidden_sd / read)):
            return FindingKind.WRONG_MULTIPLIER
    return FindingKind.UNDER_REGISTERING


def _is_ratio(factor: float, sd: float) -> bool:
    """Whether a constant factor is a current transformer's ratio, or one over it, and known well enough to say so."""
    miss = min(abs(np.log(factor / r)) for ratio in CT_RATIOS for r in (ratio, 1.0 / ratio))
    return sd < RATIO_KNOWN * factor and miss < max(2.0 * sd / factor, RATIO_KNOWN)


def unclear_finding(model: AreaModel, found: Localisation, verdict: Verdict) -> Finding:
    """Somebody's reading is wrong, but it is not clear enough whose to send anybody: the candidates with their odds."""
    loss = unexplained(model)
    order = np.argsort(-found.first.total, kind="stable")[:5]
    weight = np.exp(np.clip((found.first.total[order] - found.first.total[order[0]]) / TEMPER, -40, 0))
    energy, sd = float(loss.sum()), 0.003 * float(np.abs(model.area.supplied).sum())
    hidden = found.hidden_wh.sum(axis=0) if found.suspects else np.zeros_like(loss)
    return Finding(
        kind=FindingKind.UNDER_REGISTERING,
        meter=None,
        confidence=0.5,
        energy_wh=energy,
        energy_low_wh=energy - Z90 * sd,
        energy_high_wh=energy + Z90 * sd,
        evidence=Evidence(
            series=(
                EvidenceSeries(name="loss_before", unit="Wh", values=daily(model, loss)),
                EvidenceSeries(name="loss_after", unit="Wh", values=daily(model, loss - hidden)),
            ),
            numbers={"log_evidence": float(found.first.total.max()), "explained_share": verdict.explained},
            alternatives={model.area.meters[i]: float(w / weight.sum()) for i, w in zip(order, weight, strict=True)},
        ),
    )


def tap_finding(model: AreaModel, log_evidence: float, stream: int, alternatives: dict[str, float]) -> Finding:
    """An unmetered load, somewhere on the area."""
    loss = unexplained(model)
    by_day = daily(model, loss)
    energy = float(loss.sum())
    sd = float(np.std(by_day) * np.sqrt(max(by_day.size, 1))) + 0.003 * float(np.abs(model.area.supplied).sum())
    active = np.flatnonzero(
        by_day > 0.5 * max(float(np.median(by_day[by_day > 0])) if (by_day > 0).any() else 0.0, 1e-9)
    )
    onset = int(np.searchsorted(model.area.day, active[0])) if active.size and active[0] > 2 else None
    return Finding(
        kind=FindingKind.DIRECT_TAP,
        meter=None,
        confidence=min(probability(log_evidence), 0.95),
        energy_wh=energy,
        energy_low_wh=energy - Z90 * sd,
        energy_high_wh=energy + Z90 * sd,
        onset_interval=onset,
        evidence=Evidence(
            series=(
                EvidenceSeries(name="loss_before", unit="Wh", values=by_day),
                EvidenceSeries(name="loss_after", unit="Wh", values=by_day - daily(model, np.maximum(loss, 0.0))),
            ),
            numbers={"log_evidence": log_evidence, "phase": float(stream + 1 if model.area.n_streams == 3 else 0)},
            alternatives=alternatives,
        ),
    )


def area_meter_finding(before: AreaModel, fault: AreaMeterFault) -> Finding:
    """The area meter is wrong."""
    energy = float(fault.missing_wh.sum())
    loss = unexplained(before)
    numbers = {"log_evidence": fault.evidence, "phase": float(0 if fault.stream is None else fault.stream + 1)}
    numbers["ratio_read_to_true"] = fault.ratio
    numbers |= fault.numbers
    sd = 0.02 * abs(energy)
    return Finding(
        kind=fault.kind,
        meter=None,
        confidence=probability(fault.evidence),
        energy_wh=-energy,
        energy_low_wh=-energy - Z90 * sd,
        energy_high_wh=-energy + Z90 * sd,
        onset_interval=fault.onset or None,
        evidence=Evidence(
            series=(
                EvidenceSeries(name="loss_before", unit="Wh", values=daily(before, loss)),
                EvidenceSeries(name="loss_after", unit="Wh", values=daily(before, loss + fault.missing_wh)),
                EvidenceSeries(name="supplied", unit="Wh", values=daily(before, before.area.supplied.sum(axis=0))),
            ),
            numbers=numbers,
            alternatives={"clean": 1 - probability(fault.evidence)},
        ),
    )


def move_finding(move: Move, before: AreaModel, after: AreaModel, there: tuple[AreaModel, AreaModel] | None) -> Finding:
    """A meter listed here that hangs elsewhere: at stake is its own energy, booked to the wrong area's balance.

    ``there``: the correct area before and after, where it is known.
    """
    i = before.area.meters.index(move.meter)
    net = before.area.net[i]
    energy = float(net.sum())
    sd = max(0.01 * float(np.abs(net).sum()), 1.0)
    series = [
        EvidenceSeries(name="loss_before", unit="Wh", values=daily(before, unexplained(before))),
        EvidenceSeries(name="loss_after", unit="Wh", values=daily(after, unexplained(after))),
        EvidenceSeries(name="reading", unit="Wh", values=daily(before, net)),
    ]
    numbers = {
        "log_evidence": move.score,
        "evidence_listed_balance": move.remove,
        "evidence_voltage": move.voltage,
    }
    if there is not None:
        days = before.area.n_days
        for name, model in zip(("correct_area_before", "correct_area_after"), there, strict=True):
            late = (model.area.window.start - before.area.window.start).days
            values = days_from(daily(model, unexplained(model)), late, days)
            series.append(EvidenceSeries(name=name, unit="Wh", values=values))
        numbers["evidence_correct_balance"] = move.add
    return Finding(
        kind=FindingKind.WRONG_AREA,
        meter=move.meter,
        correct_area=move.correct,
        confidence=probability(move.score),
        energy_wh=energy,
        energy_low_wh=energy - sd,
        energy_high_wh=energy + sd,
        evidence=Evidence(
            series=tuple(series), numbers=numbers, alternatives={move.listed: 1 - probability(move.score)}
        ),
    )


def days_from(values: Floats, late: int, days: int) -> Floats:
    """(days,) daily values of a window that begins ``late`` days after another, on the other's days; NaN where it has
    none."""
    out = np.full(days, np.nan)
    start, stop = max(late, 0), min(days, late + values.size)
    if stop > start:
        out[start:stop] = values[start - late : stop - late]
    return out


def missing_finding(window: AreaWindow, meter: str, missing: float) -> Finding:
    """A meter that was hardly read."""
    return Finding(
        kind=FindingKind.MISSING_DATA,
        meter=meter,
        confidence=0.99,
        energy_wh=0.0,
        energy_low_wh=0.0,
        energy_high_wh=0.0,
        evidence=Evidence(numbers={"missing_share": missing, "intervals": float(window.n_intervals)}),
    )
