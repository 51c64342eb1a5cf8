"""From the values of a decoded message to columns of a ReadingBatch: arrays in, arrays out, absent stays absent.

A row is made where a register was read; beside it a phase row where a value has no place in the narrow row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from drivers.base import (
    ABSENT,
    ABSENT_DV,
    MAX_TARIFFS,
    PHASE_DTYPE,
    READING_DTYPE,
    MeterIdentity,
    ReadingBatch,
    ReadingFlag,
    Source,
    empty,
    whole_resolution_wh,
)
from drivers.errors import PayloadError

UNCERTAINTY_MS: Final = 500
"""Devices stamp to the second: half of it on both sides."""
CLOCK_AHEAD_US: Final = 60 * 1_000_000
"""A reading stamped this long after it arrived has a clock that is off."""
AHEAD: Final = int(ReadingFlag.CLOCK_SUSPECT | ReadingFlag.AHEAD)
FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2099

NO_PHASES: Final = empty(PHASE_DTYPE, 0)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)

PerPhase = float | Sequence[float | None] | None
"""One number of a single-phase meter, or three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterColumns:
    """Readings of one meter, a value per instant; a column that is None was not sent at all."""

    ts_us: npt.NDArray[np.int64]
    """(n,) [µs UTC]"""
    uncertainty_ms: int | Sequence[int] = UNCERTAINTY_MS
    """Of all instants, or one per instant."""
    import_wh: Sequence[int | None] | None = None
    export_wh: Sequence[int | None] | None = None
    voltage_v: Sequence[PerPhase] | None = None
    current_a: Sequence[PerPhase] | None = None
    power_w: Sequence[float | None] | None = None
    import_phase_wh: Sequence[Sequence[int | None] | None] | None = None
    export_phase_wh: Sequence[Sequence[int | None] | None] | None = None
    import_tariff_wh: Sequence[Sequence[int | None] | None] | None = None
    resolution_wh: Sequence[float | None] | None = None
    flags: Sequence[int] | None = None


def instants(stamps: Sequence[datetime], topic: str, where: Callable[[int], str]) -> npt.NDArray[np.int64]:
    """(n,) int64 [µs UTC] of aware instants of this century. Raises PayloadError `bad_timestamp`."""
    for i, stamp in enumerate(stamps):
        if not FIRST_YEAR <= stamp.year <= LAST_YEAR:
            raise PayloadError(
                f"{where(i)}: {stamp.isoformat()} is outside {FIRST_YEAR} to {LAST_YEAR}",
                peer=topic,
                reason="bad_timestamp",
            )
    return np.array([(stamp - _EPOCH) // _US for stamp in stamps], dtype=np.int64)


def rising_instants(stamps: Sequence[datetime], topic: str) -> npt.NDArray[np.int64]:
    """The same of a message's `ts`, which has to rise strictly. Raises PayloadError `bad_shape` too."""
    ts_us = instants(stamps, topic, lambda i: f"ts[{i}]")
    if (late := np.flatnonzero(np.diff(ts_us) <= 0)).size:
        raise PayloadError(f"ts[{late[0] + 1}] is not after ts[{late[0]}]", peer=topic, reason="bad_shape")
    return ts_us


def ints(values: Iterable[int | None]) -> npt.NDArray[np.int64]:
    """A column of registers, ABSENT where there is none."""
    return np.array([ABSENT if v is None else v for v in values], dtype=np.int64)


def scaled(values: Iterable[float | None], factor: float, absent: int) -> npt.NDArray[np.int64]:
    """Rounded `factor` × values, `absent` where there is none; the messages' ranges keep them far from overflow."""
    column = np.array([np.nan if v is None else v for v in values], dtype=np.float64) * factor
    missing = np.isnan(column)
    column[missing] = 0.0
    return np.where(missing, absent, np.rint(column).astype(np.int64))


def flag_clocks(rows: npt.NDArray[Any], received_us: int) -> None:
    """Mark what is stamped later than it arrived."""
    rows["flags"][rows["ts_us"] > received_us + CLOCK_AHEAD_US] |= np.int16(AHEAD)


def three(value: Any) -> Sequence[Any]:
    """Per phase; a single number stands in the first place."""
    return value if isinstance(value, (list, tuple)) else (value, None, None)


def rates(columns: Iterable[Sequence[int | None] | None]) -> npt.NDArray[np.int64]:
    """(n, MAX_TARIFFS) registers per rate; ABSENT where there is none."""
    padded = ((*(own or ()), *(None,) * (MAX_TARIFFS - len(own or ()))) for own in columns)
    return ints(chain.from_iterable(padded)).reshape(-1, MAX_TARIFFS)


def meter_batch(meter: MeterIdentity, columns: MeterColumns, received_us: int) -> ReadingBatch:
    """Readings of a meter that publishes for itself; instants at which no register was read are no readings."""
    c, n = columns, columns.ts_us.size
    rows = empty(READING_DTYPE, n)
    rows["ts_us"] = c.ts_us
    rows["uncertainty_ms"] = c.uncertainty_ms
    rows["source"] = int(Source.MQTT)
    if c.import_wh is not None:
        rows["import_wh"] = ints(c.import_wh)
    if c.export_wh is not None:
        rows["export_wh"] = ints(c.export_wh)
    if c.voltage_v is not None:
        rows["voltage_dv"] = scaled((_mean(v) for v in c.voltage_v), 10, ABSENT_DV)
    if c.resolution_wh is not None:
        rows["resolution_wh"] = [whole_resolution_wh(r) for r in c.resolution_wh]
    if c.flags is not None:
        rows["flags"] = c.flags
    flag_clocks(rows, received_us)
    read = (rows["import_wh"] != ABSENT) | (rows["export_wh"] != ABSENT)
    detailed = [i for i in np.flatnonzero(read).tolist() if _has_detail(c, i)]
    phases = _phases(c, detailed) if detailed else NO_PHASES
    return ReadingBatch((meter,), rows if read.all() else rows[read], phases)


def _phases(c: MeterColumns, detailed: list[int]) -> npt.NDArray[Any]:
    phases = empty(PHASE_DTYPE, len(detailed))
    phases["ts_us"] = c.ts_us[detailed]
    if c.power_w is not None:
        phases["power_w"] = scaled((c.power_w[i] for i in detailed), 1, ABSENT)
    for name, column in (("import_wh", c.import_phase_wh), ("export_wh", c.export_phase_wh)):
        if column is not None:
            phases[name] = ints(chain.from_iterable(three(column[i]) for i in detailed)).reshape(-1, 3)
    if c.import_tariff_wh is not None:
        phases["import_tariff_wh"] = rates(c.import_tariff_wh[i] for i in detailed)
    for name, values, factor, absent in (
        ("voltage_dv", c.voltage_v, 10, ABSENT_DV),
        ("current_ma", c.current_a, 1000, ABSENT),
    ):
        if values is not None:
            flat = chain.from_iterable(three(values[i]) for i in detailed)
            phases[name] = scaled(flat, factor, absent).reshape(-1, 3)
    return phases


def _has_detail(c: MeterColumns, i: int) -> bool:
    """Whether a reading measured what the narrow row has no place for."""
    return (
        (c.power_w is not None and c.power_w[i] is not None)
        or (c.current_a is not None and c.current_a[i] is not None)
        or (c.import_phase_wh is not None and c.import_phase_wh[i] is not None)
        or (c.export_phase_wh is not None and c.export_phase_wh[i] is not None)
        or (c.import_tariff_wh is not None and c.import_tariff_wh[i] is not None)
        or (c.voltage_v is not None and isinstance(c.voltage_v[i], (list, tuple)))
    )


def _mean(value: PerPhase) -> float | None:
    if value is None or isinstance(value, (int, float)):
        return value
    present = [v for v in value if v is not None]
    return sum(present) / len(present) if present else None
