"""Rows of all files → one matrix a quantity (units × intervals), each value once, registers turned into energies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import US_PER_S
from headend.workbench.cells import Floats, Ints
from headend.workbench.columns import ENERGIES, REGISTERS, VOLTAGES
from headend.workbench.energies import RegisterSeries, energies, step_of
from headend.workbench.errors import WrongInput
from headend.workbench.grid import NEAR_US, Grid
from headend.workbench.readings import Block, Label, Readings
from headend.workbench.units import Units
from reconciliation.believable import MOST_W

_BECOMES = {name: name.replace("register_export", "export").replace("register", "import") for name in REGISTERS}


@dataclass(slots=True, eq=False)
class Matrices:
    """Quantity → (units, intervals) [Wh, primary side] or [V]; NaN: not measured. Quantities nobody has are absent."""

    values: dict[str, Floats] = field(default_factory=dict)
    step_wh: dict[str, Floats] = field(default_factory=dict)
    """Register quantity → (units,) step of its registers, primary side; NaN: no registers."""
    counts: Counter[str] = field(default_factory=Counter)
    """Codes of notes → how often."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What matrices are made from."""

    readings: Readings
    units: Units
    own_s: Ints
    """(units,) each unit's own interval [s]."""
    grid: Grid
    label: Label

    def ended(self, block: Block) -> bool:
        """Whether a block's energies are labelled by their ends."""
        return block.time_column == "interval_end" or (block.time_column == "timestamp" and self.label == "end")


def build(source: Source) -> Matrices:
    """What the files hold, impossible values too. Raises WrongInput where an energy's instant is not on the grid, or a
    meter has both energies and registers.
    """
    made = Matrices()
    for name in (*ENERGIES, *VOLTAGES):
        _of_intervals(source, name, made)
    factors = np.array([unit.multiplier for unit in source.units.units])[:, None]
    for name in set(made.values).intersection(ENERGIES):
        made.values[name] = made.values[name] * factors
    for name in REGISTERS:
        _of_registers(source, name, made)
    for name in VOLTAGES:
        _instant_voltages(source, name, made)
    return made


def without_what_cannot_be(grid: Grid, made: Matrices) -> None:
    """Energies above MOST_W, and 0 V, which is what an unused or failed input shows, are no measurements; in place."""
    most_wh = MOST_W * np.diff(grid.edges_us) / (3600 * US_PER_S)
    for name, values in made.values.items():
        if name == "gap":  # of a stretch of any length
            continue
        wrong = values == 0 if name in VOLTAGES else np.abs(values) > most_wh
        if wrong.any():
            made.values[name] = np.where(wrong, np.nan, values)
            made.counts["no_voltage" if name in VOLTAGES else "impossible"] += int(wrong.sum())


def _of_intervals(source: Source, name: str, made: Matrices) -> None:
    grid, units = source.grid, source.units
    parts: dict[int, list[tuple[Ints, Ints, Floats]]] = {}
    for block in source.readings.blocks:
        if name not in block.values or (name in VOLTAGES and block.instants):
            continue
        owner = units.of_key[block.keys]
        known = np.isfinite(block.values[name])
        for length in np.unique(source.own_s[owner[known]]).tolist():
            step = length or grid.interval_s
            if step > grid.interval_s or grid.interval_s % step:
                continue  # told once, as too_coarse
            chosen = np.flatnonzero(known & (source.own_s[owner] == length))
            fine = grid if step == grid.interval_s else grid.finer(step)
            cell, inside = _cells(source, block, chosen, fine)
            parts.setdefault(step, []).append((owner[chosen][inside], cell[inside], block.values[name][chosen][inside]))
    for step, pieces in parts.items():
        fine = grid if step == grid.interval_s else grid.finer(step)
        owner, cell, value = (np.concatenate(column) for column in zip(*pieces, strict=True))
        _put(
            made,
            name,
            _on_grid(_once(owner, cell, value, (len(units.units), fine.intervals), made.counts), fine, grid, name),
        )


def _cells(source: Source, block: Block, chosen: Ints, grid: Grid) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """The interval of each row, and whether the grid has it. Raises WrongInput where a row lies between instants."""
    ts = block.ts_us[chosen]
    edges = grid.edges_us
    at = np.searchsorted(edges, ts - NEAR_US)
    off = np.abs(edges[np.minimum(at, edges.size - 1)] - ts) > NEAR_US
    wrong = np.flatnonzero(off & (ts > edges[0]) & (ts < edges[-1]))
    if wrong.size:
        raise WrongInput(
            block.file,
            f"energies on the grid of {grid.interval_s // 60} min (registers may come at any instant)",
            row=int(block.rows[chosen[wrong[0]]]), column=block.time_column,
            found=str(np.datetime64(int(ts[wrong[0]]), "us").astype("datetime64[s]")) + " UTC",
        )  # fmt: skip
    cell = at - 1 if source.ended(block) else at
    return cell, ~off & (cell >= 0) & (cell < grid.intervals)


def _once(owner: Ints, cell: Ints, value: Floats, shape: tuple[int, int], counts: Counter[str]) -> Floats:
    """Values in their places; what stands twice counts once if it is the same, and not at all if it is not."""
    out = np.full(shape, np.nan)
    flat = owner * shape[1] + cell
    order = np.argsort(flat, kind="stable")
    flat, value = flat[order], value[order]
    again = np.flatnonzero(flat[1:] == flat[:-1]) + 1
    out.reshape(-1)[flat] = value
    if again.size:
        differs = again[value[again] != value[again - 1]]
        places = np.unique(flat[differs])
        out.reshape(-1)[places] = np.nan
        counts["contradicting"] += places.size
        counts["repeated"] += int((~np.isin(flat[again], places)).sum())
    return out


def _on_grid(values: Floats, fine: Grid, grid: Grid, name: str) -> Floats:
    """Sums of energies, means of voltages; an interval that lacks a part of itself is not measured."""
    if fine is grid:
        return values
    first = np.searchsorted(fine.edges_us, grid.edges_us[:-1])
    total = np.add.reduceat(values, first, axis=1)
    if name in VOLTAGES:
        total /= np.diff(np.append(first, fine.intervals))
    return np.asarray(total, dtype=np.float64)


def _put(made: Matrices, name: str, values: Floats) -> None:
    there = made.values.get(name)
    made.values[name] = values if there is None else np.where(np.isnan(there), values, there)


def _of_registers(source: Source, name: str, made: Matrices) -> None:
    pieces = [
        (source.units.of_key[b.keys], b.ts_us, b.values[name], b.file)
        for b in source.readings.blocks
        if name in b.values
    ]
    if not pieces:
        return
    owner, ts, value = (np.concatenate(column) for column in list(zip(*pieces, strict=True))[:3])
    known = np.isfinite(value)
    owner, ts, value = _registers_once(owner[known], ts[known], value[known], made.counts)
    present = np.unique(owner)
    becomes = _BECOMES[name]
    energy = made.values.get(becomes)
    for unit in present.tolist() if energy is not None else ():
        if energy is not None and np.isfinite(energy[unit]).any():
            raise WrongInput(
                pieces[0][3], "either registers or energies of a meter, not both", column=f"{name}_wh",
                found=source.units.units[unit].meter,
            )  # fmt: skip
    if not present.size:
        return
    offsets = np.append(np.searchsorted(owner, present), owner.size).astype(np.int64)
    whole = np.rint(value).astype(np.int64)
    own = [source.units.units[u] for u in present.tolist()]
    read_off = step_of(offsets, whole)
    step = np.array(
        [max(1, round(u.resolution_wh)) if u.resolution_wh else int(s) for u, s in zip(own, read_off, strict=True)],
        dtype=np.int64,
    )
    series = RegisterSeries(
        offsets, ts, whole, np.array([u.multiplier for u in own]), step,
        np.array([u.digits for u in own], dtype=np.int64),
        np.array([(u.phases or (3 if u.is_area else 1)) if "_l" not in name else 1 for u in own], dtype=np.int64),
    )  # fmt: skip
    try:
        became = energies(series, source.grid)
    except ValueError as error:
        raise WrongInput(pieces[0][3], "registers within 64 bits", column=f"{name}_wh", found=str(error)) from None
    full = np.full((len(source.units.units), source.grid.intervals), np.nan)
    full[present] = became.energy_wh
    _put(made, becomes, full)
    steps = np.full(len(source.units.units), np.nan)
    steps[present] = series.step_wh * series.multiplier
    made.step_wh[name] = steps
    for code, count in (("refused", became.refused), ("reset", became.resets), ("rollover", became.rollovers)):
        made.counts[code] += int(count.sum())


def _registers_once(owner: Ints, ts: Ints, value: Floats, counts: Counter[str]) -> tuple[Ints, Ints, Floats]:
    """In order of unit and time; an instant with two values has none."""
    order = np.lexsort((ts, owner))
    owner, ts, value = owner[order], ts[order], value[order]
    same = (owner[1:] == owner[:-1]) & (ts[1:] == ts[:-1])
    if not same.any():
        return owner, ts, value
    group = np.cumsum(np.append(True, ~same)) - 1
    low, high = (np.full(group[-1] + 1, start) for start in (np.inf, -np.inf))
    np.minimum.at(low, group, value)
    np.maximum.at(high, group, value)
    differs = low != high
    first = np.append(True, ~same)
    counts["contradicting"] += int(differs.sum())
    counts["repeated"] += int(same.sum() - (np.bincount(group) - 1)[differs].sum())
    keep = first & ~differs[group]
    return owner[keep], ts[keep], value[keep]


def _instant_voltages(source: Source, name: str, made: Matrices) -> None:
    """Beside registers: the mean of the readings that end in the interval, as the service has it."""
    shape = (len(source.units.units), source.grid.intervals)
    total, count = np.zeros(shape), np.zeros(shape)
    edges = source.grid.edges_us
    for block in source.readings.blocks:
        if name not in block.values or not block.instants:
            continue
        value = block.values[name]
        cell = np.searchsorted(edges, block.ts_us - NEAR_US) - 1
        used = np.isfinite(value) & (cell >= 0) & (cell < shape[1])
        flat = source.units.of_key[block.keys][used] * shape[1] + cell[used]
        total += np.bincount(flat, weights=value[used], minlength=total.size).reshape(shape)
        count += np.bincount(flat, minlength=total.size).reshape(shape)
    if count.any():
        _put(made, name, np.where(count > 0, total / np.maximum(count, 1), np.nan))
