"""Several settling workers at once: areas that share a point, a worker that dies, an area that cannot be settled."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from headend.settlement import mass, service
from headend.settlement.processes import Processes
from headend.settlement.rules import Rules
from headend.settlement.service import SettlementService
from headend.settlement.settler import DAYS_A_PASS
from headend.store import dirty
from headend.store.errors import StoreRefused
from headend.store.pool import Store
from support.command import HEADEND, environment
from support.field import DAY0, T0, Field, assert_same_rows
from support.town import build_town, forget_settled
from support.waiting import PATIENCE_S, until
from support.workers import config_of

WORKING = (
    "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and state = "
    "'active' and wait_event_type is distinct from 'Client'"
)
"""Statements that the server works on; one that waits until its client sends or takes something is not among them."""
LATER = T0 + timedelta(days=40)


def _later() -> Any:
    """A clock that child processes can be given."""
    return LATER


def _assert_settled(field: Field, wanted: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    for found, rows in zip((field.intervals(), field.balances()), wanted, strict=True):
        assert_same_rows(found, rows)


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _settle_all(field: Field, store: Store | None = None) -> None:
    worker = SettlementService(store or field.store, field.settings, _later)
    while worker.settle_next() is not None:
        pass


def test_areas_that_share_a_point_are_one_workers_at_a_time(make_field: Callable[..., Field]) -> None:
    """Both would write the rows of a point that moved."""
    field = make_field()
    one, two, other = field.area("A1"), field.area("A2"), field.area("A3")
    noon = T0 + timedelta(hours=12)
    moved = field.point(one, "moved", until=noon)
    field.run(
        "insert into area_membership (usage_point_id, area_id, valid_from) values (%s, %s, %s)", [moved, two, noon]
    )
    with field.store.transaction() as first, field.store.transaction() as second:
        assert dirty.try_area(first, one) == "A1"
        assert dirty.try_area(second, two) is None
        assert dirty.try_area(second, other) == "A3"
        with field.store.transaction() as third:
            # What the second one tried and did not get it does not hold either.
            third.execute(b"select from area where code = 'A2' for key share nowait")
            assert dirty.try_area(third, two) is None
    with field.store.transaction() as third:
        assert dirty.try_area(third, two) == "A2"


def test_a_mark_that_is_renewed_while_its_day_is_settled_is_not_waited_for(field: Field) -> None:
    """Readings come in a transaction of their own; whoever settles holds marks that they may want next."""
    area = field.area()
    field.mark(area, [DAY0])
    with field.store.transaction() as settling, field.store.transaction() as reading:
        taken = dirty.marks(settling, area, dirty.Ripe.now(T0), 31)
        reading.execute(b"update dirty_day set marked_at = marked_at + interval '1 second'")
        settling.execute(b"set local lock_timeout = '5s'")
        assert dirty.clear(settling, area, taken) == 0
    assert field.one("select count(*) from dirty_day") == 1


def test_an_edit_or_a_change_renews_a_mark_that_is_being_settled(field: Field) -> None:
    area = field.area()
    point = field.point(area, "p")
    field.mark(area, [DAY0])
    for renew in (
        lambda c: dirty.mark_points(c, [point], [DAY0], zone=str(field.zone), marked_at=T0 - timedelta(days=9)),
        lambda c: dirty.mark_area(c, area, DAY0, DAY0, T0 - timedelta(days=9)),
    ):
        with field.store.transaction() as settling:
            taken = dirty.marks(settling, area, dirty.Ripe.now(T0), 31)
            with field.store.transaction() as editing:
                assert renew(editing) == 1
            assert dirty.clear(settling, area, taken) == 0
        assert field.one("select count(*) from dirty_day") == 1


def test_a_mark_tells_since_when_it_waits_however_often_it_is_renewed(field: Field) -> None:
    area = field.area()
    point = field.point(area, "p")
    waits = "select coalesce(since, marked_at) from dirty_day"
    for minute in range(3):
        with field.store.transaction() as c:
            dirty.mark_points(c, [point], [DAY0], zone=str(field.zone), marked_at=T0 + timedelta(minutes=minute))
    assert field.one(waits) == T0
    with field.store.transaction() as settling:
        taken = dirty.marks(settling, area, dirty.Ripe.now(LATER), 31)
        with field.store.transaction() as c:
            dirty.mark_points(c, [point], [DAY0], zone=str(field.zone), marked_at=T0 + timedelta(minutes=7))
        dirty.clear(settling, area, taken)
    assert field.one(waits) == T0 + timedelta(minutes=7), "it was settled meanwhile: that is what it waits for now"


def test_workers_and_readings_at_once_neither_deadlock_nor_differ(make_field: Callable[..., Field]) -> None:
    """Four workers over areas in a ring whose houses moved from each to the next, while marks come as readings bring
    them.
    """
    field = make_field()
    town = build_town(field, areas=4, houses=4, days=10, moved=2)
    days = _days(DAY0, town.last)
    for area in town.areas.values():
        field.mark(area, days)
    _settle_all(field)
    wanted = field.intervals(), field.balances()
    forget_settled(field)

    failures: list[BaseException] = []
    stop = threading.Event()

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 it fails the test below
                failures.append(error)

        return threading.Thread(target=run)

    def settle() -> None:
        with Store(field.store.dsn, pool_max=2) as store:
            while not stop.is_set():
                _settle_all(field, store)
                time.sleep(0.01)

    def mark(seed: int) -> None:
        choose = random.Random(seed)
        with Store(field.store.dsn, pool_max=2) as store:
            for _ in range(60):
                pairs = sorted({(choose.choice(list(town.areas.values())), choose.choice(days)) for _ in range(12)})
                with store.transaction() as c:
                    c.execute(
                        b"insert into dirty_day as d (area_id, day, marked_at) "
                        b"select a, d, %s from unnest(%s::int[], %s::date[]) as t (a, d) order by 1, 2 "
                        b"on conflict (area_id, day) do update set marked_at = d.marked_at + interval '1 microsecond'",
                        [T0, [a for a, _ in pairs], [d for _, d in pairs]],
                    )
                time.sleep(choose.random() / 50)

    workers = [guarded(settle) for _ in range(4)]
    readers = [guarded(lambda seed=seed: mark(seed)) for seed in (1, 2)]  # type: ignore[misc]
    for thread in (*workers, *readers):
        thread.start()
    for thread in readers:
        thread.join()
    until(lambda: failures or field.one("select count(*) from dirty_day") == 0, "all is settled")
    stop.set()
    for thread in workers:
        thread.join()
    assert failures == []
    assert field.one("select deadlocks from pg_stat_database where datname = current_database()") == 0
    _assert_settled(field, wanted)


@pytest.fixture
def processes(dsn: str, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """`headend run --roles settle` as a user starts it."""
    running: list[subprocess.Popen[bytes]] = []
    config = config_of(tmp_path / "headend.toml", {"database": {"dsn": dsn}, "settlement": {"quiet_s": 0}})

    def start(name: str, *options: str) -> subprocess.Popen[bytes]:
        ready = tmp_path / f"{name}.ready"
        command = [*HEADEND, "run", "--roles", "settle", "--config", str(config)]
        with (tmp_path / f"{name}.log").open("ab") as log:
            running.append(
                subprocess.Popen(
                    [*command, "--ready-file", str(ready), *options], env=environment(), stdout=log, stderr=log
                )
            )
        process = running[-1]
        until(lambda: ready.exists() or process.poll() is not None, f"{name} is ready")
        assert process.poll() is None, (tmp_path / f"{name}.log").read_text()
        return process

    yield start
    for process in running:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGCONT)
            process.terminate()
            process.wait(PATIENCE_S)


def _held(field: Field, code: str) -> bool:
    """Whether a worker has the area just now."""
    with field.store.transaction() as c:
        return c.execute(b"select from area where code = %s for no key update skip locked", [code]).fetchone() is None


def test_a_killed_workers_area_is_taken_by_another(
    make_field: Callable[..., Field], processes: Callable[..., subprocess.Popen[bytes]]
) -> None:
    field = make_field()
    town = build_town(field, areas=1, houses=12, days=20)
    days = _days(DAY0, town.last)
    rules = Rules.of(field.settings.settlement)
    mass.settle(
        mass.wanted_areas(field.store, [], DAY0, town.last),
        mass.Worker(store=field.store, rules=rules, clock=_later).spread,
    )
    wanted = field.intervals()
    forget_settled(field)
    victim = processes("victim")
    deadline = time.monotonic() + PATIENCE_S
    while True:  # until it is stopped with the area in its hand
        field.mark(town.areas["A01"], days)
        until(lambda: _held(field, "A01") or not field.one("select count(*) from dirty_day"), "it is at work")
        os.kill(victim.pid, signal.SIGSTOP)
        until(lambda: field.one(WORKING) == 0, "the server has done what it was asked for last")
        if _held(field, "A01"):
            break
        os.kill(victim.pid, signal.SIGCONT)
        assert time.monotonic() < deadline
    processes("other")
    assert _held(field, "A01"), "the other one leaves it alone"
    settled = field.one("select count(*) from balance_day")
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    until(lambda: field.one("select count(*) from dirty_day") == 0, "the other one settles it")
    assert field.one("select count(*) from balance_day") >= max(settled, len(days))
    assert_same_rows(field.intervals(), wanted)


def test_one_command_runs_several_workers_and_replaces_a_dead_one(
    make_field: Callable[..., Field], processes: Callable[..., subprocess.Popen[bytes]]
) -> None:
    field = make_field()
    town = build_town(field, areas=3, houses=2, days=4)
    house = processes("house", "--workers", "2")
    children = until(lambda: _children(house.pid, 2), "two workers")
    os.kill(children[0], signal.SIGKILL)
    for area in town.areas.values():
        field.mark(area, _days(DAY0, town.last))
    until(lambda: field.one("select count(*) from dirty_day") == 0, "the other one settles it all")
    assert field.one("select count(distinct area_id) from balance_day") == 3
    until(lambda: set(_children(house.pid, 2)) - set(children), "another one was started")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _children(pid: int, count: int) -> list[int]:
    found = [int(c) for t in Path(f"/proc/{pid}/task").iterdir() for c in (t / "children").read_text().split()]
    return found if len(found) >= count else []


def test_an_area_that_cannot_be_settled_stops_no_other_one(
    make_field: Callable[..., Field], monkeypatch: pytest.MonkeyPatch
) -> None:
    field = make_field()
    town = build_town(field, areas=3, houses=1, days=2)
    for n, area in enumerate(town.areas.values()):
        field.mark(area, _days(DAY0, town.last), at=T0 + timedelta(minutes=n))
    real = service.settle_marked
    bad = town.areas["A01"]
    tries: list[int] = []

    def spoilt(connection: Any, area_id: int, *rest: Any) -> Any:
        if area_id == bad:
            tries.append(area_id)
            raise StoreRefused("a number that no column takes")
        return real(connection, area_id, *rest)

    monkeypatch.setattr(service, "settle_marked", spoilt)
    now = [LATER]
    worker = SettlementService(field.store, field.settings, lambda: now[0])
    while worker.settle_next() is not None:
        pass
    assert {r["area_id"] for r in field.rows("select distinct area_id from balance_day")} == set(
        town.areas.values()
    ) - {bad}
    assert worker.health()["areas_put_aside"] == 1
    assert tries == [bad], "it is left alone for a while"
    monkeypatch.setattr(service, "settle_marked", real)
    now[0] += timedelta(seconds=2)
    while worker.settle_next() is not None:
        pass
    assert field.one("select count(distinct area_id) from balance_day") == 3
    assert worker.health()["areas_put_aside"] == 0


def test_a_year_of_one_areas_history_does_not_hold_up_the_running_day(make_field: Callable[..., Field]) -> None:
    field = make_field()
    old, new = field.area("OLD"), field.area("NEW")
    today = DAY0 + timedelta(days=400)
    now = T0 + timedelta(days=400, hours=12)
    field.mark(old, _days(DAY0, DAY0 + timedelta(days=364)), at=now - timedelta(hours=5))
    worker = SettlementService(field.store, field.settings, lambda: now)
    order: list[tuple[int, date]] = []
    for _ in range(40):
        # The running day is touched all the time, and everywhere.
        field.mark(new, [today], at=now - timedelta(minutes=1))
        before = {(r["area_id"], r["day"]) for r in field.rows("select area_id, day from dirty_day")}
        if worker.settle_next() is None:
            break
        gone = before - {(r["area_id"], r["day"]) for r in field.rows("select area_id, day from dirty_day")}
        order.append(min(gone))
    assert (new, today) in order[:2], "though the history has waited for longer"
    assert field.one("select count(*) from dirty_day where area_id = %s", [old]) < 365, "history gets its share"


def test_a_killed_process_of_a_mass_settlement_costs_nothing(make_field: Callable[..., Field]) -> None:
    field = make_field()
    town = build_town(field, areas=4, houses=4, days=6)
    rules = Rules.of(field.settings.settlement)
    areas = mass.wanted_areas(field.store, [], DAY0, town.last)
    mass.settle(areas, mass.Worker(store=field.store, rules=rules, clock=_later).spread)
    wanted = field.intervals(), field.balances()
    forget_settled(field)
    stop = threading.Event()
    shared = Processes(count=2, database=field.settings.database, work=mass.Settling(rules), clock=_later, stop=stop)
    result: list[mass.Tally] = []
    settling = threading.Thread(target=lambda: result.append(mass.settle(areas, shared.spread, piece_meter_days=1)))
    with field.store.transaction() as holder:
        holder.execute(b"select from area where code = 'A02' for no key update")
        settling.start()
        until(lambda: field.waiting() >= 1, "one of them waits for the area")
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
    settling.join(PATIENCE_S)
    (total,) = result
    assert (total.failed, total.stopped) == ({}, False)
    _assert_settled(field, wanted)


SETTLE = """
import sys, threading
from datetime import date
from headend.domain.clock import system_clock
from headend.settings import Settings
from headend.settlement import mass
from headend.settlement.processes import Processes
from headend.settlement.rules import Rules
from headend.store.pool import Store
settings = Settings(database={"dsn": sys.argv[1]})
rules = Rules.of(settings.settlement)
with Store(sys.argv[1], pool_max=1) as store:
    areas = mass.wanted_areas(store, [], *map(date.fromisoformat, sys.argv[2:]))
work, stop = mass.Settling(rules), threading.Event()
shared = Processes(count=2, database=settings.database, work=work, clock=system_clock, stop=stop)
mass.settle(areas, shared.spread, piece_meter_days=1)
"""


def test_its_processes_end_with_a_mass_settlement_that_is_killed(make_field: Callable[..., Field], dsn: str) -> None:
    field = make_field()
    town = build_town(field, areas=3, houses=1, days=2)
    with field.store.transaction() as holder:
        holder.execute(b"select from area for no key update")
        settling = subprocess.Popen([sys.executable, "-c", SETTLE, dsn, str(DAY0), str(town.last)], env=environment())
        until(lambda: field.waiting() == 2, "both processes wait for an area")
        theirs = _children(settling.pid, 2)
        settling.kill()
        settling.wait()
        until(lambda: not any(map(_alive, theirs)), "they are gone, though nobody let go of the areas")
    assert field.one("select count(*) from balance_day") == 0


def test_ctrl_c_ends_after_the_pass_in_hand_and_says_what_was_done(make_field: Callable[..., Field], dsn: str) -> None:
    field = make_field()
    town = build_town(field, areas=5, houses=8, days=31)
    first = town.last - timedelta(days=DAYS_A_PASS + 8)  # more than one pass each
    with field.store.transaction() as holder:
        # It is at the third area when it is told to stop, and waits for it within its transaction.
        holder.execute(b"select from area where code = 'A03' for no key update")
        settling = subprocess.Popen(
            [*HEADEND, "settle", "--workers", "1", "--from", str(first), "--to", str(town.last)],
            env=environment(HEADEND_DATABASE__DSN=dsn),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: field.waiting() >= 1, "it waits for the area")
        settling.send_signal(signal.SIGINT)  # taken before its statement comes back: it sleeps in the kernel
    out, err = settling.communicate(timeout=PATIENCE_S)
    assert settling.returncode == 130, err
    assert "stopped: 2 of 5 areas are done" in err
    counted = "select a.code, count(*) as days from balance_day join area a using (area_id) group by 1 order by 1"
    done = field.rows(counted)
    assert [row["code"] for row in done] == ["A01", "A02", "A03"]
    assert done[2]["days"] == DAYS_A_PASS, "the pass in hand was finished"
    assert f"{sum(row['days'] for row in done)} area-days settled" in out
