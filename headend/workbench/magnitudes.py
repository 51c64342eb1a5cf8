"""Energies that cannot be right together by their size alone: the sign of Wh taken for kWh, or of the reverse.

The rule it keeps: it is told, nothing is corrected: an unusual network is possible, and only a person knows the meters.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from headend.workbench.cells import Floats
from headend.workbench.notes import Note
from reconciliation import AreaWindow
from reconciliation.believable import MOST_W

LEAST_FACTOR: Final = 300.0
"""From here on no loss explains the difference between households and area, and hardly any lack of meters …"""
MOST_FACTOR: Final = 3000.0
"""… and up to here it is around a thousand."""
MOST_HOUSEHOLD_W: Final = 30_000.0
"""Mean power above which a typical household is none: a three-phase connection of 63 A carries 43 kW at its utmost."""


def of_window(window: AreaWindow) -> list[Note]:
    """Of a window as it came."""
    return doubts(
        window.area, window.interval_s, window.household_import_wh, window.household_export_wh,
        window.area_import_wh, window.area_export_wh,
    )  # fmt: skip


def doubts(  # noqa: PLR0917 a window's own order
    area: str,
    interval_s: int,
    household_import_wh: Floats,
    household_export_wh: Floats,
    area_import_wh: Floats,
    area_export_wh: Floats,
) -> list[Note]:
    """What is suspicious of an area. Households (n, T), area (T,) [Wh]; NaN: not measured."""
    most_wh = MOST_W * interval_s / 3600
    households = _without_glitches(household_import_wh, most_wh)
    of_area = _without_glitches(area_import_wh[None], most_wh)[0]
    found = _apart(area, households + np.nan_to_num(household_export_wh), of_area + np.nan_to_num(area_export_wh))
    return [*found, *_too_large(area, households * 3600 / interval_s)]


def _without_glitches(values: Floats, most_wh: float) -> Floats:
    """(n, T) without single readings that cannot be; where most of a meter's are of that kind, they are not glitches
    but what this file is about.
    """
    beyond = values > most_wh
    rare = 2 * beyond.sum(axis=1, keepdims=True) < np.isfinite(values).sum(axis=1, keepdims=True)
    return np.where(beyond & rare, np.nan, values)


def _apart(area: str, households: Floats, of_area: Floats) -> list[Note]:
    """Energy through the households' meters (n, T) against that through the area's (T,): import and export added, since
    their difference may be next to nothing. Over intervals in which the area and half of the households were read: what
    the other half would add does not matter here.
    """
    known = np.isfinite(households)
    ever = int(known.any(axis=1).sum())
    both = np.isfinite(of_area) & (2 * known.sum(axis=0) >= ever)
    if not ever or not both.any():
        return []
    ours, above = float(np.nansum(households[:, both])), float(of_area[both].sum())
    if min(ours, above) <= 0:
        return []
    factor = max(ours, above) / min(ours, above)
    if not LEAST_FACTOR <= factor <= MOST_FACTOR:
        return []
    numbers = {"households_wh": ours, "area_wh": above, "factor": factor}
    return [Note("units_apart", int(both.sum()), area, numbers=numbers)]


def _too_large(area: str, power_w: Floats) -> list[Note]:
    """Of households' mean powers (n, T) the median."""
    known = np.isfinite(power_w)
    count = known.sum(axis=1)
    read = count > 0
    if not read.any():
        return []
    typical = float(np.median(np.where(known, power_w, 0.0).sum(axis=1)[read] / count[read]))
    if typical <= MOST_HOUSEHOLD_W:
        return []
    return [Note("households_too_large", int(read.sum()), area, numbers={"typical_household_w": typical})]
