"""Readings of installations as series of registers: one for each direction, anchored at the registers noted when it
was put in and taken out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import US_PER_S
from headend.settlement.rules import DEFAULT_CURRENT_A, SKEW_S, STALE_START_DAYS
from headend.settlement.topology import Installed, Point
from headend.store.intervals import MeterReadings
from headend.store.vectors import ABSENT
from reconciliation.cleaning import SeriesMeta
from reconciliation.validation import NOMINAL_V

Ints = npt.NDArray[np.int64]
_DAY_US = 86_400 * US_PER_S
_STEPS = 2
"""So many steps of its register a fall may be: either reading was cut off within one."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose series it is."""

    point: int
    """Index of the metering point."""
    installed: Installed
    into: str
    """`import` or `export`: which of the point's energies the register counts (a meter wired the other way round
    counts the other one).
    """


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """All series of an area in columns: what reconciliation's register functions take."""

    owners: list[Owner]
    offsets: Ints
    ts_us: Ints
    value_wh: Ints
    """Raw, as the meter shows."""
    coarser_wh: Ints
    """Slack of each reading beyond its meter's own, where it states a coarser step."""
    meta: SeriesMeta


def build_series(points: Sequence[Point], readings: Mapping[int, MeterReadings]) -> Series:
    """Two series for every installation, in order of point and time."""
    owners: list[Owner] = []
    stamps: list[Ints] = []
    values: list[Ints] = []
    coarser: list[Ints] = []
    capacity: list[float] = []
    for p, point in enumerate(points):
        for installed in point.installations:
            for direction in ("import", "export"):
                other = "export" if direction == "import" else "import"
                owners.append(Owner(p, installed, direction if installed.sign > 0 else other))
                ts, value, stated = _registers(installed, readings.get(installed.meter_id), direction)
                stamps.append(ts)
                values.append(value)
                coarser.append(coarser_slack_wh(installed, stated))
                capacity.append(capacity_w(point, installed))
    offsets = np.cumsum([0, *(len(t) for t in stamps)], dtype=np.int64)
    meta = series_meta([o.installed for o in owners], np.array(capacity, dtype=np.float64))
    empty = np.empty(0, dtype=np.int64)
    ts_us, value_wh, coarser_wh = (np.concatenate([empty, *column]) for column in (stamps, values, coarser))
    return Series(owners, offsets, ts_us, value_wh, coarser_wh, meta)


def series_meta(installed: Sequence[Installed], power_w: npt.NDArray[np.float64]) -> SeriesMeta:
    """What holds for one series of each installation; `power_w`: (n,) what can flow through each meter's terminals."""
    resolution = _column([i.resolution_wh for i in installed])
    return SeriesMeta(
        multiplier_e4=_column([i.multiplier_e4 for i in installed]),
        span_wh=_column([10**i.digits for i in installed]) * resolution,
        slack_wh=_STEPS * resolution + np.ceil(power_w * SKEW_S / 3600).astype(np.int64),
        capacity_w=power_w,
        from_us=_column([i.from_us for i in installed]),
        to_us=_column([i.to_us for i in installed]),
    )


def coarser_slack_wh(installed: Installed, stated_wh: Ints) -> Ints:
    """(n,) int64 [Wh]: what a reading's stated step (0: none) adds to the slack that the meter's own step gives."""
    return np.asarray(_STEPS * np.maximum(stated_wh - installed.resolution_wh, 0), dtype=np.int64)


def _column(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)


def capacity_w(point: Point, installed: Installed) -> float:
    """What can flow through the meter's own terminals: the rated current where it is wired directly."""
    direct = installed.multiplier_e4 == 10_000 and point.rated_current_a is not None
    current = float(point.rated_current_a or 0) if direct else DEFAULT_CURRENT_A
    return current * NOMINAL_V * installed.phases


def _registers(installed: Installed, readings: MeterReadings | None, direction: str) -> tuple[Ints, Ints, Ints]:
    """One direction's readings in the installation's scope and the step that each states, with the noted registers
    where nothing was read at that very instant.
    """
    start = installed.start_import_wh if direction == "import" else installed.start_export_wh
    end = installed.end_import_wh if direction == "import" else installed.end_export_wh
    ts, value, stated = (np.empty(0, dtype=np.int64) for _ in range(3))
    if readings is not None:
        register = readings.import_wh if direction == "import" else readings.export_wh
        chosen = (
            (register != ABSENT)
            & (readings.ts_us >= installed.scope_from_us)
            & (readings.ts_us <= installed.scope_to_us)
        )
        ts, value, stated = readings.ts_us[chosen], register[chosen], readings.resolution_wh[chosen]
    if start is not None and ts.size and ts[0] - installed.from_us > STALE_START_DAYS * _DAY_US:
        start = None
    for instant, noted in ((installed.from_us, start), (installed.to_us, end)):
        at = int(np.searchsorted(ts, instant))
        if noted is not None and (at == ts.size or ts[at] != instant):
            ts, value, stated = np.insert(ts, at, instant), np.insert(value, at, noted), np.insert(stated, at, 0)
    return ts, value, stated
