"""The area balance of each interval: what went in, what came out through meters and by schedule.

The rule it keeps: a sum is made where it is aligned and complete only (every meter that served has a value); where the
transformer had no power, nothing burned by schedule either. `loss = supplied − delivered`, and the rate's denominator
is gross = area import + household export.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from reconciliation.registers import NO_VALUE, IntervalQuality, is_measured
from reconciliation.report import TechnicalLossModel

Ints: TypeAlias = npt.NDArray[np.int64]
Small: TypeAlias = npt.NDArray[np.int8]
Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeteredEnergy:
    """Energies of n metering points over T intervals."""

    import_wh: Ints
    """(n, T) int64 [Wh], NO_VALUE: absent."""
    export_wh: Ints
    """(n, T) int64 [Wh], NO_VALUE: absent (a meter without an export register has none)."""
    quality: Small
    """(n, T) IntervalQuality."""
    counted: Bools
    """(n, T) whether the point hangs on the area and is counted in the balance then."""
    served: Bools
    """(n, T) whether a meter was installed."""

    @property
    def present(self) -> Bools:
        """(n, T) whether there is a number at all."""
        return np.not_equal(self.quality, IntervalQuality.ABSENT)

    @property
    def measured(self) -> Bools:
        """(n, T) whether it rests on registers read around the interval."""
        return is_measured(self.quality)

    @property
    def dark(self) -> Bools:
        """(n, T) whether power had failed: the energy is known, and there was nothing to measure."""
        return np.equal(self.quality, IntervalQuality.ZERO_BY_EVENT)


@dataclass(frozen=True, slots=True, eq=False)
class UnmeteredEnergy:
    """What L known loads without a meter (street lights by schedule) take in T intervals."""

    energy_wh: Ints
    """(L, T) int64 [Wh]."""
    sd_share: Floats
    """(L,) standard deviation of each load's energy as share of it; the same error on every day."""

    @classmethod
    def none(cls, intervals: int) -> UnmeteredEnergy:
        """No such load."""
        return cls(np.zeros((0, intervals), dtype=np.int64), np.zeros(0))

    def while_lit(self, area: MeteredEnergy) -> UnmeteredEnergy:
        """The same without the intervals in which the area's own meters had no power: no schedule burns in the dark."""
        dark = area.counted.any(axis=0) & (area.dark | ~area.counted).all(axis=0)
        return UnmeteredEnergy(np.where(dark, 0, self.energy_wh), self.sd_share) if dark.any() else self


def _flowing(energy_wh: Ints, used: Bools) -> Ints:
    """For sums: what is not used, and what a meter does not measure, as 0. Most meters never feed in."""
    if not energy_wh.any():
        return energy_wh
    return np.where(used & (energy_wh != NO_VALUE), energy_wh, 0)


@dataclass(frozen=True, slots=True, eq=False)
class IntervalBalance:
    """The balance of T intervals; sums are meaningful where `complete`."""

    complete: Bools
    supplied_wh: Ints
    delivered_wh: Ints
    """Through meters, and by unmetered loads."""
    gross_wh: Ints
    unmetered: UnmeteredEnergy
    """Of the delivered energy, what went by schedule."""
    required: Ints
    """(T,) counted metering points, area meters included, of which there was something to measure: not those without
    power, or every outage would be a day that cannot be computed.
    """
    measured: Ints
    """(T,) of them measured."""
    area_present: Bools
    expected: Bools
    """(T,) whether there is anything that takes energy: a household's meter or an unmetered load."""
    measured_wh: Ints
    """(T,) Σ |import| + |export| of the counted points, of what was measured ..."""
    estimated_wh: Ints
    """... estimated ..."""
    edited_wh: Ints
    """... or set by a person."""
    area_net_wh: Ints
    """(a, T) import − export of each area meter where it is counted, else 0."""
    point_net_wh: Ints
    """(n, T) the same of each metering point."""

    @property
    def unmetered_wh(self) -> Ints:
        """(T,) of the delivered energy, by schedule."""
        return np.asarray(self.unmetered.energy_wh.sum(axis=0))


def interval_balance(
    area: MeteredEnergy, points: MeteredEnergy, unmetered: UnmeteredEnergy | None = None
) -> IntervalBalance:
    """Balance of T intervals from the area's own meters, its counted metering points and its unmetered loads."""
    count = area.import_wh.shape[1]
    by_schedule = (unmetered or UnmeteredEnergy.none(count)).while_lit(area)
    wanted = points.counted & points.served
    area_wanted = area.counted & area.served
    area_present: Bools = np.logical_and(area_wanted.any(axis=0), (area.present | ~area_wanted).all(axis=0))
    expected: Bools = np.logical_or(wanted.any(axis=0), (by_schedule.energy_wh > 0).any(axis=0))
    complete: Bools = area_present & (points.present | ~wanted).all(axis=0) & expected
    # Where power had failed there was nothing to measure; an area without a meter lacks one all the same.
    area_required = np.where(area.counted.any(axis=0), (area.counted & ~area.dark).sum(axis=0), 1)
    measured = points.measured
    used = wanted & points.present
    area_used = area_wanted & area.present
    into, out = _flowing(area.import_wh, area_used), _flowing(area.export_wh, area_used)
    taken, fed = _flowing(points.import_wh, used), _flowing(points.export_wh, used)
    exchanged = taken + fed
    net, area_net = taken - fed, into - out
    soft = used & ~measured
    measured_wh = exchanged.sum(axis=0)
    estimated_wh, edited_wh = np.zeros_like(measured_wh), np.zeros_like(measured_wh)
    if soft.any():
        measured_wh = measured_wh - np.where(soft, exchanged, 0).sum(axis=0)
        estimated_wh = np.where(points.quality == IntervalQuality.ESTIMATED, exchanged, 0).sum(axis=0)
        edited_wh = np.where(points.quality == IntervalQuality.EDITED, exchanged, 0).sum(axis=0)
    return IntervalBalance(
        complete=complete,
        supplied_wh=area_net.sum(axis=0),
        delivered_wh=net.sum(axis=0) + by_schedule.energy_wh.sum(axis=0),
        gross_wh=into.sum(axis=0) + fed.sum(axis=0),
        unmetered=by_schedule,
        required=(points.counted & ~points.dark).sum(axis=0) + area_required,
        measured=(points.counted & measured).sum(axis=0) + (area.counted & area.measured).sum(axis=0),
        area_present=area_present,
        expected=expected,
        measured_wh=measured_wh,
        estimated_wh=estimated_wh,
        edited_wh=edited_wh,
        area_net_wh=area_net,
        point_net_wh=net,
    )


def technical_loss_wh(model: TechnicalLossModel, model_interval_s: int, supplied_wh: Ints, interval_s: int) -> Floats:
    """(T,) float64 technical loss of intervals of `interval_s` from a model fitted on intervals of `model_interval_s`.

    Power, not energy, makes heat: at another interval length the constant scales with it, the quadratic coefficient
    against it.
    """
    ratio = interval_s / model_interval_s
    scaled = TechnicalLossModel(constant_wh=model.constant_wh * ratio, quadratic_per_wh=model.quadratic_per_wh / ratio)
    return np.asarray(scaled.predict(supplied_wh.astype(np.float64)), dtype=np.float64)
