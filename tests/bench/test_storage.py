"""What a stored reading costs: bytes by column once its day is compressed, and work per reading as history grows.

On a server of our own (plain PostgreSQL) and, where HEADEND_TEST_DSN names a TimescaleDB, there too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from drivers.base import PHASE_DTYPE, READING_DTYPE, MeterIdentity, ReadingBatch, Source, empty
from headend.domain.calendar import to_us
from headend.ingest.item import Item
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store import chunks, intervals, partitions, readings, views
from headend.store.migrate import migrate
from headend.store.partitions import Partitions
from headend.store.pool import Store

pytestmark = pytest.mark.bench
NOTHING = empty(PHASE_DTYPE, 0)
QUARTER_US = 900_000_000
FIRST = datetime(2026, 3, 1, tzinfo=UTC)


@contextmanager
def fresh(server_dsn: str, name: str) -> Iterator[Store]:
    """An open store of one connection on a database of its own, dropped afterwards."""
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)'.encode())
        connection.execute(f'create database "{name}"'.encode())
        try:
            dsn = make_conninfo(server_dsn, dbname=name)
            migrate(dsn)
            with Store(dsn, pool_max=1) as store:
                yield store
        finally:
            connection.execute(f'drop database "{name}" with (force)'.encode())


@pytest.fixture
def timescale_dsn() -> str:
    given = os.environ.get("HEADEND_TEST_DSN")
    if given is None:
        pytest.skip("needs a TimescaleDB: HEADEND_TEST_DSN")
    with psycopg.connect(given) as connection:
        offered = connection.execute("select 1 from pg_available_extensions where name = 'timescaledb'").fetchone()
        if offered is None:
            pytest.skip("HEADEND_TEST_DSN names no TimescaleDB")
    return given


# --- bytes ---


def households(meters: int, days: int, rng: np.random.Generator, *, polled: bool = False) -> npt.NDArray[Any]:
    """Quarter-hourly registers in steps of 10 Wh, voltage in 0.1 V, as they arrive: in order of time.

    A load with morning and evening peaks and appliances by chance, 7 kWh a day (log-normal); 1 of 20 feeds in, half of
    the others have no export register at all. Voltage: the feeder's slow swing, each house's drop, 0.6 V of noise.
    Frozen registers stand on the grid; polled ones are up to 1 s late, to the millisecond.
    """
    n = days * 96
    hour = np.arange(n) % 96 / 4
    shape = 0.25 + 0.5 * np.exp(-(((hour - 7.5) / 1.5) ** 2)) + 1.2 * np.exp(-(((hour - 19.5) / 2.5) ** 2))
    mean_wh = rng.lognormal(np.log(7000), 0.6, meters) / shape.mean() / 96
    energy = mean_wh[:, None] * shape * rng.gamma(2.0, 0.5, (meters, n))
    energy += (rng.random((meters, n)) < 0.04) * rng.uniform(100, 500, (meters, n))
    feeds = rng.random(meters) < 0.05
    sun = np.clip(np.sin((hour - 6) / 12 * np.pi), 0, None) * rng.uniform(0.3, 1, (meters, n)) * 800
    swing = np.zeros(n)
    for i in range(1, n):
        swing[i] = 0.9 * swing[i - 1] + rng.normal(0, 0.8)
    voltage_v = 230 + swing + rng.normal(0, 2, (meters, 1)) - energy * 0.006 + rng.normal(0, 0.6, (meters, n))
    rows = empty(READING_DTYPE, meters * n)
    rows["meter"] = np.tile(np.arange(1, meters + 1), n)
    rows["ts_us"] = np.repeat(to_us(FIRST) + np.arange(n) * QUARTER_US, meters)
    rows["import_wh"] = ((energy.cumsum(axis=1) + rng.uniform(1e5, 2e7, (meters, 1))) // 10 * 10).T.ravel()
    export = np.where(feeds[:, None], (sun.cumsum(axis=1) // 10 * 10).astype(np.int64), 0)
    export[~feeds & (rng.random(meters) < 0.5)] = np.iinfo(np.int64).min
    rows["export_wh"] = export.T.ravel()
    rows["voltage_dv"] = (voltage_v * 10).round().T.ravel()
    rows["flags"] = rng.random(rows.size) < 0.002
    rows["source"], rows["resolution_wh"] = Source.CONCENTRATOR, 10
    if polled:
        rows["source"], rows["uncertainty_ms"] = Source.MODBUS, 50
        rows["ts_us"] += rng.integers(0, 1000, rows.size) * 1000
    return rows


PACKED = """
select format('%I.%I', k.schema_name, k.table_name), c.range_end - c.range_start,
       pg_relation_size(format('%I.%I', k.schema_name, k.table_name)::regclass),
       pg_indexes_size(format('%I.%I', k.schema_name, k.table_name)::regclass),
       pg_total_relation_size(format('%I.%I', k.schema_name, k.table_name)::regclass)
       + pg_total_relation_size(format('%I.%I', u.schema_name, u.table_name)::regclass)
from _timescaledb_catalog.chunk u
join _timescaledb_catalog.chunk k on k.id = u.compressed_chunk_id
join timescaledb_information.chunks c on c.chunk_schema = u.schema_name and c.chunk_name = u.table_name
where c.hypertable_name = 'register_reading' order by c.range_start
"""


def packed_bytes(connection: psycopg.Connection[Any], days: int, rows_a_day: int) -> dict[str, float]:
    """Bytes per reading of the first chunk of so many days: all of it, its parts, and every column (as stored)."""
    (name, _, heap, index, total), *_ = [
        found for found in connection.execute(PACKED.encode()).fetchall() if found[1] == timedelta(days=days)
    ]
    names = connection.execute(
        b"select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped", [name]
    ).fetchall()
    sums = ", ".join(f'coalesce(sum(pg_column_size("{column}")), 0)' for (column,) in names)
    sizes = connection.execute(f"select {sums} from {name}".encode()).fetchone()
    assert sizes is not None
    count = days * rows_a_day
    of = {column: int(size) / count for (column,), size in zip(names, sizes, strict=True)}
    batch = sum(size for column, size in of.items() if column.startswith("_ts_meta"))
    found = {column: size for column, size in of.items() if not column.startswith("_ts_meta")}
    found |= {"batch's own columns": batch, "index": index / count}
    found["tuple headers, page room, TOAST"] = total / count - sum(found.values())
    return {"": total / count, "heap": heap / count} | found


def test_bytes_per_reading(timescale_dsn: str, kit: Any, report: Any) -> None:
    meters = kit.scaled(2000, least=50)
    for way, polled in (("frozen", False), ("polled", True)):
        rows = households(meters, 8, np.random.default_rng(kit.SEED), polled=polled)
        with fresh(timescale_dsn, "headend_bench_bytes") as store:
            for start in range(0, rows.size, 200_000):
                with store.transaction() as connection:
                    readings.append(connection, rows[start : start + 200_000], NOTHING)
            with store.transaction() as connection:
                (before,) = connection.execute(b"select hypertable_size('register_reading')").fetchone() or (0,)
            began = time.process_time(), time.perf_counter()
            chunks.pack(store, FIRST + timedelta(days=8), lambda: True)
            seconds = time.perf_counter() - began[1]
            with store.transaction() as connection:
                week = packed_bytes(connection, 7, meters * 96)
                day = packed_bytes(connection, 1, meters * 96)
        as_rows = before / rows.size
        for column, size in week.items():
            report(
                f"{way}_reading_bytes" + (f": {column}" if column else ""),
                size,
                "B",
                ratio_to={"a day a batch": size / day[column] if day[column] else 1.0}
                | ({} if column else {"rows": size / as_rows}),
                n=rows.size,
            )
        report(f"{way}_reading_bytes_as_row", as_rows, "B", n=rows.size)
        report(f"{way}_readings_compressed", rows.size / seconds, "rows/s", n=rows.size)
        if not polled:
            assert week[""] <= 6


# --- cost as history grows ---

AREAS, METERS = 250, 200
FLEET = AREAS * METERS
"""50,000 meters: a day of 4.8 million readings, 10^8 of them in three weeks."""
NOW_DAY = datetime(2026, 6, 15, tzinfo=UTC)


@dataclass
class Grown:
    """A history that grows at both ends: whole days before today, and today's quarter-hours."""

    store: Store
    native: bool
    rows: int = 0
    days: int = 0
    quarters: int = 0

    def until(self, rows: int) -> None:
        """Preload as many rows, by the server itself: today's first quarter-hours first, then yesterday and on."""
        while self.rows + FLEET <= rows and self.quarters < 20:
            self._today(1)
        days = (rows - self.rows) // (FLEET * 96)
        if days > 0:
            self._days(days)
        rest = min((rows - self.rows) // FLEET, 60 - self.quarters)
        if rest > 0:
            self._today(rest)

    def _today(self, quarters: int) -> None:
        """In the order in which they come: all meters, quarter-hour by quarter-hour."""
        Partitions().ensure(self.store, [NOW_DAY.date()])
        with self.store.transaction() as connection:
            connection.execute(
                LOAD.replace("%ORDER%", "q, m").encode(),
                [NOW_DAY, self.quarters, self.quarters + quarters - 1],
            )
        self.quarters += quarters
        self.rows += quarters * FLEET

    def _days(self, days: int) -> None:
        wanted = [NOW_DAY - timedelta(days=self.days + n + 1) for n in range(days)]
        Partitions().ensure(self.store, [day.date() for day in wanted])
        with ThreadPoolExecutor(2) as two:
            for pair in (wanted[n : n + 4] for n in range(0, len(wanted), 4)):
                list(two.map(self._day, pair))
                if not self.native:
                    chunks.pack(self.store, NOW_DAY - timedelta(days=7), lambda: True)
        self.days += days
        self.rows += days * 96 * FLEET

    def _day(self, day: datetime) -> None:
        with psycopg.connect(self.store.dsn) as connection:
            connection.execute(b"set synchronous_commit to off")
            connection.execute(LOAD.replace("%ORDER%", "m, q").encode(), [day, 0, 95])


LOAD = f"""
insert into register_reading (meter_id, ts, import_wh, export_wh, voltage_dv, flags, source, uncertainty_ms,
                              resolution_wh)
select m, d.day + q * interval '15 min',
       m * 1000000::bigint + extract(epoch from d.day - timestamptz '2026-01-01')::bigint / 900 * 50 + q * 50
       + m * q %% 7 * 10,
       0, 2300 + (m * 7 + q * 13) %% 50, 0, 3, 0, 10
from (select %s::timestamptz as day) d, generate_series(1, {FLEET}) m, generate_series(%s::integer, %s::integer) q
order by %ORDER%
"""


def backend_cpu_s(store: Store) -> Callable[[], float]:
    """CPU seconds of the store's one backend so far; needs the server on this machine."""
    with store.transaction() as connection:
        pid = connection.info.backend_pid
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        pytest.skip("needs a server on this machine: the CPU time of its backend is what is compared")
    tick = os.sysconf("SC_CLK_TCK")

    def seconds() -> float:
        fields = stat.read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / tick

    return seconds


def batch_of_quarter(first: int, quarter: int, names: tuple[MeterIdentity, ...]) -> Item:
    """10,000 meters' readings of one quarter-hour of today, as one message brings them."""
    rows = empty(READING_DTYPE, len(names))
    rows["meter"] = np.arange(rows.size)
    rows["ts_us"] = to_us(NOW_DAY) + quarter * QUARTER_US
    rows["import_wh"] = (first + 1 + rows["meter"].astype(np.int64)) * 1_000_000 + 300_000_000 + quarter * 50
    rows["voltage_dv"], rows["source"], rows["resolution_wh"] = 2310, Source.CONCENTRATOR, 10
    return Item(
        channel="mqtt", origin="bench", received_us=to_us(NOW_DAY), payload=b"", batch=ReadingBatch(names, rows)
    )


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["plain", "timescale"])
def test_cost_per_reading_as_history_grows(
    kind: str, request: pytest.FixtureRequest, kit: Any, neighbourhood: Callable[..., None], report: Any
) -> None:
    server: str = (
        request.getfixturevalue("timescale_dsn")
        if kind == "timescale"
        else request.getfixturevalue("databases").server.dsn
    )
    sizes = [size for size in (10**5, 10**6, 10**7, 10**8) if size <= 10**8 * kit.SCALE]
    assert len(sizes) > 1, "nothing to compare at this scale"
    batches = [
        tuple(MeterIdentity("Acme", str(m)) for m in range(first + 1, first + 10_001))
        for first in range(0, FLEET, 10_000)
    ]
    found: list[dict[str, float]] = []
    with fresh(server, "headend_bench_growth") as store:
        neighbourhood(store, areas=AREAS, meters=METERS)
        with store.transaction() as connection:
            grown = Grown(store, partitions.is_native(connection))
        assert grown.native is (kind == "plain")
        probe_day(store)
        settings = Settings(database={"dsn": store.dsn})
        cpu_s = backend_cpu_s(store)
        for size in sizes:
            began = time.perf_counter()
            grown.until(size)
            with store.transaction() as connection:
                connection.execute(b"checkpoint")  # the preload's, so that it is not paid for by what is measured
            preloaded_s = time.perf_counter() - began
            writer = ReadingWriter(store, settings, lambda: NOW_DAY + timedelta(days=1))
            spent: list[tuple[float, float]] = []
            for quarter in range(grown.quarters, grown.quarters + 4):
                for number, names in enumerate(batches):
                    item = batch_of_quarter(number * 10_000, quarter, names)
                    before = cpu_s(), time.perf_counter()
                    result = writer.write([item])
                    spent.append((cpu_s() - before[0], time.perf_counter() - before[1]))
                    assert result.stored == 10_000
            grown.quarters += 4
            grown.rows += 4 * FLEET
            timed = spent[len(batches) :]  # the first round fills caches
            costs = {
                "written_cpu": sum(c for c, _ in timed) / len(timed) / 10_000 * 1e6,
                "written_wall": float(np.median([w for _, w in timed])) / 10_000 * 1e6,
            }
            found.append(costs | reading_costs(store, cpu_s) | {"rows": grown.rows})
            for name, value in found[-1].items():
                if name != "rows":
                    unit = "us/reading" if name.startswith("written") else "ms"
                    ratio = {"at 1e5 rows": value / found[0][name]}
                    report(f"{kind}_{name}", value, unit, ratio_to=ratio, n=grown.rows)
            report(f"{kind}_preload", preloaded_s, "s", n=grown.rows)
        assert all(later["rows"] > earlier["rows"] for earlier, later in pairwise(found))


def probe_day(store: Store) -> None:
    """The day of area 1 that is read at every size, in the past where it is alone in its partition."""
    day = NOW_DAY - timedelta(days=40)
    Partitions().ensure(store, [day.date()])
    with store.transaction() as connection:
        load = LOAD.replace("%ORDER%", "m, q").replace(str(FLEET), str(METERS))
        connection.execute(load.encode(), [day, 0, 95])


def reading_costs(store: Store, cpu_s: Callable[[], float]) -> dict[str, float]:
    """Milliseconds of wall and CPU of one area's day, as settlement reads it, and of a page of its meters' latest."""
    day = NOW_DAY - timedelta(days=40)
    costs = {}
    for name, times, ask in (
        ("area_day", 20, lambda c: intervals.readings(c, range(1, METERS + 1), day, day + timedelta(days=1))),
        ("latest_page", 50, lambda c: views.households(c, "A1", now=NOW_DAY, today=NOW_DAY.date(), day=None)),
    ):
        walls = []
        before = cpu_s()
        for _ in range(times):
            began = time.perf_counter()
            with store.transaction() as connection:
                answer = ask(connection)
            walls.append(time.perf_counter() - began)
            assert len(answer) >= METERS - 1  # the page has the area's own meter elsewhere
        costs |= {f"{name}_cpu": (cpu_s() - before) / times * 1e3, f"{name}_wall": float(np.median(walls)) * 1e3}
    return costs
