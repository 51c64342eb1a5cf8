"""kill -9 of a polling process at random instants, the database away half of the time: nothing that it put is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from headend.domain.calendar import to_us
from headend.store.pool import Store
from support import spool_child
from support.spool_child import BEGIN, METERS, instant, register_wh

TESTS = Path(__file__).parents[2]
KILLS = 12


class Child:
    """One life of the process that polls."""

    def __init__(self, dsn: str, directory: Path, first: int, seed: int) -> None:
        self.safe = first - 1
        """The last round that it said to be safe."""
        self.held = -1
        """Readings that the database did not have when it said so."""
        self.process = subprocess.Popen(
            [sys.executable, spool_child.__file__, dsn, str(directory), str(first), str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(TESTS), "SPOOL_CHILD_BEGIN_US": str(to_us(BEGIN))},
        )
        self.talked = threading.Event()
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.safe, self.held = map(int, line.split())
            self.talked.set()

    def kill(self) -> None:
        """As the kernel does it when memory is short."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._listener.join()
        assert self.process.stderr is not None
        said = self.process.stderr.read().decode()
        assert "Traceback" not in said, said
        self.process.stderr.close()


@pytest.fixture
def admit(server_dsn: str, dsn: str) -> Iterator[object]:
    """Let the database be there, or not."""
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]

    def let(whether: bool) -> None:
        with psycopg.connect(server_dsn, autocommit=True) as connection:
            connection.execute(f'alter database "{name}" allow_connections {whether}'.encode())
            if not whether:
                connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])

    yield let
    let(True)


@contextmanager
def child(dsn: str, directory: Path, first: int, seed: int) -> Iterator[Child]:
    alive = Child(dsn, directory, first, seed)
    try:
        assert alive.talked.wait(60), "it began"
        yield alive
    finally:
        alive.kill()


def test_every_reading_that_was_put_is_stored_once_and_in_order(dsn: str, tmp_path: Path, admit: object) -> None:
    assert callable(admit)
    rng = random.Random(2)
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) "
            "values ('Acme', %s, 'm', 1, 8, 1)",
            [[f"M{n}"] for n in range(METERS)],
        )
    safe: list[int] = []
    first = 0
    backlogs = 0
    for life in range(KILLS):
        away = life % 2 == 1
        if away:
            admit(False)
        with child(dsn, tmp_path, first, seed=life) as alive:
            time.sleep(rng.random() * 0.6)  # the instant is what is tried here, not waited for
            if away and life % 4 == 3:
                admit(True)  # it dies while it drains
                time.sleep(rng.random() * 0.2)
        backlogs += alive.held > 20
        safe.extend(range(first, alive.safe + 1))
        first = alive.safe + 1_000  # what came after is not known to be safe, and may be there
        admit(True)
    assert backlogs >= 3
    with child(dsn, tmp_path, first, seed=99) as alive:
        deadline = time.monotonic() + 60
        while alive.held > 50 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert alive.held <= 50
        last = alive.safe
    safe.extend(range(first, last + 1))
    marker = last + 1_000
    with child(dsn, tmp_path, marker, seed=100), Store(dsn) as store:  # in order: its first round is behind all others
        deadline = time.monotonic() + 60
        found: list[object] = []
        while not found and time.monotonic() < deadline:
            found = store.rows(b"select from register_reading where ts >= %s limit 1", [instant(marker, 0)])
        assert found
    with Store(dsn) as store:
        stored = store.rows(
            b"select m.serial, extract(epoch from r.ts) * 1000000 as us, r.import_wh from register_reading r "
            b"join meter m using (meter_id)"
        )
        assert store.rows(b"select * from quarantine") == []
    book = {(f"M{m}", to_us(instant(n, m))): register_wh(n, m) for n in safe for m in range(METERS)}
    found_book = {(row["serial"], int(row["us"])): row["import_wh"] for row in stored}
    assert len(found_book) == len(stored)
    assert book.items() <= found_book.items()  # nothing that was put is lost
    assert len(safe) > 100
    assert all(  # and there is nothing but what was put
        wh == register_wh((us - to_us(instant(0, int(serial[1:])))) // 1_000_000, int(serial[1:]))
        for (serial, us), wh in found_book.items()
    )
