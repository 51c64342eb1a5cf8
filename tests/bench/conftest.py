"""What measurements share: a durable PostgreSQL, a neighbourhood in it, and one JSON line a figure on stdout.

HEADEND_BENCH_SCALE (default 1) makes everything smaller or larger; only figures of scale 1 are worth comparing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from headend.embedded.postgres import EmbeddedPostgres
from headend.log import configure_logging
from headend.store.migrate import migrate
from headend.store.pool import Store

SCALE = float(os.environ.get("HEADEND_BENCH_SCALE", "1"))
SEED = 20261123
Report = Callable[..., None]


def scaled(n: int, least: int = 1) -> int:
    """`n` at the scale of this run."""
    return max(least, round(n * SCALE))


@pytest.fixture(autouse=True)
def quiet_and_one_thread_each() -> None:
    """Only figures on stdout; children count their arrays with one thread, as the demo's processes do."""
    configure_logging("warning", "console")
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def report() -> Report:
    """report("figure", value, "unit", ratio_to={"other figure": ratio}, n=rows) prints one JSON line."""

    def say(figure: str, value: float, unit: str, *, ratio_to: dict[str, float] | None = None, n: int) -> None:
        ratios = None if ratio_to is None else {name: float(f"{ratio:.3g}") for name, ratio in ratio_to.items()}
        line: dict[str, Any] = {"figure": figure, "value": float(f"{value:.4g}"), "unit": unit, "ratio_to": ratios}
        print("\n" + json.dumps(line | {"n": n} | ({"scale": SCALE} if SCALE != 1 else {})), end="", flush=True)

    print(f"\nseed {SEED}", end="")
    return say


@dataclass(frozen=True)
class Databases:
    """Makes migrated databases on one durable server."""

    server: EmbeddedPostgres

    @contextmanager
    def fresh(self, name: str) -> Iterator[Store]:
        """An open store on a database of its own, dropped afterwards."""
        with psycopg.connect(self.server.dsn, autocommit=True) as connection:
            connection.execute(f'drop database if exists "{name}" with (force)'.encode())
            connection.execute(f'create database "{name}"'.encode())
            dsn = make_conninfo(self.server.dsn, dbname=name)
            migrate(dsn)
            with Store(dsn) as store:
                yield store
            connection.execute(f'drop database "{name}" with (force)'.encode())


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """A PostgreSQL that keeps what it has committed, as in production."""
    with EmbeddedPostgres(Path(tmp_path_factory.mktemp("postgres")), durable=True) as server:
        yield Databases(server)


NEIGHBOURHOOD = """
insert into station (code, name) values ('S', 'station');
insert into area (code, station_id, name) select 'A' || g, 1, 'area' from generate_series(1, {areas}) g;
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh)
    select 'Acme', g::text, 'any', 1, 8, 10 from generate_series(1, {areas} * {meters}) g;
insert into usage_point (code, kind, category)
    select 'U' || g, case when g % {meters} = 0 then 'area' else 'customer' end,
           case when g % {meters} = 0 then 'none' else 'residential' end
    from generate_series(1, {areas} * {meters}) g;
insert into installation (usage_point_id, meter_id, valid_from)
    select g, g, '2020-01-01T00:00Z' from generate_series(1, {areas} * {meters}) g;
insert into area_membership (usage_point_id, area_id, valid_from)
    select g, (g - 1) / {meters} + 1, '2020-01-01T00:00Z' from generate_series(1, {areas} * {meters}) g;
analyze;
"""


def build(store: Store, *, areas: int, meters: int) -> None:
    """Meters Acme/1…, `meters` on each area with the area's own meter last; ids are 1… in that order."""
    with store.transaction() as connection:
        connection.execute(NEIGHBOURHOOD.format(areas=areas, meters=meters).encode())


@pytest.fixture(scope="session")
def neighbourhood() -> Callable[..., None]:
    """See build."""
    return build


@contextmanager
def child(*arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that ends with the block."""
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, *arguments], stdout=out, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def wait_for(condition: Callable[[], Any], what: str, process: subprocess.Popen[bytes] | None = None) -> Any:
    """The first true answer; fails when a process that it depends on ends, or after two minutes."""
    deadline = time.monotonic() + 120
    while not (answer := condition()):
        assert process is None or process.poll() is None, f"a process ended while waiting for {what}"
        assert time.monotonic() < deadline, f"not within 120 s: {what}"
        time.sleep(0.02)
    return answer


@pytest.fixture(scope="session")
def kit() -> Any:
    """This module: test directories are no packages, so its helpers come as a fixture."""
    return sys.modules[__name__]
