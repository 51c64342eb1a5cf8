"""Windows → files of the same layout that is read: long CSV, Parquet, or the arrays themselves.

The rule it keeps: what is read back is the same window, number by number; what was not measured is an empty cell.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from headend.workbench.columns import OF_METERS, PHASES
from headend.workbench.errors import WrongInput
from headend.workbench.load import PARQUET, meters_file_of
from headend.workbench.npz import write_npz
from headend.workbench.parquet_table import write_parquet
from headend.workbench.readings import AREA_METER
from reconciliation import AreaWindow

COLUMNS: Final = (
    "area", "meter", "role", "interval_start", "import_wh", "export_wh", "voltage_v",
    *(f"net_{p}_wh" for p in PHASES), *(f"voltage_{p}_v" for p in PHASES), "gap_wh",
)  # fmt: skip
SUFFIXES: Final = (".csv", ".npz", *PARQUET)


def write(path: Path, windows: Sequence[AreaWindow], zone: ZoneInfo) -> list[Path]:
    """Write windows by the kind that the name's ending says; returns the files. Raises WrongInput, OSError."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise WrongInput(path.name, f"a name that ends in {', '.join(SUFFIXES)}")
    if suffix == ".npz":
        write_npz(path, windows)
        return [path]
    if suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(COLUMNS)
            for window in windows:
                stamps = [at.isoformat() for at in _starts(window, zone)]
                for meter, role, columns in _meters(window):
                    cells = [
                        [_cell(v) for v in columns[name].tolist()] if name in columns else [""] * len(stamps)
                        for name in COLUMNS[4:]
                    ]
                    writer.writerows(
                        zip(
                            [window.area] * len(stamps),
                            [meter] * len(stamps),
                            [role] * len(stamps),
                            stamps,
                            *cells,
                            strict=True,
                        )
                    )
    else:
        write_parquet(path, _columns(windows))
    beside = meters_file_of(path)
    with beside.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(OF_METERS)
        for window in windows:
            writer.writerows(_listed(window))
    return [path, beside]


def _starts(window: AreaWindow, zone: ZoneInfo) -> list[datetime]:
    step = timedelta(seconds=window.interval_s)
    return [(window.start + k * step).astimezone(zone) for k in range(window.n_intervals)]


def _meters(window: AreaWindow) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Name, role and columns of every meter, the area's last."""
    for k, meter in enumerate(window.meters):
        columns = {"import_wh": window.household_import_wh[k], "export_wh": window.household_export_wh[k]}
        if window.household_voltage_v is not None:
            columns["voltage_v"] = window.household_voltage_v[k]
        if window.household_gap_wh is not None:
            columns["gap_wh"] = window.household_gap_wh[k]
        yield meter, "household", columns
    columns = {"import_wh": window.area_import_wh, "export_wh": window.area_export_wh}
    for values, name in ((window.area_phase_wh, "net_{}_wh"), (window.area_voltage_v, "voltage_{}_v")):
        if values is not None:
            columns |= {name.format(p): values[k] for k, p in enumerate(PHASES)}
    if window.area_gap_wh is not None:
        columns["gap_wh"] = window.area_gap_wh
    yield AREA_METER, "area", columns


def _columns(windows: Sequence[AreaWindow]) -> dict[str, Any]:
    parts: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for window in windows:
        stamps = np.datetime64(window.start.replace(tzinfo=None), "us") + np.arange(
            window.n_intervals
        ) * np.timedelta64(window.interval_s * 1_000_000, "us")
        empty = np.full(window.n_intervals, np.nan)
        for meter, role, columns in _meters(window):
            for name, text in (("area", window.area), ("meter", meter), ("role", role)):
                parts[name] += [text] * window.n_intervals
            parts["interval_start"].append(stamps)
            for name in COLUMNS[4:]:
                parts[name].append(columns.get(name, empty))
    return {name: values if name in COLUMNS[:3] else np.concatenate(values) for name, values in parts.items()}


def _listed(window: AreaWindow) -> Iterator[tuple[Any, ...]]:
    """Rows of the meters' file; energies are primary, so there is no multiplier."""
    for k, meter in enumerate(window.meters):
        step = "" if window.meter_step_wh is None else _cell(float(window.meter_step_wh[k]))
        yield meter, window.area, "household", 3 if window.three_phase[k] else 1, "", step, ""
    yield AREA_METER, window.area, "area", 3, "", _cell(window.area_step_wh or float("nan")), ""


def _cell(value: float) -> str:
    """Shortest text that is read as the same number; empty where not measured."""
    if value != value:  # noqa: PLR0124 NaN
        return ""
    return str(int(value)) if value == int(value) else repr(value)


def pseudonymous(windows: Sequence[AreaWindow]) -> tuple[list[AreaWindow], list[tuple[str, str, str]]]:
    """The windows with invented names, and (kind, invented, real) for whoever may know.

    A meter keeps its invented name in every area; order is kept, since the engine's answer must not change.
    """
    areas = {window.area: f"A{n:0{_width(len(windows))}d}" for n, window in enumerate(windows, 1)}
    real = list(dict.fromkeys(meter for window in windows for meter in window.meters))
    meters = {meter: f"M{n:0{_width(len(real))}d}" for n, meter in enumerate(real, 1)}
    made = [
        replace(window, area=areas[window.area], meters=tuple(meters[meter] for meter in window.meters))
        for window in windows
    ]
    told = [("area", name, area) for area, name in areas.items()]
    return made, told + [("meter", name, meter) for meter, name in meters.items()]


def _width(count: int) -> int:
    return max(2, len(str(count)))
