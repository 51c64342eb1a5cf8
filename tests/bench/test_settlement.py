"""Stored readings to intervals and balances, against merely reading the same rows; and how that grows with the fleet.

Merely reading: what settlement asks of a stretch's readings, by the same queries, into numpy arrays, and nothing else.
Days before and after the measured ones are settled beforehand, as they are in a fleet that runs: else every pass would
have its neighbours settled too, which have hardly a reading. Workers take areas of their own, as several services do.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from headend.domain.calendar import LocalCalendar
from headend.settings import Settings
from headend.settlement.mass import AreaDays, Worker, pieces_of
from headend.settlement.rules import Rules
from headend.store import intervals
from headend.store.partitions import Partitions
from headend.store.pool import Store

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
FIRST = date(2026, 3, 2)
METERS = 200
"""Of one area, its own included."""
CALENDAR = LocalCalendar(ZoneInfo("Asia/Shanghai"))
AROUND = timedelta(hours=2)
"""Readings around the measured days: a fleet does not begin at midnight."""

# A household uses 0 to 390 Wh a quarter of an hour, the same whenever it is asked; its register steps by 10 Wh. The
# area's meter, the last of each area, shows 200 Wh for each of the others, which is what they use on average and 3 %.
READINGS = """
insert into register_reading (meter_id, ts, import_wh, export_wh, voltage_dv, flags, source, uncertainty_ms)
select m.meter_id, t.ts,
       case when m.meter_id %% %(meters)s = 0 then t.n * 200 * (%(meters)s - 1)
            else 10 * (t.n * 19 + (hashint4(m.meter_id * 1000 + t.n) & 15)) end,
       0, 2250 + (hashint4(m.meter_id + t.n) & 127), 0, 3, 0
from (select generate_series(%(from)s::integer, %(to)s::integer) as meter_id) m
cross join (select n, %(start)s::timestamptz + n * interval '15 minutes' as ts
            from generate_series(0, %(quarters)s) n) t
order by (t.ts at time zone 'UTC')::date, m.meter_id, t.ts
"""


@dataclass(frozen=True)
class Fleet:
    """Areas with readings of some days."""

    store: Store
    areas: int
    meters: int
    days: int

    @property
    def last(self) -> date:
        return FIRST + timedelta(days=self.days - 1)

    @property
    def intervals(self) -> int:
        """That are measured: of every meter."""
        return self.areas * self.meters * self.days * 96

    def fill(self) -> None:
        start, end = CALENDAR.bounds(FIRST)[0] - AROUND, CALENDAR.bounds(self.last)[1] + AROUND
        utc_days = {(start + timedelta(days=n)).date() for n in range((end - start).days + 2)}
        Partitions().ensure(self.store, utc_days)
        quarters = int((end - start) / timedelta(minutes=15))
        at_once = max(1, 1_000_000 // quarters)
        count = self.areas * self.meters
        for first in range(1, count + 1, at_once):
            values = {"from": first, "to": min(first + at_once - 1, count), "start": start, "quarters": quarters}
            with self.store.transaction() as connection:
                connection.execute(READINGS.encode(), values | {"meters": self.meters})
        self.run("vacuum analyze")

    def run(self, statement: str) -> None:
        """Outside a transaction."""
        with psycopg.connect(self.store.dsn, autocommit=True) as connection:
            connection.execute(statement.encode())

    def forget(self) -> None:
        """As though the measured days had not been settled yet."""
        for table in ("interval_day", "balance_day"):
            self.run(f"delete from {table} where day between '{FIRST}' and '{self.last}'")
        self.run("vacuum analyze interval_day, balance_day")


@dataclass(frozen=True)
class Spent:
    """What some processes took for something together."""

    wall_s: float
    python_s: float
    postgres_s: float
    grown_mb: float
    """The largest: how far its memory rose above what it held before."""
    rows: int

    def told(self, count: int) -> str:
        """CPU time of each part."""
        python_ns, postgres_ns = self.python_s / count * 1e9, self.postgres_s / count * 1e9
        return f"CPU ns each: Python {python_ns:.0f}, PostgreSQL {postgres_ns:.0f}"


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _held_mb(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def by_workers(fleet: Fleet, workers: int, task: Callable[[Store, Sequence[int]], int]) -> Spent:
    """Have so many processes do a task, each on areas of its own; from when all are ready until the last is done."""
    context = multiprocessing.get_context("fork")
    ready, answers = context.Barrier(workers + 1), context.SimpleQueue()

    def work(own: range) -> None:
        gc.freeze()  # as processes that settle do
        with Store(fleet.store.dsn, pool_max=1) as store:
            with store.transaction() as connection:
                backend = connection.info.backend_pid
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew, proc_pid_clear_refs(5)
            before, python_s, postgres_s = _held_mb("VmRSS"), time.process_time(), _cpu_s(backend)
            ready.wait()
            rows = task(store, own)
            answers.put(
                (time.process_time() - python_s, _cpu_s(backend) - postgres_s, _held_mb("VmHWM") - before, rows)
            )

    areas = [range(n + 1, fleet.areas + 1, workers) for n in range(workers)]
    children = [context.Process(target=work, args=(own,), daemon=True) for own in areas]
    for child in children:
        child.start()
    ready.wait(60)
    started = time.perf_counter()
    found = [answers.get() for _ in children]
    wall_s = time.perf_counter() - started
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    python, postgres, grown, rows = zip(*found, strict=True)
    return Spent(wall_s, sum(python), sum(postgres), max(grown), sum(rows))


def settled(fleet: Fleet, workers: int, *, around: int = 0) -> Spent:
    """Settle the fleet's days, and so many on both sides; rows are the intervals that were settled."""
    after = CALENDAR.bounds(fleet.last + timedelta(days=around))[1]
    first, last = FIRST - timedelta(days=around), fleet.last + timedelta(days=around)
    settings = Settings(database={"dsn": fleet.store.dsn})
    rules = Rules.of(settings.settlement, settings.validation)

    def task(store: Store, areas: Sequence[int]) -> int:
        worker = Worker(store=store, rules=rules, clock=lambda: after)
        wanted = [(AreaDays(area, f"A{area}", ((first, last),)), fleet.meters) for area in areas]
        tallies = list(worker.spread(pieces_of(wanted)))
        assert not any(tally.failed for tally in tallies)
        return sum(tally.intervals for tally in tallies)

    return by_workers(fleet, workers, task)


def read(fleet: Fleet, workers: int) -> Spent:
    """Read the readings that settling the days takes."""
    margin = timedelta(seconds=5)
    start, end = CALENDAR.bounds(FIRST)[0] - margin, CALENDAR.bounds(fleet.last)[1] + margin

    def task(store: Store, areas: Sequence[int]) -> int:
        count = 0
        for area in areas:
            with store.transaction() as connection:
                meters = range((area - 1) * fleet.meters + 1, area * fleet.meters + 1)
                count += intervals.readings(connection, meters, start, end).rows.ts_us.size
        return count

    return by_workers(fleet, workers, task)


@pytest.fixture
def fleet(databases: Any, neighbourhood: Callable[..., None]) -> Any:
    """fleet(areas, meters of each, days) fills a database of its own."""
    opened: list[Any] = []

    def make(areas: int, meters: int, days: int) -> Fleet:
        opened.append(databases.fresh(f"settlement_{len(opened)}"))
        store = opened[-1].__enter__()
        neighbourhood(store, areas=areas, meters=meters)
        made = Fleet(store, areas, meters, days)
        made.fill()
        return made

    yield make
    for context in reversed(opened):
        context.__exit__(None, None, None)


def test_settled_intervals(fleet: Any, kit: Any, report: Any) -> None:
    week = fleet(kit.scaled(20, least=2), METERS, 7)
    settled(week, 2, around=1)
    reading = {}
    for workers, said in ((1, "by_one"), (2, "by_two")):
        read(week, workers)
        reading[workers] = read(week, workers)
        report(
            f"readings_read_{said}", reading[workers].rows / reading[workers].wall_s, "rows/s", n=reading[workers].rows
        )
    for workers, said in ((1, "by_one"), (2, "by_two")):
        week.forget()
        spent = settled(week, workers)
        assert spent.rows == week.intervals, "each once, and nothing else"
        rate, base = week.intervals / spent.wall_s, reading[workers].rows / reading[workers].wall_s
        report(
            f"intervals_settled_and_balanced_{said}", rate, "intervals/s",
            ratio_to={f"readings_read_{said}": rate / base}, n=week.intervals,
        )  # fmt: skip
        print(
            f"\n  {spent.told(week.intervals)}; merely reading: {reading[workers].told(reading[workers].rows)}", end=""
        )
    stored = week.store.rows(b"select count(*) as n from balance_day where state <> 'not_computable'")
    assert stored[0]["n"] >= week.areas * week.days
    again = settled(week, 2)
    report("intervals_settled_again_unchanged_by_two", week.intervals / again.wall_s, "intervals/s", n=week.intervals)
    sizes = week.store.rows(
        b"select pg_total_relation_size('interval_day')::float8 / (select count(*) from interval_day) as row_bytes"
    )
    report("interval_day", sizes[0]["row_bytes"], "bytes/row", n=week.areas * METERS * (week.days + 2))


def test_one_day_of_a_growing_fleet(fleet: Any, kit: Any, report: Any) -> None:
    """HEADEND_BENCH_SCALE=10 makes the larger fleet a million meters (some 15 GB)."""
    rates: dict[int, float] = {}
    for meters in (kit.scaled(10_000) if kit.SCALE < 1 else 10_000, kit.scaled(100_000)):
        day = fleet(max(2, meters // METERS), METERS, 1)
        settled(day, 2, around=1)
        day.forget()
        base = read(day, 2)
        spent = settled(day, 2)
        assert spent.rows == day.intervals
        rates[meters] = day.intervals / spent.wall_s
        report(
            f"day_of_{meters}_meters_settled", rates[meters], "intervals/s",
            ratio_to={
                "readings_read_by_two": rates[meters] / (base.rows / base.wall_s),
                "smallest_fleet": rates[meters] / min(rates.items())[1],
            },
            n=day.intervals,
        )  # fmt: skip
        report(f"day_of_{meters}_meters_worker_memory_grown", spent.grown_mb, "MB", n=day.intervals)
        print(f"\n  {spent.told(day.intervals)}; merely reading: {base.told(base.rows)}", end="")


def test_memory_is_bounded_by_the_area(fleet: Any, kit: Any, report: Any) -> None:
    month = fleet(1, kit.scaled(600, least=60), 31)
    spent = settled(month, 1)
    report("large_area_of_31_days_memory_grown", spent.grown_mb, "MB", n=month.intervals)
    highest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"\n  {spent.told(month.intervals)}; the largest process of all held {highest:.0f} MB", end="")
