"""Registers per rate that may contradict the total register of their reading, for the rule that adds them up.

The rule it keeps: a rate that the meter has and that is absent is no zero. Which rates it has is told by its readings
of the same local day and by the last one before that day: whatever arrives among these settles the day again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import US_PER_S
from headend.domain.gaps import GAP_DAYS
from headend.domain.rates import RATE_COLUMNS
from headend.settlement.grid import DayRange
from headend.settlement.rules import Rules
from headend.store import observations
from headend.store.pool import Connection, Row
from headend.store.vectors import ABSENT

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_REACH_US: Final = GAP_DAYS * 86_400 * US_PER_S
"""A reading further back says nothing of a day: none that comes there settles it again."""


@dataclass(frozen=True, slots=True, eq=False)
class TariffReadings:
    """Tariff registers of one meter beside its total."""

    ts_us: Ints
    tariff_wh: Floats
    """(n, registers) NaN: not read."""
    total_wh: Floats
    """(n,) import register of the same instant; NaN: not read."""
    step_wh: Floats | None = None
    """(n,) step of the registers as each reading states it, 0: it does not; None: none does."""


def load_tariffs(
    connection: Connection, meters: Sequence[int], days: DayRange, rules: Rules, near: timedelta
) -> dict[int, TariffReadings]:
    """Readings whose rates do not add up, by meter_id, but those that lack a rate."""
    if not rules.book.in_use("tariff_sum"):
        return {}
    steps = rules.book.extreme("tariff_sum", "steps", highest=False)
    start, end = days.bounds
    odd = {
        row["meter_id"]: _ordered(row)
        for row in observations.odd_tariffs(connection, meters, start - near, end + near, steps=steps)
    }
    # A rate that is absent can only be missed where the others stay below the total.
    short = sorted(meter for meter, told in odd.items() if _short(told).any())
    if short:
        kept = _rates_kept(observations.rates_told(connection, short, start - near, end + near), days, rules)
        for meter in short:
            odd[meter] = _complete(odd[meter], kept.get(meter, np.zeros(len(days.days), dtype=np.int64)), days, rules)
    return {meter: told for meter, told in odd.items() if told.ts_us.size}


def _ordered(row: Row) -> TariffReadings:
    order = np.argsort(row["ts_us"], kind="stable")
    rates = np.stack([row[column][order] for column in RATE_COLUMNS], axis=1)
    return TariffReadings(
        row["ts_us"][order],
        np.where(rates == ABSENT, np.nan, rates.astype(np.float64)),
        row["import_wh"][order].astype(np.float64),
        row["step_wh"][order].astype(np.float64),
    )


def _short(told: TariffReadings) -> Bools:
    """(n,) a rate is absent, and the others stay below the total."""
    lacking = np.isnan(told.tariff_wh)
    return np.asarray(lacking.any(axis=1) & (np.nansum(told.tariff_wh, axis=1) < told.total_wh), dtype=np.bool_)


def _days_of(ts_us: Ints, days: DayRange, rules: Rules) -> Ints:
    """(n,) place of the local day in which the interval lies that ends with a reading; −1: before the first one."""
    midnights = days.grid_us[days.midnights]
    day = np.searchsorted(midnights, ts_us - rules.grid.on_grid_us, side="left") - 1
    return np.asarray(np.minimum(day, len(days.days) - 1), dtype=np.int64)


def _rates_kept(told: Sequence[Row], days: DayRange, rules: Rules) -> Mapping[int, Ints]:
    """meter_id → (days,) bits of the rates that the meter has in each local day; bit 0: the first rate."""
    kept: dict[int, Ints] = {}
    midnights = days.grid_us[days.midnights[:-1]]
    for row in told:
        order = np.argsort(row["ts_us"], kind="stable")
        ts_us, rates = row["ts_us"][order], row["rates"][order]
        day = _days_of(ts_us, days, rules)
        of_day = np.zeros(len(days.days), dtype=np.int64)
        np.bitwise_or.at(of_day, day[day >= 0], rates[day >= 0])
        before = np.searchsorted(day, np.arange(len(days.days)), side="left") - 1  # the last reading of an earlier day
        near = (before >= 0) & (ts_us[before] >= midnights - _REACH_US)
        kept[row["meter_id"]] = of_day | np.where(near, rates[before], 0)
    return kept


def _complete(told: TariffReadings, kept: Ints, days: DayRange, rules: Rules) -> TariffReadings:
    """Without the readings that lack a rate which the meter has."""
    there = (np.isfinite(told.tariff_wh) << np.arange(told.tariff_wh.shape[1])).sum(axis=1)
    has = kept[np.maximum(_days_of(told.ts_us, days, rules), 0)]
    whole = (has & ~there == 0) | ~_short(told)
    step_wh = None if told.step_wh is None else told.step_wh[whole]
    return TariffReadings(told.ts_us[whole], told.tariff_wh[whole], told.total_wh[whole], step_wh)
