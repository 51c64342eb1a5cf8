"""One series of register readings through the pure functions, for tests: instants in seconds, registers in Wh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reconciliation.cleaning import SeriesMeta, clean
from reconciliation.registers import NO_VALUE, GridRules, interval_energy, long_gaps, registers_at

FOREVER = 1 << 60


@dataclass(frozen=True)
class Settled:
    energy: list[int | None]
    quality: list[int]
    flags: list[int]
    refused: list[int]
    gaps: int


def meta(
    *,
    multiplier: float = 1,
    span: int = 10**8,
    slack: int = 40,
    capacity_w: float = 13_800,
    start: int = 0,
    end: int = FOREVER,
) -> SeriesMeta:
    def one(value: float) -> np.ndarray:
        return np.array([round(value)], dtype=np.int64)

    return SeriesMeta(
        multiplier_e4=one(multiplier * 10_000),
        span_wh=one(span),
        slack_wh=one(slack),
        capacity_w=np.array([capacity_w]),
        from_us=one(start * 1_000_000),
        to_us=one(end if end == FOREVER else end * 1_000_000),
    )


def settle_series(
    readings: Sequence[tuple[float, int]],
    intervals: int,
    *,
    series: SeriesMeta | None = None,
    day: int = 96,
    interval_s: int = 900,
    rules: GridRules | None = None,
) -> Settled:
    """Settle readings (second, Wh) on a grid of `intervals` x `interval_s` from second 0."""
    series = series or meta()
    rules = rules or GridRules()
    grid = np.arange(intervals + 1, dtype=np.int64) * interval_s * 1_000_000
    ts = np.array([round(t * 1e6) for t, _ in readings], dtype=np.int64)
    value = np.array([v for _, v in readings], dtype=np.int64)
    cleaned = clean(np.array([0, len(readings)]), ts, value, series)
    registers = registers_at(cleaned, series, grid, rules)
    energy, quality, flags, _ = interval_energy(registers, series, grid, np.arange(0, intervals, day))
    return Settled(
        [None if e == NO_VALUE else e for e in energy[0].tolist()],
        quality[0].tolist(),
        flags[0].tolist(),
        cleaned.refused.tolist(),
        len(long_gaps(registers, cleaned, rules)),
    )
