"""The CSV files of `headend import`: which columns there are and how each cell is read. Pure: bytes in, rows out.

The rule it keeps: nothing is guessed. A cell that is not exactly what its column wants is a problem that names file,
line, column, value and what would be right; the rest of the file is read all the same.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from headend.domain import unmetered
from headend.domain.topology import CATEGORIES, KINDS, PHASES
from headend.ingest.topology_cells import (
    bus,
    code,
    degrees,
    flag,
    host,
    instant,
    name,
    one_of,
    positive,
    rate,
    schedule,
    whole,
)

_BIGGEST_WH: Final = 2**62


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One thing that is wrong with the files."""

    file: str
    line: int | None
    """1-based line on which the row begins; None: it concerns the file."""
    column: str | None
    value: str | None
    reason: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        if self.column is None:
            return f"{where}: {self.reason}"
        shown = "" if self.value is None else f" = {self.value!r}"
        return f"{where}: {self.column}{shown}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row whose every cell could be read."""

    line: int
    cells: dict[str, str]
    """As written, without surrounding blanks."""
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """One row that could not be read; others may refer to it."""

    line: int
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: how a cell is read, and what an empty one means."""

    name: str
    read: Callable[[str], Any]
    """Raises ValueError saying what would be right."""
    required: bool = True
    default: Any = None
    may_lack: bool = False
    """Whether a file may do without the column: it came after files were written."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One file."""

    file: str
    columns: tuple[Column, ...]
    required: bool
    """Whether the file must be there."""


@dataclass(frozen=True, slots=True)
class Table:
    """What one file held."""

    rows: tuple[Row, ...]
    bad: tuple[BadRow, ...]
    problems: tuple[RowProblem, ...]


_REGISTER: Final = whole(0, _BIGGEST_WH)

SHEETS: Final = (
    Sheet("stations.csv", (Column("station", code), Column("name", name)), required=True),
    Sheet(
        "areas.csv",
        (
            Column("area", code),
            Column("station", code),
            Column("name", name),
            Column("transformer_kva", positive(8, 1), required=False),
            Column("high_loss_rate", rate(0, 1), required=False),
            Column("negative_loss_rate", rate(-1, 0), required=False),
        ),
        required=True,
    ),
    Sheet(
        "usage_points.csv",
        (
            Column("usage_point", code),
            Column("kind", one_of(*KINDS)),
            Column("category", one_of(*CATEGORIES)),
            Column("area", code),
            Column("behind", code, required=False),
            Column("valid_from", instant),
            Column("name", name, required=False, default=""),
            Column("phase", one_of(*PHASES), required=False),
            Column("rated_current_a", whole(1, 2**31 - 1), required=False),
            Column("category_from", instant, required=False, may_lack=True),
        ),
        required=True,
    ),
    Sheet(
        "meters.csv",
        (
            Column("manufacturer", code),
            Column("serial", code),
            Column("model", code),
            Column("phases", lambda text: int(one_of("1", "3")(text))),
            Column("digits", whole(4, 12)),
            Column("resolution_wh", whole(1, 1_000_000)),
            Column("accuracy_class", positive(4, 2), required=False, may_lack=True),
        ),
        required=True,
    ),
    Sheet(
        "installations.csv",
        (
            Column("usage_point", code),
            Column("manufacturer", code),
            Column("serial", code),
            Column("valid_from", instant),
            Column("valid_to", instant, required=False),
            Column("multiplier", positive(12, 4), required=False, default=Decimal(1)),
            Column("sign", lambda text: int(one_of("1", "-1")(text)), required=False, default=1),
            Column("start_import_wh", _REGISTER, required=False),
            Column("start_export_wh", _REGISTER, required=False),
            Column("seal", name, required=False),
        ),
        required=True,
    ),
    Sheet("concentrators.csv", (Column("concentrator", code), Column("area", code)), required=False),
    Sheet(
        "endpoints.csv",
        (
            Column("manufacturer", code),
            Column("serial", code),
            Column("protocol", one_of("modbus", "mqtt")),
            Column("host", host, required=False),
            Column("port", whole(1, 65535), required=False),
            Column("unit", whole(0, 255), required=False),
            Column("concentrator", code, required=False),
            Column("bus", bus, required=False, may_lack=True),
        ),
        required=False,
    ),
    Sheet(
        "premises.csv",
        (
            Column("premises", code),
            Column("area", code),
            Column("shared_usage_point", code),
            Column("usage_point", code),
            Column("label", name),
            Column("has_production", flag, required=False, default=False),
        ),
        required=False,
    ),
    Sheet("feeders.csv", (Column("feeder", code), Column("station", code), Column("name", name)), required=False),
    Sheet(
        "area_feeders.csv",
        (
            Column("area", code),
            Column("feeder", code),
            Column("valid_from", instant),
            Column("valid_to", instant, required=False),
        ),
        required=False,
    ),
    Sheet(
        "unmetered_loads.csv",
        (
            Column("code", code),
            Column("area", code),
            Column("kind", one_of(*unmetered.KINDS)),
            Column("name", name, required=False, default=""),
            Column("power_w", whole(1, 10_000_000)),
            Column("tolerance", rate(0, 1), required=False, default=0.1),
            Column("schedule", schedule),
            Column("latitude_deg", degrees(90), required=False),
            Column("longitude_deg", degrees(180), required=False),
            Column("valid_from", instant),
            Column("valid_to", instant, required=False),
        ),
        required=False,
    ),
)
"""Every file, in the order in which one may refer to another."""


def read_sheet(sheet: Sheet, data: bytes) -> Table:
    """All rows of one file; whatever is wrong with it is in `problems`, nothing is raised."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _unusable(sheet, line, f"is not UTF-8 (byte 0x{data[error.start]:02X})")
    lines = _lines(text)
    try:
        header = [cell.strip() for cell in next(lines)[1]]
    except StopIteration:
        return _unusable(sheet, None, f"is empty; wanted the header {_header(sheet)}")
    except csv.Error as error:
        return _unusable(sheet, 1, f"is not CSV: {error}")
    if wrong := _wrong_header(sheet, header):
        return Table((), (), tuple(wrong))
    rows: list[Row] = []
    bad: list[BadRow] = []
    problems: list[RowProblem] = []
    try:
        for line, cells in lines:
            found = _read_row(sheet, header, line, cells)
            if isinstance(found, Row):
                rows.append(found)
            else:
                bad.append(found[0])
                problems += found[1]
    except csv.Error as error:
        problems.append(RowProblem(sheet.file, None, None, None, f"is not CSV to its end: {error}"))
    return Table(tuple(rows), tuple(bad), tuple(problems))


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line on which each begins; blank lines are passed over."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield begins, cells
        begins = reader.line_num + 1


def _header(sheet: Sheet) -> str:
    return ",".join(column.name for column in sheet.columns)


def _unusable(sheet: Sheet, line: int | None, reason: str) -> Table:
    return Table((), (), (RowProblem(sheet.file, line, None, None, reason),))


def _wrong_header(sheet: Sheet, header: Sequence[str]) -> list[RowProblem]:
    wanted = [column.name for column in sheet.columns]
    problems = [
        RowProblem(sheet.file, 1, column, None, f"unknown column; the columns are {_header(sheet)}")
        for column in header
        if column not in wanted
    ]
    problems += [
        RowProblem(sheet.file, 1, column.name, None, "missing column")
        for column in sheet.columns
        if column.name not in header and not column.may_lack
    ]
    twice = dict.fromkeys(column for column in header if column in wanted and header.count(column) > 1)
    return problems + [RowProblem(sheet.file, 1, column, None, "column stands twice") for column in twice]


def _read_row(
    sheet: Sheet, header: Sequence[str], line: int, cells: Sequence[str]
) -> Row | tuple[BadRow, list[RowProblem]]:
    texts = {column: cell.strip() for column, cell in zip(header, cells, strict=False)}
    if len(cells) != len(header):
        reason = f"has {len(cells)} cells, the header has {len(header)}"
        return BadRow(line, texts), [RowProblem(sheet.file, line, None, None, reason)]
    values: dict[str, Any] = {}
    problems = []
    for column in sheet.columns:
        text = texts.get(column.name, "")
        if not text:
            if column.required:
                problems.append(RowProblem(sheet.file, line, column.name, text, "is required"))
            values[column.name] = column.default
            continue
        try:
            values[column.name] = column.read(text)
        except ValueError as error:
            problems.append(RowProblem(sheet.file, line, column.name, text, str(error)))
    return (BadRow(line, texts), problems) if problems else Row(line, texts, values)
