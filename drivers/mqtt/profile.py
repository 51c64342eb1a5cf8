"""A concentrator's upload (`…/profile`) to columns: a row per meter and instant that has a register."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from drivers.base import (
    ABSENT,
    ABSENT_DV,
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
from drivers.mqtt import topics
from drivers.mqtt.columns import UNCERTAINTY_MS, flag_clocks, ints, rates, rising_instants, scaled, three
from drivers.mqtt.decoded import ProfileUpload
from drivers.mqtt.messages import ProfileMessage

BACKFILL_US: Final = 3600 * 1_000_000
"""A profile instant this long before the upload arrived came after the fact."""


def profile_upload(message: ProfileMessage, code: str, topic: str, received_us: int) -> ProfileUpload:
    """What the upload brings. Raises PayloadError `bad_name`, `bad_shape`, `bad_timestamp`, `no_energy`."""
    meters = tuple(topics.parse_identity(m, topic, f"meters[{i}]") for i, m in enumerate(message.meters))
    index = {identity: i for i, identity in enumerate(meters)}
    if len(index) != len(meters):
        twice = next(str(m) for i, m in enumerate(meters) if index[m] != i)
        raise PayloadError(f"meters: {twice} stands twice", peer=topic, reason="bad_shape")
    ts_us = rising_instants(message.ts, topic)
    shape = (len(meters), ts_us.size)
    grid = empty(READING_DTYPE, len(meters) * ts_us.size)
    grid["meter"] = np.repeat(np.arange(len(meters), dtype=np.int32), ts_us.size)
    grid["ts_us"] = np.tile(ts_us, len(meters))
    grid["uncertainty_ms"] = UNCERTAINTY_MS
    for name in ("import_wh", "export_wh"):
        if (columns := getattr(message, name)) is not None:
            _check_shape(columns, shape, topic, name)
            grid[name] = ints(chain.from_iterable(columns))
    if message.voltage_v is not None:
        _check_shape(message.voltage_v, shape, topic, "voltage_v")
        grid["voltage_dv"] = scaled(chain.from_iterable(message.voltage_v), 10, ABSENT_DV)
    if message.resolution_wh is not None:
        if len(message.resolution_wh) != len(meters):
            raise PayloadError(
                f"resolution_wh has {len(message.resolution_wh)} values for {len(meters)} meters",
                peer=topic,
                reason="bad_shape",
            )
        grid["resolution_wh"] = np.repeat([whole_resolution_wh(r) for r in message.resolution_wh], ts_us.size)
    grid["source"] = int(Source.CONCENTRATOR)
    grid["flags"][grid["ts_us"] < received_us - BACKFILL_US] = int(ReadingFlag.BACKFILL)
    flag_clocks(grid, received_us)
    read = (grid["import_wh"] != ABSENT) | (grid["export_wh"] != ABSENT)
    if not read.any():
        raise PayloadError("import_wh and export_wh are absent throughout", peer=topic, reason="no_energy")
    phases = _profile_phases(message, index, ts_us, topic)
    if phases.size:
        phases = phases[read.reshape(shape)[phases["meter"], np.searchsorted(ts_us, phases["ts_us"])]]
    return ProfileUpload(code, message.seq, message.backlog, ReadingBatch(meters, grid[read], phases))


def _check_shape(columns: Sequence[Sequence[object]], shape: tuple[int, int], topic: str, name: str) -> None:
    if len(columns) != shape[0]:
        raise PayloadError(f"{name} has {len(columns)} rows for {shape[0]} meters", peer=topic, reason="bad_shape")
    for i, column in enumerate(columns):
        if len(column) != shape[1]:
            raise PayloadError(
                f"{name}[{i}] has {len(column)} values for {shape[1]} instants", peer=topic, reason="bad_shape"
            )


def _profile_phases(
    message: ProfileMessage, index: dict[MeterIdentity, int], ts_us: npt.NDArray[np.int64], topic: str
) -> npt.NDArray[Any]:
    """(k,) PHASE_DTYPE: a row per meter and instant that has any value per phase or rate."""
    found = [empty(PHASE_DTYPE, 0)]
    for name, columns in (message.phases or {}).items():
        where = f"phases[{name[:80]!r}]"
        meter = index.get(topics.parse_identity(name, topic, where))
        if meter is None:
            raise PayloadError(f"{where} is not among meters", peer=topic, reason="bad_shape")
        rows = empty(PHASE_DTYPE, ts_us.size)
        rows["meter"], rows["ts_us"] = meter, ts_us
        measured = np.zeros(ts_us.size, dtype=np.bool_)
        for key in ("import_wh", "export_wh", "voltage_v", "import_tariff_wh"):
            listed = getattr(columns, key)
            if listed is None:
                continue
            if len(listed) != ts_us.size:
                raise PayloadError(
                    f"{where}.{key} has {len(listed)} values for {ts_us.size} instants", peer=topic, reason="bad_shape"
                )
            target = "voltage_dv" if key == "voltage_v" else key
            if key == "import_tariff_wh":
                rows[target] = rates(listed)
            else:
                flat = chain.from_iterable(three(t) for t in listed)
                rows[target] = (scaled(flat, 10, ABSENT_DV) if key == "voltage_v" else ints(flat)).reshape(-1, 3)
            measured |= (rows[target] != np.iinfo(rows[target].dtype).min).any(axis=1)
        found.append(rows[measured])
    return np.concatenate(found)
