"""Rows of long and wide tables gathered in columns: whose, when, and what; nothing is judged here but single cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from headend.workbench.cells import Cells, Floats, Instants, Ints, numbers
from headend.workbench.columns import (
    NAMES,
    OF_METERS,
    REGISTERS,
    ROLES,
    TIMES,
    Quantity,
    nearest,
    quantity_of,
    unit_expected,
)
from headend.workbench.errors import WrongInput
from headend.workbench.tables import Chunk, Table

AREA_METER: Final = "area meter"
"""Name of an area meter that the files do not name."""
MOST: Final = 1e15
"""No register, energy of an interval [Wh] or voltage [V] is larger; up to here float64 tells a Wh from the next one."""
_DECIMALS: Final = 6
"""Kept of a Wh when kWh are converted: 1.001 kWh is 1,001 Wh, not 1,000.9999999999999."""

Label = Literal["start", "end"]


@dataclass(frozen=True, slots=True)
class Key:
    """Whose readings they are, as far as the rows say."""

    area: str
    """Empty: not said."""
    meter: str
    role: str
    """`household` or `area`; empty: not said."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows of one file."""

    file: str
    time_column: str
    """`interval_end` labels energies by their end, the others by their start."""
    keys: npt.NDArray[np.int32]
    """(n,) index in Readings.keys."""
    ts_us: Ints
    """(n,)"""
    rows: npt.NDArray[np.int32]
    """(n,) in the file."""
    values: Mapping[str, Floats]
    """Quantity → (n,) [Wh] or [V]; NaN: not measured."""
    instants: bool
    """Whether its file holds registers: voltages beside these are of the instant, elsewhere means of the interval."""


@dataclass(slots=True)
class Readings:
    """Everything that was read, in the files' order."""

    keys: list[Key] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    """By file: how many."""
    _index: dict[Key, int] = field(default_factory=dict)

    def key(self, area: str, meter: str, role: str) -> int:
        """The number of a key, a new one where it is new."""
        wanted = Key(area, meter, role)
        found = self._index.get(wanted)
        if found is None:
            found = self._index[wanted] = len(self.keys)
            self.keys.append(wanted)
        return found


@dataclass(slots=True)
class Reader:
    """Reads tables into Readings."""

    instants: Instants
    wide: Quantity | None = None
    """What the bare columns of a wide table hold."""
    wide_name: str = ""
    ignored: frozenset[str] = frozenset()
    """Columns to leave out, in lower case."""
    readings: Readings = field(default_factory=Readings)
    _seen_twice: set[tuple[int, str]] = field(default_factory=set)

    def read(self, table: Table) -> None:
        """Take a table in. Raises WrongInput."""
        lower = [name.lower() for name in table.columns]
        times = [name for name in lower if name in TIMES]
        if not times:
            raise WrongInput(table.file, _no_time(lower), row=1, found=", ".join(table.columns[:8]))
        if len(times) > 1:
            raise WrongInput(table.file, f"one of {', '.join(TIMES)}", row=1, found=" and ".join(times))
        used = [(k, name) for k, name in enumerate(lower) if name not in self.ignored and name != times[0]]
        at = lower.index(times[0])
        if "meter" in lower or all(quantity_of(name) or name in NAMES for _, name in used):
            parts = self._long(table, used, lower, at)
        else:
            parts = self._wide(table, used, at)
        self._keep(table.file, times[0], parts)

    def _long(self, table: Table, used: Sequence[tuple[int, str]], lower: Sequence[str], at: int) -> Iterable[_Part]:
        quantities = _quantities(table, [(k, name) for k, name in used if name not in NAMES])
        place = {name: lower.index(name) for name in NAMES if name in lower and name not in self.ignored}
        for chunk in table.chunks:
            names = [
                [str(cell).strip() for cell in chunk.columns[place[name]]] if name in place else [""] * len(chunk)
                for name in NAMES
            ]
            taken = _filled(chunk, at, names[1] if "meter" in place else None)
            keys = self._keys(table.file, chunk.first_row, names, "meter" in place, taken)
            yield self._part(table, chunk, at, keys, taken=taken, quantities=quantities)

    def _keys(
        self, file: str, first_row: int, names: Sequence[Sequence[str]], named: bool, taken: Ints | None
    ) -> npt.NDArray[np.int32]:
        known: dict[tuple[str, str, str], int] = {}
        out = np.empty(len(names[0]) if taken is None else taken.size, dtype=np.int32)
        rows = range(len(names[0])) if taken is None else taken.tolist()
        areas, meters, roles = names
        for k, row in enumerate(rows):
            said = (areas[row], meters[row], roles[row])
            found = known.get(said)
            if found is None:
                found = known[said] = self._key(file, first_row + row, said, named)
            out[k] = found
        return out

    def _key(self, file: str, row: int, said: tuple[str, str, str], named: bool) -> int:
        area, meter, role = said
        role = role.lower()
        if role and role not in ROLES:
            raise WrongInput(file, f"one of {', '.join(ROLES)}", row=row, column="role", found=said[2])
        if not named:
            return self.readings.key(area, AREA_METER, role or "area")
        if not meter and role != "area":
            raise WrongInput(file, "a meter's name", row=row, column="meter", found="")
        return self.readings.key(area, meter or AREA_METER, role)

    def _part(
        self,
        table: Table,
        chunk: Chunk,
        at: int,
        keys: npt.NDArray[np.int32],
        *,
        taken: Ints | None,
        quantities: Sequence[tuple[int, Quantity]],
    ) -> _Part:
        rows = np.arange(chunk.first_row, chunk.first_row + len(chunk), dtype=np.int32)
        cells: Cells = chunk.columns[at]
        if taken is not None:
            rows = rows[taken]
            cells = _chosen(cells, taken)
        ts = self.instants.read(cells, file=table.file, column=table.columns[at], rows=rows)
        self.instants.second_time(cells, keys.astype(np.int64), ts, self._seen_twice)
        values = {}
        for k, quantity in quantities:
            column = self._numbers(table, chunk, k, quantity)
            values[quantity.name] = column if taken is None else column[taken]
        return _Part(keys, ts, rows, values)

    def _numbers(self, table: Table, chunk: Chunk, k: int, quantity: Quantity) -> Floats:
        name = table.columns[k]
        found = numbers(chunk.columns[k], file=table.file, column=name, first_row=chunk.first_row, comma=table.comma)
        if not quantity.name.startswith(("net_", "gap")):
            below = np.flatnonzero(found < 0)
            if below.size:
                raise WrongInput(
                    table.file, "nothing below zero (what is fed in has a column of its own: export)",
                    row=chunk.first_row + int(below[0]), column=name, found=found[below[0]],
                )  # fmt: skip
        beyond = np.flatnonzero(np.abs(found) > MOST / quantity.factor)
        if beyond.size:
            raise WrongInput(
                table.file, f"nothing above {MOST / quantity.factor:,.0f}",
                row=chunk.first_row + int(beyond[0]), column=name, found=float(found[beyond[0]]),
            )  # fmt: skip
        return found if quantity.factor == 1 else np.round(found * quantity.factor, _DECIMALS)

    def _wide(self, table: Table, used: Sequence[tuple[int, str]], at: int) -> Iterable[_Part]:
        columns: list[tuple[int, int, Quantity]] = []
        for k, _ in used:
            meter, quantity = self._wide_column(table, k, [name for _, name in used])
            role = "area" if meter.lower() in ("area", AREA_METER) else ""
            columns.append((k, self.readings.key("", AREA_METER if role else meter, role), quantity))
        told = [(key, quantity.name) for _, key, quantity in columns]
        if len(set(told)) < len(told):
            twice = next(k for k, pair in enumerate(told) if pair in told[:k])
            raise WrongInput(
                table.file, "each quantity of a meter once", row=1, column=table.columns[columns[twice][0]]
            )
        for chunk in table.chunks:
            taken = _filled(chunk, at, None)
            nobody = np.zeros(len(chunk) if taken is None else taken.size, dtype=np.int32)
            stamped = self._part(table, chunk, at, nobody, taken=taken, quantities=[])
            for k, key, quantity in columns:
                values = self._numbers(table, chunk, k, quantity)
                if taken is not None:
                    values = values[taken]
                keys = np.full(values.size, key, dtype=np.int32)
                yield _Part(keys, stamped.ts_us, stamped.rows, {quantity.name: values})

    def _wide_column(self, table: Table, k: int, names: Sequence[str]) -> tuple[str, Quantity]:
        column = table.columns[k]
        meter, colon, what = column.rpartition(":")
        if colon and meter.strip():
            quantity = quantity_of(what)
            if quantity is None:
                raise WrongInput(
                    table.file, f"a quantity after the colon, such as {meter}:import_kwh", row=1, column=column
                )
            return meter.strip(), quantity
        if self.wide is not None:
            return column, self.wide
        said = f"METER:QUANTITY, such as {column}:import_kwh, or --wide QUANTITY for bare names"
        if any(quantity_of(name) or name in NAMES for name in names):
            raise _without_meter(table.file, column, names)
        raise WrongInput(
            table.file, f"a column `meter` (long layout), or wide columns named {said}", row=1, column=column
        )

    def _keep(self, file: str, time_column: str, parts: Iterable[_Part]) -> None:
        """One block for each set of quantities."""
        gathered: dict[tuple[str, ...], list[_Part]] = {}
        most = 0
        for part in parts:
            gathered.setdefault(tuple(part.values), []).append(part)
            most += part.ts_us.size if len(gathered) == 1 else 0
        if not any(part.ts_us.size for group in gathered.values() for part in group):
            raise WrongInput(file, "rows below the header", found="none")
        instants = any(name in REGISTERS for names in gathered for name in names)
        for names, group in gathered.items():
            self.readings.blocks.append(
                Block(
                    file, time_column,
                    np.concatenate([part.keys for part in group]),
                    np.concatenate([part.ts_us for part in group]),
                    np.concatenate([part.rows for part in group]),
                    {name: np.concatenate([part.values[name] for part in group]) for name in names},
                    instants,
                )
            )  # fmt: skip
            group.clear()
        last = self.readings.blocks[-1]
        self.readings.rows[file] = self.readings.rows.get(file, 0) + int(np.unique(last.rows).size)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A chunk's rows, or one column of a wide one's."""

    keys: npt.NDArray[np.int32]
    ts_us: Ints
    rows: npt.NDArray[np.int32]
    values: Mapping[str, Floats]


def _quantities(table: Table, columns: Sequence[tuple[int, str]]) -> list[tuple[int, Quantity]]:
    found: dict[str, tuple[int, Quantity]] = {}
    for k, name in columns:
        quantity = quantity_of(name)
        if quantity is None:
            raise _unknown(table.file, table.columns[k], [n for _, n in columns])
        if quantity.name in found:
            other = table.columns[found[quantity.name][0]]
            raise WrongInput(table.file, f"{quantity.name} in one unit", row=1, found=f"{other} and {table.columns[k]}")
        found[quantity.name] = k, quantity
    if not found:
        raise WrongInput(table.file, "a column of energies or registers, such as import_kwh or register_kwh", row=1)
    return list(found.values())


def _without_meter(file: str, column: str, names: Sequence[str]) -> WrongInput:
    """For a table that has columns of the long layout but not all it needs, or bare ones among METER:QUANTITY."""
    unknown = [name for name in names if name not in NAMES and quantity_of(name) is None and ":" not in name]
    if not unknown or any(":" in name for name in names):
        said = "METER:QUANTITY in every column (wide layout), or a column `meter` (long layout)"
        return WrongInput(file, said, row=1, column=unknown[0] if unknown else column)
    besides = f"{_lacking_meter(unknown)}, unless all rows are the area meter’s; "
    return _unknown(file, unknown[0], unknown, besides=besides)


def _lacking_meter(unknown: Sequence[str]) -> str:
    """That a column `meter` lacks, and which of the others may be it."""
    meant = unknown[0] if len(unknown) == 1 else nearest("meter", unknown)
    return "a column `meter`, which lacks" + (f" (is it {meant}?)" if meant else "")


def _unknown(file: str, column: str, names: Iterable[str], *, besides: str = "") -> WrongInput:
    if (units := unit_expected(column)) is not None:
        return WrongInput(file, f"a unit in the name ({units})", row=1, column=column)
    unknown = [n for n in names if quantity_of(n) is None and n not in (*NAMES, *TIMES)]
    meant = nearest(
        column, (*NAMES, *TIMES, "import_kwh", "export_kwh", "register_kwh", "register_export_kwh", "voltage_v")
    )
    hint = f"; {meant}?" if meant else ""
    return WrongInput(
        file,
        f"{besides}columns of the layout (--help lists them){hint}; what is not needed is left out with --ignore",
        row=1, found=f"unknown: {', '.join(unknown) or column}",
    )  # fmt: skip


def _no_time(lower: Sequence[str]) -> str:
    if "meter" not in lower and set(lower) & set(OF_METERS[3:]):
        return f"{_lacking_meter([name for name in lower if name not in OF_METERS])}, in a list of meters"
    meant = next((found for name in lower if (found := nearest(name, TIMES))), None)
    return f"one of the time columns {', '.join(TIMES)}" + (f" ({meant}?)" if meant else "")


def _filled(chunk: Chunk, at: int, meters: Sequence[str] | None) -> Ints | None:
    """Rows that are not empty lines; None: all."""
    times = chunk.columns[at]
    if isinstance(times, np.ndarray):
        return None
    empty = [not cell.strip() and (meters is None or not meters[k]) for k, cell in enumerate(times)]
    return np.flatnonzero(~np.array(empty)) if any(empty) else None


def _chosen(cells: Cells, taken: Ints) -> Cells:
    return cells[taken] if isinstance(cells, np.ndarray) else [cells[k] for k in taken.tolist()]


def is_meters_file(columns: Iterable[str]) -> bool:
    """Whether a table lists meters rather than readings."""
    lower = {name.lower() for name in columns}
    return "meter" in lower and not lower & set(TIMES) and not any(map(quantity_of, lower))
