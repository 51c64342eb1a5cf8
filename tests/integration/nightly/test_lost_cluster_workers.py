"""Stations of a Dask worker that is killed are explained by another one, to the same; who may not work for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headend.settlement.night import Night
from support.command import headend
from support.dask import kill_a_waiting_worker
from support.explaining import explained_here, summed, work_on
from support.station import Stations
from support.waiting import PATIENCE_S
from support.workers import config_of

pytest.importorskip("distributed", reason="pip install 'headend[scale]'")
from headend.settlement.cluster import ClusterError, connected

Make = Callable[..., Stations]


def test_a_killed_cluster_workers_station_is_explained_by_another(
    make_stations: Make, make_cluster: Callable[..., Any]
) -> None:
    made = make_stations(stations=4, bad=2)
    expected = explained_here(made)
    work, pieces = work_on(made)
    cluster = make_cluster({"HEADEND_DATABASE__DSN": made.field.store.dsn})
    told: list[Night] = []
    with connected(cluster.scheduler_address, made.field.store, work, threading.Event()) as found:
        explaining = threading.Thread(target=lambda: told.extend(found.spread(pieces)))
        with made.field.store.transaction() as holder:
            holder.execute(b"select from area where code = 'S2A0' for update")
            explaining.start()
            kill_a_waiting_worker(cluster.scheduler_address, made.field.waiting)
        explaining.join(PATIENCE_S)
    assert not explaining.is_alive()
    total = summed(told)
    assert total.failed == {}
    assert total.stations + len(total.left) == 4
    assert (made.reports(), made.cases()) == expected


def test_the_command_on_a_cluster(make_stations: Make, make_cluster: Callable[..., Any], tmp_path: Path) -> None:
    made = make_stations(stations=2, bad=2)
    expected = explained_here(made)
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
    work, pieces = work_on(made)
    cluster = make_cluster({"HEADEND_DATABASE__DSN": empty_dsn}, workers=1)
    with (
        connected(cluster.scheduler_address, made.field.store, work, threading.Event()) as found,
        pytest.raises(ClusterError, match="another database"),
    ):
        list(found.spread(pieces))
    assert made.reports() == []
