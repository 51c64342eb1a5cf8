"""Windows with a meter taken out, or hung on another area; only the intervals that both know go with it."""

from dataclasses import replace

import numpy as np

from reconciliation.mapping_energy import overlap, placed
from reconciliation.window import AreaWindow, Bools, Floats


def transfer(listed: AreaWindow, other: AreaWindow, meter: str) -> tuple[AreaWindow, AreaWindow]:
    """Both windows with one meter moved from the first to the second; what the second's intervals have no reading for
    is not measured."""
    i = listed.meters.index(meter)
    keep: Bools = np.arange(listed.n_meters) != i
    shared = overlap(listed, other)
    if shared is None:
        raise ValueError(f"{listed.area} and {other.area} share no intervals: {meter} cannot be moved between them")

    def both(name: str) -> tuple[Floats | None, Floats | None]:
        a, b = getattr(listed, name), getattr(other, name)
        fewer = None if a is None else a[keep]
        if b is None:
            return fewer, None
        if b.ndim == 1:
            row = a[i : i + 1] if a is not None else np.full(1, np.nan)
        elif a is None:
            row = np.full((1, other.n_intervals), np.nan)
        else:
            row = placed(a[i : i + 1], shared, other.n_intervals, np.nan)
        return fewer, np.concatenate([b, row])

    imported, exported, volts = both("household_import_wh"), both("household_export_wh"), both("household_voltage_v")
    assert imported[0] is not None
    assert imported[1] is not None
    assert exported[0] is not None
    assert exported[1] is not None
    steps, gaps = both("meter_step_wh"), both("household_gap_wh")
    if gaps[1] is not None and shared.first != shared.second:
        gaps[1][-1] = np.nan  # a gap that the other window shows in part has another sum there
    out = replace(
        listed,
        meters=tuple(m for m in listed.meters if m != meter),
        three_phase=listed.three_phase[keep],
        household_import_wh=imported[0],
        household_export_wh=exported[0],
        household_voltage_v=volts[0],
        meter_step_wh=steps[0],
        household_gap_wh=gaps[0],
    )
    into = replace(
        other,
        meters=(*other.meters, meter),
        three_phase=np.append(other.three_phase, listed.three_phase[i]),
        household_import_wh=imported[1],
        household_export_wh=exported[1],
        household_voltage_v=volts[1],
        meter_step_wh=steps[1],
        household_gap_wh=gaps[1],
    )
    return out, into


def without(window: AreaWindow, meter: str) -> AreaWindow:
    """A window without one of its meters."""
    keep = np.array([m != meter for m in window.meters])

    def rows(values: Floats | None) -> Floats | None:
        return None if values is None else values[keep]

    return replace(
        window,
        meters=tuple(m for m in window.meters if m != meter),
        three_phase=window.three_phase[keep],
        household_import_wh=window.household_import_wh[keep],
        household_export_wh=window.household_export_wh[keep],
        household_voltage_v=rows(window.household_voltage_v),
        meter_step_wh=rows(window.meter_step_wh),
        household_gap_wh=rows(window.household_gap_wh),
    )
