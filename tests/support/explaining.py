"""Stations explained within this process, and what has to be done for them: what others must come to as well."""

from __future__ import annotations

from typing import Any

from headend.domain.clock import system_clock
from headend.settlement.night import Night
from headend.settlement.nightly import Explaining, StationPiece, wanted
from headend.settlement.work import Place, here
from support.station import Stations


def work_on(made: Stations) -> tuple[Explaining, list[StationPiece]]:
    """The work, and every station that wants it."""
    work = Explaining.of(made.field.settings)
    return work, list(wanted(made.field.store, work, system_clock).pieces)


def explained_here(made: Stations) -> tuple[Any, Any]:
    """What one process says; all is forgotten again."""
    work, pieces = work_on(made)
    nights = list(here(work, Place(store=made.field.store, clock=system_clock), pieces))
    assert [night.stations for night in nights] == [1] * len(pieces)
    found = made.reports(), made.cases()
    assert found[1], "somebody is suspected"
    made.forget_reports()
    return found


def summed(nights: list[Night]) -> Night:
    """All of them together."""
    total = Night()
    for night in nights:
        total.add(night)
    return total
