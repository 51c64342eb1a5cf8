"""What a stretch of an area's days comes to, in memory: everything is read, nothing is written.

The rule it keeps: settling for the store, settling as known at an instant, and a preview are this one function.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headend.settlement.balances import balance_rows
from headend.settlement.grid import DayRange
from headend.settlement.inputs import Inputs, load_inputs
from headend.settlement.intervals import PointIntervals, point_intervals
from headend.settlement.references import Past
from headend.settlement.rules import Rules
from headend.settlement.unmetered import unmetered_energy
from headend.store import balances, history
from headend.store.pool import Connection


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """Of one area and stretch."""

    inputs: Inputs
    settled: PointIntervals
    balances: list[dict[str, Any]]
    """Rows of balance_day."""


def compute(
    connection: Connection,
    area_id: int,
    days: DayRange,
    rules: Rules,
    now: datetime,
    *,
    past: Past,
    known_at: datetime | None = None,
) -> Computed:
    """Settle a stretch as it is known now, or was known at an instant. `past`: settled days before it.

    The model of technical loss is the last report's, whenever the rest was known. Raises LookupError when there is (or
    was) no such area.
    """
    with history.as_known(connection, known_at):
        area = balances.area(connection, area_id)
    inputs = load_inputs(connection, area_id, days, rules, known_at)
    settled = point_intervals(inputs, days, rules, past)
    model = balances.technical_model(connection, area_id)
    unmetered = unmetered_energy(inputs.unmetered, days)
    rows = balance_rows(area, model, settled, days, rules=rules, now=now, unmetered=unmetered)
    return Computed(inputs, settled, rows)
