"""The meters' file: what holds for a meter whatever it reads (area, role, phases, multiplier, register)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from headend.workbench.cells import numbers
from headend.workbench.columns import OF_METERS, ROLES, nearest
from headend.workbench.errors import WrongInput
from headend.workbench.tables import Table


@dataclass(frozen=True, slots=True)
class Listed:
    """One row; None: not said."""

    file: str
    row: int
    meter: str
    area: str | None
    role: str | None
    phases: int | None
    multiplier: float | None
    """Of readings (registers and energies) that are not primary already."""
    resolution_wh: float | None
    """Step of the register as the meter shows it, before the multiplier."""
    digits: int | None
    """Of the register, in steps of its resolution: where it rolls over."""


def read_meters(table: Table) -> list[Listed]:
    """Every row. Raises WrongInput."""
    lower = [name.lower() for name in table.columns]
    unknown = [name for name in lower if name not in OF_METERS]
    if unknown:
        meant = nearest(unknown[0], OF_METERS)
        raise WrongInput(
            table.file, f"columns {', '.join(OF_METERS)}" + (f" ({meant}?)" if meant else ""),
            row=1, found=f"unknown: {', '.join(unknown)}",
        )  # fmt: skip
    found: list[Listed] = []
    rows: dict[tuple[str, str | None], int] = {}
    for chunk in table.chunks:
        text = {name: [str(cell).strip() for cell in chunk.columns[k]] for k, name in enumerate(lower)}
        values = {
            name: numbers(
                chunk.columns[lower.index(name)], file=table.file, column=name, first_row=chunk.first_row,
                comma=table.comma,
            )
            for name in ("phases", "multiplier", "resolution_wh", "digits")
            if name in lower
        }  # fmt: skip
        for k in range(len(chunk)):
            if not any(cells[k] for cells in text.values()):
                continue
            one = _listed(
                table.file,
                chunk.first_row + k,
                {n: c[k] for n, c in text.items()},
                {n: float(v[k]) for n, v in values.items()},
            )
            if (one.meter, one.area) in rows:
                raise WrongInput(
                    table.file, f"a meter once in an area (it stands in row {rows[one.meter, one.area]} too)",
                    row=one.row, column="meter", found=one.meter,
                )  # fmt: skip
            rows[one.meter, one.area] = one.row
            found.append(one)
    if not found:
        raise WrongInput(table.file, "rows below the header", found="none")
    return found


def _listed(file: str, row: int, text: dict[str, str], values: dict[str, float]) -> Listed:
    if not text["meter"]:
        raise WrongInput(file, "a meter's name", row=row, column="meter", found="")
    role = text.get("role", "").lower()
    if role and role not in ROLES:
        raise WrongInput(file, f"one of {', '.join(ROLES)}", row=row, column="role", found=text["role"])

    def checked(name: str, expected: str, good: Callable[[float], bool]) -> float | None:
        value = values.get(name, math.nan)
        if math.isnan(value):
            return None
        if not good(value):
            raise WrongInput(file, expected, row=row, column=name, found=f"{value:g}")
        return value

    phases = checked("phases", "1 or 3", lambda v: v in (1, 3))
    digits = checked("digits", "4 to 12, a whole number", lambda v: v.is_integer() and 4 <= v <= 12)
    resolution = checked("resolution_wh", "a step of 0.001 to 1,000,000 Wh", lambda v: 0.001 <= v <= 1e6)
    if digits is not None and resolution is None:
        raise WrongInput(file, "the register's step, which its digits count", row=row, column="resolution_wh", found="")
    return Listed(
        file=file, row=row, meter=text["meter"], area=text.get("area") or None, role=role or None,
        phases=None if phases is None else int(phases),
        multiplier=checked("multiplier", "a factor above 0, at most 1,000,000", lambda v: 1e-4 <= v <= 1e6),
        resolution_wh=resolution,
        digits=None if digits is None else int(digits),
    )  # fmt: skip
