"""Estimation: the energy between two registers that were read is spread by a straight line, by the shape of reference
days, or around the time without power.

What is spread is always the register difference: the shape only says when it was used. No estimate is ever a
reference for another, and none stands for a register: a gap that no register closes has no numbers at all (absent,
flagged missing) and is estimated once one comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from reconciliation.registers import GridRegisters, LongGap
from reconciliation.validation import Flag

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]

REFERENCE_DAYS: Final = 3
"""So many of the most recent good days of the same weekday type make the shape."""
NO_SPANS: Final[Ints] = np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Method:
    """A way of estimating; the version rises when the same readings would give other numbers."""

    code: str
    version: int
    flag: Flag
    """Bit that an interval made this way carries; 0 where its quality says it all."""
    says: str
    """What it does, for a person."""


METHODS: Final = (
    Method("by_line", 1, Flag.BY_LINE, "straight line between the registers on both sides of a short gap"),
    Method(
        "by_reference_days", 1, Flag.BY_REFERENCE_DAYS,
        f"shape of the last {REFERENCE_DAYS} measured days of the same weekday type before the gap, scaled to the "
        "register difference",
    ),
    Method("evenly", 1, Flag.EVENLY, "spread evenly over a long gap before which no reference day has energy to show"),
    Method("zero_by_event", 1, Flag.NONE, "zero while power had failed; the rest of the gap has all its energy"),
)  # fmt: skip
BY_METHOD: Final = reduce(or_, (method.flag for method in METHODS))
"""The bits that say how an interval was estimated."""


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


def cumulative_share(
    edges_us: Ints, weight: Floats, start_us: int, end_us: int, at_us: Ints, *, dark_us: Ints = NO_SPANS
) -> Floats:
    """(k,) share of a gap's energy that was used by each instant, 0 at `start_us`, 1 at `end_us`.

    `edges_us`: (m + 1,) rising instants that cover the gap; `weight`: (m,) energy of the shape between them (spread
    evenly within each); `dark_us`: (d, 2) spans without power, in order: nothing is used in them.
    A shape without energy in the gap gives the straight line over the time with power; a gap without any such time the
    straight line over all of it.
    """
    axis, total = _cumulated(edges_us, weight, dark_us)
    share = _between(axis, total, start_us, end_us, at_us)
    if share is None:
        ends = np.array([start_us, end_us], dtype=np.int64)
        share = _between(*_cumulated(ends, np.ones(1), dark_us), start_us, end_us, at_us)
    if share is None:
        share = np.clip((at_us - start_us) / (end_us - start_us), 0.0, 1.0)
    return share


def has_energy(edges_us: Ints, weight: Floats, start_us: int, end_us: int, *, dark_us: Ints = NO_SPANS) -> bool:
    """Whether a shape has any energy in a gap, so that `cumulative_share` goes by it."""
    axis, total = _cumulated(edges_us, weight, dark_us)
    return _between(axis, total, start_us, end_us, edges_us[:0]) is not None


def _cumulated(edges_us: Ints, weight: Floats, dark_us: Ints) -> tuple[Ints, Floats]:
    """(n,) rising instants, and (n,) energy of the shape used up to each, none of it in the dark."""
    usable = np.where(np.isfinite(weight) & (weight > 0), weight, 0.0)
    if not dark_us.size:
        return edges_us, np.concatenate([[0.0], np.cumsum(usable)])
    inside = dark_us[(dark_us > edges_us[0]) & (dark_us < edges_us[-1])]
    axis = np.union1d(edges_us, inside)
    piece = np.searchsorted(edges_us, axis[:-1], side="right") - 1
    part = np.diff(axis) / np.diff(edges_us)[piece]
    # the spans do not overlap: an instant is in the dark where more of them have begun than ended
    dark = np.searchsorted(dark_us[:, 0], axis[:-1], side="right") > np.searchsorted(
        dark_us[:, 1], axis[:-1], side="right"
    )
    return axis, np.concatenate([[0.0], np.cumsum(np.where(dark, 0.0, usable[piece] * part))])


def _between(axis_us: Ints, total: Floats, start_us: int, end_us: int, at_us: Ints) -> Floats | None:
    """(k,) share of what was used from start to end; None: nothing was."""
    origin = int(axis_us[0])
    axis = (axis_us - origin).astype(np.float64)
    start, end = np.interp([float(start_us - origin), float(end_us - origin)], axis, total)
    if end - start <= 0:
        return None
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
