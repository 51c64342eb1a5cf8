"""What the engine is given: one transformer area's readings over one stretch of time, checked once on entry."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Singles: TypeAlias = npt.NDArray[np.float32]
Numbers: TypeAlias = npt.NDArray[np.float64] | npt.NDArray[np.float32]
Bools: TypeAlias = npt.NDArray[np.bool_]
Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class AreaWindow:
    """Aligned readings of one area: ``n_meters`` meters × ``n_intervals`` intervals, NaN where not measured.

    Energies are of the interval and on the primary side (registers × multiplier). Arrays are float64; anything numeric
    is converted. Raises ``ValueError`` naming the field, the wanted and the given shape.
    """

    area: str
    """Code of the transformer area; unique within one call."""
    start: datetime
    """Start of the first interval, aware."""
    interval_s: int
    """Length of an interval [s]."""
    meters: tuple[str, ...]
    """Names of the meters listed in this area; unique."""
    three_phase: Bools
    """(n_meters,) whether a meter is three-phase."""
    household_import_wh: Floats
    """(n_meters, n_intervals) energy taken from the grid [Wh]."""
    household_export_wh: Floats
    """(n_meters, n_intervals) energy fed into the grid [Wh]."""
    household_voltage_v: Floats | None
    """(n_meters, n_intervals) mean voltage, of the phases where three-phase [V]; None = never measured."""
    area_import_wh: Floats
    """(n_intervals,) energy into the area at the transformer [Wh]."""
    area_export_wh: Floats
    """(n_intervals,) energy out of the area at the transformer [Wh]."""
    area_phase_wh: Floats | None
    """(3, n_intervals) net energy by phase, + into the area [Wh]; None = never measured."""
    area_voltage_v: Floats | None
    """(3, n_intervals) busbar voltage by phase [V]; None = never measured."""
    meter_step_wh: Floats | None = None
    """(n_meters,) register resolution [Wh]; None = read off the values."""
    area_step_wh: float | None = None
    """Register resolution of the area meter, primary side [Wh]; None = read off the values."""
    day_start: npt.NDArray[np.int64] | None = None
    """(n_days,) index of each local day's first interval; None = days of 24 h counted from ``start``."""
    household_gap_wh: Floats | None = None
    """(n_meters, n_intervals) where registers were read before and after intervals without a value: import − export of
    the whole run of such intervals, at its last one [Wh]; NaN elsewhere, and where a register lacks."""
    area_gap_wh: Floats | None = None
    """(n_intervals,) the same of the area meter's total [Wh]."""

    def __post_init__(self) -> None:
        """Convert to float64 and check every shape."""
        if self.start.tzinfo is None:
            raise ValueError(f"{self.area}: start must be aware (with a time zone), got {self.start!r}")
        if self.interval_s <= 0:
            raise ValueError(f"{self.area}: interval_s must be positive, got {self.interval_s}")
        object.__setattr__(self, "meters", tuple(self.meters))
        if len(set(self.meters)) != len(self.meters):
            twice = sorted({m for m in self.meters if self.meters.count(m) > 1})
            raise ValueError(f"{self.area}: meters must be unique, listed twice: {twice}")
        n = len(self.meters)
        area_import = np.asarray(self.area_import_wh)
        if area_import.ndim != 1:
            raise ValueError(f"{self.area}: area_import_wh must have shape (n_intervals,), got {area_import.shape}")
        t = area_import.shape[0]
        wanted: dict[str, tuple[int, ...]] = {
            "household_import_wh": (n, t),
            "household_export_wh": (n, t),
            "household_voltage_v": (n, t),
            "area_import_wh": (t,),
            "area_export_wh": (t,),
            "area_phase_wh": (3, t),
            "area_voltage_v": (3, t),
            "meter_step_wh": (n,),
            "household_gap_wh": (n, t),
            "area_gap_wh": (t,),
        }
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is None:
                if name.endswith(("_v", "area_phase_wh", "meter_step_wh", "_gap_wh")):
                    continue
                raise ValueError(f"{self.area}: {name} must have shape {shape}, got None")
            object.__setattr__(self, name, _as_floats(self.area, name, value, shape))
        if self.meter_step_wh is not None and bool((self.meter_step_wh < 0).any()):
            raise ValueError(f"{self.area}: meter_step_wh must not be negative, got {self.meter_step_wh.min()}")
        if self.area_step_wh is not None and not self.area_step_wh >= 0:
            raise ValueError(f"{self.area}: area_step_wh must not be negative or NaN, got {self.area_step_wh}")
        flags = np.asarray(self.three_phase)
        if flags.shape != (n,):
            raise ValueError(f"{self.area}: three_phase must have shape {(n,)}, got {flags.shape}")
        object.__setattr__(self, "three_phase", flags.astype(np.bool_))
        if self.day_start is not None:
            days = np.asarray(self.day_start, dtype=np.int64)
            if days.ndim != 1 or (days.size and (np.any(np.diff(days) <= 0) or days[0] < 0 or days[-1] >= max(t, 1))):
                raise ValueError(f"{self.area}: day_start must rise strictly within [0, {t}), got {days.tolist()}")
            object.__setattr__(self, "day_start", days)

    @property
    def n_meters(self) -> int:
        """Number of listed meters."""
        return len(self.meters)

    @property
    def n_intervals(self) -> int:
        """Number of intervals."""
        return int(self.area_import_wh.shape[0])

    def day_index(self) -> npt.NDArray[np.int64]:
        """(n_intervals,) the day each interval belongs to, counted from 0."""
        where = np.arange(self.n_intervals)
        if self.day_start is None:
            return np.asarray(where * self.interval_s // 86400, dtype=np.int64)
        return np.maximum(np.searchsorted(self.day_start, where, side="right") - 1, 0).astype(np.int64)


def _as_floats(area: str, name: str, value: object, shape: tuple[int, ...]) -> Floats:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{area}: {name} must be numeric with shape {shape}: {error}") from error
    if array.shape != shape:
        raise ValueError(f"{area}: {name} must have shape {shape}, got {array.shape}")
    if np.isinf(array).any():
        raise ValueError(f"{area}: {name} holds infinite values; a value that was not measured is NaN")
    return array


def check_windows(windows: Sequence[AreaWindow]) -> None:
    """Raise ``ValueError`` when an area occurs twice in one call."""
    names = [w.area for w in windows]
    twice = sorted({a for a in names if names.count(a) > 1})
    if twice:
        raise ValueError(f"windows must be of different areas, given twice: {twice}")


def field_names() -> tuple[str, ...]:
    """Names of the window's fields, for loaders that build one from a file."""
    return tuple(f.name for f in fields(AreaWindow))
