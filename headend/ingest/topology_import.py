"""`headend import DIR`: stations, areas, usage points, meters and endpoints from CSV files, all rows or none.

The rule it keeps: the same files again change nothing, not even a byte; a file with one bad row changes nothing either,
unless the caller asks for the good rows alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from headend.domain.calendar import LocalCalendar
from headend.domain.clock import Clock
from headend.domain.topology import TopologyChanges
from headend.ingest.topology_csv import SHEETS, RowProblem, Table, read_sheet
from headend.ingest.topology_plan import Plan, plan
from headend.log import get_logger
from headend.settings import Settlement
from headend.store import topology_import as bulk
from headend.store.pool import Store

_NOUN: Final[Mapping[str, str]] = {
    "stations.csv": "station",
    "areas.csv": "area",
    "usage_points.csv": "usage_point",
    "meters.csv": "meter",
    "installations.csv": "installation",
    "concentrators.csv": "concentrator",
    "endpoints.csv": "endpoint",
    "premises.csv": "premises",
    "feeders.csv": "feeder",
    "area_feeders.csv": "area_feeder",
    "unmetered_loads.csv": "unmetered_load",
}
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FileCount:
    """What became of one file's rows."""

    added: int
    changed: int
    unchanged: int
    refused: int


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or why it did nothing."""

    applied: bool
    """False: the files were refused as a whole and the store is as it was; `files` says what would have been done."""
    problems: tuple[RowProblem, ...]
    """By file and line."""
    files: Mapping[str, FileCount]
    """Of the files that were there."""

    @property
    def changes(self) -> int:
        """Rows added or changed in the store."""
        return sum(count.added + count.changed for count in self.files.values()) if self.applied else 0

    def __str__(self) -> str:
        lines = [
            f"{file}: {c.added} added, {c.changed} changed, {c.unchanged} as stored, {c.refused} refused"
            for file, c in self.files.items()
            if self.applied
        ]
        if self.applied:
            return "\n".join([*lines, f"{self.changes} changes"])
        return f"nothing was changed: {len(self.problems)} problems"


def import_directory(
    store: Store,
    directory: Path,
    *,
    skip_bad: bool,
    clock: Clock,
    calendar: LocalCalendar | None = None,
    models: Collection[str] | None = None,
) -> ImportReport:
    """Bring the store to what the CSV files of `directory` say, in one transaction.

    `skip_bad` takes the good rows of files with bad ones. `calendar` names the local days to settle again (default: the
    default zone of the settings). `models` are the register maps that Modbus meters may name; None: not checked.
    Raises StoreUnavailable, or StoreConflict when somebody changed the same thing meanwhile; nothing is changed then.
    """
    tables = read_directory(Path(directory))
    with store.transaction() as connection:
        bulk.lock(connection)
        made = plan(tables, bulk.load(connection), models=models)
        applied = skip_bad or not made.problems
        if applied and made.changes:
            days = calendar or LocalCalendar(ZoneInfo(Settlement().zone))
            bulk.apply(connection, made.changes, calendar=days, now=clock())
    report = ImportReport(applied, made.problems, _counts(tables, made))
    _log.info("directory imported", applied=applied, changes=report.changes, problems=len(report.problems))
    return report


def read_directory(directory: Path) -> dict[str, Table]:
    """All files of a directory by name; one that is missing, unreadable or unknown is a problem in its table."""
    if not directory.is_dir():
        return {str(directory): _problem(str(directory), "is no directory")}
    tables: dict[str, Table] = {}
    for sheet in SHEETS:
        path = directory / sheet.file
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            if sheet.required:
                tables[sheet.file] = _problem(sheet.file, f"is missing in {directory}")
        except OSError as error:
            tables[sheet.file] = _problem(sheet.file, f"cannot be read: {error.strerror}")
        else:
            tables[sheet.file] = read_sheet(sheet, data)
    for path in sorted(directory.glob("*.csv")):
        if path.name not in _NOUN:
            tables[path.name] = _problem(path.name, f"unknown file; known are {', '.join(_NOUN)}")
    return tables


def _problem(file: str, reason: str) -> Table:
    return Table((), (), (RowProblem(file, None, None, None, reason),))


def _counts(tables: Mapping[str, Table], made: Plan) -> dict[str, FileCount]:
    def count(file: str, changes: TopologyChanges) -> FileCount:
        noun = _NOUN[file]
        return FileCount(
            added=len(changes.added.get("membership" if noun == "usage_point" else noun, ())),
            changed=_changed(noun, changes),
            unchanged=made.unchanged.get(file, 0),
            refused=made.skipped.get(file, 0),
        )

    return {file: count(file, made.changes) for file in tables if file in _NOUN}


def _changed(noun: str, changes: TopologyChanges) -> int:
    if noun != "usage_point":
        return len(changes.changed.get(noun, ()))
    rows = (*changes.changed.get(noun, ()), *changes.changed.get("category", ()))
    return len({row.usage_point for row in rows})  # one row of the file may say both
