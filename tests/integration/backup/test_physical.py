"""A base backup under load and its WAL received synchronously: nothing acknowledged is lost with the disk."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headend.embedded import postgres
from headend.embedded.postgres import SOCKET_NAME, EmbeddedPostgres
from headend.embedded.postgres_binaries import find_binaries
from support.chaos.audit import audit, missing
from support.chaos.book import Book
from support.chaos.house import FieldProcess, House
from support.chaos.numbers import Numbers
from support.mosquitto import needs_mosquitto

pytestmark = needs_mosquitto
NAME = "headend_wal"
"""Of the receiver, in synchronous_standby_names."""


@pytest.fixture
def replicating(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that may be copied: the embedded one has nobody to replicate to otherwise."""
    for name, value in {"wal_level": "replica", "max_wal_senders": "4", "max_replication_slots": "4"}.items():
        monkeypatch.setitem(postgres._SETTINGS, name, value)


@pytest.fixture
def house(replicating: None, tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "house", ingests=1)
    yield made
    made.close()


@pytest.fixture
def field(house: House, tmp_path: Path) -> Iterator[tuple[FieldProcess, Book, Numbers]]:
    """The publishers with their book."""
    numbers = Numbers((int(time.time()) - 5 * 86_400) * 1_000_000)
    book = Book(tmp_path / "book.jsonl")
    book.path.touch()
    options = tmp_path / "field.json"
    at = {"host": "127.0.0.1", "port": house.field_line.port, "version": 4, "base_us": numbers.base_us, "seed": 11}
    options.write_text(json.dumps(at | {"book": str(book.path)}), encoding="utf-8")
    people = FieldProcess(tmp_path, options)
    yield people, book, numbers
    people.close()


def stored(dsn: str, kit: Any) -> int:
    return int(kit.one(dsn, "select count(*) from register_reading"))


def test_with_its_wal_received_synchronously_a_lost_database_loses_nothing_acknowledged(
    house: House, field: tuple[FieldProcess, Book, Numbers], tmp_path: Path, kit: Any
) -> None:
    people, book, numbers = field
    tools = kit.Tools(find_binaries().bin_dir)
    wal, base = tmp_path / "wal", tmp_path / "base"
    wal.mkdir()
    socket_dir = str(psycopg.conninfo.conninfo_to_dict(house.dsn)["host"])
    where = f"host='{socket_dir}' port=5432 user=postgres application_name={NAME}"
    tools.run("pg_receivewal", "--dbname", where, "--slot", NAME, "--create-slot")
    receiver = tools.start("pg_receivewal", "--dbname", where, "--directory", str(wal), "--slot", NAME, "--synchronous")
    try:
        with psycopg.connect(house.dsn, autocommit=True) as connection:
            connection.execute(f"alter system set synchronous_standby_names = '{NAME}'".encode())
            connection.execute("select pg_reload_conf()")
        kit.wait_until(
            lambda: kit.one(house.dsn, "select count(*) from pg_stat_replication where sync_state = 'sync'") == 1,
            "a synchronous receiver",
        )
        house.start()
        people.order("go")
        kit.wait_until(lambda: stored(house.dsn, kit) > 300, "readings")
        base_options = ("--pgdata", str(base), "--checkpoint", "fast", "--wal-method", "none")
        tools.run("pg_basebackup", "--dbname", where, *base_options)
        at_the_backup = stored(house.dsn, kit)
        kit.wait_until(lambda: stored(house.dsn, kit) > at_the_backup + 500, "more since the backup")
        house.lose_database()
    finally:
        receiver.terminate()
        receiver.wait(20)

    restored = EmbeddedPostgres(tmp_path / "restored", durable=True)
    restored.data_dir.mkdir()
    shutil.copytree(base, restored.cluster_dir)
    for unfinished in wal.glob("*.partial"):  # what was being received when the server died
        unfinished.rename(unfinished.with_suffix(""))
    with (restored.cluster_dir / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"restore_command = 'cp {wal}/%f %p'\nsynchronous_standby_names = ''\n")
    (restored.cluster_dir / "recovery.signal").touch()
    restored.start()
    try:
        dsn = psycopg.conninfo.make_conninfo(restored.dsn, dbname="headend")
        kit.wait_until(lambda: not kit.one(dsn, "select pg_is_in_recovery()"), "the end of the recovery")
        checked = kit.headend("backup", "check", dsn=dsn)
        assert (checked.returncode, checked.stdout) == (0, "consistent\n"), checked.stdout + checked.stderr
        found = audit(dsn, book, numbers)
        assert stored(dsn, kit) > at_the_backup
        # What a concentrator was told to be committed is there; what has its PUBACK only may still be the broker's.
        book.settle()
        uploads = [e for e in book.entries.values() if e.kind == "profile" and book.is_certain(e.message)]
        told = {reading for upload in uploads for reading in upload.readings}
        instants = "select meter_id, (extract(epoch from ts) * 1000000)::bigint from register_reading"
        with psycopg.connect(dsn) as connection:
            there = set(connection.execute(instants))
        assert {(m, numbers.ts_us(n)) for m, n in told} - there == set()
        assert not {"stored and never sent", "stored with another value than sent"} & set(found.wrong)

        house.store_lines[0].lead_to(Path(str(psycopg.conninfo.conninfo_to_dict(dsn)["host"])) / SOCKET_NAME)
        people.order("pause")
        kit.wait_until(lambda: json.loads(people.order("how"))["open"] == 0, "the field to be rid of what it held")
        kit.wait_until(lambda: missing(dsn, book, numbers) == 0, "even books")
        found = audit(dsn, book, numbers)
        assert found.wrong == {}, "nothing acknowledged is lost, nothing is twice"
        assert found.totals["readings_acknowledged"] > at_the_backup
    finally:
        restored.stop()
