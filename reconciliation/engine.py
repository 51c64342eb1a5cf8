"""Analyses neighbouring areas together: the package's one entry point.

Order of the tests: dead phase → CT ratio → mapping → alarm → localisation → accusation. Each sees the area with what
the earlier ones found put right, so that one fault is not explained twice.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from reconciliation.area_meter import AreaMeterFault, dead_phase, wrong_ratio
from reconciliation.attribution import attribute, statistics, unmetered_evidence, variance_evidence
from reconciliation.decide import ALARM, ALARM_MODEL, judge
from reconciliation.evidence import (
    area_meter_finding,
    dead_findings,
    meter_findings,
    missing_finding,
    move_finding,
    probability,
    tap_finding,
    unclear_finding,
)
from reconciliation.localise import explained_share, localise
from reconciliation.mapping import Move, find_moves
from reconciliation.model import AreaModel, build
from reconciliation.priors import Priors
from reconciliation.report import AreaReport, Cause, Finding, TechnicalLossModel
from reconciliation.shapes import area_profile, meter_columns, still_registers
from reconciliation.voltage_response import voltage_response
from reconciliation.window import AreaWindow, Floats, check_windows

MIN_DAYS = 2.0
"""Less than two days tell no habit from a fault."""
MIN_ROWS = 40
"""Intervals the area meter must have been read in."""
HARDLY_READ = 0.5
"""Share of missing intervals from which a meter is reported as such."""


def analyse(windows: Sequence[AreaWindow], *, priors: Priors | None = None) -> Mapping[str, AreaReport]:
    """Explain the balance of each area; all windows of one call are each other's neighbours.

    ``priors``: what a utility's inspections have taught about each kind of finding; None: nothing yet.
    Returns one report per area, by its code. Too little data gives ``not_computable`` with the reason, never an
    exception; raises ``ValueError`` only when an area is given twice (a window's own shapes are checked when it is
    made).
    """
    check_windows(windows)
    reports: dict[str, AreaReport] = {}
    models: dict[str, AreaModel] = {}
    faults: dict[str, tuple[AreaModel, AreaMeterFault]] = {}
    for window in windows:
        reason = why_not_computable(window)
        if reason is not None:
            reports[window.area] = _not_computable(window, reason)
            continue
        model = build(window)
        fault = area_meter_fault(model)
        if fault is not None:
            faults[window.area] = (model, fault)
            model = fault.model
        models[window.area] = model
    healthy = {a: m for a, m in models.items() if a not in faults}
    moves, after = find_moves(healthy) if len(healthy) > 1 else ([], healthy)
    after = {**models, **after}
    for window in windows:
        if window.area in models:
            reports[window.area] = _report(window, models, after, moves, faults.get(window.area))
    believed = Priors() if priors is None else priors
    return {w.area: believed.applied(reports[w.area]) for w in windows}


def why_not_computable(window: AreaWindow) -> str | None:
    """The reason why nothing can be told, or None."""
    if window.n_meters == 0:
        return "no meter is listed in this area"
    days = window.n_intervals * window.interval_s / 86400.0
    if days < MIN_DAYS:
        return f"{days:.1f} days of data, at least {MIN_DAYS:.0f} are needed"
    area_read = np.isfinite(window.area_import_wh)
    if area_read.sum() < MIN_ROWS or area_read.mean() < 0.2:
        return f"the area meter was read in {int(area_read.sum())} of {window.n_intervals} intervals"
    read = np.isfinite(window.household_import_wh).mean(axis=1)
    if float(np.mean(read > 0.2)) < 0.8:
        return f"{int(np.sum(read <= 0.2))} of {window.n_meters} meters were hardly read"
    return None


def area_meter_fault(model: AreaModel) -> AreaMeterFault | None:
    """The area meter's fault, if it explains the balance and no meter explains it as well."""
    fault = dead_phase(model)
    if fault is not None:
        return fault
    fault = wrong_ratio(model)
    if fault is None:
        return None
    before = model.fit
    if explained_share(before.ratio, fault.ratio_left) < 0.8 and float(fault.ratio_left.max()) > 1.1:
        return None
    columns = meter_columns(model.area)
    found = attribute(model.area, statistics(model.area, model.share, before, columns))
    rival = localise(model, columns, found)
    return fault if fault.gain > max(rival.fit.log_likelihood - before.log_likelihood, 0.0) else None


def _report(
    window: AreaWindow,
    models: Mapping[str, AreaModel],
    after: Mapping[str, AreaModel],
    moves: Sequence[Move],
    fault: tuple[AreaModel, AreaMeterFault] | None,
) -> AreaReport:
    area = window.area
    model = after[area]
    own = [m for m in moves if m.listed == area]
    into = [m for m in moves if m.correct == area]
    columns = meter_columns(model.area)
    first = attribute(model.area, statistics(model.area, model.share, model.fit, columns))
    extra, _ = unmetered_evidence(model.area, model.fit, area_profile(model.area))
    tap = np.maximum(extra, 0.0) + variance_evidence(model.fit)
    score = max(float(first.total.max()), float(tap.max()), 0.0)
    modelled = float(model.fit.modelled.mean()) if model.loss.from_voltage else 1.0
    stands_out = (
        float(tap.max()) > (ALARM if model.loss.from_voltage else ALARM_MODEL)
        or float(first.total.max()) > ALARM + (ALARM_MODEL - ALARM) * modelled
    )
    suspicion = dict(zip(model.area.meters, first.total.tolist(), strict=True))
    findings: list[Finding] = []
    accused: list[str] = []
    cause = Cause.CLEAN
    if stands_out and fault is None:
        found = localise(model, columns, first)
        voltage, still = voltage_response(model), still_registers(model.area)
        verdict = judge(model, found, still, voltage)
        for i, name in enumerate(model.area.meters):
            suspicion[name] = float(found.last.total[i])
        for k, s in enumerate(found.suspects):
            suspicion[model.area.meters[s.meter]] = max(float(found.own_evidence[k]), s.gain)
        for i in verdict.dead:
            suspicion[model.area.meters[i]] = (
                max(suspicion[model.area.meters[i]], float(first.load[i]), *(0.0 + v for v in suspicion.values())) + 1.0
            )
        accused = [model.area.meters[found.suspects[k].meter] for k in verdict.accused] + [
            model.area.meters[i] for i in verdict.dead
        ]
        findings += meter_findings(model, found, verdict) + dead_findings(model, found, verdict, still)
        cause = Cause.METER if verdict.meter_cause else Cause.UNMETERED
        if verdict.meter_cause and not accused:
            findings.append(unclear_finding(model, found, verdict))
        if cause is Cause.UNMETERED:
            best = float(first.total.max())
            findings.append(
                tap_finding(
                    model, float(tap.max()), int(np.argmax(tap)), {"meter": probability(best - float(tap.max()))}
                )
            )
    misplaced = [(m.meter, m.correct) for m in own]
    if own or into:
        cause = Cause.MAPPING
        score = max(score, *(m.score for m in own + into))
        findings = [move_finding(m, models[area], model, models[m.correct], after[m.correct]) for m in own] + findings
        for m in own:
            suspicion[m.meter] = -m.score
    if fault is not None:  # nobody is accused by the balance of an area meter that is itself wrong
        cause, accused = Cause.AREA_METER, []
        score = max(score, fault[1].evidence)
        findings = [area_meter_finding(*fault)]
    findings += _missing(window)
    return AreaReport(
        anomaly_score=score,
        alarm=stands_out or bool(own or into) or fault is not None,
        cause=cause,
        suspicion={m: suspicion.get(m, 0.0) for m in window.meters},
        accused=tuple(m for m in accused if m in window.meters),
        misplaced=tuple(misplaced),
        technical_loss_wh=float(model.loss.stream_wh.sum()),
        findings=tuple(findings),
        technical_interval_wh=_technical(model),
        technical_model=model.loss.model,
        reason=_not_told(window, model),
    )


def _technical(model: AreaModel) -> Floats:
    return np.asarray(model.loss.stream_wh.sum(axis=0))


def _not_told(window: AreaWindow, model: AreaModel) -> str | None:
    parts = []
    if not model.loss.from_voltage:
        parts.append("technical loss from a load model: no usable voltages")
    if model.area.n_streams == 1:
        parts.append("balance of the total only: no phase energies")
    if window.interval_s > 3600:
        parts.append("intervals longer than an hour: faults within the day cannot be told")
    return "; ".join(parts) or None


def _missing(window: AreaWindow) -> list[Finding]:
    missing = np.isnan(window.household_import_wh).mean(axis=1)
    return [missing_finding(window, window.meters[i], float(missing[i])) for i in np.flatnonzero(missing > HARDLY_READ)]


def _not_computable(window: AreaWindow, reason: str) -> AreaReport:
    return AreaReport(
        anomaly_score=0.0,
        alarm=False,
        cause=Cause.NOT_COMPUTABLE,
        suspicion=dict.fromkeys(window.meters, 0.0),
        accused=(),
        misplaced=(),
        technical_loss_wh=float("nan"),
        findings=tuple(_missing(window)) if window.n_intervals else (),
        technical_interval_wh=np.full(window.n_intervals, np.nan),
        technical_model=TechnicalLossModel(constant_wh=0.0, quadratic_per_wh=0.0),
        reason=reason,
    )
