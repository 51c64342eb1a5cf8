"""NPZ: the engine's own arrays by name, of one area or of several with `AREA/` before the names."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import EARLIEST, LATEST, from_us
from headend.workbench.errors import WrongInput, written_name
from reconciliation import AreaWindow
from reconciliation.window import field_names

OPTIONAL: Final = frozenset(f.name for f in fields(AreaWindow) if f.default is None or "None" in str(f.type))
_SCALARS: Final = ("start", "interval_s", "area_step_wh")
_LARGEST_BYTES: Final = 8 << 30
_DAY_S: Final = 86_400


def read_npz(path: Path, zone: ZoneInfo) -> list[AreaWindow]:
    """Every window of a file; a `start` without an offset is local to the zone. Raises WrongInput."""
    try:
        if sum(entry.file_size for entry in zipfile.ZipFile(path).infolist()) > _LARGEST_BYTES:
            raise WrongInput(path.name, "arrays of less than 8 GiB")
        with np.load(path, allow_pickle=False) as held:
            if not isinstance(held, np.lib.npyio.NpzFile):
                raise WrongInput(path.name, "an NPZ file of named arrays", found="one array")
            arrays = {name: held[name] for name in held.files}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # cut short, broken inside, packed in a way Python does not know, or locked with a password
        raise WrongInput(path.name, "an NPZ file", found=str(error)) from None
    except ValueError as error:  # an array of objects, or a broken one
        raise WrongInput(path.name, "arrays of numbers and text", found=str(error)) from None
    found: dict[str, dict[str, npt.NDArray[Any]]] = {}
    for name, array in arrays.items():
        area, _, field = name.rpartition("/")
        if field not in field_names():
            raise WrongInput(path.name, f"arrays named {', '.join(field_names())}", column=name, found="an unknown one")
        found.setdefault(area, {})[field] = array
    if not found:
        raise WrongInput(path.name, "the arrays of a window", found="none")
    return [_window(path, area, held, zone) for area, held in found.items()]


def _window(path: Path, prefix: str, held: dict[str, npt.NDArray[Any]], zone: ZoneInfo) -> AreaWindow:
    shown = f"{prefix}/" if prefix else ""
    for name in field_names():
        if name not in held and name not in OPTIONAL and name != "area":
            raise WrongInput(path.name, "an array of that name", column=f"{shown}{name}")
    values: dict[str, Any] = {name: held.get(name) for name in field_names()}
    area = str(values["area"]) if values["area"] is not None else prefix or written_name(path).split(".")[0]
    try:
        for name in _SCALARS:
            if values[name] is not None:
                values[name] = _scalar(path, f"{shown}{name}", values[name])
        return AreaWindow(**values | {
            "area": area,
            "start": _start(path, f"{shown}start", values["start"], zone),
            "interval_s": _interval_s(path, f"{shown}interval_s", values["interval_s"]),
            "area_step_wh": _step_wh(path, f"{shown}area_step_wh", values["area_step_wh"]),
            "meters": tuple(str(name) for name in values["meters"].tolist()),
        })  # fmt: skip
    except (ValueError, TypeError, AttributeError) as error:
        raise WrongInput(
            path.name, "a window’s arrays", column=prefix or None, found=str(error).removeprefix(f"{area}: ")
        ) from None


def _scalar(path: Path, name: str, value: npt.NDArray[Any]) -> Any:
    if value.size != 1:
        raise WrongInput(path.name, "a single value", column=name, found=f"an array of shape {value.shape}")
    return value.item() if value.dtype.kind != "M" else value.astype("datetime64[us]")


def _interval_s(path: Path, name: str, value: Any) -> int:
    if not _is_number(value) or not 1 <= value <= _DAY_S or value != int(value):
        raise WrongInput(path.name, f"a whole number of seconds from 1 to {_DAY_S:,}", column=name, found=str(value))
    return int(value)


def _step_wh(path: Path, name: str, value: Any) -> float | None:
    if value is None:
        return None
    if not _is_number(value) or not 0 <= value < math.inf:
        raise WrongInput(
            path.name, "a register’s step [Wh]: area_step_wh must not be negative or NaN", column=name, found=str(value)
        )
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _start(path: Path, name: str, value: Any, zone: ZoneInfo) -> datetime:
    try:
        if isinstance(value, np.ndarray):
            at = from_us(int(value.astype(np.int64)))
        else:
            said = datetime.fromisoformat(str(value))
            at = (said if said.tzinfo is not None else said.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):  # no instant, or none of this calendar
        raise WrongInput(
            path.name, "an instant such as 2026-03-02T00:00+08:00", column=name, found=str(value)
        ) from None
    if not EARLIEST <= at < LATEST:
        raise WrongInput(path.name, f"a year from {EARLIEST.year} to {LATEST.year}", column=name, found=str(value))
    return at


def write_npz(path: Path, windows: Sequence[AreaWindow]) -> None:
    """Several windows in one file."""
    arrays: dict[str, Any] = {}
    for window in windows:
        for name in field_names():
            value = getattr(window, name)
            if value is None or name == "area":
                continue
            if name == "start":
                value = value.isoformat()
            arrays[f"{window.area}/{name}"] = np.array(value)
    np.savez_compressed(path, **arrays)
