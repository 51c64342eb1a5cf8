"""Analyses neighbouring areas together: the package's one entry point.

Order of the tests: dead phase → CT ratio → mapping → not from here → alarm → localisation → accusation. Each sees the
area with what the earlier ones found put right, so that one fault is not explained twice.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reconciliation.attribution import Attribution
from reconciliation.cause_probability import cause_probability
from reconciliation.columns import meter_columns
from reconciliation.decide import judge
from reconciliation.decide import log_odds as posterior_log_odds
from reconciliation.evidence import (
    Grounds,
    area_meter_finding,
    dead_findings,
    meter_findings,
    missing_finding,
    move_finding,
    probability,
    tap_finding,
    unclear_finding,
)
from reconciliation.levels import still_registers
from reconciliation.limits import HARDLY_READ, in_words, limits
from reconciliation.localise import localise
from reconciliation.mapping import WRONG_AREA_RATE, Move, find_moves
from reconciliation.model import AreaModel
from reconciliation.not_from_here import strangers
from reconciliation.priors import Priors
from reconciliation.report import AreaReport, Cause, Finding, Limit, LimitCode, TechnicalLossModel
from reconciliation.screening import Alarm, Corrected, Screening, alarm, correct, screen
from reconciliation.suspicion import located, ranking
from reconciliation.voltage_evidence import voltage_field
from reconciliation.voltage_response import voltage_response
from reconciliation.window import AreaWindow, Floats, check_windows


def analyse(
    windows: Sequence[AreaWindow], *, priors: Priors | None = None, wrong_area_rate: float = WRONG_AREA_RATE
) -> Mapping[str, AreaReport]:
    """Explain the balance of each area; all windows of one call are each other's neighbours.

    ``priors``: what a utility's inspections have taught about each kind of finding; None: nothing yet.
    ``wrong_area_rate``: share of meters expected to be listed in the wrong area, 0..1: several per cent while a
    rollout's records are young. Returns one report per area, by its code. Too little data gives ``not_computable`` with
    the reason, never an exception; raises ``ValueError`` only when an area is given twice or the rate is no share (a
    window's own shapes are checked when it is made).
    """
    check_windows(windows)
    return explain([screen(window) for window in windows], priors=priors, wrong_area_rate=wrong_area_rate)


def explain(
    screenings: Sequence[Screening],
    areas: Collection[str] | None = None,
    *,
    priors: Priors | None = None,
    wrong_area_rate: float = WRONG_AREA_RATE,
) -> Mapping[str, AreaReport]:
    """Reports of ``areas`` (default: all) among the screened neighbours, which must be of different areas; else as
    ``analyse``."""
    check_windows([s.window for s in screenings])
    if not 0.0 < wrong_area_rate < 1.0:
        raise ValueError(f"wrong_area_rate must lie between 0 and 1, got {wrong_area_rate}")
    believed = Priors() if priors is None else priors
    wanted = {s.window.area for s in screenings if areas is None or s.window.area in areas}
    station = _Station({s.window.area: s.corrected for s in screenings if s.corrected is not None})
    moves, after = find_moves(station.models, station.fit, wrong_area_rate)
    moved = frozenset(m.meter for m in moves)
    unclear: dict[str, frozenset[str]] = {}
    for area in sorted(wanted & after.keys()):
        gone = strangers(after[area], station.fit, wrong_area_rate, moved)
        after[area], unclear[area] = gone.model, gone.unclear
        moves += gone.moves
    reports: dict[str, AreaReport] = {}
    for s in screenings:
        area = s.window.area
        if area not in wanted:
            continue
        if s.nothing is not None:
            report = _not_computable(s.window, s.nothing)
        else:
            report = _report(s, station, after, moves, unclear[area])
        reports[area] = believed.applied(report)
    return reports


class _Station:
    """Neighbouring areas as they are fitted anew while meters move among them."""

    def __init__(self, corrected: Mapping[str, Corrected]) -> None:
        self.models = {area: c.model for area, c in corrected.items()}
        self._fits = list(corrected.values())

    def fit(self, window: AreaWindow) -> AreaModel:
        """One area with other meters, its area meter put right."""
        self._fits.append(correct(window))
        return self._fits[-1].model

    def corrected(self, model: AreaModel) -> Corrected:
        """What was put right for one of the fits."""
        return next(c for c in self._fits if c.model is model)


def _report(
    screening: Screening,
    station: _Station,
    after: Mapping[str, AreaModel],
    moves: Sequence[Move],
    unclear: frozenset[str],
) -> AreaReport:
    window, area = screening.window, screening.window.area
    models, model = station.models, after[area]
    corrected = station.corrected(model)
    fault = corrected.fault
    own = [m for m in moves if m.listed == area]
    into = [m for m in moves if m.correct == area]
    raised: Alarm = screening.alarm if model is models[area] and screening.alarm is not None else alarm(model)
    score, stands_out = raised.score, raised.stands_out
    told = _Explained(suspicion=raised.suspicion)
    if raised.first is not None and stands_out and fault is None:
        told = _explained(model, raised, raised.first, unclear)
    suspicion = dict(zip(model.area.meters, told.suspicion.tolist(), strict=True))
    findings, accused, cause = list(told.findings), list(told.accused), told.cause
    misplaced = [(m.meter, m.correct) for m in own]
    moved: list[Finding] = []
    if own or into:
        cause = Cause.MAPPING
        score = max(score, *(m.score for m in own + into))
        moved = [_move(m, models, after) for m in own]
        findings = moved + findings
        for m in own:
            suspicion[m.meter] = -m.score
    other, other_evidence = (Cause.MAPPING, max(m.score for m in own + into)) if own or into else (None, 0.0)
    if fault is not None:  # nobody is accused by the balance of an area meter that is itself wrong
        cause, accused = Cause.AREA_METER, []
        score = max(score, fault.evidence)
        other, other_evidence = Cause.AREA_METER, fault.evidence
        findings = [area_meter_finding(corrected.read, fault), *moved]
    findings += _missing(window)
    technical = np.asarray(model.loss.stream_wh.sum(axis=0))
    untold = limits(
        window,
        loss_from_voltage=model.loss.from_voltage,
        by_phase=model.area.n_streams == 3,
        neighbours=len(models) - 1,
    )
    return AreaReport(
        anomaly_score=score,
        alarm=stands_out or bool(own or into) or fault is not None,
        cause=cause,
        suspicion={m: suspicion.get(m, 0.0) for m in window.meters},
        accused=tuple(m for m in accused if m in window.meters),
        misplaced=tuple(misplaced),
        technical_loss_wh=float(technical.sum()),
        findings=tuple(findings),
        technical_interval_wh=technical,
        technical_model=model.loss.model,
        reason=in_words([limit for limit in untold if limit.code is not LimitCode.NO_NEIGHBOURS]),
        limits=untold,
        cause_probability=cause_probability(
            beyond_alarm=raised.beyond,
            suspect_log_odds=told.log_odds,
            dead=told.dead,
            found=other,
            found_evidence=other_evidence,
        ),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Explained:
    """What an area's own balance says of its meters."""

    suspicion: Floats
    """(N,) [nat]."""
    findings: tuple[Finding, ...] = ()
    accused: tuple[str, ...] = ()
    cause: Cause = Cause.CLEAN
    log_odds: tuple[float, ...] = ()
    """Of every meter that may be wrong, given the others [nat]."""
    dead: int = 0
    """Registers called dead."""


def _explained(model: AreaModel, raised: Alarm, first: Attribution, unclear: frozenset[str]) -> _Explained:
    """Explain an area that stands out; nobody in ``unclear`` is accused: its energy may be in another balance."""
    meters = model.area.meters
    voltage, still, field = voltage_response(model), still_registers(model.area), voltage_field(model)
    found = located(model, localise(model, meter_columns(model.area), first), field)
    verdict = judge(model, found, still, voltage, field)
    accused = tuple(k for k in verdict.accused if meters[found.suspects[k].meter] not in unclear)
    verdict = replace(verdict, accused=accused)
    suspicion = ranking(model, found, still, field)
    for i in verdict.dead:
        suspicion[i] = suspicion.max() + 1.0
    suspects = {s.meter for s in found.suspects}
    log_odds = tuple(posterior_log_odds(s) for s in found.suspects) + tuple(
        odds for i, odds in verdict.held.items() if i not in suspects
    )
    named = (*(found.suspects[k].meter for k in accused), *verdict.dead)
    causes = cause_probability(beyond_alarm=raised.beyond, suspect_log_odds=log_odds, dead=len(verdict.dead))
    grounds = Grounds(
        field=field,
        response=voltage,
        beyond=raised.beyond,
        meter=causes[Cause.METER],
        unmetered=causes[Cause.UNMETERED],
    )
    findings = meter_findings(model, found, verdict, grounds) + dead_findings(model, found, verdict, still, grounds)
    if verdict.meter_cause and not named:
        findings.append(unclear_finding(model, found, verdict, grounds))
    if not verdict.meter_cause:
        some_meter = probability(float(first.total.max()) - float(raised.tap.max()))
        findings.append(tap_finding(model, raised.tap, some_meter, grounds))
    return _Explained(
        suspicion=suspicion,
        findings=tuple(findings),
        accused=tuple(meters[i] for i in named),
        cause=Cause.METER if verdict.meter_cause else Cause.UNMETERED,
        log_odds=log_odds,
        dead=len(verdict.dead),
    )


def _move(m: Move, models: Mapping[str, AreaModel], after: Mapping[str, AreaModel]) -> Finding:
    there = None if m.correct is None else (models[m.correct], after[m.correct])
    return move_finding(m, models[m.listed], after[m.listed], there)


def _missing(window: AreaWindow) -> list[Finding]:
    missing = np.isnan(window.household_import_wh).mean(axis=1)
    return [missing_finding(window, window.meters[i], float(missing[i])) for i in np.flatnonzero(missing > HARDLY_READ)]


def _not_computable(window: AreaWindow, nothing: Limit) -> AreaReport:
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
        reason=in_words([nothing]),
        limits=(nothing,),
    )
