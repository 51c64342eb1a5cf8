"""What an area's data cannot tell, in codes with numbers: which input lacks, and how much of it.

The words are the reader's business (the web translates them); ``in_words`` is for a terminal.
"""

from collections.abc import Sequence

import numpy as np

from reconciliation.area_rounding import coarse_phases
from reconciliation.decide import FEW_DAYS, LONG_INTERVAL_S
from reconciliation.prepare import area_step_wh, phase_step_wh
from reconciliation.report import Limit, LimitCode
from reconciliation.window import AreaWindow

MIN_DAYS = 2.0
"""Less than two days tell no habit from a fault."""
MIN_ROWS = 40
"""Intervals the area meter must have been read in."""
MIN_AREA_READ, MIN_METER_READ, MIN_METERS_READ = 0.2, 0.3, 0.8
"""Least share of intervals the area meter must have been read in, for no others count; a meter, for what is filled
between readings so far apart says nothing of it; and of meters that must have been."""
FEW_METERS = 6
"""With fewer meters a load that no meter sees resembles some household too often."""
MANY_MISSING, AREA_GAPS = 0.03, 0.05
"""Share of missing household readings, and of intervals without the area meter, from which it is said: three times what
a good reading system leaves open."""
HARDLY_READ = 0.5
"""Share of missing intervals from which a meter is reported as such."""
VOLTAGE_READ = 0.3
"""Least share of intervals with voltages that carry a technical loss."""


def blocking(window: AreaWindow) -> Limit | None:
    """Why nothing can be told, or None."""
    if window.n_meters == 0:
        return Limit(code=LimitCode.NO_METERS)
    days = _days(window)
    if days < MIN_DAYS:
        return Limit(code=LimitCode.TOO_FEW_DAYS, numbers={"days": days, "days_needed": MIN_DAYS})
    read = np.isfinite(window.area_import_wh)
    if read.sum() < MIN_ROWS or read.mean() < MIN_AREA_READ:
        numbers = {"intervals_read": float(read.sum()), "intervals": float(window.n_intervals)}
        numbers["intervals_needed"] = max(float(MIN_ROWS), MIN_AREA_READ * window.n_intervals)
        return Limit(code=LimitCode.AREA_METER_HARDLY_READ, numbers=numbers)
    share = np.isfinite(window.household_import_wh).mean(axis=1)
    if float(np.mean(share > MIN_METER_READ)) < MIN_METERS_READ:
        numbers = {"meters_hardly_read": float(np.sum(share <= MIN_METER_READ)), "meters": float(window.n_meters)}
        return Limit(code=LimitCode.METERS_HARDLY_READ, numbers=numbers)
    return None


def limits(window: AreaWindow, *, loss_from_voltage: bool, by_phase: bool, neighbours: int) -> tuple[Limit, ...]:
    """What a computable area's data leave open, the gravest first.

    ``loss_from_voltage``: whether the technical loss was reckoned from voltages; ``by_phase``: whether the balance is
    drawn up by phase; ``neighbours``: areas that a meter listed here could have been moved to.
    """
    found: list[Limit] = []
    if not loss_from_voltage:
        found.append(_voltage(window))
    if not by_phase:
        found.append(_phases(window))
    if window.interval_s > LONG_INTERVAL_S:
        found.append(Limit(code=LimitCode.LONG_INTERVALS, numbers={"interval_s": float(window.interval_s)}))
    days = _days(window)
    if days < FEW_DAYS:
        found.append(Limit(code=LimitCode.FEW_DAYS, numbers={"days": days, "days_wanted": float(FEW_DAYS)}))
    if window.n_meters < FEW_METERS:
        found.append(Limit(code=LimitCode.FEW_METERS, numbers={"meters": float(window.n_meters)}))
    missing = np.isnan(window.household_import_wh)
    if float(missing.mean()) > MANY_MISSING:
        hardly = int(np.sum(missing.mean(axis=1) > HARDLY_READ))
        numbers = {"missing_share": float(missing.mean()), "meters_hardly_read": float(hardly)}
        found.append(Limit(code=LimitCode.MISSING_READINGS, numbers=numbers))
    gaps = float(np.isnan(window.area_import_wh).mean())
    if gaps > AREA_GAPS:
        found.append(Limit(code=LimitCode.AREA_METER_GAPS, numbers={"missing_share": gaps}))
    if neighbours == 0:
        found.append(Limit(code=LimitCode.NO_NEIGHBOURS))
    return tuple(found)


def _days(window: AreaWindow) -> float:
    return window.n_intervals * window.interval_s / 86400.0


def _voltage(window: AreaWindow) -> Limit:
    households, busbar = window.household_voltage_v, window.area_voltage_v
    if households is None or not np.isfinite(households).any():
        return Limit(code=LimitCode.NO_HOUSEHOLD_VOLTAGE)
    if busbar is None or not np.isfinite(busbar).any():
        return Limit(code=LimitCode.NO_BUSBAR_VOLTAGE)
    carried = np.isfinite(households).mean(axis=1) > VOLTAGE_READ
    numbers = {
        "meters_with_voltage": float(carried.sum()),
        "meters": float(window.n_meters),
        "busbar_share": float(np.isfinite(busbar).all(axis=0).mean()),
    }
    return Limit(code=LimitCode.VOLTAGE_HARDLY_READ, numbers=numbers)


def _phases(window: AreaWindow) -> Limit:
    if window.area_phase_wh is None:
        return Limit(code=LimitCode.NO_PHASE_ENERGY)
    if coarse_phases(window, phase_step_wh(window, area_step_wh(window))):
        return Limit(code=LimitCode.COARSE_PHASE_ENERGY)
    read = np.isfinite(window.area_phase_wh).mean(axis=1)
    return Limit(
        code=LimitCode.NO_PHASE_ENERGY if not read.any() else LimitCode.PHASE_MISSING,
        numbers={"phases_missing": float(np.sum(read < HARDLY_READ))},
    )


_WORDS = {
    LimitCode.NO_METERS: "no meter is listed in this area",
    LimitCode.TOO_FEW_DAYS: "{days:.1f} days of data, at least {days_needed:.0f} are needed",
    LimitCode.AREA_METER_HARDLY_READ: "the area meter was read in {intervals_read:.0f} of {intervals:.0f} intervals; "
    "at least {intervals_needed:.0f} are needed",
    LimitCode.METERS_HARDLY_READ: "{meters_hardly_read:.0f} of {meters:.0f} meters were hardly read",
    LimitCode.NO_HOUSEHOLD_VOLTAGE: "technical loss from a load model: no usable voltages of households",
    LimitCode.NO_BUSBAR_VOLTAGE: "technical loss from a load model: no busbar voltage",
    LimitCode.VOLTAGE_HARDLY_READ: "technical loss from a load model: {meters_with_voltage:.0f} of {meters:.0f} meters "
    "have usable voltages, the busbar in {busbar_share:.0%} of intervals",
    LimitCode.NO_PHASE_ENERGY: "balance of the total only: no phase energies",
    LimitCode.COARSE_PHASE_ENERGY: "balance of the total only: the phases carry less than the step of their energies",
    LimitCode.PHASE_MISSING: "balance of the total only: no phase energies of {phases_missing:.0f} of 3 phases",
    LimitCode.LONG_INTERVALS: "intervals of {interval_s:.0f} s: shorter faults and clocks cannot be told",
    LimitCode.FEW_DAYS: "{days:.1f} days of data: only the clearest fault is told, {days_wanted:.0f} are wanted",
    LimitCode.FEW_METERS: "{meters:.0f} meters: a load without a meter resembles some household",
    LimitCode.MISSING_READINGS: "{missing_share:.0%} of the meters' readings are missing",
    LimitCode.AREA_METER_GAPS: "the area meter was not read in {missing_share:.0%} of intervals",
    LimitCode.NO_NEIGHBOURS: "no neighbouring area was given: meters of other areas cannot be told",
}


def in_words(found: Sequence[Limit]) -> str | None:
    """One line in English; None where nothing lacks."""
    return "; ".join(_WORDS[limit.code].format(**limit.numbers) for limit in found) or None
