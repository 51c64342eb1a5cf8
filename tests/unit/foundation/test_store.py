"""The store's ground: named SQL, one door, errors in its own words."""

from __future__ import annotations

import re
import socket
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from headend.store import queries
from headend.store.errors import SchemaError, StoreConflict, StoreError, StoreRefused, StoreUnavailable, translated
from headend.store.pool import DEADLINES, Store

SQL = files("headend.store").joinpath("sql", "queries")
NOUNS = sorted(entry.name.removesuffix(".sql") for entry in SQL.iterdir())
SOURCES = "\n".join(p.read_text() for p in Path(str(files("headend.store"))).glob("*.py"))
USED = re.compile(
    "|".join(re.sub(r"\{\w+\}", r"\\w+", name) for name in re.findall(r'"([a-z0-9_{}]*[a-z_][a-z0-9_{}]*)"', SOURCES))
)
"""Names as the Python beside it writes them, `f"add_{noun}"` too."""


@pytest.mark.parametrize("noun", NOUNS)
def test_every_statement_says_why_and_is_used(noun: str) -> None:
    text = SQL.joinpath(f"{noun}.sql").read_text(encoding="utf-8")
    headings = re.findall(r"^-- \w+ --\s*$", text, re.MULTILINE)
    loaded = queries.load(noun)
    assert len(headings) == len(loaded) > 0
    for name, statement in loaded.items():
        assert re.match(rb"-- \S+ \S+", statement), f"{noun}.{name}: no line on why"
        assert USED.fullmatch(name), f"{noun}.{name} is used nowhere"


FAULTS = {b"42601": "syntax", b"42703": "column", b"42P01": "table"}
"""What a statement can have wrong whatever the types of its parameters, which psycopg says when it runs it."""
OF_TIMESCALE = re.compile(r'relation "_?timescaledb_\w+\.')
"""What only a database with the extension has; there they are checked too, and integration/store runs them."""


@pytest.mark.parametrize("noun", NOUNS)
def test_every_statement_fits_the_schema(store: Store, noun: str) -> None:
    text = SQL.joinpath(f"{noun}.sql").read_text(encoding="utf-8")
    temporary = set(re.findall(r"create temp(?:orary)? table (?:if not exists )?(\w+)", text))
    wrong = []
    with psycopg.connect(store.dsn, autocommit=True) as connection:
        plain = connection.execute("select from pg_extension where extname = 'timescaledb'").fetchone() is None
        for name, statement in queries.load(noun).items():
            complaint = check(connection, statement)
            if complaint is None or any(f'"{t}"' in complaint for t in temporary):
                continue
            if not (plain and noun == "chunks" and OF_TIMESCALE.search(complaint)):
                wrong.append(f"{noun}.{name}: {complaint}")
    assert not wrong


def check(connection: psycopg.Connection, statement: bytes) -> str | None:
    """What the server says of a statement's words; None: they fit."""
    query = PostgresQuery(Transformer(connection))
    names = set(re.findall(rb"%\((\w+)\)s", statement))
    query.convert(statement, {n.decode(): None for n in names} if names else [None] * statement.count(b"%s"))
    result = connection.pgconn.prepare(b"", query.query)
    state = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
    return result.get_error_message() if state in FAULTS else None


def test_the_check_of_statements_sees_a_renamed_column(store: Store) -> None:
    with psycopg.connect(store.dsn, autocommit=True) as connection:
        assert "no_such" in str(check(connection, b"select no_such from station where code = %s"))
        assert "no_such" in str(check(connection, b"insert into no_such (code) values (%(code)s)"))
        assert "syntax" in str(check(connection, b"selec code from station"))
        assert check(connection, b"select code from station where code = %(code)s") is None


def test_a_name_that_stands_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sql" / "queries"
    folder.mkdir(parents=True)
    (folder / "twice.sql").write_text("-- a --\n-- Why.\nselect 1\n\n-- a --\n-- Why.\nselect 2\n")
    monkeypatch.setattr(queries, "files", lambda _: tmp_path)
    with pytest.raises(ValueError, match=r"twice\.sql: a stands twice"):
        queries.load("twice")


def test_a_transaction_that_raises_leaves_nothing(store: Store) -> None:
    def half() -> None:
        with store.transaction() as connection:
            connection.execute("insert into station (code, name) values ('S', 's')")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert store.rows(b"select * from station") == []


def test_connections_speak_utc(store: Store) -> None:
    assert store.rows(b"show timezone") == [{"TimeZone": "UTC"}]


def test_a_conflict_names_its_constraint(store: Store) -> None:
    with store.transaction() as connection:
        connection.execute("insert into station (code, name) values ('S', 's')")
    with pytest.raises(StoreConflict) as conflict, store.transaction() as connection:
        connection.execute("insert into station (code, name) values ('S', 'again')")
    assert conflict.value.constraint == "station_code_key"
    assert isinstance(conflict.value.__cause__, psycopg.errors.UniqueViolation)


def test_a_database_without_tables_says_what_to_run(empty_dsn: str) -> None:
    with Store(empty_dsn) as store, pytest.raises(SchemaError, match="has `headend migrate` been run"):
        store.rows(b"select * from station")


def test_wrong_sql_is_an_error_that_waiting_does_not_mend(store: Store) -> None:
    with pytest.raises(StoreError) as wrong:
        store.rows(b"select no_such_column from station")
    assert type(wrong.value) is StoreError


def test_a_database_that_is_away_is_unavailable_at_opening_and_later(server_dsn: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = make_conninfo(server_dsn, host="127.0.0.1", port=nobody.getsockname()[1], connect_timeout=1)
        with Store(away, timeout_s=0.2) as store, pytest.raises(StoreUnavailable):
            store.rows(b"select 1")


def test_a_connection_that_is_cut_is_unavailable_and_the_next_is_a_new_one(store: Store) -> None:
    def cut() -> None:
        with store.transaction() as connection, psycopg.connect(store.dsn) as killer:
            killer.execute("select pg_terminate_backend(%s)", [connection.info.backend_pid])
            connection.execute("select 1")

    with pytest.raises(StoreUnavailable):
        cut()
    assert store.rows(b"select 1 as one") == [{"one": 1}]


@pytest.mark.parametrize("error", [psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure])
def test_two_in_each_others_way_is_a_conflict_not_an_outage(error: type[psycopg.Error]) -> None:
    with pytest.raises(StoreConflict) as conflict, translated():
        raise error("in the way")
    assert conflict.value.constraint is None


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (psycopg.errors.NumericValueOutOfRange, StoreRefused),
        (psycopg.errors.ProgramLimitExceeded, StoreRefused),  # an index row too large, whoever sent it
        (psycopg.errors.ReadOnlySqlTransaction, StoreUnavailable),
        (psycopg.errors.IdleInTransactionSessionTimeout, StoreUnavailable),
        (psycopg.errors.DiskFull, StoreUnavailable),
        (psycopg.errors.InsufficientPrivilege, StoreError),
        (psycopg.errors.DataCorrupted, StoreError),
    ],
)
def test_what_is_in_the_rows_is_told_apart_from_what_passes_and_from_faults(
    error: type[psycopg.Error], ours: type[StoreError]
) -> None:
    with pytest.raises(StoreError) as told, translated():
        raise error("so it is")
    assert type(told.value) is ours


@pytest.fixture
def _no_words_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGCONNECT_TIMEOUT", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_no_words_of_libpq")
def test_a_line_that_dies_silently_is_known_to_be_dead_unless_the_dsn_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without them the kernel takes a quarter of an hour for what was sent, and two hours for what is waited for."""

    def deadlines(dsn: str) -> dict[str, str]:
        return {k: str(v) for k, v in conninfo_to_dict(Store(dsn).dsn).items() if k in DEADLINES}

    whole = {key: str(value) for key, value in DEADLINES.items()}
    assert deadlines("host=db dbname=headend") == whole
    assert deadlines("postgresql://db,standby/headend?target_session_attrs=read-write") == whole
    chosen = {"connect_timeout": "3", "keepalives_idle": "5", "tcp_user_timeout": "0"}
    assert deadlines(make_conninfo("host=db", **chosen)) == whole | chosen
    assert Store("service=headend").dsn == "service=headend"
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "4")
    assert "connect_timeout" not in deadlines("host=db")


@pytest.mark.usefixtures("_no_words_of_libpq")
def test_the_connections_themselves_have_the_deadlines(store: Store) -> None:
    with store.transaction() as connection:
        assert connection.info.get_parameters().items() >= {k: str(v) for k, v in DEADLINES.items()}.items()
