"""Rules on what a meter sees of its supply: the voltage band, a phase that is gone, energy that flows back."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from reconciliation.validation.energy import NOMINAL_V
from reconciliation.validation.limits import Limit, column, of_rows

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]


def voltage_band(voltage_v: Floats, *, low_v: Limit, high_v: Limit) -> Bools:
    """(n, k) bool: voltages outside the band [V]; NaN (not measured) never."""
    with np.errstate(invalid="ignore"):
        found: Bools = (voltage_v < column(low_v)) | (voltage_v > column(high_v))
    return found


def voltage_gone(voltage_v: Floats, *, gone_share: Limit, live_share: Limit) -> Bools:
    """(n,) bool: of phase voltages (n, 3) one is below `gone_share` of the nominal while another is above `live_share`.

    NaN: not measured, which is not zero; all phases gone is a power failure.
    """
    n = len(voltage_v)
    known = np.isfinite(voltage_v)
    lowest = np.where(known, voltage_v, np.inf).min(axis=1)
    highest = np.where(known, voltage_v, -np.inf).max(axis=1)
    gone = lowest < of_rows(gone_share, n) * NOMINAL_V
    return np.asarray(gone & (highest > of_rows(live_share, n) * NOMINAL_V), dtype=np.bool_)


def current_gone(current_a: Floats, rated_a: Floats, *, idle_share: Limit, load_share: Limit) -> Bools:
    """(n,) bool: of phase currents (n, 3) [A] one is below `idle_share` of the rated current (n,) while both others are
    above `load_share` of it; NaN: not known.

    Both others, because a household often uses one phase of three.
    """
    n = len(current_a)
    size = np.sort(np.abs(current_a), axis=1)  # NaN last: a row that lacks a phase compares as nothing
    with np.errstate(invalid="ignore"):
        idle = size[:, 0] < of_rows(idle_share, n) * rated_a
        loaded = (size[:, 1] > of_rows(load_share, n) * rated_a) & np.isfinite(size[:, 2])
    return np.asarray(idle & loaded, dtype=np.bool_)


def energy_back(export_wh: Ints, *, floor_wh: Limit) -> Bools:
    """(n,) bool: more energy than `floor_wh` [Wh] flowed back in an interval; whether something feeds in there is the
    caller's knowledge.
    """
    return np.greater(export_wh, floor_wh)


def power_back(power_w: Floats, *, floor_w: Limit) -> Bools:
    """(n,) bool: power flows back by more than `floor_w` [W]; NaN: not measured."""
    with np.errstate(invalid="ignore"):
        return np.asarray(power_w < -np.asarray(floor_w), dtype=np.bool_)


def feeds_in(export_register_wh: Floats, *, feeds_in_wh: Limit) -> Bools:
    """(n,) bool: a meter whose export register stands above `feeds_in_wh` [Wh] feeds in as a matter of course; NaN: it
    has none.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(export_register_wh > feeds_in_wh, dtype=np.bool_)
