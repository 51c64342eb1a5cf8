"""Stored readings to intervals and balances, against merely reading the same rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from drivers.base import PHASE_DTYPE, READING_DTYPE, Source, empty
from headend.domain.calendar import LocalCalendar, from_us
from headend.settings import Settings
from headend.settlement.mass import settle_days
from headend.store import intervals, readings
from headend.store.partitions import Partitions
from headend.store.pool import Store

pytestmark = pytest.mark.bench
FIRST = date(2026, 3, 2)
METERS = 200
"""Of one area, its own included."""
DAYS = 7


def fill(store: Store, areas: int, seed: int) -> None:
    """A register every quarter-hour for each meter; the area's meter shows their sum and 3 % more."""
    calendar = LocalCalendar(ZoneInfo("Asia/Shanghai"))
    last = FIRST + timedelta(days=DAYS - 1)
    grid = np.unique(np.concatenate([calendar.grid_us(day) for day in calendar.days(FIRST, last)]))
    Partitions().ensure(store, {from_us(int(t)).date() for t in grid})
    rng, nothing = np.random.default_rng(seed), empty(PHASE_DTYPE, 0)
    for area in range(areas):
        energy = rng.integers(0, 40, (METERS, grid.size)) * 10
        energy[-1] = energy[:-1].sum(axis=0) * 103 // 1000 * 10
        rows = empty(READING_DTYPE, METERS * grid.size)
        rows["meter"] = np.repeat(np.arange(area * METERS + 1, (area + 1) * METERS + 1), grid.size)
        rows["ts_us"] = np.tile(grid, METERS)
        rows["import_wh"], rows["export_wh"] = np.cumsum(energy, axis=1).ravel(), 0
        rows["voltage_dv"], rows["source"] = 2300, Source.CONCENTRATOR
        with store.transaction() as connection:
            readings.append(connection, rows, nothing)
    with store.transaction() as connection:
        connection.execute("analyze register_reading")


def read_only(store: Store, areas: int) -> tuple[float, int]:
    """Seconds to read what settlement reads, area by area, and how many rows that is."""
    calendar = LocalCalendar(ZoneInfo("Asia/Shanghai"))
    start, end = calendar.bounds(FIRST)[0], calendar.bounds(FIRST + timedelta(days=DAYS - 1))[1]
    count, started = 0, time.perf_counter()
    for area in range(areas):
        with store.transaction() as connection:
            meters = range(area * METERS + 1, (area + 1) * METERS + 1)
            found = intervals.readings(connection, meters, start, end + timedelta(seconds=1))
            count += sum(one.ts_us.size for one in found.values())
    return time.perf_counter() - started, count


def test_settled_intervals(databases: Any, kit: Any, neighbourhood: Callable[..., None], report: Any) -> None:
    areas = kit.scaled(10)
    with databases.fresh("settlement") as store:
        neighbourhood(store, areas=areas, meters=METERS)
        fill(store, areas, kit.SEED)
        read_only(store, areas)  # warm
        read_s, count = read_only(store, areas)
        settings = Settings(database={"dsn": store.dsn})
        after = LocalCalendar(ZoneInfo("Asia/Shanghai")).bounds(FIRST + timedelta(days=DAYS))[1]
        last = FIRST + timedelta(days=DAYS - 1)
        done: list[int] = []
        started = time.perf_counter()
        settle_days(
            store, settings, lambda: after, FIRST, last, progress=lambda _, outcome: done.append(outcome.intervals)
        )
        settle_s = time.perf_counter() - started
        wanted = areas * METERS * DAYS * 96
        (stored,) = store.rows(b"select count(*) as n from balance_day where state <> 'not_computable'")
        assert stored["n"] == areas * DAYS
        assert sum(done) >= wanted
    report("readings_read", count / read_s, "rows/s", n=count)
    report(
        "intervals_settled_and_balanced",
        wanted / settle_s,
        "intervals/s",
        ratio_to={"readings_read": (wanted / settle_s) / (count / read_s)},
        n=wanted,
    )
