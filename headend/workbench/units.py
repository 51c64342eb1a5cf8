"""Whose rows are whose: keys of the files with what the meters' file says of them, as metering units of areas."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from headend.workbench.cells import Ints
from headend.workbench.errors import WrongInput
from headend.workbench.meters import Listed
from headend.workbench.notes import Note
from headend.workbench.readings import AREA_METER, Readings

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Unit:
    """One meter in one area."""

    area: str
    meter: str
    is_area: bool
    phases: int | None
    multiplier: float
    resolution_wh: float | None
    digits: int


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """All of them, in the order in which the files name them."""

    units: tuple[Unit, ...]
    of_key: Ints
    """(keys,) index of each key's unit."""
    notes: tuple[Note, ...]

    def areas(self) -> list[str]:
        """In order of appearance."""
        return list(dict.fromkeys(unit.area for unit in self.units))


def resolve(readings: Readings, listed: Sequence[Listed], *, area_meters: Collection[str], default_area: str) -> Units:
    """Raises WrongInput where it is not clear to which area a meter belongs, or which meter is the area's."""
    book = _Book.of(listed)
    areas = {key.area for key in readings.keys if key.area} | {
        one.area for one in listed if one.area and book.read_too(one, readings)
    }
    only = next(iter(areas), default_area) if len(areas) <= 1 else None
    found: dict[tuple[str, str], int] = {}
    units: list[Unit] = []
    of_key = np.zeros(len(readings.keys), dtype=np.int64)
    unlisted: list[str] = []
    for k, key in enumerate(readings.keys):
        one = book.of_key(key.area, key.meter)
        area = key.area or (one.area if one else None) or only
        if area is None:
            file = next(b.file for b in readings.blocks if (b.keys == k).any())
            raise WrongInput(
                file, "an area for every meter (a column `area` here or in the meters’ file), since there are several",
                column="meter", found=key.meter,
            )  # fmt: skip
        is_area = key.role == "area" or key.meter in area_meters or (one is not None and one.role == "area")
        if one is None and listed and key.meter != AREA_METER:
            unlisted.append(key.meter)
        place = found.get((area, key.meter))
        if place is None:
            place = found[area, key.meter] = len(units)
            units.append(_unit(area, key.meter, is_area, one))
        elif is_area and not units[place].is_area:
            units[place] = _unit(area, key.meter, True, one)
        of_key[k] = place
    names = {unit.meter for unit in units}
    for name in area_meters:
        if name not in names:
            raise WrongInput("--area-meter", "the name of a meter that has rows", found=name)
    notes = [Note("not_listed", len(unlisted), None, tuple(unlisted[:_SHOWN]))] if unlisted else []
    notes += _unread(listed, units, found, only)
    notes += _twice(units)
    return Units(tuple(units), of_key, tuple(notes))


def _unread(
    listed: Sequence[Listed], units: list[Unit], found: dict[tuple[str, str], int], only: str | None
) -> list[Note]:
    """Listed meters without a row: on the list of their area all the same, if anything of that area was read."""
    areas = {unit.area for unit in units}
    silent, elsewhere = [], []
    for one in listed:
        area = one.area or only
        if (one.area is None and any(meter == one.meter for _, meter in found)) or (area, one.meter) in found:
            continue
        if area not in areas or area is None:
            elsewhere.append(one.meter)
            continue
        silent.append(one.meter)
        found[area, one.meter] = len(units)
        units.append(_unit(area, one.meter, one.role == "area", one))
    return [
        Note(code, len(meters), None, tuple(meters[:_SHOWN]))
        for code, meters in (("no_rows", silent), ("elsewhere", elsewhere))
        if meters
    ]


def _twice(units: Sequence[Unit]) -> list[Note]:
    """Households by whose name several areas have rows; each is taken for a meter of its own."""
    areas: dict[str, set[str]] = {}
    for unit in units:
        if not unit.is_area:  # these are often just called so
            areas.setdefault(unit.meter, set()).add(unit.area)
    names = [name for name, where in areas.items() if len(where) > 1]
    return [Note("in_several_areas", len(names), None, tuple(names[:_SHOWN]))] if names else []


def _unit(area: str, meter: str, is_area: bool, one: Listed | None) -> Unit:
    if one is None:
        return Unit(area, meter, is_area, None, 1.0, None, 0)
    return Unit(area, meter, is_area, one.phases, one.multiplier or 1.0, one.resolution_wh, one.digits or 0)


@dataclass(frozen=True, slots=True)
class _Book:
    """The meters' file by name."""

    exact: Mapping[tuple[str, str | None], Listed] = field(default_factory=dict)
    by_meter: Mapping[str, list[Listed]] = field(default_factory=dict)

    @classmethod
    def of(cls, listed: Sequence[Listed]) -> _Book:
        by_meter: dict[str, list[Listed]] = {}
        for one in listed:
            by_meter.setdefault(one.meter, []).append(one)
        return cls({(one.meter, one.area): one for one in listed}, by_meter)

    def of_key(self, area: str, meter: str) -> Listed | None:
        """The row that fits: of this area, or of none, or the meter's only one."""
        exact = self.exact.get((meter, area or None)) or self.exact.get((meter, None))
        rows = self.by_meter.get(meter, [])
        if exact is not None or len(rows) != 1 or (area and rows[0].area not in (None, area)):
            return exact
        return rows[0]

    def read_too(self, one: Listed, readings: Readings) -> bool:
        """Whether the files have rows of that meter."""
        return any(key.meter == one.meter for key in readings.keys)
