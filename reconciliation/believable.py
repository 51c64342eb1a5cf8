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
    least_wh = {
        "household_import_wh": direct_wh * np.where(window.three_phase, 3.0, 1.0),
        "household_export_wh": direct_wh * np.where(window.three_phase, 3.0, 1.0),
        "area_import_wh": np.full(1, 3.0 * direct_wh),
        "area_export_wh": np.full(1, 3.0 * direct_wh),
        "area_phase_wh": np.full(3, direct_wh),
    }
    changed: dict[str, Any] = {}
    for name, least in least_wh.items():
        values: Floats | None = getattr(window, name)
        lowest = float(least.min(initial=np.inf))
        if values is None or not ((values > lowest).any() or (values < -lowest).any()):
            continue
        size = np.abs(np.atleast_2d(values))
        leaps = _leaps(size, least)
        if name == "household_import_wh":  # whoever reads more than the area had, had it from nowhere
            leaps &= size > window.area_import_wh + np.nansum(window.household_export_wh, axis=0)
        wrong = (leaps | (size > most_wh)).reshape(values.shape)
        if wrong.any():
            changed[name] = np.where(wrong, np.nan, values)
    for name in ("household_voltage_v", "area_voltage_v"):
        volts: Floats | None = getattr(window, name)
        if volts is not None and (volts < LEAST_V).any():
            changed[name] = np.where(volts < LEAST_V, np.nan, volts)
    return replace(window, **changed) if changed else window


def _leaps(energy: Floats, least_wh: Floats) -> Bools:
    """(n, T) readings above (n,) ``least_wh`` and LEAP times the row's own high ones, alone among their neighbours."""
    above: Bools = np.asarray(energy > least_wh[:, None])
    for i in np.flatnonzero(above.any(axis=1)):
        known = energy[i, np.isfinite(energy[i])]
        high = int(QUANTILE * (known.size - 1))
        above[i] &= energy[i] > LEAP * np.partition(known, high)[high]
    alone = above.copy()
    alone[:, 1:] &= ~above[:, :-1]
    alone[:, :-1] &= ~above[:, 1:]
    return alone
