"""Stations of a process that is killed are explained by another one, to the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable

from headend.domain.clock import system_clock
from headend.settlement.night import Night
from headend.settlement.nightly import StationPiece
from headend.settlement.processes import Processes
from headend.settlement.work import Place
from support.explaining import explained_here, summed, work_on
from support.station import Stations
from support.waiting import PATIENCE_S, until

Make = Callable[..., Stations]


def test_a_killed_processs_station_is_explained_by_another(make_stations: Make) -> None:
    made = make_stations(stations=4, bad=2)
    expected = explained_here(made)
    work, pieces = work_on(made)
    shared = Processes(
        count=2, database=made.field.settings.database, work=work, clock=system_clock, stop=threading.Event()
    )
    told: list[Night] = []
    explaining = threading.Thread(target=lambda: told.extend(shared.spread(pieces)))
    with made.field.store.transaction() as holder:
        # Somebody holds an area: whoever gets its station waits within its transaction, and one of both is killed.
        holder.execute(b"select from area where code = 'S2A0' for update")
        explaining.start()
        until(lambda: made.field.waiting() >= 1, "one of them waits for the area")
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
    explaining.join(PATIENCE_S)
    assert not explaining.is_alive()
    total = summed(told)
    assert (total.failed, total.stopped) == ({}, False)
    assert total.stations + len(total.left) == 4
    assert (made.reports(), made.cases()) == expected


def test_a_station_that_everybody_dies_of_is_given_up_and_told(make_stations: Make) -> None:
    """The work itself ends its process, as a fault in a numeric library would."""
    made = make_stations(stations=1)
    shared = Processes(
        count=1, database=made.field.settings.database, work=Deadly(), clock=system_clock, stop=threading.Event()
    )
    nights = list(shared.spread([StationPiece(1, "S1")]))
    assert summed(nights).failed == {"S1": "the process that had it died 3 times"}


class Deadly:
    """Work that ends the process that does it."""

    name, connections = "deadly", 1

    def do(self, piece: StationPiece, place: Place) -> Night:
        os._exit(9)

    def lost(self, piece: StationPiece, why: str) -> Night:
        return Night(failed={piece.code: why})

    def stopped(self) -> Night:
        return Night(stopped=True)
