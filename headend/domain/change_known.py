"""What a change is judged by: everything stored that it can touch, and questions to it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from headend.domain.timeline import (
    Contradiction,
    InstallationRow,
    MembershipRow,
    MeterRow,
    Records,
    RowChange,
    Span,
    at_instant,
)
from headend.domain.topology import MeterId

S = TypeVar("S", bound=Span)


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of everything that a change can touch."""

    records: Records
    kinds: Mapping[str, str]
    """customer, shared or area, by usage point."""
    undone: tuple[RowChange, ...] = ()
    """Of an undo: what the change that is taken back did."""

    def meter(self, meter: MeterId) -> MeterRow:
        """A device. Raises Contradiction where there is none."""
        for row in self.records.meters:
            if row.meter == meter:
                return row
        raise Contradiction(f"there is no meter {'/'.join(meter)}", "serial")


def of_point(rows: Iterable[S], usage_point: str) -> list[S]:
    """The rows of a usage point, in their order."""
    return [row for row in rows if row.usage_point == usage_point]


def across(rows: Sequence[S], at: datetime, noun: str) -> S:
    """The row that holds before an instant and at it. Raises Contradiction."""
    row = at_instant(rows, at)
    if row is None:
        raise Contradiction(f"there is no {noun} at {at.isoformat()}", "at")
    if row.begins == at:
        raise Contradiction(f"{row} begins at that very instant: correct it instead", "at")
    return row


def supplied_behind(
    memberships: Iterable[MembershipRow], shared: str, at: datetime, row: MembershipRow
) -> list[MembershipRow]:
    """Who is supplied behind a shared usage point at an instant or later, while it hangs as `row` says."""
    return [one for one in memberships if one.behind == shared and one.ends > at and one.overlaps(row)]


def refuse_behind(point: str, behind: str | None, known: Known) -> None:
    """Raises Contradiction where a usage point cannot be supplied behind another."""
    if behind is None:
        return
    if known.kinds.get(behind) != "shared":
        raise Contradiction(f"{behind} is no shared usage point", "behind")
    if known.kinds[point] != "customer":
        raise Contradiction(f"only a customer is supplied behind a shared usage point, {point} is none", "behind")


def check_register(row: InstallationRow, meter: MeterRow) -> None:
    """Raises Contradiction when a noted register cannot be shown by its meter."""
    for name in ("start_import_wh", "start_export_wh", "end_import_wh", "end_export_wh"):
        value = getattr(row, name)
        if value is not None and value >= meter.rollover_wh:
            raise Contradiction(
                f"{name}: {value} Wh is more than the register of {'/'.join(meter.meter)} holds: it rolls over at "
                f"{meter.rollover_wh} Wh",
                name,
            )
