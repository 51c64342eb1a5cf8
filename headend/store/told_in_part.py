"""Meters that tell one of their registers more rarely than the other: readings around a stretch may all lack it.

The rule it keeps: which energy a day has depends on the registers on both sides of it, however many readings without
them lie between, and never on the days that it is settled with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headend.store import queries
from headend.store.arrays import Integers
from headend.store.pool import Connection

if TYPE_CHECKING:
    from headend.store.intervals import ReadingTable

Ints = npt.NDArray[np.int64]
Columns = tuple[Ints, ...]

_SQL = queries.load("told_in_part")


def further_out(
    connection: Connection,
    table: ReadingTable,
    stretch_us: tuple[int, int],
    few: int,
    look: Callable[[str, str, Ints], Columns],
) -> list[Columns]:
    """The few nearest readings of a register on either side of a stretch, of meters of which those around it lack it;
    some of them are in the table already. `look`: finds them, by the name of a query, for a register of some meters.

    Of a meter that does not tell the register at all in and around the stretch it has to be known that it does so at
    other times: most never do.
    """
    found: list[Columns] = []
    ts = table.rows.ts_us
    sides = (("readings_before", ts < stretch_us[0]), ("readings_after", ts >= stretch_us[1]))
    for of, told, some, every in table.registers():
        wanted = ~every
        if not wanted.any():
            continue
        if (never := wanted & ~some).any():
            wanted[never] = _known(connection, table.meters[never])
        for name, beside in sides:
            lacking = wanted & (np.add.reduceat(told & beside, table.offsets[:-1], dtype=np.int64) < few)
            if lacking.any():
                found.append(look(name, of, table.meters[lacking]))
    return found


def _known(connection: Connection, meters: Ints) -> npt.NDArray[np.bool_]:
    found = connection.execute(_SQL["known"], {"meters": Integers(meters)}).fetchall()
    return np.isin(meters, [meter for (meter,) in found])


def note(connection: Connection, table: ReadingTable) -> None:
    """Remember which of these meters do so. It is known before a day without the register needs it: what changes at the
    end of a day that has it makes the days beyond be settled again.
    """
    found = [table.meters[some & ~every] for _, _, some, every in table.registers()]
    if meters := np.unique(np.concatenate(found)).tolist():
        connection.execute(_SQL["note"], {"meters": meters})
