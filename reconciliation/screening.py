"""What every area gets: a model with its area meter put right, and whether it stands out.

An explanation costs many times as much, and is only asked for where something stands out.
"""

from dataclasses import dataclass, replace

import numpy as np

from reconciliation.area_meter import AreaMeterFault, dead_phase, swapped, wrong_ratio
from reconciliation.attribution import (
    Attribution,
    Statistics,
    attribute,
    evidence_table,
    statistics,
    total_evidence,
    unmetered_evidence,
    variance_evidence,
)
from reconciliation.believable import believable
from reconciliation.columns import MeterColumns, meter_columns
from reconciliation.decide import ALARM, ALARM_MODEL
from reconciliation.limits import blocking
from reconciliation.localise import explained_share, localise
from reconciliation.mapping_energy import removal
from reconciliation.model import AreaModel, build
from reconciliation.phase_order import phase_order
from reconciliation.report import Limit
from reconciliation.shapes import PLAIN, area_profile
from reconciliation.window import AreaWindow, Floats

CALM = 1.0
"""[nat] An area in which nothing speaks for an unmetered load, or for any of the PLAIN families, with odds of e : 1 is
left at that: what a detailed family explains to an alarm, a plain one explains in part."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Alarm:
    """Whether an area stands out, and by what."""

    first: Attribution | None
    """Evidence per meter and way of being wrong, against honest meters; None where the area is CALM."""
    suspicion: Floats
    """(N,) log evidence against each meter [nat]."""
    tap: Floats
    """(K,) log evidence of an unmetered load on each stream [nat]."""
    score: float
    """Log evidence against a clean area [nat]."""
    beyond: float
    """By how much the area stands out [nat]; not where negative."""

    @property
    def stands_out(self) -> bool:
        """Whether it does."""
        return self.beyond > 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Corrected:
    """One area with its area meter put right, where that was wrong."""

    read: AreaModel
    """As read."""
    fault: AreaMeterFault | None

    @property
    def model(self) -> AreaModel:
        """Put right."""
        return self.read if self.fault is None else self.fault.model


@dataclass(frozen=True, kw_only=True, eq=False)
class Screening:
    """One area after the tests that every area gets; holds what its own and its neighbours' explanations need."""

    window: AreaWindow
    nothing: Limit | None
    """Why nothing can be told; all that follows is None then."""
    corrected: Corrected | None = None
    alarm: Alarm | None = None
    """With the area meter put right."""

    @property
    def noteworthy(self) -> bool:
        """Whether an explanation may say more than "clean": an alarm, the area meter's fault, or a meter that seems not
        to be in the balance."""
        if self.corrected is None or self.alarm is None:
            return False
        return (
            self.corrected.fault is not None
            or self.alarm.stands_out
            or bool(np.isfinite(removal(self.corrected.model, 0.0)).any())
        )


def screen(window: AreaWindow) -> Screening:
    """Model one area, test its area meter, and decide whether it stands out."""
    window = believable(window)
    nothing = blocking(window)
    if nothing is not None:
        return Screening(window=window, nothing=nothing)
    corrected = correct(window)
    return Screening(window=window, nothing=None, corrected=corrected, alarm=alarm(corrected.model))


def correct(window: AreaWindow) -> Corrected:
    """Fit one area; where its area meter is wrong, put right."""
    read = build(window)
    if read.area.coarse_phases:
        by_phase = build(window, coarse=True)
        fault = area_meter_fault(by_phase)
        if fault is not None:
            return Corrected(read=by_phase, fault=fault)
    order = phase_order(read)
    if order is not None and window.area_voltage_v is not None:
        turned = build(replace(window, area_voltage_v=window.area_voltage_v[list(order[0])]))
        return Corrected(read=read, fault=swapped(turned, *order))
    return Corrected(read=read, fault=area_meter_fault(read))


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
    rival = localise(model, columns, _attributed(model, columns))
    return fault if fault.gain > max(rival.fit.log_likelihood - before.log_likelihood, 0.0) else None


def alarm(model: AreaModel) -> Alarm:
    """Log evidence of the best wrong reading, and of the best unmetered load, against what an honest area may show.

    The ways of being wrong that cost most to try are only tried where something speaks for another one at all.
    """
    extra, _ = unmetered_evidence(model.area, model.fit, area_profile(model.area))
    tap = np.maximum(extra, 0.0) + variance_evidence(model.fit)
    most = float(tap.max())
    first, suspicion = None, np.zeros(0)
    if most <= CALM:
        plain = evidence_table(model.area, _statistics(model, meter_columns(model.area, PLAIN)), PLAIN)
        suspicion = total_evidence(plain)
        most = max(most, float(plain.max()))
    if most > CALM:
        first = _attributed(model, meter_columns(model.area))
        suspicion = first.total
    modelled = float(model.fit.modelled.mean()) if model.loss.from_voltage else 1.0
    return Alarm(
        first=first,
        suspicion=suspicion,
        tap=tap,
        score=max(float(suspicion.max()), float(tap.max()), 0.0),
        beyond=max(
            float(tap.max()) - (ALARM if model.loss.from_voltage else ALARM_MODEL),
            float(suspicion.max()) - ALARM - (ALARM_MODEL - ALARM) * modelled,
        ),
    )


def _attributed(model: AreaModel, columns: MeterColumns) -> Attribution:
    return attribute(model.area, _statistics(model, columns))


def _statistics(model: AreaModel, columns: MeterColumns) -> Statistics:
    return statistics(model.area, model.share, model.fit, columns)
