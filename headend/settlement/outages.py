"""Power failures that meters told: which of them lie in gaps between readings, and which intervals are zero by event.

The rule it keeps: a register difference is never bent by an event; the event only says when none of it was used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from headend.settlement.draft import Draft
from headend.settlement.grid import DayRange
from headend.settlement.series import Series
from headend.store import events
from headend.store.intervals import MeterReadings, ReadingTable
from headend.store.pool import Connection
from reconciliation import outages
from reconciliation.cleaning import Cleaned
from reconciliation.estimation import BY_METHOD
from reconciliation.outages import DarkGap, dark_gaps, dark_intervals
from reconciliation.registers import NO_VALUE, GridRegisters, IntervalQuality
from reconciliation.validation import Flag

Ints = npt.NDArray[np.int64]
_DAY_US: Final = 86_400_000_000
_CLOCK_SUSPECT: Final = 1
"""Bit of a raw reading's flags (drivers' ReadingFlag): its device's clock is off."""


def load_outages(connection: Connection, readings: Mapping[int, MeterReadings]) -> dict[int, Ints]:
    """(d, 2) time for which each meter's power had certainly failed [µs UTC], of those meters that told of any, around
    their readings.
    """
    table = ReadingTable.of(readings)
    read = table.offsets[1:] > table.offsets[:-1]
    first_us, last_us = (table.rows.ts_us[rows[read]] for rows in (table.offsets[:-1], table.offsets[1:] - 1))
    # A day more on both sides: an event's instant may be that uncertain.
    told = events.of_power(connection, table.meters[read], first_us - _DAY_US, last_us + _DAY_US)
    found = {meter: outages.outages(own.ts_us, own.failed, own.uncertainty_us) for meter, own in told.items()}
    return {meter: spans for meter, spans in found.items() if spans.size}


def gaps_in_the_dark(
    failed: Mapping[int, Ints], readings: Mapping[int, MeterReadings], series: Series, cleaned: Cleaned
) -> list[DarkGap]:
    """Every gap of every series in which power had failed for a time, where that can be believed.

    `failed`: as `load_outages` gives it.
    """
    if not failed:
        return []
    found: list[DarkGap] = []
    meter_of = np.repeat(series.points.installed.meter_id, 2)
    told = np.flatnonzero(np.isin(meter_of, list(failed)))
    for (_, meter), own in _grouped(told, series.point, meter_of).items():
        spans, rows = failed[meter], readings[meter]
        for s in own:
            found += dark_gaps(
                cleaned,
                s,
                spans,
                # a gap across a change of multiplier belongs to two series, which must judge it alike
                most_w=series.meta.plausible.headroom * float(series.meta.capacity_w[own].max()),
                slack_wh=int(series.meta.slack_wh[own].max()),
                suspect_us=rows.ts_us[(rows.flags & _CLOCK_SUSPECT) != 0],
            )
    return found


def dark_marks(gaps: list[DarkGap], series: Series, cleaned: Cleaned, points: int, days: DayRange) -> Ints:
    """(P, D + 1) digest of the outages in the gap that each midnight lies in; 0: none.

    They move the register there: days that knew other ones disagree on their midnight, and are settled again.
    """
    marks = np.zeros((points, len(days.days) + 1), dtype=np.int64)
    at = days.grid_us[days.midnights]
    for gap in gaps:
        served_from, served_to = series.meta.from_us[gap.series], series.meta.to_us[gap.series]
        begin, end = cleaned.ts_us[gap.before], cleaned.ts_us[gap.before + 1]
        inside = (at > max(begin, served_from)) & (at < min(end, served_to))
        said = hashlib.blake2b(gap.dark_us.tobytes(), digest_size=8, salt=bytes([gap.series % 2]))
        marks[series.point[gap.series], inside] += np.frombuffer(said.digest(), dtype=np.int64)[0]
    return marks


def _grouped(chosen: Ints, *keys: Ints) -> dict[tuple[int, ...], list[int]]:
    """Chosen series by what they have in common: columns (S,) of keys."""
    found: dict[tuple[int, ...], list[int]] = {}
    for s, *key in zip(chosen.tolist(), *(column[chosen].tolist() for column in keys), strict=True):
        found.setdefault(tuple(key), []).append(s)
    return found


def zero_by_event(draft: Draft, series: Series, registers: GridRegisters, gaps: list[DarkGap]) -> None:
    """Intervals of which nothing was read, and in which no meter of the point had power, are zero by event; in place.

    They are neither measured nor estimated, and nothing is missing in them: their energy is known.
    """
    if not gaps:
        return
    dark = dark_intervals(registers, gaps)
    served = registers.at_us[:, 1:] > registers.at_us[:, :-1]
    known = (registers.ticks[:, 1:] != NO_VALUE) & (registers.ticks[:, :-1] != NO_VALUE)
    for point in np.unique(series.point[[gap.series for gap in gaps]]).tolist():
        own = np.flatnonzero(series.point == point)
        lit = (served[own] & known[own] & ~dark[own]).any(axis=0)
        soft = np.isin(draft.quality[point], (IntervalQuality.INTERPOLATED, IntervalQuality.ESTIMATED))
        nothing = (draft.import_wh[point] == 0) & np.isin(draft.export_wh[point], (0, NO_VALUE))
        chosen = soft & nothing & dark[own].any(axis=0) & ~lit
        draft.quality[point, chosen] = IntervalQuality.ZERO_BY_EVENT
        draft.flags[point, chosen] &= ~int(BY_METHOD | Flag.MISSING)
