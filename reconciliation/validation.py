"""Validation rules: each a small pure function on arrays that says which values fail it, with its threshold and unit.

A rule changes nothing: it flags. `Flag` has the same bits as the flags that the store keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]

RULES_VERSION: Final = 1
"""Rises whenever a rule or an estimate would give another answer; stored with every settled day."""
NOMINAL_V: Final = 230.0
"""Nominal phase voltage of a low-voltage network [V] (IEC 60038)."""


class Flag(IntFlag):
    """What validation said of an interval; the bits of headend.domain.quality.ValidationFlag."""

    NONE = 0
    REGISTER_DECREASED = 1
    ROLLOVER = 2
    RESET = 4
    ABOVE_CAPACITY = 8
    MISSING = 16
    DUPLICATE_OTHER_VALUE = 32
    IN_FUTURE = 64
    BEFORE_INSTALLATION = 128
    VOLTAGE_BAND = 256
    METER_SWAP = 512
    SPIKE = 1024
    ZERO_DAYS = 2048
    CONSTANT = 4096
    CLOCK_DRIFT = 8192
    PHASE_MISSING = 16384
    REVERSED_FLOW = 32768
    TARIFF_SUM = 65536
    EDIT_REFUSED = 131072
    """An edit would break the difference of two registers: it is not applied."""
    BY_LINE = 262144
    """Estimated by a straight line."""
    BY_REFERENCE_DAYS = 524288
    """Estimated by the shape of reference days."""
    EVENLY = 1048576
    """Estimated without a reference day: spread evenly over a gap too long for a line."""
    SET_ASIDE = 2097152
    """A reading that ended here was set aside by a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Limits of the rules, units in the names."""

    capacity_factor: float = 1.1
    """Energy above rated current x 230 V x phases x time x this cannot be."""
    voltage_low_v: float = 195.5
    """230 V - 15 %: below this, a supply is faulty, or a voltage connection is off."""
    voltage_high_v: float = 253.0
    """230 V + 10 % (EN 50160, GB/T 12325 is narrower)."""
    spike_factor: float = 3.0
    """An interval above so many times the day's third-highest ..."""
    spike_floor_wh: float = 500.0
    """... and above this."""
    zero_days: int = 7
    """Whole days without any energy."""
    constant_intervals: int = 48
    """So many equal non-zero intervals in a row are no household."""


def capacity_w(rated_current_a: Floats, phases: Ints) -> Floats:
    """(n,) float64 [W]: what a connection carries at nominal voltage."""
    return rated_current_a * NOMINAL_V * phases


def register_decreased(value_wh: Ints, slack_wh: Ints) -> Bools:
    """(n,) bool: a cumulative register lower than the one before it by more than its slack; the first one never."""
    return np.diff(value_wh, prepend=value_wh[:1]) < -slack_wh


def above_capacity(energy_wh: Ints, present: Bools, capacity: Floats, hours: float, limits: Thresholds) -> Bools:
    """(n, k) bool: more energy than the connection carries; `capacity` (n,) [W], NaN: not known."""
    most = np.where(np.isfinite(capacity), capacity, np.inf) * hours * limits.capacity_factor
    return np.logical_and(present, energy_wh > most[:, None])


def missing(present: Bools, wanted: Bools) -> Bools:
    """Intervals in which a meter served and no energy is known."""
    return wanted & ~present


def in_future(ts_us: Ints, now_us: int, tolerance_s: float) -> Bools:
    """(n,) bool: stamped later than now and the tolerance."""
    return np.greater(ts_us, now_us + round(tolerance_s * 1e6))


def before_installation(ts_us: Ints, from_us: Ints) -> Bools:
    """(n,) bool: read before the meter was installed."""
    return np.less(ts_us, from_us)


def voltage_band(voltage_v: Floats, limits: Thresholds) -> Bools:
    """Voltages outside the band; NaN (not measured) never."""
    with np.errstate(invalid="ignore"):
        return (voltage_v < limits.voltage_low_v) | (voltage_v > limits.voltage_high_v)


def spike(energy_wh: Ints, present: Bools, limits: Thresholds) -> Bools:
    """(n, k) bool over one day: far above the third-highest interval of the same day."""
    if energy_wh.shape[1] < 4:
        return np.zeros(energy_wh.shape, dtype=np.bool_)
    known = np.where(present, energy_wh, 0)
    third: Ints = np.partition(known, -3, axis=1)[:, -3]
    enough = present.sum(axis=1) >= 3
    most = np.maximum(limits.spike_factor * third, limits.spike_floor_wh)
    found: Bools = present & enough[:, None] & np.greater(known, most[:, None])
    return found


def zero_days(day_energy_wh: Ints, known: Bools, limits: Thresholds) -> Bools:
    """(n, d) bool: days that belong to a run of at least `zero_days` known days without any energy."""
    zero = known & (day_energy_wh == 0)
    return _in_long_run(zero, limits.zero_days)


def constant(energy_wh: Ints, present: Bools, limits: Thresholds) -> Bools:
    """(n, k) bool: intervals within a run of at least `constant_intervals` equal non-zero ones."""
    same = np.zeros(energy_wh.shape, dtype=np.bool_)
    usable = present & (energy_wh != 0)
    same[:, 1:] = usable[:, 1:] & usable[:, :-1] & (energy_wh[:, 1:] == energy_wh[:, :-1])
    if not same.any():
        return same
    long = _in_long_run(same, limits.constant_intervals - 1)
    first = np.zeros_like(long)
    first[:, :-1] = long[:, 1:] & ~same[:, :-1]
    return long | first


def _in_long_run(hits: Bools, least: int) -> Bools:
    """(n, k) bool: elements of runs of True along axis 1 that are at least so long."""
    n, k = hits.shape
    padded = np.zeros((n, k + 2), dtype=np.int8)
    padded[:, 1:-1] = hits
    step = np.diff(padded, axis=1)
    rows, starts = np.nonzero(step == 1)
    _, ends = np.nonzero(step == -1)
    marked = np.zeros((n, k + 1), dtype=np.int32)
    long = ends - starts >= least
    np.add.at(marked, (rows[long], starts[long]), 1)
    np.add.at(marked, (rows[long], ends[long]), -1)
    return np.cumsum(marked, axis=1)[:, :k] > 0


def longest_run(hits: Bools) -> int:
    """Length of the longest run of True in (k,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], hits, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))
