"""Readings that are not believed: what is left is what there would be had they never come. No database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pytest

from headend.domain.calendar import to_us
from headend.settlement.set_aside import believed
from headend.store.edits import Span
from headend.store.intervals import FEW, MeterReadings
from support.field import T0

QUARTER = timedelta(minutes=15)
DAY = (T0 + timedelta(days=1), T0 + timedelta(days=2))


def _store(stamps: Sequence[datetime]) -> MeterReadings:
    ts = np.array([to_us(at) for at in stamps], dtype=np.int64)
    plain = np.zeros(ts.size, dtype=np.int64)
    return MeterReadings(ts, np.arange(ts.size), plain, plain, plain, plain)


class Loader:
    """What the store does: a stretch and the few around it; counts how often it was asked."""

    def __init__(self, readings: MeterReadings) -> None:
        self.readings = readings
        self.asked = 0

    def __call__(self, meters: Sequence[int], start: datetime, end: datetime) -> dict[int, MeterReadings]:
        self.asked += 1
        ts = self.readings.ts_us
        low = max(int(np.searchsorted(ts, to_us(start))) - FEW, 0)
        high = int(np.searchsorted(ts, to_us(end))) + FEW
        part = MeterReadings(*(getattr(self.readings, n)[low:high] for n in MeterReadings.__slots__))
        return {1: part} if part.ts_us.size else {}


def _span(first: datetime, last: datetime) -> Span:
    return Span(to_us(first), to_us(last))


STAMPS = [T0 + k * QUARTER for k in range(4 * 96)]


@pytest.mark.parametrize(
    "spans",
    [
        [_span(STAMPS[100], STAMPS[100])],
        [_span(STAMPS[90], STAMPS[99])],
        [_span(STAMPS[20], STAMPS[94]), _span(STAMPS[95], STAMPS[95])],
        [_span(STAMPS[60], STAMPS[93]), _span(STAMPS[20], STAMPS[59])],
        [_span(STAMPS[190], STAMPS[350])],
        [_span(STAMPS[0], STAMPS[150])],
        [_span(STAMPS[0], STAMPS[-1])],
        [_span(STAMPS[91], STAMPS[91]), _span(STAMPS[93], STAMPS[93]), _span(STAMPS[85], STAMPS[89])],
    ],
)
def test_as_though_they_had_never_come(spans: list[Span]) -> None:
    aside = [at for at in STAMPS if any(s.from_us <= to_us(at) <= s.to_us for s in spans)]
    never = Loader(_store([at for at in STAMPS if at not in aside]))
    asked = Loader(_store(STAMPS))
    found, gone = believed(asked, [1], *DAY, {1: spans})
    wanted = never([1], *DAY)
    here = {to_us(at) for at in aside if DAY[0] <= at < DAY[1]}
    assert here <= set(gone[1].tolist())
    left = found[1].ts_us
    if not wanted:
        assert left.size == 0
        return
    assert set(wanted[1].ts_us.tolist()) <= set(left.tolist())
    assert not set(left.tolist()) & {to_us(at) for at in aside}
    assert (np.diff(left) > 0).all()
    assert asked.asked <= 4, "a long span is leapt over, not walked through"


def test_without_any_nothing_is_copied() -> None:
    asked = Loader(_store(STAMPS))
    found, gone = believed(asked, [1], *DAY, {})
    assert (asked.asked, gone) == (1, {})
    assert found[1].ts_us.size == 96 + 2 * FEW
    assert believed(asked, [1], *DAY, {2: [_span(T0, T0)]})[1] == {}
