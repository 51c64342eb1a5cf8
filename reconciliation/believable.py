"""Leaves out of a window what cannot have been measured: such a value says something of a device or a transmission,
nothing of a household, and one of them outweighs all other readings of a window.

Beyond what any low-voltage network carries, and below what any voltage can fall to; and single leaps: far above the
meter's own readings, before and after which it reads as ever, above what a connection without transformers carries,
and, of a household, more than the whole area had.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from reconciliation.window import AreaWindow, Bools, Floats

MOST_W = 5e6
"""No low-voltage network carries more [W]: its largest transformers have 2.5 MVA, and may be overloaded to twice that
for a while."""
LEAST_V = 50.0
"""Below this an input is open, or a phase gone [V]: no drop along a conductor."""
DIRECT_W = 34_500.0
"""What a phase carries without current transformers [W]: 100 A at 230 V, half as much again for a moment."""
LEAP = 10.0
"""Times a meter's high readings (their QUANTILE) from which a single reading is none: a register that was
mistransmitted, or what was used in a gap before."""
QUANTILE = 0.99


def believable(window: AreaWindow) -> AreaWindow:
    """The window with NaN for what cannot have been measured; the same one where there is nothing of the kind."""
    most_wh, direct_wh = (w * window.interval_s / 3600.0 for w in (MOST_W, DIRECT_W))
    phases = np.where(window.three_phase, 3.0, 1.0)
    given = np.nansum(np.maximum(window.household_export_wh, 0.0), axis=0)
    had = window.area_import_wh + given  # whoever reads more had it from nowhere
    wrong: dict[str, Bools] = {
        "household_import_wh": _leaps(window.household_import_wh, direct_wh * phases)
        & (window.household_import_wh > had),
        "household_export_wh": _leaps(window.household_export_wh, direct_wh * phases),
        "area_import_wh": _leaps(window.area_import_wh[None], np.full(1, 3.0 * direct_wh))[0],
        "area_export_wh": _leaps(window.area_export_wh[None], np.full(1, 3.0 * direct_wh))[0],
    }
    if window.area_phase_wh is not None:
        wrong["area_phase_wh"] = _leaps(np.abs(window.area_phase_wh), np.full(3, direct_wh))
    for name in wrong:
        wrong[name] |= np.abs(getattr(window, name)) > most_wh
    for name in ("household_voltage_v", "area_voltage_v"):
        volts: Floats | None = getattr(window, name)
        if volts is not None:
            wrong[name] = np.asarray(volts < LEAST_V)
    changed: dict[str, Any] = {
        name: np.where(cells, np.nan, getattr(window, name)) for name, cells in wrong.items() if cells.any()
    }
    return replace(window, **changed) if changed else window


def _leaps(energy: Floats, least_wh: Floats) -> Bools:
    """(n, T) readings above (n,) ``least_wh`` and LEAP times the row's own high ones, alone among their neighbours."""
    above: Bools = np.asarray(energy > least_wh[:, None])
    for i in np.flatnonzero(above.any(axis=1)):
        above[i] &= energy[i] > LEAP * float(np.quantile(energy[i, np.isfinite(energy[i])], QUANTILE))
    alone = above.copy()
    alone[:, 1:] &= ~above[:, :-1]
    alone[:, :-1] &= ~above[:, 1:]
    return alone
