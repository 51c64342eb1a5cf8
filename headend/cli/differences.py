"""Lists what days come to beside what they came to: a table on the terminal, a CSV file, or a JSON object a line.

The terminal shows as many as a person reads; the file and JSON have all of them.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headend.cli.common import fail

if TYPE_CHECKING:
    from headend.settlement.differences import Difference

BALANCE: Final = ("supplied", "delivered", "loss")
MOST_SHOWN: Final = 60
"""Rows on the terminal; how many more there are is said."""
COLUMNS: Final = (
    "area", "usage_point", "day", "quantity", "then_wh", "now_wh", "difference_wh", "told_wh", "intervals", "why",
)  # fmt: skip


class Listing:
    """Takes differences one by one, in order, and holds no more of them than it shows."""

    def __init__(self, *, console: Console, as_json: bool = False, writer: Any = None) -> None:
        self._console, self._as_json, self._writer = console, as_json, writer
        self._shown: list[Difference] = []
        self.usage_points = 0
        """Numbers of usage points that differ: days and directions."""
        self.areas: Counter[str] = Counter()
        """Of areas: how many numbers of each quantity differ."""
        self.energy_wh: Counter[str] = Counter()
        """And how much more they are now, together."""

    def add(self, one: Difference) -> None:
        """Take one in."""
        if one.usage_point is None:
            self.areas[one.quantity] += 1
            self.energy_wh[one.quantity] += one.difference_wh
        else:
            self.usage_points += 1
        if self._writer is not None:
            self._writer.writerow(_flat(one) | {"why": "; ".join(one.why)})
        if self._as_json:
            line = json.dumps(_flat(one), ensure_ascii=False, default=str)
            self._console.print(line, soft_wrap=True, markup=False, highlight=False)
        elif len(self._shown) < MOST_SHOWN:
            self._shown.append(one)

    def show(self, then: str, now: str, csv_path: Path | None) -> None:
        """Print the table under two headings; nothing where JSON was asked for, or where nothing differs."""
        if self._as_json or not self._shown:
            return
        billed = any(one.told_wh is not None for one in self._shown)
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("")
        for heading in (f"{then} [Wh]", f"{now} [Wh]", "difference", *(["billed [Wh]"] if billed else ())):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("why", overflow="fold")
        for (day, area), of_day in itertools.groupby(self._shown, lambda one: (one.day, one.area)):
            table.add_row(Text(f"{area} {day}", style="bold"))
            for one in of_day:
                told = ([_wh(one.told_wh)] if one.told_wh is not None else [""]) if billed else []
                table.add_row(
                    Text(f"  {one.usage_point or 'the area'} {one.quantity}"), _wh(one.then_wh), _wh(one.now_wh),
                    f"{one.difference_wh:+,}", *told, Text("; ".join(one.why)),
                )  # fmt: skip
        self._console.print(table, highlight=False)
        if (more := self.usage_points + self.areas.total() - len(self._shown)) > 0:
            where = f"all are in {csv_path}" if csv_path is not None else "--csv FILE lists all"
            self._console.print(f"… and {more:,} more: {where}", highlight=False, markup=False)

    def summary(self) -> str:
        """How much differs, in words."""
        if not self.usage_points and not self.areas:
            return "nothing differs"
        sums = ", ".join(f"{name} {self.energy_wh[name]:+,}" for name in BALANCE if self.areas[name])
        return f"{self.usage_points:,} numbers of usage points differ" + (f"; of areas [Wh]: {sums}" if sums else "")


@contextmanager
def listing(*, as_json: bool, csv_path: Path | None) -> Iterator[Listing]:
    """A list on stdout, and in a CSV file where one is named; the end of the command where that cannot be written."""
    with ExitStack() as stack:
        writer = None
        if csv_path is not None:
            try:
                file = stack.enter_context(csv_path.open("w", encoding="utf-8", newline=""))
            except OSError as error:
                fail(f"{csv_path}: {error.strerror}")
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
        yield Listing(console=Console(soft_wrap=as_json), as_json=as_json, writer=writer)


def _flat(one: Difference) -> dict[str, Any]:
    values = asdict(one) | {"difference_wh": one.difference_wh}
    return {name: values[name] for name in COLUMNS}


def _wh(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
