"""Rules on what was seen of single meters: clocks, instants, values that contradict each other, phases, reversed flow.

Only meters with something out of the ordinary are looked at; each finding lands on the interval in which it was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import US_PER_S
from headend.settlement.draft import Draft
from headend.settlement.grid import DayRange, cells_of
from headend.settlement.inputs import Inputs
from headend.settlement.observations import Observations, put_in
from headend.settlement.rules import Rules
from headend.settlement.topology import DIRECT_E4, Installed
from headend.store.intervals import MeterReadings, ReadingTable
from headend.store.vectors import ABSENT
from reconciliation import validation
from reconciliation.registers import NO_VALUE, IntervalQuality
from reconciliation.validation import RULES

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_CLOCK_SUSPECT: Final = 1
"""Bits of a raw reading's flags (drivers' ReadingFlag): its device's clock is off ..."""
_AHEAD: Final = 4
"""... and: it was stamped later than it came in."""
_SECONDARY_A: Final = 5.0
"""Rated current of a meter behind current transformers [A] (IEC 61869-2: 5 A secondaries are the rule there)."""


def flag_meters(inputs: Inputs, draft: Draft, category: Ints, days: DayRange, rules: Rules) -> None:
    """Run the rules on single meters and set their flags, in place; category: (points, days)."""
    marking = _Marking(draft.flags, category, days, rules)
    seen = inputs.observed
    if ReadingTable.of(inputs.readings).rows.flags.any():
        for p, installed, own in _installed(inputs):
            _stamps(marking, p, installed, own)
    for p, installed in put_in(inputs.points, days):
        if (read := inputs.readings.get(installed.meter_id)) is not None:
            _begin(marking, p, installed, read, seen)
    noted = seen.phases.keys() | seen.other_values.keys() | seen.clocks.keys() | seen.tariffs.keys()
    if noted:
        rated = {p: point.rated_current_a for p, point in enumerate(inputs.points)}
        for p, installed, own in _installed(inputs):
            if installed.meter_id in noted:
                _clock(marking, p, installed, seen, known=draft.quality[p] != IntervalQuality.ABSENT)
                _others(marking, p, installed, own, seen)
                _tariffs(marking, p, installed, own, seen)
                _phases(marking, p, installed, own, seen, rated_a=rated[p])
    _reversed(marking, inputs, draft)


class _Marking:
    """Sets flags on intervals of one point by the instants at which something was seen."""

    def __init__(self, flags: Flags, category: Ints, days: DayRange, rules: Rules) -> None:
        self.flags, self.book, self.days = flags, rules.book, days
        self.near_us = rules.grid.on_grid_us
        self._day_of = np.repeat(np.arange(len(days.days)), np.diff(days.midnights))
        self._category = category

    def categories(self, point: int, cells: Ints) -> Ints:
        """(n,) the category of a point in each interval."""
        return np.asarray(self._category[point, self._day_of[cells]])

    def cells(self, ts_us: Ints, installed: Installed, own: MeterReadings) -> tuple[Ints, Ints]:
        """Which of the instants lie in the stretch while the meter served, and have a reading that counts; and the
        intervals they end in.
        """
        cell, inside = cells_of(ts_us - self.near_us, self.days.grid_us)
        served = (ts_us >= installed.from_us) & (ts_us <= installed.to_us)
        chosen = np.flatnonzero(inside & served & np.isin(ts_us, own.ts_us))
        return chosen, cell[chosen]

    def mark(self, rule: str, point: int, cells: Ints) -> None:
        """Set the rule's flag on intervals, where it runs for their category."""
        if cells.size and self.book.in_use(rule):
            self.flags[point, cells[self.book.runs(rule, self.categories(point, cells))]] |= RULES[rule].flag


def _installed(inputs: Inputs) -> Iterator[tuple[int, Installed, MeterReadings]]:
    """Point, installation and readings of every meter that was read."""
    for p, point in enumerate(inputs.points):
        for installed in point.installations:
            if (own := inputs.readings.get(installed.meter_id)) is not None:
                yield p, installed, own


def _stamps(marking: _Marking, p: int, installed: Installed, own: MeterReadings) -> None:
    """What a reading says of its own stamp."""
    if not own.flags.any():
        return
    for rule, bit in (("clock_drift", _CLOCK_SUSPECT), ("in_future", _AHEAD)):
        _, cells = marking.cells(own.ts_us[(own.flags & bit) != 0], installed, own)
        marking.mark(rule, p, cells)


def _begin(marking: _Marking, p: int, installed: Installed, own: MeterReadings, seen: Observations) -> None:
    """Readings from before the meter was installed, though it served nowhere else; said where its service begins."""
    cell = np.array([np.searchsorted(marking.days.grid_us, installed.from_us, side="right") - 1], dtype=np.int64)
    limits = marking.book.limits("before_installation", marking.categories(p, cell))
    earliest = installed.from_us - round(float(np.max(limits["reach_days"])) * 86_400 * US_PER_S)
    since = max(earliest, seen.served_until.get((installed.meter_id, installed.from_us), earliest))
    stray = own.ts_us[(own.ts_us > since) & (own.ts_us < installed.from_us)]
    early = validation.before_installation(
        stray, np.full(stray.shape, installed.from_us), tolerance_s=float(np.max(limits["tolerance_s"]))
    )
    marking.mark("before_installation", p, cell if early.any() else cell[:0])


def _clock(marking: _Marking, p: int, installed: Installed, seen: Observations, *, known: Bools) -> None:
    """A clock found off counts as off from then until it is read again, or for so long, where there are numbers."""
    off = seen.clocks.get(installed.meter_id)
    if off is None:
        return
    grid = marking.days.grid_us
    for since, until, offset_s in zip(off.from_us, off.until_us, off.offset_s, strict=True):
        low = int(np.searchsorted(grid, max(since, installed.from_us), side="right")) - 1
        high = int(np.searchsorted(grid, min(until, installed.to_us), side="left"))
        cells = np.arange(max(low, 0), min(high, len(grid) - 1), dtype=np.int64)
        limits = marking.book.limits("clock_drift", marking.categories(p, cells))
        held = (grid[cells] - since) / (3600 * US_PER_S) < limits["holds_h"]
        failed = validation.clock_off(np.full(cells.shape, offset_s), offset_limit_s=limits["offset_s"])
        marking.mark("clock_drift", p, cells[held & failed & known[cells]])


def _others(marking: _Marking, p: int, installed: Installed, own: MeterReadings, seen: Observations) -> None:
    """Another value for an instant, of a reading that counts."""
    other = seen.other_values.get(installed.meter_id)
    if other is None:
        return
    chosen, cells = marking.cells(other.ts_us, installed, own)
    tolerance = marking.book.limit("duplicate_other_value", "tolerance_wh", marking.categories(p, cells))
    failed = validation.other_value(other.kept_wh[chosen], other.other_wh[chosen], tolerance_wh=tolerance)
    marking.mark("duplicate_other_value", p, cells[failed.any(axis=1)])


def _tariffs(marking: _Marking, p: int, installed: Installed, own: MeterReadings, seen: Observations) -> None:
    """Tariff registers against the total register of the same instant; whole turns of that are no difference."""
    told = seen.tariffs.get(installed.meter_id)
    if told is None:
        return
    chosen, cells = marking.cells(told.ts_us, installed, own)
    steps = marking.book.limit("tariff_sum", "steps", marking.categories(p, cells))
    step_wh = np.full(chosen.shape, float(installed.resolution_wh))
    if told.step_wh is not None:
        step_wh = np.maximum(step_wh, told.step_wh[chosen])
    tariff_wh, total_wh = told.tariff_wh[chosen], told.total_wh[chosen]
    span_wh = float(10**installed.digits * installed.resolution_wh)
    total_wh = total_wh + span_wh * np.rint((np.nansum(tariff_wh, axis=1) - total_wh) / span_wh)
    failed = validation.tariff_sum(tariff_wh, total_wh, step_wh, steps=steps)
    marking.mark("tariff_sum", p, cells[failed])


def _phases(
    marking: _Marking, p: int, installed: Installed, own: MeterReadings, seen: Observations, *, rated_a: int | None
) -> None:
    """A phase of a three-phase meter that is gone; power that flows back."""
    told = seen.phases.get(installed.meter_id)
    if told is None:
        return
    chosen, cells = marking.cells(told.ts_us, installed, own)
    category = marking.categories(p, cells)
    if installed.phases > 1:
        limits = marking.book.limits("phase_missing", category)
        rated = np.full(chosen.shape, _rated_a(installed, rated_a))
        gone = validation.voltage_gone(
            told.voltage_v[chosen], gone_share=limits["gone_share"], live_share=limits["live_share"]
        ) | validation.current_gone(
            told.current_a[chosen], rated, idle_share=limits["idle_share"], load_share=limits["load_share"]
        )
        marking.mark("phase_missing", p, cells[gone])
    back = marking.book.limits("reversed_flow", category)
    power = told.power_w[chosen] * installed.sign
    reverse = validation.power_back(power, floor_w=back["floor_w"])
    feeding = validation.feeds_in(_fed_in(installed, own, told.ts_us[chosen]), feeds_in_wh=back["feeds_in_wh"])
    marking.mark("reversed_flow", p, cells[reverse & ~feeding])


def _rated_a(installed: Installed, rated_a: int | None) -> float:
    """Rated current of the meter's own terminals [A]; NaN: not known."""
    if installed.multiplier_e4 != DIRECT_E4:
        return _SECONDARY_A
    return np.nan if rated_a is None else float(rated_a)


def _reversed(marking: _Marking, inputs: Inputs, draft: Draft) -> None:
    """Energy that flowed back at a meter that does not feed in as a matter of course."""
    if not marking.book.in_use("reversed_flow"):
        return
    floor = marking.book.extreme("reversed_flow", "floor_wh", highest=False)
    for p in np.flatnonzero(draft.export_wh.max(axis=1, initial=NO_VALUE) > floor).tolist():
        cells = np.flatnonzero(draft.export_wh[p] > floor)
        limits = marking.book.limits("reversed_flow", marking.categories(p, cells))
        back = validation.energy_back(draft.export_wh[p, cells], floor_wh=limits["floor_wh"])
        fed = np.full(cells.shape, np.nan)
        for installed in inputs.points[p].installations:
            own = inputs.readings.get(installed.meter_id)
            if own is not None:
                ends = marking.days.grid_us[cells + 1]
                here = (ends > installed.from_us) & (marking.days.grid_us[cells] < installed.to_us)
                fed[here] = np.fmax(fed[here], _fed_in(installed, own, ends[here] + marking.near_us))
        feeding = validation.feeds_in(fed, feeds_in_wh=limits["feeds_in_wh"])
        marking.mark("reversed_flow", p, cells[back & ~feeding])


def _fed_in(installed: Installed, own: MeterReadings, at_us: Ints) -> Floats:
    """(n,) the register that counts what flows back, as the meter showed it last at each instant; NaN: none so far."""
    register = own.export_wh if installed.sign > 0 else own.import_wh
    read = np.flatnonzero(register != ABSENT)
    place = np.searchsorted(own.ts_us[read], at_us, side="right") - 1
    if not read.size:
        return np.full(at_us.shape, np.nan)
    return np.where(place >= 0, register[read[np.maximum(place, 0)]].astype(np.float64), np.nan)
