"""Estimation of long gaps: the energy between two registers that were read is spread by the shape of reference days.

What is spread is always the register difference: the shape only says when it was used. No estimate is ever a
reference for another.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from reconciliation.registers import GridRegisters, LongGap

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]

REFERENCE_DAYS: Final = 3
"""So many of the most recent good days of the same weekday type make the shape."""


def reference_profiles(energy_wh: Floats, good: Bools, weekend: Bools) -> tuple[Floats | None, Floats | None]:
    """Shapes of a working day and of a weekend day from one meter's past.

    `energy_wh`: (days, slots) [Wh], most recent last; `good`: (days,) whether every interval was measured; `weekend`:
    (days,).
    Returns ((slots,), (slots,)) means of the last good days of each type; a type without any good day takes the
    other's; None: no good day.
    """
    shapes: list[Floats | None] = []
    for wanted in (False, True):
        days = np.flatnonzero(good & (weekend == wanted))[-REFERENCE_DAYS:]
        shapes.append(energy_wh[days].mean(axis=0) if days.size else None)
    working, free = shapes
    return (working if working is not None else free), (free if free is not None else working)


def cumulative_share(edges_us: Ints, weight: Floats, start_us: int, end_us: int, at_us: Ints) -> Floats:
    """(k,) share of a gap's energy that was used by each instant, 0 at `start_us`, 1 at `end_us`.

    `edges_us`: (m + 1,) rising instants that cover the gap; `weight`: (m,) energy of the shape between them (spread
    evenly within each).
    A shape without energy in the gap gives the straight line.
    """
    line = (at_us - start_us) / (end_us - start_us)
    usable = np.where(np.isfinite(weight) & (weight > 0), weight, 0.0)
    total = np.concatenate([[0.0], np.cumsum(usable)])
    origin = int(edges_us[0])
    axis = (edges_us - origin).astype(np.float64)
    start, end = np.interp([float(start_us - origin), float(end_us - origin)], axis, total)
    if end - start <= 0:
        return np.asarray(line, dtype=np.float64)
    there = np.interp((at_us - origin).astype(np.float64), axis, total)
    return np.asarray(np.clip((there - start) / (end - start), 0.0, 1.0), dtype=np.float64)


def spread(registers: GridRegisters, gap: LongGap, start_ticks: int, end_ticks: int, share: Floats) -> None:
    """Put the registers of one gap's grid instants on the shape, in place; the two registers at its ends stay as they
    are.

    `start_ticks`, `end_ticks`: registers read before and after the gap [1e-4 Wh]; `share`: (gap.last - gap.first +
    1,) in 0..1.
    """
    steps = np.rint((end_ticks - start_ticks) * share).astype(np.int64)
    registers.ticks[gap.series, gap.first : gap.last + 1] = start_ticks + steps
