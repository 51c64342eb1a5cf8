"""Register readings that a person does not believe: left out as though they had not come.

The rule it keeps: a reading that is set aside decides nothing; it stays stored, and comes back when that is undone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import from_us, to_us
from headend.store.edits import Span
from headend.store.intervals import FEW, MeterReadings

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Load = Callable[[Sequence[int], datetime, datetime], Mapping[int, MeterReadings]]
"""Readings of some meters from an instant to before another, and the few around that stretch on both sides."""


def believed(
    load: Load, meters: Sequence[int], start: datetime, end: datetime, spans: Mapping[int, Sequence[Span]]
) -> tuple[Mapping[int, MeterReadings], dict[int, Ints]]:
    """What `load` gives without what is set aside, and (n,) instants of that [µs UTC] by meter.

    Around the stretch there are as many readings left as there would be had the others never come: whoever stands next
    to the stretch is judged by its neighbours.
    """
    readings = load(meters, start, end)
    left: dict[int, MeterReadings] = {}
    gone: dict[int, Ints] = {}
    for meter in sorted(readings.keys() & spans.keys()):
        own, aside = _deep_enough(load, meter, readings[meter], spans[meter], start=start, end=end)
        if aside.any():
            left[meter], gone[meter] = _chosen(own, ~aside), own.ts_us[aside]
    return ({**readings, **left} if left else readings), gone


def _deep_enough(
    load: Load, meter: int, own: MeterReadings, spans: Sequence[Span], *, start: datetime, end: datetime
) -> tuple[MeterReadings, Bools]:
    """The readings, and which of them are set aside; reaching further out where those would leave too few."""
    while _too_few(own.ts_us < to_us(start), covered(own.ts_us, spans)):
        # All between the outermost reading and the bound of the spans that cover it is set aside too.
        at = int(own.ts_us[0])
        beyond = from_us(min((s.from_us for s in spans if _in(s, at)), default=at))
        more = load([meter], beyond, beyond)[meter]
        if not (earlier := more.ts_us < at).any():
            break
        own = _joined(_chosen(more, earlier), own)
    while _too_few(own.ts_us >= to_us(end), covered(own.ts_us, spans)):
        at = int(own.ts_us[-1])
        beyond = from_us(1 + max((s.to_us for s in spans if _in(s, at)), default=at))
        more = load([meter], beyond, beyond)[meter]
        if not (later := more.ts_us > at).any():
            break
        own = _joined(own, _chosen(more, later))
    return own, covered(own.ts_us, spans)


def _in(span: Span, at_us: int) -> bool:
    return span.from_us <= at_us <= span.to_us


def _too_few(around: Bools, aside: Bools) -> bool:
    """Whether readings on one side are set aside, and what is left there is less than was wanted."""
    return bool((aside & around).any()) and int((~aside & around).sum()) < FEW


def covered(ts_us: Ints, spans: Sequence[Span]) -> Bools:
    """(n,) bool: which readings lie in spans that are set aside."""
    found = np.zeros(ts_us.size, dtype=np.bool_)
    for span in spans:
        found |= (ts_us >= span.from_us) & (ts_us <= span.to_us)
    return found


def _chosen(readings: MeterReadings, rows: Bools) -> MeterReadings:
    return MeterReadings(**{f.name: getattr(readings, f.name)[rows] for f in fields(readings)})


def _joined(first: MeterReadings, then: MeterReadings) -> MeterReadings:
    return MeterReadings(
        **{f.name: np.concatenate([getattr(first, f.name), getattr(then, f.name)]) for f in fields(first)}
    )
