"""What every file of an import has in common: what was seen, what was refused, and what depends on it. Pure.

The rule it keeps: what depends on a refused row is refused too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from headend.domain.topology import Topology
from headend.ingest.topology_csv import Row, RowProblem, Table

_FROZEN: Final[Mapping[str, tuple[str, ...]]] = {
    "usage_point": ("kind",),
    "premises": ("area", "shared_usage_point", "usage_point"),
}
"""Columns whose change would rewrite the past."""
_KEPT_WHEN_EMPTY: Final[Mapping[str, tuple[str, ...]]] = {
    "usage_point": ("name", "phase", "rated_current_a"),
    "meter": ("accuracy_class",),
}
"""Columns that crews fill in as well, or that came later: an empty cell does not undo what is known."""


class Refused(Exception):
    """A row that cannot be taken."""

    def __init__(self, column: str | None, reason: str) -> None:
        super().__init__(reason)
        self.column = column
        self.reason = reason


class Bookkeeping:
    """Of one import."""

    def __init__(self, tables: Mapping[str, Table], known: Topology) -> None:
        self.tables = tables
        self.known = known
        """What is stored, and becomes what will be."""
        self.problems = [problem for table in tables.values() for problem in table.problems]
        self.added: defaultdict[str, list[Any]] = defaultdict(list)
        self.changed: defaultdict[str, list[Any]] = defaultdict(list)
        self.unchanged: Counter[str] = Counter()
        self.skipped = Counter({file: len(table.bad) for file, table in tables.items()})
        self.seen: dict[tuple[str, Hashable], int] = {}
        self.refused: dict[tuple[str, Hashable], tuple[str, int]] = {}

    def rows(self, file: str) -> tuple[Row, ...]:
        """Rows of a file that could be read."""
        table = self.tables.get(file)
        return table.rows if table else ()

    def each(self, file: str, take: Any, rows: Iterable[Row] | None = None) -> None:
        """Hand every row to `take(file, row)`; one that it raises Refused of becomes a problem."""
        for row in self.rows(file) if rows is None else rows:
            try:
                take(file, row)
            except Refused as refused:
                self.refuse(file, row, refused.column, refused.reason)

    def refuse(self, file: str, row: Row, column: str | None, reason: str) -> None:
        """A row is not taken; nor is what refers to it."""
        value = None if column is None else row.cells.get(column, "")
        self.problems.append(RowProblem(file, row.line, column, value, reason))
        self.skipped[file] += 1
        for noun, key in _keys(file, row.cells):
            if self.seen.get((noun, key), row.line) == row.line:
                self.refused.setdefault((noun, key), (file, row.line))

    def note_bad_rows(self) -> None:
        """What refers to a row that could not be read says so."""
        for file, table in self.tables.items():
            for bad in table.bad:
                for noun, key in _keys(file, bad.cells):
                    self.refused.setdefault((noun, key), (file, bad.line))

    def once(self, noun: str, key: Hashable, row: Row, column: str, what: str) -> None:
        """The files say a thing once. Raises Refused."""
        first = self.seen.setdefault((noun, key), row.line)
        if first != row.line:
            raise Refused(column, f"{what} stands on line {first} already")

    def must_know(self, noun: str, key: Hashable, stored: Collection[Any], column: str, file: str) -> None:
        """The row refers to something: it has to be stored or in the files, and good. Raises Refused."""
        if key in stored:
            return
        shown = "/".join(key) if isinstance(key, tuple) else key
        words = noun.replace("_", " ")
        if refused := self.refused.get((noun, key)):
            raise Refused(column, f"depends on {words} {shown}, which is refused ({refused[0]}:{refused[1]})")
        raise Refused(column, f"unknown {words}: {shown} is neither in {file} nor stored")

    def take(self, file: str, noun: str, new: Any, stored: dict[Any, Any], key: Any) -> None:
        """Add or change something that has no history."""
        old = stored.get(key)
        if old is not None:
            kept = [name for name in _KEPT_WHEN_EMPTY.get(noun, ()) if not getattr(new, name)]
            new = replace(new, **{name: getattr(old, name) for name in kept})
        if old is None:
            self.added[noun].append(new)
        elif old == new:
            self.unchanged[file] += 1
        else:
            for name in _FROZEN.get(noun, ()):
                if getattr(old, name) != getattr(new, name):
                    raise Refused(
                        name, f"is stored as {getattr(old, name)!r}; changing it would rewrite the past, so it stays"
                    )
            self.changed[noun].append(new)
        stored[key] = new


def _keys(file: str, cells: Mapping[str, str]) -> list[tuple[str, Hashable]]:
    """What other rows may refer to this row by."""
    if file == "meters.csv":
        return [("meter", (cells.get("manufacturer", ""), cells.get("serial", "")))]
    column = {
        "stations.csv": "station",
        "areas.csv": "area",
        "usage_points.csv": "usage_point",
        "concentrators.csv": "concentrator",
        "feeders.csv": "feeder",
    }.get(file)
    return [] if column is None else [(column, cells.get(column, ""))]
