"""What was read → the engine's windows, one an area, on a common grid, so that areas of one run are neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from headend.domain.calendar import US_PER_S, from_us
from headend.workbench.cells import Floats, Ints
from headend.workbench.columns import ENERGIES, PHASES
from headend.workbench.errors import WrongInput
from headend.workbench.grid import (
    LENGTHS_S,
    MOST_DAYS,
    Grid,
    TooLong,
    chosen_interval,
    grid_between,
    midnight_us,
    own_interval,
)
from headend.workbench.magnitudes import doubts
from headend.workbench.matrices import Matrices, Source, build, without_what_cannot_be
from headend.workbench.meters import Listed
from headend.workbench.notes import Note
from headend.workbench.readings import Block, Label, Readings
from headend.workbench.units import Unit, Units, resolve
from reconciliation import AreaWindow
from reconciliation.prepare import register_step

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the files do not say and a person may."""

    zone: ZoneInfo
    """Of local days, and of instants without an offset."""
    label: Label = "start"
    """Which end of an interval a `timestamp` names."""
    interval_s: int | None = None
    """None: read off the rows."""
    first: date | None = None
    """Local days; None: from the first row …"""
    last: date | None = None
    """… to the last."""
    area_meters: frozenset[str] = frozenset()
    """Meters that measure what goes into their area."""


def windows_of(
    readings: Readings, listed: Sequence[Listed], choices: Choices, *, default_area: str
) -> tuple[list[AreaWindow], list[Note]]:
    """Raises WrongInput."""
    units = resolve(readings, listed, area_meters=choices.area_meters, default_area=default_area)
    if not any(unit.is_area for unit in units.units):
        raise WrongInput(
            readings.blocks[0].file,
            "an area meter: rows or a listed meter of role `area`, or --area-meter NAME",
            found=f"{len(units.units)} meters, none of them the area’s",
        )
    own_s = _own(readings, units)
    interval_s = _interval(units, own_s) if choices.interval_s is None else interval_of(choices.interval_s / 60)
    if not interval_s:
        raise WrongInput(readings.blocks[0].file, "at least two instants of a meter", found="one row each")
    grid = _grid(readings, units, own_s, choices, interval_s)
    made = build(Source(readings, units, own_s, grid, choices.label))
    suspicious = [note for area in units.areas() for note in _doubts(area, units, made, grid)]
    without_what_cannot_be(grid, made)
    notes = [*units.notes, *_of_lengths(units, own_s, interval_s)]
    notes += [Note(code, count) for code, count in sorted(made.counts.items()) if count]
    windows = []
    for area in units.areas():
        members = [k for k, unit in enumerate(units.units) if unit.area == area]
        window, apart = _window(area, members, units.units, made, grid)
        windows.append(window)
        if apart:
            notes.append(Note("phases_apart", apart, area))
        if not any(units.units[k].is_area for k in members):
            notes.append(Note("no_area_meter", 1, area))
    return windows, notes + suspicious


def interval_of(minutes: float) -> int:
    """An interval's length in seconds. Raises WrongInput where it is none of LENGTHS_S (as 0 and NaN are not)."""
    found = next((length for length in LENGTHS_S if length == minutes * 60), None)
    if found is None:
        raise WrongInput(
            "--interval", f"minutes that divide the day: {', '.join(f'{s // 60}' for s in LENGTHS_S)}",
            found=f"{minutes:g}",
        )  # fmt: skip
    return found


def _doubts(area: str, units: Units, made: Matrices, grid: Grid) -> list[Note]:
    """Before anything is left out: Wh read as kWh may go beyond what can be, and then nothing would be left to tell."""
    members = [k for k, unit in enumerate(units.units) if unit.area == area]
    houses = [k for k in members if not units.units[k].is_area]
    tops = [k for k in members if units.units[k].is_area]
    if not tops:
        tops_wh = [np.full(grid.intervals, np.nan)] * 2
    else:
        tops_wh = [_of(made, name, tops, grid).sum(axis=0) for name in ("import", "export")]
    houses_wh = [_of(made, name, houses, grid) for name in ("import", "export")]
    return doubts(area, grid.interval_s, *houses_wh, *tops_wh)


def _own(readings: Readings, units: Units) -> Ints:
    keys = np.concatenate([units.of_key[b.keys] for b in readings.blocks]).astype(np.int32)
    return own_interval(keys, np.concatenate([b.ts_us for b in readings.blocks]), len(units.units))


def _interval(units: Units, own_s: Ints) -> int:
    is_area = np.array([unit.is_area for unit in units.units])
    return chosen_interval(own_s[~is_area], own_s[is_area])


def _grid(readings: Readings, units: Units, own_s: Ints, choices: Choices, interval_s: int) -> Grid:
    low, high = zip(
        *(_reach(b, own_s[units.of_key[b.keys]] * US_PER_S, choices.label) for b in readings.blocks), strict=True
    )
    begin, end = min(low), max(high)
    if choices.first is not None:
        begin = max(begin, midnight_us(choices.zone, choices.first))
    if choices.last is not None:
        end = min(end, midnight_us(choices.zone, choices.last + timedelta(days=1)))
    try:
        grid = grid_between(choices.zone, interval_s, begin, end) if begin < end else None
    except TooLong as error:
        raise WrongInput(
            readings.blocks[0].file, f"at most {MOST_DAYS} days (a year is mistyped, or --from and --to choose)",
            found=str(error),
        ) from None  # fmt: skip
    if grid is None or not grid.intervals:
        raise WrongInput(
            readings.blocks[0].file,
            f"rows of at least one whole interval of {interval_s // 60} min"
            + (" in the days asked for" if choices.first or choices.last else ""),
            found=f"rows from {_local(min(low), choices.zone)} to {_local(max(high), choices.zone)}",
        )
    return grid


def _reach(block: Block, own_us: Ints, label: Label) -> tuple[int, int]:
    """First and last instant that its rows tell of."""
    if block.instants and not set(block.values) & set(ENERGIES):
        return int(block.ts_us.min()), int(block.ts_us.max())
    ended = block.time_column == "interval_end" or (block.time_column == "timestamp" and label == "end")
    if ended:
        return int((block.ts_us - own_us).min()), int(block.ts_us.max())
    return int(block.ts_us.min()), int((block.ts_us + own_us).max())


def _local(us: int, zone: ZoneInfo) -> str:
    return from_us(us).astimezone(zone).strftime("%Y-%m-%d %H:%M")


def _of_lengths(units: Units, own_s: Ints, interval_s: int) -> list[Note]:
    known = own_s > 0
    coarse = np.flatnonzero(known & ((own_s > interval_s) | (interval_s % np.maximum(own_s, 1) != 0)))
    finer = np.flatnonzero(known & (own_s < interval_s) & (interval_s % np.maximum(own_s, 1) == 0))
    return [
        Note(code, places.size, None, tuple(units.units[k].meter for k in places[:_SHOWN].tolist()))
        for code, places in (("too_coarse", coarse), ("summed", finer))
        if places.size
    ]


def _window(
    area: str, members: Sequence[int], units: Sequence[Unit], made: Matrices, grid: Grid
) -> tuple[AreaWindow, int]:
    """One area's, and in how many intervals its phases do not add up."""
    houses = [k for k in members if not units[k].is_area]
    tops = [k for k in members if units[k].is_area]
    import_wh = _of(made, "import", houses, grid)
    export_wh = _fed(import_wh, _of(made, "export", houses, grid))
    volts = np.stack([_of(made, f"voltage_{p}", houses, grid) for p in PHASES])
    into = _of(made, "import", tops, grid)
    out = _fed(into, _of(made, "export", tops, grid))
    none = np.full(grid.intervals, np.nan)
    area_step = _area_step(tops, units, made)
    phases, apart = _phases(made, tops, grid, (into - out).sum(axis=0), area_step or 1.0)
    window = AreaWindow(
        area=area,
        start=from_us(int(grid.edges_us[0])),
        interval_s=grid.interval_s,
        meters=tuple(units[k].meter for k in houses),
        three_phase=np.array([_three(units[k], volts[:, i]) for i, k in enumerate(houses)], dtype=np.bool_),
        household_import_wh=import_wh,
        household_export_wh=export_wh,
        household_voltage_v=_or_none(_mean(_of(made, "voltage", houses, grid), volts)),
        area_import_wh=into.sum(axis=0) if tops else none,
        area_export_wh=out.sum(axis=0) if tops else none.copy(),
        area_phase_wh=phases,
        area_voltage_v=_or_none(np.stack([_mean_of(_of(made, f"voltage_{p}", tops, grid)) for p in PHASES])),
        meter_step_wh=_steps(houses, units, made, import_wh),
        area_step_wh=area_step,
        day_start=grid.day_start,
        household_gap_wh=_or_none(_of(made, "gap", houses, grid)),
        area_gap_wh=_or_none(_of(made, "gap", tops, grid).sum(axis=0)) if tops else None,
    )
    return window, apart


def _of(made: Matrices, name: str, members: Sequence[int], grid: Grid) -> Floats:
    """(members, intervals); NaN where there is none."""
    found = made.values.get(name)
    return np.full((len(members), grid.intervals), np.nan) if found is None else found[list(members)]


def _fed(import_wh: Floats, export_wh: Floats) -> Floats:
    """A meter that never tells of energy fed in has none, wherever it was read."""
    never = ~np.isfinite(export_wh).any(axis=1)
    out = export_wh.copy()
    out[never] = np.where(np.isfinite(import_wh[never]), 0.0, np.nan)
    return out


def _phases(made: Matrices, tops: Sequence[int], grid: Grid, net: Floats, step_wh: float) -> tuple[Floats | None, int]:
    """(3, intervals) net energy by phase over the area's meters, and in how many intervals it was left out.

    Where no register tells what each phase fed back, a phase that did is overstated: its energies do not add up to the
    total `net` (intervals,) and accuse somebody. So then such intervals have none.
    """
    if not tops:
        return None, 0
    given = np.stack([_of(made, f"net_{p}", tops, grid) for p in PHASES])
    into = np.stack([_of(made, f"import_{p}", tops, grid) for p in PHASES])
    out = np.stack([_of(made, f"export_{p}", tops, grid) for p in PHASES])
    fed = np.where(np.isfinite(out).any(axis=2, keepdims=True), out, 0.0)
    total = np.where(np.isfinite(given), given, into - fed).sum(axis=1)
    if not np.isfinite(given).any() and not np.isfinite(out).any():
        differs = np.abs(total.sum(axis=0) - net) > 0.02 * np.abs(net) + 4 * step_wh
        total[:, differs] = np.nan
        return _or_none(total), int(differs.sum())
    return _or_none(total), 0


def _three(unit: Unit, volts: Floats) -> bool:
    if unit.phases is not None:
        return unit.phases == 3
    return int(np.isfinite(volts).any(axis=1).sum()) >= 2


def _mean(given: Floats, phases: Floats) -> Floats:
    """The voltage as given, else the mean of the phases that were measured."""
    return np.where(np.isfinite(given), given, _mean_of(phases))


def _mean_of(values: Floats) -> Floats:
    """Mean over the first axis of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _or_none(values: Floats) -> Floats | None:
    return values if np.isfinite(values).any() else None


def _steps(houses: Sequence[int], units: Sequence[Unit], made: Matrices, import_wh: Floats) -> Floats | None:
    """(houses,) step of the registers [Wh], primary side; None: nothing is known, the engine reads it off."""
    read = made.step_wh.get("register", np.full(len(units), np.nan))[list(houses)]
    told = np.array([(units[k].resolution_wh or np.nan) * units[k].multiplier for k in houses], dtype=np.float64)
    steps = np.where(np.isfinite(told), told, read)
    if not np.isfinite(steps).any():
        return None
    for i in np.flatnonzero(np.isnan(steps)):
        steps[i] = register_step(import_wh[i], float(np.nanmedian(steps)))
    return steps


def _area_step(tops: Sequence[int], units: Sequence[Unit], made: Matrices) -> float | None:
    read = made.step_wh.get("register", np.full(len(units), np.nan))
    steps = [
        (units[k].resolution_wh or float("nan")) * units[k].multiplier if units[k].resolution_wh else float(read[k])
        for k in tops
    ]
    known = [step for step in steps if np.isfinite(step)]
    return max(known) if known else None


def cut(window: AreaWindow, choices: Choices) -> AreaWindow:
    """A window's intervals in the days asked for. Raises WrongInput where there are none."""
    if choices.first is None and choices.last is None:
        return window
    at = int(window.start.timestamp() * US_PER_S) + np.arange(window.n_intervals + 1) * window.interval_s * US_PER_S
    low = 0 if choices.first is None else int(np.searchsorted(at, midnight_us(choices.zone, choices.first)))
    high = window.n_intervals
    if choices.last is not None:
        high = min(high, int(np.searchsorted(at, midnight_us(choices.zone, choices.last + timedelta(days=1)))))
    if low >= high:
        raise WrongInput(window.area, "intervals in the days asked for", found="none")
    days = window.day_index()[low:high]

    def of(values: Floats | None) -> Floats | None:
        return None if values is None else values[..., low:high]

    return AreaWindow(
        area=window.area, start=from_us(int(at[low])), interval_s=window.interval_s, meters=window.meters,
        three_phase=window.three_phase,
        household_import_wh=window.household_import_wh[:, low:high],
        household_export_wh=window.household_export_wh[:, low:high],
        household_voltage_v=of(window.household_voltage_v),
        area_import_wh=window.area_import_wh[low:high], area_export_wh=window.area_export_wh[low:high],
        area_phase_wh=of(window.area_phase_wh), area_voltage_v=of(window.area_voltage_v),
        meter_step_wh=window.meter_step_wh, area_step_wh=window.area_step_wh,
        day_start=np.flatnonzero(np.diff(days, prepend=-1)),
        household_gap_wh=_whole(of(window.household_gap_wh), window.household_import_wh[:, low:high]),
        area_gap_wh=_whole(of(window.area_gap_wh), window.area_import_wh[low:high]),
    )  # fmt: skip


def _whole(gap_wh: Floats | None, measured: Floats) -> Floats | None:
    """Energies of gaps without those that began before the first interval: it is not known how much fell into these."""
    if gap_wh is None:
        return None
    return np.where(np.isfinite(measured).cumsum(axis=-1) > 0, gap_wh, np.nan)
