"""Files of any of the layouts → the engine's windows, with what was read and what was done to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headend.workbench.cells import Instants
from headend.workbench.columns import ENERGIES, Quantity, quantity_of
from headend.workbench.csv_table import Decimal, read_csv
from headend.workbench.errors import WrongInput, written_name
from headend.workbench.magnitudes import of_window
from headend.workbench.meters import Listed, read_meters
from headend.workbench.notes import Note
from headend.workbench.npz import read_npz
from headend.workbench.parquet_table import read_parquet
from headend.workbench.readings import Reader, is_meters_file
from headend.workbench.windows import Choices, cut, windows_of
from reconciliation import AreaWindow

PARQUET: Final = (".parquet", ".pq")
CSVS: Final = (".csv", ".tsv", ".txt", ".gz")
METERS_FILE: Final = ".meters"
"""`june.csv` is read with `june.meters.csv` where that lies beside it."""


@dataclass(frozen=True, slots=True)
class Read:
    """One file, as the report names it."""

    file: str
    kind: str
    """`readings`, `meters` or `windows`."""
    rows: int
    """Of readings or meters; of windows: how many."""
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How files are read."""

    choices: Choices
    encoding: str | None = None
    decimal: Decimal = "auto"
    wide: str | None = None
    """Quantity of a wide table's bare columns, such as import_kwh."""
    ignored: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """What the engine is given."""

    windows: list[AreaWindow]
    read: list[Read]
    notes: list[Note]


@dataclass(slots=True)
class _Load:
    options: Options
    told: Callable[[Path, int], None]
    reader: Reader = field(init=False)
    listed: list[Listed] = field(default_factory=list)
    windows: list[AreaWindow] = field(default_factory=list)
    read: list[Read] = field(default_factory=list)
    local: int = 0

    def __post_init__(self) -> None:
        self.reader = Reader(
            Instants(self.options.choices.zone), wide=_wide(self.options.wide), ignored=self.options.ignored
        )

    def file(self, path: Path) -> None:
        """Take one in."""
        suffix = path.suffix.lower()
        if suffix == ".npz":
            found = read_npz(path, self.options.choices.zone)
            self.windows += found
            self._noted(path, "windows", len(found))
            return
        seen = lambda count: self.told(path, count)  # noqa: E731 said once
        if suffix in PARQUET:
            opened = read_parquet(path, seen=seen)
        elif suffix in CSVS:
            opened = read_csv(path, encoding=self.options.encoding, decimal=self.options.decimal, seen=seen)
        else:
            raise WrongInput(path.name, "a name that ends in .csv, .csv.gz, .tsv, .parquet or .npz")
        with opened as table:
            if is_meters_file(table.columns):
                rows = read_meters(table)
                self.listed += rows
                self._noted(path, "meters", len(rows))
            else:
                self.reader.instants.forget()
                before = self.reader.readings.rows.get(table.file, 0)
                self.reader.read(table)
                self.local += self.reader.instants.any_local
                self._noted(path, "readings", self.reader.readings.rows[table.file] - before)

    def _noted(self, path: Path, kind: str, rows: int) -> None:
        digest = hashlib.sha256()
        with path.open("rb") as opened:
            while piece := opened.read(1 << 20):
                digest.update(piece)
        self.read.append(Read(written_name(path), kind, rows, digest.hexdigest()))


def load(
    paths: Sequence[Path], options: Options, *, told: Callable[[Path, int], None] = lambda _path, _bytes: None
) -> Loaded:
    """Read all files together; `told` hears how far each is. Raises WrongInput, OSError."""
    loading = _Load(options, told)
    for path in paths:
        if path.is_dir():
            raise WrongInput(str(path), "a file", found="a directory")
    for path in with_meters_files(paths):
        loading.file(path)
    windows = [cut(window, options.choices) for window in loading.windows]
    notes = [note for window in windows for note in of_window(window)]
    readings = loading.reader.readings
    if readings.blocks:
        first = next(one.file for one in loading.read if one.kind == "readings")
        made, told_of_made = windows_of(readings, loading.listed, options.choices, default_area=first.split(".")[0])
        windows += made
        notes += told_of_made
    elif loading.listed and not windows:
        raise WrongInput(loading.listed[0].file, "a file of readings beside the meters’ file", found="none")
    if loading.local:
        notes.append(Note("local_time", loading.local))
    areas = [window.area for window in windows]
    for area in areas:
        if areas.count(area) > 1:
            raise WrongInput("files", "each area once", found=f"{area} in two of them")
    return Loaded(windows, loading.read, notes)


def with_meters_files(paths: Sequence[Path]) -> list[Path]:
    """The files, each once, with the meters' file that lies beside one of readings."""
    found: list[Path] = []
    for path in paths:
        if path not in found:
            found.append(path)
    for path in list(found):
        beside = meters_file_of(path)
        if path.suffix.lower() != ".npz" and beside not in found and beside.is_file():
            found.append(beside)
    return found


def meters_file_of(path: Path) -> Path:
    """Where the meters' file of a file of readings lies: a CSV file of the same stem."""
    return path.with_name(path.name.split(".")[0] + METERS_FILE + ".csv")


def _wide(name: str | None) -> Quantity | None:
    if name is None:
        return None
    found = quantity_of(name)
    if found is None or found.name not in (*ENERGIES[:2], "register", "register_export", "voltage"):
        raise WrongInput("--wide", "a quantity such as import_kwh, register_kwh or voltage_v", found=name)
    return found
