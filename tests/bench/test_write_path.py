"""The write path after decoding: items to committed rows with marks, latest readings and counts, against COPY alone.

Rates are by the clock; beside them what a row costs the Python process and the database's processes in CPU time, which
says the same on a machine that is not idle.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.base import PHASE_DTYPE, READING_DTYPE, MeterIdentity, ReadingBatch, Source, empty
from headend.domain.calendar import from_us, to_us
from headend.ingest.item import Item
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store import readings
from headend.store.partitions import Partitions
from headend.store.pool import Store

pytestmark = pytest.mark.bench
EACH = 100
"""Readings of one message."""
MESSAGES = 150
"""Messages of one transaction."""
COPIED = 10_000
"""Rows of one COPY."""
QUARTER_US = 900_000_000
NOTHING = empty(PHASE_DTYPE, 0)
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def rows_of(meters: np.ndarray, each: int, last_us: int, seed: int) -> np.ndarray:
    """(meters × each,) READING_DTYPE: quarter-hours up to an instant, meter after meter."""
    rng = np.random.default_rng(seed)
    rows = empty(READING_DTYPE, meters.size * each)
    rows["meter"] = np.repeat(meters, each)
    rows["ts_us"] = np.tile(last_us - QUARTER_US * np.arange(each)[::-1], meters.size)
    rows["import_wh"] = np.cumsum(rng.integers(0, 50, (meters.size, each)) * 10, axis=1).ravel() + 100_000
    rows["export_wh"] = 0
    rows["voltage_dv"] = rng.integers(2200, 2400, rows.size)
    rows["source"] = Source.MQTT
    return rows


def items_of(rows: np.ndarray, each: int) -> list[Item]:
    """Messages of one meter each."""
    items = []
    for own in rows.reshape(-1, each):
        meter = MeterIdentity("Acme", str(own["meter"][0]))
        alone = own.copy()
        alone["meter"] = 0
        topic = f"headend/v1/meter/{meter}/batch"
        batch = ReadingBatch((meter,), alone, NOTHING)
        items.append(Item(channel="mqtt", origin=topic, received_us=to_us(NOW), payload=b"", batch=batch))
    return items


@dataclass(frozen=True, slots=True)
class Cost:
    """What writing took."""

    rows: int
    wall_s: float
    python_s: float
    """CPU of this process."""
    postgres_s: float
    """CPU of the server's processes; its clock ticks a hundred times a second."""


class Measure:
    """Runs and takes the time."""

    def __init__(self, server_pid: int) -> None:
        self._pid = server_pid

    def _postgres_s(self) -> float:
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text(encoding="ascii").split()
        ticks = 0
        for pid in children:
            try:
                stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
            except FileNotFoundError:  # it ended just now
                continue
            fields = stat.rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def __call__(self, rows: int, work: Callable[[], object]) -> Cost:
        wall_s, python_s, postgres_s = time.perf_counter(), time.process_time(), self._postgres_s()
        work()
        return Cost(rows, time.perf_counter() - wall_s, time.process_time() - python_s, self._postgres_s() - postgres_s)


@dataclass(frozen=True, slots=True)
class Bench:
    """A database with a neighbourhood, its writer, and how direct COPY does in the same run."""

    writer: ReadingWriter
    measure: Measure
    report: Any
    direct: Cost
    rows: np.ndarray
    """What COPY took: EACH rows of each meter of the first half."""

    @property
    def meters(self) -> int:
        """On the areas; rows are there of the first half."""
        return 2 * self.rows.size // EACH

    def write(self, items: Sequence[Item], at_once: int) -> dict[str, int]:
        """In transactions of so many messages; what became of them."""
        found = {"stored": 0, "duplicates": 0, "revised": 0, "late": 0}
        for start in range(0, len(items), at_once):
            result = self.writer.write(items[start : start + at_once])
            for name in found:
                found[name] += getattr(result, name)
        return found

    def told(self, figure: str, cost: Cost) -> None:
        """The figure, its ratio to COPY, and the CPU of a row."""
        copied_s = self.direct.wall_s / self.direct.rows
        ratio = {"write_direct_copy": copied_s * cost.rows / cost.wall_s}
        self.report(figure, cost.rows / cost.wall_s, "rows/s", ratio_to=ratio, n=cost.rows)
        for whose, cpu_s in (("python", cost.python_s), ("postgres", cost.postgres_s)):
            self.report(f"{figure}_{whose}", 1e6 * cpu_s / cost.rows, "us CPU/row", n=cost.rows)


def copy_directly(store: Store, rows: np.ndarray) -> None:
    """By binary COPY in batches; partitions are there before."""
    for start in range(0, rows.size, COPIED):
        with store.transaction() as connection:
            readings.append(connection, rows[start : start + COPIED], NOTHING)


@pytest.fixture(scope="module")
def bench(databases: Any, kit: Any, report: Any) -> Iterator[Bench]:
    """See Bench."""
    meters = 100 * kit.scaled(30)
    rows = rows_of(np.arange(1, meters + 1), EACH, to_us(NOW), kit.SEED)
    days = [NOW.date() + timedelta(days=d) for d in range(-40, 3)]
    measure = Measure(databases.server.pid)
    for _ in range(2):  # the first one warms up
        with databases.fresh("direct") as store:
            Partitions().ensure(store, days)
            direct = measure(rows.size, lambda store=store: copy_directly(store, rows))  # type: ignore[misc]
    with databases.fresh("written") as store:
        kit.build(store, areas=2 * meters // 100, meters=100)
        Partitions().ensure(store, days)
        writer = ReadingWriter(store, Settings(database={"dsn": store.dsn}), lambda: datetime.now(UTC))
        made = Bench(writer, measure, report, direct, rows)
        made.write(items_of(rows_of(np.arange(1, 2 * meters + 1), 1, to_us(NOW - timedelta(days=39)), 0), 1), 10_000)
        made.told("write_direct_copy", direct)
        fresh = items_of(rows, EACH)
        made.told("write_fresh", measure(rows.size, lambda: made.write(fresh, MESSAGES)))
        yield made


def test_replay(bench: Bench) -> None:
    items = items_of(bench.rows, EACH)
    found: dict[str, int] = {}
    bench.told("write_replay", bench.measure(bench.rows.size, lambda: found.update(bench.write(items, MESSAGES))))
    assert (found["stored"], found["duplicates"]) == (0, bench.rows.size)


def test_a_tenth_replayed(bench: Bench) -> None:
    half = bench.meters // 2
    new = items_of(rows_of(np.arange(half + 1, 2 * half + 1), EACH, to_us(NOW), 2), EACH)
    old = items_of(bench.rows, EACH)
    mixed = [item for k, one in enumerate(new) for item in ([one, old[k]] if k % 9 == 0 else [one])]
    found: dict[str, int] = {}
    bench.told(
        "write_tenth_replayed", bench.measure(EACH * len(mixed), lambda: found.update(bench.write(mixed, MESSAGES)))
    )
    assert found["stored"] == EACH * len(new)


def test_late(bench: Bench) -> None:
    last = from_us(int(bench.rows["ts_us"].min())) - timedelta(days=3)
    late = items_of(rows_of(np.arange(1, bench.meters // 2 + 1), EACH, to_us(last), 3), EACH)
    found: dict[str, int] = {}
    bench.told("write_late", bench.measure(EACH * len(late), lambda: found.update(bench.write(late, MESSAGES))))
    assert found["late"] == EACH * len(late)


def test_revisions(bench: Bench) -> None:
    other = bench.rows[: max(1, bench.meters // 10) * EACH].copy()
    other["import_wh"] += 1
    items = items_of(other, EACH)
    found: dict[str, int] = {}
    bench.told("write_revisions", bench.measure(other.size, lambda: found.update(bench.write(items, MESSAGES))))
    assert found["revised"] == other.size


@pytest.mark.parametrize(("figure", "at_once"), [("write_live", 10_000), ("write_live_thousand", 1000)])
def test_one_reading_a_meter(bench: Bench, figure: str, at_once: int) -> None:
    """The live case: per row a message, a newest reading, a count; its marks and look-ups."""
    rounds = []
    for k in range(6):
        at_us = to_us(NOW) + (k + (10 if at_once == 1000 else 1)) * 20_000_000
        rounds.append(items_of(rows_of(np.arange(1, bench.meters + 1), 1, at_us, k), 1))
    bench.write(rounds[0], at_once)

    def work() -> None:
        for items in rounds[1:]:
            assert bench.write(items, at_once)["stored"] == len(items)

    bench.told(figure, bench.measure(5 * bench.meters, work))
