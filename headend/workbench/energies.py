"""Registers of many meters → energy of the grid's intervals, by the same functions as the service's settlement.

The rule it keeps: the intervals between two registers sum to their difference; what would be an estimate stays out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import US_PER_S
from headend.settlement.rules import DEFAULT_CURRENT_A
from headend.workbench.cells import Floats, Ints
from headend.workbench.grid import Grid
from reconciliation.cleaning import Plausible, SeriesMeta, clean
from reconciliation.registers import GridRules, interval_energy, is_measured, registers_at
from reconciliation.validation import NOMINAL_V

NO_ROLLOVER_WH: Final = 10**15
"""Where the digits are not known no fall is taken for a rollover."""
_STEPS: Final = 2
"""So many steps of its register a fall may be: either reading was cut off within one."""


@dataclass(frozen=True, slots=True, eq=False)
class RegisterSeries:
    """Registers of S series; rows in order of series and time, no instant of a series twice."""

    offsets: Ints
    """(S + 1,)"""
    ts_us: Ints
    value_wh: Ints
    """As the meter shows them."""
    multiplier: Floats
    """(S,)"""
    step_wh: Ints
    """(S,) before the multiplier."""
    digits: Ints
    """(S,) 0: not known."""
    phases: Ints
    """(S,)"""


@dataclass(frozen=True, slots=True, eq=False)
class SeriesEnergy:
    """What became of them."""

    energy_wh: Floats
    """(S, K) primary side; NaN: not measured."""
    refused: Ints
    """(S,) readings that were not believed."""
    resets: Ints
    """(S,) falls that are no rollover: the energy across one is not known."""
    rollovers: Ints
    """(S,)"""


def energies(series: RegisterSeries, grid: Grid) -> SeriesEnergy:
    """Raises ValueError when a register × multiplier leaves the range of 64 bits."""
    count = series.multiplier.size
    power = DEFAULT_CURRENT_A * NOMINAL_V * series.phases.astype(np.float64)
    plausible = Plausible()
    far = np.iinfo(np.int64).max // 4
    meta = SeriesMeta(
        multiplier_e4=np.rint(series.multiplier * 1e4).astype(np.int64),
        span_wh=np.where(series.digits > 0, 10 ** np.minimum(series.digits, 12) * series.step_wh, NO_ROLLOVER_WH),
        slack_wh=_STEPS * series.step_wh + np.ceil(power * plausible.skew_s / 3600).astype(np.int64),
        capacity_w=power,
        from_us=np.full(count, -far),
        to_us=np.full(count, far),
        plausible=plausible,
    )
    cleaned = clean(series.offsets, series.ts_us, series.value_wh, meta)
    owner = np.repeat(np.arange(count), np.diff(series.offsets))
    kept_owner = np.repeat(np.arange(count), np.diff(cleaned.offsets))
    resets = np.bincount(kept_owner[1:][(np.diff(cleaned.run) > 0) & (np.diff(kept_owner) == 0)], minlength=count)
    unwrapped = np.diff(cleaned.value_wh - series.value_wh[cleaned.source])
    rolled = np.bincount(kept_owner[1:][(unwrapped != 0) & (np.diff(kept_owner) == 0)], minlength=count)
    interval_us = grid.interval_s * US_PER_S
    usual = GridRules()
    rules = GridRules(
        tolerance_us=max(usual.tolerance_us, interval_us), line_gap_us=max(usual.line_gap_us, 2 * interval_us)
    )
    registers = registers_at(cleaned, meta, grid.edges_us, rules)
    energy, quality, _, _ = interval_energy(registers, meta, grid.edges_us, grid.day_start)
    return SeriesEnergy(
        np.where(is_measured(quality), energy, np.nan),
        np.bincount(owner[cleaned.refused], minlength=count),
        resets,
        rolled,
    )


def step_of(offsets: Ints, value_wh: Ints) -> Ints:
    """(S,) greatest common divisor of each series' steps [Wh]; 1 where it stands still or has fewer than eight of
    them.
    """
    out = np.ones(offsets.size - 1, dtype=np.int64)
    for s, (a, b) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        steps: npt.NDArray[np.int64] = np.abs(np.diff(value_wh[a:b]))
        steps = steps[steps > 0]
        if steps.size >= 8:
            out[s] = max(int(np.gcd.reduce(steps)), 1)
    return out
