"""`headend settle` on a Dask cluster: the same rows as without, though a worker is killed; who may not work for it."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headend.domain.clock import system_clock
from headend.settlement import mass
from headend.settlement.rules import Rules
from support.command import headend
from support.dask import kill_a_waiting_worker
from support.field import DAY0, Field
from support.mosquitto import free_port
from support.town import Town, build_town, forget_settled
from support.waiting import PATIENCE_S
from support.workers import config_of

pytest.importorskip("distributed", reason="pip install 'headend[scale]'")
from headend.settlement.cluster import ClusterError, connected


def _wanted(field: Field, town: Town) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What settling without a cluster gives; all is forgotten again."""
    rules = Rules.of(field.settings.settlement)
    worker = mass.Worker(store=field.store, rules=rules, clock=system_clock)
    mass.settle(mass.wanted_areas(field.store, [], DAY0, town.last), worker.spread)
    found = field.intervals(), field.balances()
    assert found[1]
    forget_settled(field)
    return found


def test_a_killed_workers_areas_are_done_by_another(
    make_field: Callable[..., Field], make_cluster: Callable[..., Any]
) -> None:
    field = make_field()
    town = build_town(field, areas=6, houses=5, days=9, moved=1)
    wanted = _wanted(field, town)
    cluster = make_cluster({"HEADEND_DATABASE__DSN": field.store.dsn})
    areas = mass.wanted_areas(field.store, [], DAY0, town.last)
    rules, stop = Rules.of(field.settings.settlement), threading.Event()
    told: list[mass.Tally] = []
    result: list[mass.Tally] = []

    with connected(cluster.scheduler_address, field.store, mass.Settling(rules), stop) as found:
        settling = threading.Thread(
            target=lambda: result.append(mass.settle(areas, found.spread, told=told.append, piece_meter_days=1))
        )
        with field.store.transaction() as holder:
            # Somebody holds an area: whoever gets it waits within its transaction, and that one is killed.
            holder.execute(b"select from area where code = 'A03' for no key update")
            settling.start()
            kill_a_waiting_worker(cluster.scheduler_address, field.waiting)
        settling.join(PATIENCE_S)
    assert not settling.is_alive()
    (total,) = result
    assert total.failed == {}
    assert sum(tally.areas for tally in told) >= 6
    assert field.intervals() == wanted[0]
    assert field.balances() == wanted[1]
    assert field.one("select count(*) from dirty_day") == 0


def test_a_worker_of_another_database_settles_nothing(
    make_field: Callable[..., Field], make_cluster: Callable[..., Any], empty_dsn: str
) -> None:
    field = make_field()
    town = build_town(field, areas=1, houses=1, days=1)
    areas = mass.wanted_areas(field.store, [], DAY0, town.last)
    cluster = make_cluster({"HEADEND_DATABASE__DSN": empty_dsn}, workers=1)
    rules = Rules.of(field.settings.settlement)
    with (
        connected(cluster.scheduler_address, field.store, mass.Settling(rules), threading.Event()) as found,
        pytest.raises(ClusterError, match="another database"),
    ):
        mass.settle(areas, found.spread)
    assert field.balances() == []


def test_a_worker_without_settings_says_so(make_field: Callable[..., Field], make_cluster: Callable[..., Any]) -> None:
    field = make_field()
    town = build_town(field, areas=1, houses=1, days=1)
    areas = mass.wanted_areas(field.store, [], DAY0, town.last)
    cluster = make_cluster({}, workers=1)
    rules = Rules.of(field.settings.settlement)
    with (
        connected(cluster.scheduler_address, field.store, mass.Settling(rules), threading.Event()) as found,
        pytest.raises(ClusterError, match="no settings of its own"),
    ):
        mass.settle(areas, found.spread)


def test_told_to_stop_it_begins_nothing_more(
    make_field: Callable[..., Field], make_cluster: Callable[..., Any]
) -> None:
    field = make_field()
    town = build_town(field, areas=6, houses=1, days=2)
    cluster = make_cluster({"HEADEND_DATABASE__DSN": field.store.dsn}, workers=1)
    areas = mass.wanted_areas(field.store, [], DAY0, town.last)
    rules, stop = Rules.of(field.settings.settlement), threading.Event()
    with connected(cluster.scheduler_address, field.store, mass.Settling(rules), stop) as found:
        total = mass.settle(areas, found.spread, told=lambda _: stop.set(), piece_meter_days=1)
    assert total.stopped
    begun = field.one("select count(distinct area_id) from balance_day")
    assert 1 <= begun <= 4
    assert total.areas in {begun, begun - 1}, "the one that it was at ends with its pass"


def test_the_command_on_a_cluster(
    make_field: Callable[..., Field], make_cluster: Callable[..., Any], dsn: str, tmp_path: Path
) -> None:
    field = make_field()
    town = build_town(field, areas=3, houses=2, days=3)
    wanted = _wanted(field, town)
    config = config_of(tmp_path / "headend.toml", {"database": {"dsn": dsn}})
    cluster = make_cluster({"HEADEND_CONFIG": str(config)}, workers=1)
    days = ["--from", str(DAY0), "--to", str(town.last)]
    done = headend("settle", "--config", str(config), *days, "--cluster", cluster.scheduler_address, dsn=dsn)
    assert done.returncode == 0, done.stderr
    # The last register of all was read at a midnight, and so belongs to a fourth day, too.
    assert "12 area-days settled" in done.stdout, done.stdout
    assert (field.intervals(), field.balances()) == wanted
    assert "0 days of metering points" in headend("settle", *days, dsn=dsn).stdout, "settled again, nothing is new"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "missing port"),
        ("", "missing port"),
        ("foo://127.0.0.1:1", "unknown address scheme"),
        ("tls://127.0.0.1:1", "no certificates"),
        ("{silent}", "nobody there speaks as Dask does"),
    ],
)
def test_what_is_no_cluster(
    field: Field, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], address: str, said: str
) -> None:
    monkeypatch.setattr("headend.settlement.cluster._CONNECT_S", 0.5)
    rules = Rules.of(field.settings.settlement)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = address.format(silent=f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        with (
            pytest.raises(ClusterError, match=said),
            connected(address, field.store, mass.Settling(rules), threading.Event()),
        ):
            pytest.fail("nobody is there")
    gc.collect()
    assert "Traceback" not in capfd.readouterr().err


def test_nobody_at_that_address(field: Field) -> None:
    build_town(field, areas=1, houses=1, days=1)
    address = f"tcp://127.0.0.1:{free_port()}"
    done = headend("settle", "--from", str(DAY0), "--to", str(DAY0), "--cluster", address, dsn=field.store.dsn)
    assert done.returncode == 1
    assert f"headend: no cluster at {address}" in done.stderr
    assert "Traceback" not in done.stderr


def test_days_that_cannot_be_settled_are_refused(field: Field) -> None:
    """A row about a day that has not come would say nothing, and have all before it settled again."""
    build_town(field, areas=1, houses=1, days=1)
    for first, last, said in (
        ("2026-03-02", "9999-12-31", "the last day 9999-12-31 has not come yet"),
        ("0001-01-01", "0001-01-02", "the first day 0001-01-01 is before the calendar begins"),
        ("2026-03-03", "2026-03-02", "the last day 2026-03-02 is before the first 2026-03-03"),
    ):
        done = headend("settle", "--from", first, "--to", last, dsn=field.store.dsn)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"headend: {said}")
        assert "Traceback" not in done.stderr
    assert field.one("select count(*) from balance_day") == 0


def test_without_the_extra_it_says_what_to_install(field: Field, tmp_path: Path) -> None:
    build_town(field, areas=1, houses=1, days=1)
    (tmp_path / "distributed.py").write_text("raise ModuleNotFoundError('no', name='distributed')", encoding="utf-8")
    days = ["--from", str(DAY0), "--to", str(DAY0)]
    done = headend("settle", *days, "--cluster", "tcp://127.0.0.1:1", dsn=field.store.dsn, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "headend: --cluster needs Dask distributed: pip install 'headend[scale]'\n"
