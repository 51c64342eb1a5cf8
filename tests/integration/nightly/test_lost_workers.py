"""Stations of a worker that is killed are explained by another one, in processes and on a Dask cluster, to the same."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headend.domain.clock import system_clock
from headend.settlement.night import Night
from headend.settlement.nightly import Explaining, StationPiece, wanted
from headend.settlement.processes import Processes
from headend.settlement.work import Place, here
from support.command import ROOT, headend
from support.station import Stations
from support.waiting import PATIENCE_S, until
from support.workers import config_of

Make = Callable[..., Stations]


def _work(made: Stations) -> tuple[Explaining, list[StationPiece]]:
    work = Explaining.of(made.field.settings)
    return work, list(wanted(made.field.store, work, system_clock).pieces)


def _wanted(made: Stations) -> tuple[Any, Any]:
    """What one process says; all is forgotten again."""
    work, pieces = _work(made)
    nights = list(here(work, Place(store=made.field.store, clock=system_clock), pieces))
    assert [night.stations for night in nights] == [1] * len(pieces)
    found = made.reports(), made.cases()
    assert found[1], "somebody is suspected"
    made.forget_reports()
    return found


def _summed(nights: list[Night]) -> Night:
    total = Night()
    for night in nights:
        total.add(night)
    return total


def test_a_killed_processs_station_is_explained_by_another(make_stations: Make) -> None:
    made = make_stations(stations=4, bad=2)
    expected = _wanted(made)
    work, pieces = _work(made)
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
    total = _summed(told)
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
    assert _summed(nights).failed == {"S1": "the process that had it died 3 times"}


class Deadly:
    """Work that ends the process that does it."""

    name, connections = "deadly", 1

    def do(self, piece: StationPiece, place: Place) -> Night:
        os._exit(9)

    def lost(self, piece: StationPiece, why: str) -> Night:
        return Night(failed={piece.code: why})

    def stopped(self) -> Night:
        return Night(stopped=True)


distributed = pytest.importorskip("distributed", reason="pip install 'headend[scale]'")
from headend.settlement.cluster import ClusterError, connected  # noqa: E402


@pytest.fixture
def make_cluster() -> Iterator[Callable[..., Any]]:
    """Local clusters whose workers are processes with nannies; `environment` is what a worker knows of the database."""
    made: list[Any] = []

    def make(environment: dict[str, str], workers: int = 2) -> Any:
        made.append(
            distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, protocol="tcp", host="127.0.0.1",
                dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL, memory_limit=0,
                env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"} | environment,
            )
        )  # fmt: skip
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


def test_a_killed_cluster_workers_station_is_explained_by_another(
    make_stations: Make, make_cluster: Callable[..., Any]
) -> None:
    made = make_stations(stations=4, bad=2)
    expected = _wanted(made)
    work, pieces = _work(made)
    cluster = make_cluster({"HEADEND_DATABASE__DSN": made.field.store.dsn})
    told: list[Night] = []
    with connected(cluster.scheduler_address, made.field.store, work, threading.Event()) as found:
        explaining = threading.Thread(target=lambda: told.extend(found.spread(pieces)))
        with made.field.store.transaction() as holder:
            holder.execute(b"select from area where code = 'S2A0' for update")
            explaining.start()
            with distributed.Client(cluster.scheduler_address, set_as_default=False) as spy:
                pids = spy.run(os.getpid)

                def all_that_work_wait() -> list[str]:
                    busy = [worker for worker, keys in spy.processing().items() if keys]
                    return busy if made.field.waiting() >= len(busy) else []

                victim = until(all_that_work_wait, "a worker waits for the area")[0]
                os.kill(pids[victim], signal.SIGKILL)
                until(lambda: victim not in spy.scheduler_info()["workers"], "the scheduler sees that it died")
        explaining.join(PATIENCE_S)
    assert not explaining.is_alive()
    total = _summed(told)
    assert total.failed == {}
    assert total.stations + len(total.left) == 4
    assert (made.reports(), made.cases()) == expected


def test_the_command_on_a_cluster(make_stations: Make, make_cluster: Callable[..., Any], tmp_path: Path) -> None:
    made = make_stations(stations=2, bad=2)
    expected = _wanted(made)
    dsn = made.field.store.dsn
    config = config_of(tmp_path / "headend.toml", {"database": {"dsn": dsn}})
    cluster = make_cluster({"HEADEND_CONFIG": str(config)}, workers=1)
    done = headend("nightly", "--cluster", cluster.scheduler_address, dsn=dsn, **made.settings)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.startswith("2 of 2 stations explained")
    assert (made.reports(), made.cases()) == expected, "by the asker's settings, not by the worker's"


def test_a_worker_of_another_database_explains_nothing(
    make_stations: Make, make_cluster: Callable[..., Any], empty_dsn: str
) -> None:
    made = make_stations(stations=1)
    work, pieces = _work(made)
    cluster = make_cluster({"HEADEND_DATABASE__DSN": empty_dsn}, workers=1)
    with (
        connected(cluster.scheduler_address, made.field.store, work, threading.Event()) as found,
        pytest.raises(ClusterError, match="another database"),
    ):
        list(found.spread(pieces))
    assert made.reports() == []
