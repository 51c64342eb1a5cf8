"""Cells of a table → numbers and instants, a whole column at a time; a wrong one is named by its row.

The rule it keeps: an empty cell is *not measured*, never zero, and nothing is guessed that could be read in two ways.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import EARLIEST, LATEST, to_us
from headend.workbench.errors import WrongInput

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Cells = Sequence[str] | npt.NDArray[Any]
"""Text from a CSV file, or a typed column."""

MISSING: Final = frozenset({"", "-", "–", "—", "na", "n/a", "nan", "null", "none", "#n/a"})
_DATE: Final = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})|(\d{1,2})\.(\d{1,2})\.(\d{4})")
_TIME: Final = re.compile(
    r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?\s*(?:(Z|UTC)|([+-])(\d{2}):?(\d{2})?)?", re.IGNORECASE
)
INSTANT: Final = "an instant such as 2026-03-02T00:15+08:00, 2026-03-02 00:15 (local) or 2026-03-02"
_MICROSECOND: Final = np.dtype("datetime64[us]")
_REMEMBERED: Final = 100_000
"""So many different texts of instants are kept at a time."""


def numbers(cells: Cells, *, file: str, column: str, first_row: int, comma: bool) -> Floats:
    """(n,) float64, NaN where a cell is empty. `comma`: 1,5 is one and a half. Raises WrongInput."""
    if isinstance(cells, np.ndarray) and cells.dtype.kind in "iufb":
        found = cells.astype(np.float64)
    else:
        text = [str(cell) for cell in cells]
        if comma:
            text = [_with_point(cell, file, column, first_row + k) for k, cell in enumerate(text)]
        try:
            if any("_" in cell for cell in text):
                raise ValueError
            found = np.array([cell or "nan" for cell in text], dtype=np.float64)
        except ValueError:
            found = np.array([_number(cell, file, column, first_row + k) for k, cell in enumerate(text)])
    wrong = np.flatnonzero(np.isinf(found))
    if wrong.size:
        raise WrongInput(file, "a finite number", row=first_row + int(wrong[0]), column=column, found=found[wrong[0]])
    return found


def _with_point(cell: str, file: str, column: str, row: int) -> str:
    if "," in cell and "." in cell:
        raise WrongInput(file, "a number without thousands separators", row=row, column=column, found=cell)
    return cell.replace(",", ".")


def _number(cell: str, file: str, column: str, row: int) -> float:
    text = cell.strip()
    if text.lower() in MISSING:
        return float("nan")
    try:
        if "_" in text:  # Python's own grouping, which no meter writes
            raise ValueError
        return float(text)
    except ValueError:
        expected = "a number"
        if re.fullmatch(r"[+-]?\d+,\d+", text):
            expected = "a number with a decimal point (decimal commas are read with --decimal ,)"
        raise WrongInput(file, expected, row=row, column=column, found=cell) from None


@dataclass(slots=True)
class Instants:
    """Reads instants, each text once. `zone`: of what has no offset."""

    zone: ZoneInfo
    _known: dict[str, int] = field(default_factory=dict)
    _later: dict[str, int] = field(default_factory=dict)
    """Local times that occur twice, when clocks are put back → the later instant."""
    any_local: bool = False
    """Whether something had no offset."""

    def read(self, cells: Cells, *, file: str, column: str, rows: npt.NDArray[Any]) -> Ints:
        """(n,) int64 [µs UTC]; `rows`: (n,) where they stand. Raises WrongInput."""
        if isinstance(cells, np.ndarray) and cells.dtype.kind == "M":
            return self._typed(cells, file, column, rows)
        known = self._known
        out = np.empty(len(cells), dtype=np.int64)
        for k, cell in enumerate(cells):
            at = known.get(cell)
            if at is None:
                if len(known) >= _REMEMBERED:
                    known.clear()
                at = self._one(str(cell), file, column, int(rows[k]))
                known[cell] = at
            out[k] = at
        return out

    def forget(self) -> None:
        """Begin another file."""
        self._known.clear()
        self.any_local = False

    def second_time(self, cells: Cells, keys: Ints, ts_us: Ints, seen: set[tuple[int, str]]) -> None:
        """Where clocks are put back a local hour comes twice: a key's second row of such a time is the later one; in
        place.
        """
        if not self._later:
            return
        for k, cell in enumerate(cells):
            later = self._later.get(cell)
            if later is None:
                continue
            if (int(keys[k]), cell) in seen:
                ts_us[k] = later
            seen.add((int(keys[k]), cell))

    def _typed(self, cells: npt.NDArray[Any], file: str, column: str, rows: npt.NDArray[Any]) -> Ints:
        wrong = np.flatnonzero(np.isnat(cells))
        if wrong.size:
            raise WrongInput(file, INSTANT, row=int(rows[wrong[0]]), column=column, found="")
        return cells.astype(_MICROSECOND).astype(np.int64)

    def _one(self, cell: str, file: str, column: str, row: int) -> int:
        local = _parsed(cell.strip())
        if local is None:
            raise WrongInput(file, INSTANT, row=row, column=column, found=cell)
        if local.tzinfo is None:
            self.any_local = True
            here = local.replace(tzinfo=self.zone)
            if here.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) != local:
                raise WrongInput(
                    file, f"a time that exists in {self.zone.key} (clocks are put forward there)",
                    row=row, column=column, found=cell,
                )  # fmt: skip
            again = here.replace(fold=1)
            if again.utcoffset() != here.utcoffset():
                self._later[cell] = to_us(again.astimezone(UTC))
            local = here
        instant = local.astimezone(UTC)
        if not EARLIEST <= instant < LATEST:
            raise WrongInput(file, f"a year from {EARLIEST.year} to {LATEST.year}", row=row, column=column, found=cell)
        return to_us(instant)


def _parsed(text: str) -> datetime | None:
    """An aware instant, or a local one without its zone; None: neither."""
    found = _DATE.match(text)
    if found is None:
        return None
    y, m, d = (int(part) for part in (found.groups()[:3] if found[1] else found.groups()[:2:-1]))
    rest = text[found.end() :].lstrip("T ").strip()
    time = _TIME.fullmatch(rest) if rest else None
    if rest and time is None:
        return None
    hour, minute, second = (int(part or 0) for part in time.groups()[:3]) if time else (0, 0, 0)
    try:
        day_later = timedelta(days=1 if (hour, minute, second) == (24, 0, 0) else 0)
        at = datetime(y, m, d, 0 if day_later else hour, minute, second) + day_later  # noqa: DTZ001 its zone follows
        if time is None or (time[4] is None and time[5] is None):
            return at
        offset = timedelta(hours=int(time[6] or 0), minutes=int(time[7] or 0)) * (-1 if time[5] == "-" else 1)
        return (at - offset).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
