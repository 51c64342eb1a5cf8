"""Windows with all that windows may hold, files made of them in every layout, and a reader with the usual choices."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from headend.workbench.load import Loaded, Options, load
from headend.workbench.windows import Choices
from reconciliation import AreaWindow

SHANGHAI = ZoneInfo("Asia/Shanghai")
T0 = datetime(2026, 3, 1, 16, tzinfo=UTC)
"""Midnight in Shanghai of 2 March 2026."""


def read(*paths: Path, zone: ZoneInfo = SHANGHAI, **given: Any) -> Loaded:
    """Load files; choices and options by name."""
    names = {field.name for field in fields(Choices)}
    choices = {name: given.pop(name) for name in list(given) if name in names}
    return load(paths, Options(choices=Choices(zone=zone, **choices), **given))


def stamp(minutes: float) -> str:
    """Local time without an offset, so long after the first midnight."""
    return (T0 + timedelta(minutes=minutes)).astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")


def written(directory: Path, text: str, name: str = "data.csv", encoding: str = "utf-8") -> Path:
    """A file of that text."""
    path = directory / name
    path.write_bytes(text.encode(encoding))
    return path


def random_window(area: str, seed: int, *, meters: int = 4, intervals: int = 96 * 2 + 5) -> AreaWindow:
    """Integers and tenths with gaps everywhere; one meter feeds in."""
    rng = np.random.default_rng(seed)

    def gaps(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        out = values.astype(float)
        out[rng.random(out.shape) < 0.1] = np.nan
        return out

    into = gaps(rng.integers(0, 500, (meters, intervals)))
    out = np.where(np.isnan(into), np.nan, 0.0)
    out[1] = np.where(np.isnan(into[1]), np.nan, rng.integers(0, 90, intervals))
    top = gaps(rng.integers(0, 9000, intervals)) + 0.125
    first = np.arange(0, intervals, 96)
    return AreaWindow(
        area=area, start=T0, interval_s=900, meters=tuple(f"{area}-{k}" for k in range(meters)),
        three_phase=np.arange(meters) % 3 == 1, household_import_wh=into, household_export_wh=out,
        household_voltage_v=gaps(rng.integers(2200, 2400, (meters, intervals)) / 10),
        area_import_wh=top, area_export_wh=np.where(np.isnan(top), np.nan, 0.0),
        area_phase_wh=gaps(rng.integers(-50, 3000, (3, intervals))),
        area_voltage_v=gaps(rng.integers(2200, 2400, (3, intervals)) / 10),
        meter_step_wh=np.full(meters, 10.0), area_step_wh=40.0, day_start=first,
    )  # fmt: skip


def differences(one: AreaWindow, other: AreaWindow) -> list[str]:
    """Fields in which two windows are not the same, number by number."""
    found = []
    for field in fields(AreaWindow):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            same = np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        else:
            same = a is b or (not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray) and a == b)
        if not same:
            found.append(field.name)
    return found


def wide_csv(window: AreaWindow) -> str:
    """The same in wide columns, local time without an offset."""
    columns: dict[str, Sequence[float]] = {}
    for k, meter in enumerate(window.meters):
        columns[f"{meter}:import_wh"] = window.household_import_wh[k]
        columns[f"{meter}:export_wh"] = window.household_export_wh[k]
        if window.household_voltage_v is not None:
            columns[f"{meter}:voltage_v"] = window.household_voltage_v[k]
    columns |= {"area:import_wh": window.area_import_wh, "area:export_wh": window.area_export_wh}
    for values, name in ((window.area_phase_wh, "net"), (window.area_voltage_v, "voltage")):
        if values is not None:
            unit = "wh" if name == "net" else "v"
            columns |= {f"area:{name}_l{p + 1}_{unit}": values[p] for p in range(3)}
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["timestamp", *columns])
    for t in range(window.n_intervals):
        at = (window.start + t * timedelta(seconds=window.interval_s)).astimezone(SHANGHAI)
        cells = ["" if np.isnan(v[t]) else repr(float(v[t])) for v in columns.values()]
        writer.writerow([at.strftime("%Y-%m-%d %H:%M"), *cells])
    return out.getvalue()


def long_csv(rows: Sequence[Sequence[Any]], header: str = "meter,role,timestamp,import_kwh") -> str:
    """A header and rows."""
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def simple_rows(intervals: int = 8, *, kwh: str = "0.1") -> list[tuple[str, str, str, str]]:
    """Two households and the area's meter, every quarter of an hour of local time."""
    out = []
    for meter, role, value in (("m1", "", kwh), ("m2", "household", kwh), ("top", "area", "0.25")):
        out += [(meter, role, stamp(15 * k)[:-3], value) for k in range(intervals)]
    return out
