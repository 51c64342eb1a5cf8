"""The whole way: bytes published to a real broker, rows committed in a real PostgreSQL, acknowledged, confirmed.

And everything that goes wrong on it: processes killed, broker and database away, messages that nobody can read.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from structlog.testing import capture_logs

from headend.embedded.broker import EmbeddedBroker
from headend.embedded.postgres import EmbeddedPostgres
from headend.ingest.quarantine import Quarantine
from headend.store.migrate import migrate
from headend.store.pool import Store

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)


def profile(seq: int, meters: list[str], instants: int, *, backlog: int = 0, end: datetime = NOW) -> dict[str, Any]:
    """A profile of 15-minute registers."""
    first = end - timedelta(minutes=15 * (instants - 1))
    return {
        "format": "headend.profile/1",
        "seq": seq,
        "backlog": backlog,
        "meters": meters,
        "ts": [(first + timedelta(minutes=15 * i)).isoformat() for i in range(instants)],
        "import_wh": [[100 * m + i for i in range(instants)] for m in range(len(meters))],
    }


def reading(minutes: int, import_wh: int) -> dict[str, Any]:
    return {"ts": (NOW - timedelta(minutes=minutes)).isoformat(), "import_wh": import_wh}


def rows(store: Store, kit: Any) -> int:
    return int(kit.values(store, "select count(*) from register_reading")[0][0])


def test_publish_to_rows_to_acknowledgement_and_confirmation(
    field_store: Store, broker: EmbeddedBroker, field: Any, run_ingest: Callable[..., Any], kit: Any
) -> None:
    settings = kit.settings_for(field_store.dsn, broker.port)
    ingest = run_ingest(field_store, settings)
    confirmed = kit.count("headend_uploads_confirmed_total")
    field.send("concentrator/C1/state", b"online", retain=True)
    field.send("concentrator/C1/profile", profile(1, ["Acme/1", "Acme/2"], 96, backlog=7))
    field.send("meter/Acme/3/reading", reading(0, 5) | {"voltage_v": [229.0, 231.0, 230.0], "power_w": 40})
    field.send("meter/Acme/4/batch", {"readings": [reading(15, 5), reading(0, 6)]})
    field.confirmations({("C1", 1)})
    kit.wait_until(lambda: rows(field_store, kit) == 195, "all rows")
    assert kit.values(
        field_store, "select meter_id, import_wh, voltage_dv, power_w from latest_reading order by 1"
    ) == [
        (1, 95, None, None),
        (2, 195, None, None),
        (3, 5, 2300, 40),
        (4, 6, None, None),
    ]
    book = "select confirmed_seq, backlog, online, last_seen_at from concentrator where code = 'C1'"
    assert kit.values(field_store, book) == [(1, 7, True, NOW)]
    assert kit.values(field_store, "select count(*) from quarantine") == [(0,)]
    assert kit.count("headend_uploads_confirmed_total") == confirmed + 1
    kit.wait_until(lambda: kit.count("headend_unacked_messages") == 0, "acknowledged")
    assert kit.count("headend_mqtt_connected") == 1
    received = kit.count("headend_readings_received_total", source="mqtt")
    ingest.stop()
    assert kit.count("headend_mqtt_connected") == 0
    # Nothing comes again to the same session: it was all acknowledged.
    again = run_ingest(field_store, settings)
    field.send("concentrator/C1/profile", profile(2, ["Acme/1"], 96))
    field.confirmations({("C1", 2)})
    again.stop()
    assert rows(field_store, kit) == 195
    assert kit.count("headend_readings_received_total", source="mqtt") == received


MALFORMED: list[tuple[str, bytes, str]] = [
    ("meter/Acme/1/reading", b"\xff\x00{", "not_json"),
    ("meter/Acme/1/reading", b"", "not_json"),
    ("meter/Acme/1/reading", b"[]", "wrong_type"),
    ("meter/Acme/1/reading", b'{"import_wh":1}', "missing_key"),
    ("meter/Acme/1/reading", b'{"ts":"2026-11-20T04:00:00Z","wh":1}', "unknown_key"),
    ("meter/Acme/1/reading", b'{"ts":"2026-11-20T04:00:00Z","import_wh":-1}', "out_of_range"),
    ("meter/Acme/1/reading", b'{"ts":"2026-11-20T04:00:00","import_wh":1}', "bad_timestamp"),
    ("meter/Acme/1/reading", b'{"ts":"2026-11-20T04:00:00Z"}', "no_energy"),
    ("meter/Acme/1/reading", b'{"ts":"2026-11-20T04:00:00Z","import_wh":1,"meter":"Acme/2"}', "identity_mismatch"),
    ("meter/Acme/1/reading", b'{"ts":"2026-11-20T05:00:00Z","import_wh":1}', "in_future"),
    ("meter/Acme/1/reading", b'{"ts":"2001-11-20T05:00:00Z","import_wh":1}', "too_old"),
    ("meter/Acme/999/reading", b'{"ts":"2026-11-20T04:00:00Z","import_wh":1}', "unknown_meter"),
    ("meter/Acme/1/reading/extra", b"{}", "unknown_topic"),
    ("meter/Acme/%s/reading" % ("9" * 65), b"{}", "bad_name"),
    ("meter/Acme/1/batch", b'{"readings":[]}', "bad_shape"),
    ("concentrator/C1/state", b"maybe", "bad_state"),
    ("concentrator/C9/state", b"online", "unknown_concentrator"),
]


def test_every_kind_of_bad_message_is_kept_counted_and_acknowledged(
    field_store: Store, broker: EmbeddedBroker, field: Any, run_ingest: Callable[..., Any], kit: Any
) -> None:
    def counts() -> dict[str, float]:
        return {r: kit.count("headend_quarantined_total", source="mqtt", reason=r) for _, _, r in MALFORMED}

    run_ingest(field_store, kit.settings_for(field_store.dsn, broker.port))
    before = counts()
    for topic, payload, _ in MALFORMED:
        field.send(topic, payload)
    # A broken upload whose number can be read is confirmed: it is committed, in the quarantine.
    field.send("concentrator/C1/profile", b'{"format":"headend.profile/1","seq":31,"meters":[')
    field.send("meter/Acme/1/reading", reading(0, 7))
    field.confirmations({("C1", 31)})
    kit.wait_until(lambda: rows(field_store, kit) == 1, "the good one among them")
    kit.wait_until(lambda: kit.count("headend_unacked_messages") == 0, "acknowledged")
    kept = kit.values(field_store, "select reason, origin, payload, source from quarantine")
    wanted = [(reason, f"headend/v1/{topic}", payload, "mqtt") for topic, payload, reason in MALFORMED]
    broken = (
        "not_json",
        "headend/v1/concentrator/C1/profile",
        b'{"format":"headend.profile/1","seq":31,"meters":[',
        "mqtt",
    )
    assert sorted(kept) == sorted([*wanted, broken])
    for reason, value in counts().items():
        expected = sum(r == reason for _, _, r in MALFORMED) + (reason == "not_json")
        assert value - before[reason] == expected, reason
    assert kit.values(field_store, "select confirmed_seq from concentrator where code = 'C1'") == [(31,)]


def test_quarantined_messages_are_replayed_once_their_cause_is_mended(
    field_store: Store, broker: EmbeddedBroker, field: Any, run_ingest: Callable[..., Any], kit: Any
) -> None:
    settings = kit.settings_for(field_store.dsn, broker.port)
    run_ingest(field_store, settings)
    field.send("concentrator/C1/profile", profile(1, ["Acme/1", "New/1"], 4))
    field.send("meter/Acme/1/reading", b"nonsense")
    field.confirmations({("C1", 1)})
    kit.wait_until(lambda: kit.values(field_store, "select count(*) from quarantine") == [(2,)], "both kept")
    desk = Quarantine(field_store, settings, lambda: NOW)
    (waiting,) = desk.list(reason="unknown_meter")
    assert waiting["origin"] == "headend/v1/concentrator/C1/profile"
    still = desk.replay(waiting["quarantine_id"])
    assert (still.stored, still.duplicates, [e.reason for e in still.still]) == (0, 4, ["unknown_meter"])
    with field_store.transaction() as connection:
        connection.execute(
            b"insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) "
            b"values ('New', '1', 'm', 1, 6, 10)"
        )
    mended = desk.replay(waiting["quarantine_id"])
    assert (mended.stored, mended.duplicates, mended.still) == (4, 4, ())
    assert [r["reason"] for r in desk.list()] == ["not_json"]
    assert len(desk.list(everything=True)) == 2
    assert desk.replay(waiting["quarantine_id"]).stored == 0
    (nonsense,) = desk.waiting()
    shown = desk.show(nonsense)
    assert shown is not None
    assert bytes(shown["payload"]) == b"nonsense"
    assert [e.reason for e in desk.replay(nonsense).still] == ["not_json"]
    assert list(desk.waiting()) == [nonsense]
    with pytest.raises(LookupError):
        desk.replay(10**9)


def test_killed_between_commit_and_acknowledgement_stores_nothing_twice(
    field_store: Store,
    broker: EmbeddedBroker,
    field: Any,
    spawn_ingest: Callable[..., subprocess.Popen[bytes]],
    kit: Any,
) -> None:
    first = spawn_ingest(field_store.dsn, broker.port, "die-after-commit")
    # The session exists once a first process has been there; what is sent while it is away waits for it.
    kit.wait_until(lambda: kit.subscribed(field, field_store), "subscribed")
    assert first.wait(kit.PATIENCE_S) == -signal.SIGKILL
    first = spawn_ingest(field_store.dsn, broker.port, "die-after-commit")
    field.send("concentrator/C1/profile", profile(1, ["Acme/1", "Acme/2"], 10))
    field.send("meter/Acme/3/reading", b"broken")
    assert first.wait(kit.PATIENCE_S) == -signal.SIGKILL
    committed = rows(field_store, kit)
    assert committed >= 20
    assert field.confirmed.empty()
    spawn_ingest(field_store.dsn, broker.port, "run")
    field.confirmations({("C1", 1)})
    kit.wait_until(lambda: kit.values(field_store, "select count(*) from quarantine") == [(1,)], "the broken one")
    assert rows(field_store, kit) == committed
    assert kit.values(field_store, "select sum(readings) from reading_count") == [(committed,)]
    assert kit.values(field_store, "select count(*) from reading_revision") == [(0,)]


def test_killed_at_any_instant_loses_nothing(
    field_store: Store,
    broker: EmbeddedBroker,
    field: Any,
    spawn_ingest: Callable[..., subprocess.Popen[bytes]],
    kit: Any,
) -> None:
    process = spawn_ingest(field_store.dsn, broker.port, "run")
    kit.wait_until(lambda: kit.subscribed(field, field_store), "subscribed")
    for burst in range(3):
        pending = [
            field.publish(f"meter/Acme/{1 + n % 50}/reading", reading(burst * 100 + n // 50, burst * 1000 + n))
            for n in range(300)
        ]
        for info in pending:
            info.wait_for_publish(kit.PATIENCE_S)
        kit.wait_until(lambda b=burst: rows(field_store, kit) > 300 * b + 1, "a part of the burst")
        process.kill()
        process.wait()
        process = spawn_ingest(field_store.dsn, broker.port, "run")
    # The probes that waited for the subscription wrote one row of meter 58.
    kit.wait_until(lambda: rows(field_store, kit) == 901, "every reading of every burst")
    assert kit.values(field_store, "select sum(readings) from reading_count") == [(901,)]


def test_broker_restart_mid_stream(
    field_store: Store, broker: EmbeddedBroker, field: Any, run_ingest: Callable[..., Any], kit: Any
) -> None:
    ingest = run_ingest(field_store, kit.settings_for(field_store.dsn, broker.port))
    field.send("concentrator/C1/profile", profile(1, ["Acme/1"], 4))
    field.confirmations({("C1", 1)})
    broker.stop()
    kit.wait_until(lambda: not ingest.service._client.connected, "the loss noticed")
    broker.start()
    kit.wait_until(lambda: ingest.service._client.connected, "connected again")
    assert kit.count("headend_mqtt_connected") == 1

    def confirmed() -> bool:
        field.send(
            "concentrator/C1/profile", profile(2, ["Acme/2"], 4)
        )  # as a concentrator does, until it is confirmed
        kit.wait_until(lambda: not field.confirmed.empty(), "a confirmation")
        return field.confirmed.get() == ("C1", [2])

    kit.wait_until(confirmed, "the upload of after")
    assert rows(field_store, kit) == 8


def test_database_stopped_and_started_mid_stream(
    tmp_path: Path, broker: EmbeddedBroker, field: Any, run_ingest: Callable[..., Any], kit: Any
) -> None:
    server = EmbeddedPostgres(tmp_path / "database")
    server.start()
    try:
        migrate(server.dsn)
        with Store(server.dsn, timeout_s=1.0) as store:
            kit.load_topology(store)
            ingest = run_ingest(store, kit.settings_for(server.dsn, broker.port))
            field.send("concentrator/C1/profile", profile(1, ["Acme/1"], 4))
            field.confirmations({("C1", 1)})
            failures = kit.count("headend_store_errors_total", kind="StoreUnavailable")
            server.stop()
            sent = [field.publish("concentrator/C1/profile", profile(n, [f"Acme/{n}"], 4)) for n in range(2, 30)]
            sent += [field.publish(f"meter/Acme/{n}/reading", reading(1, n)) for n in range(30, 55)]
            sent.append(field.publish("meter/Acme/1/reading", b"broken"))
            for info in sent:
                info.wait_for_publish(kit.PATIENCE_S)
            kit.wait_until(
                lambda: kit.count("headend_store_errors_total", kind="StoreUnavailable") >= failures + 2, "retries"
            )
            assert kit.count("headend_unacked_messages") == len(sent)
            assert field.confirmed.empty()
            server.start()
            field.confirmations({("C1", n) for n in range(2, 30)})
            kit.wait_until(lambda: rows(store, kit) == 4 * 29 + 25, "all rows")
            kit.wait_until(lambda: kit.values(store, "select count(*) from quarantine") == [(1,)], "the broken one")
            kit.wait_until(lambda: kit.count("headend_unacked_messages") == 0, "acknowledged")
            ingest.stop()
    finally:
        server.stop()


def test_stop_while_the_database_is_away_is_clean_and_loses_nothing(
    field_store: Store, broker: EmbeddedBroker, field: Any, run_ingest: Callable[..., Any], kit: Any
) -> None:
    settings = kit.settings_for(field_store.dsn, broker.port)
    nowhere = Store("host=/nonexistent dbname=x", timeout_s=0.2)
    with nowhere:
        failures = kit.count("headend_store_errors_total", kind="StoreUnavailable")
        ingest = run_ingest(nowhere, settings)
        field.send("concentrator/C1/profile", profile(1, ["Acme/1"], 4))
        kit.wait_until(
            lambda: kit.count("headend_store_errors_total", kind="StoreUnavailable") > failures, "a failed write"
        )
        ingest.stop()
    assert kit.count("headend_unacked_messages") == 0
    run_ingest(field_store, settings)
    field.confirmations({("C1", 1)})
    assert rows(field_store, kit) == 4


def test_window_is_bounded_while_the_database_is_away(
    field_store: Store, broker: EmbeddedBroker, field: Any, run_ingest: Callable[..., Any], kit: Any
) -> None:
    settings = kit.settings_for(field_store.dsn, broker.port, mqtt={"receive_maximum": 40})
    nowhere = Store("host=/nonexistent dbname=x", timeout_s=0.2)
    # The embedded broker's own limit (a broker that heeds receive-maximum sends 40); twice, where the line breaks
    # meanwhile: what waits is kept, and sent again.
    bound = 200
    with nowhere:
        ingest = run_ingest(nowhere, settings)
        sent = [field.publish(f"meter/Acme/{1 + n % 50}/reading", reading(n // 50, n)) for n in range(500)]
        for info in sent:
            info.wait_for_publish(kit.PATIENCE_S)
        failures = kit.count("headend_store_errors_total", kind="StoreUnavailable")
        kit.wait_until(
            lambda: kit.count("headend_store_errors_total", kind="StoreUnavailable") > failures + 1, "more retries"
        )
        assert 40 <= kit.count("headend_unacked_messages") <= bound
        ingest.stop()
    run_ingest(field_store, settings)
    kit.wait_until(lambda: rows(field_store, kit) == 500, "all of them later")


def test_a_message_that_the_database_refuses_does_not_hold_up_the_others(
    field_store: Store, broker: EmbeddedBroker, field: Any, run_ingest: Callable[..., Any], kit: Any
) -> None:
    with field_store.transaction() as connection:
        connection.execute(b"alter table latest_reading alter column import_wh type smallint")
    run_ingest(field_store, kit.settings_for(field_store.dsn, broker.port))
    for n in range(1, 9):
        field.publish(f"meter/Acme/{n}/reading", reading(0, 99_999 if n == 5 else n))
    kit.wait_until(lambda: rows(field_store, kit) == 7, "the others")
    assert kit.values(field_store, "select reason, origin from quarantine") == [
        ("store_refused", "headend/v1/meter/Acme/5/reading")
    ]
    kit.wait_until(lambda: kit.count("headend_unacked_messages") == 0, "acknowledged")


def _made_at_once(dsn: str, kit: Any) -> None:
    """Put a database with schema and topology in the place of an empty one: half of them would tell another story."""
    name = conninfo_to_dict(dsn)["dbname"]
    made = f"{name}_made"
    with psycopg.connect(make_conninfo(dsn, dbname="postgres"), autocommit=True) as server:
        server.execute(f'create database "{made}"'.encode())
        migrate(make_conninfo(dsn, dbname=made))
        with psycopg.connect(make_conninfo(dsn, dbname=made)) as connection:
            connection.execute(kit.TOPOLOGY.encode())
        server.execute(f'drop database "{name}" with (force)'.encode())
        server.execute(f'alter database "{made}" rename to "{name}"'.encode())


def test_schema_that_is_not_there_yet_is_waited_for(
    empty_dsn: str, broker: EmbeddedBroker, field: Any, run_ingest: Callable[..., Any], kit: Any
) -> None:
    with Store(empty_dsn) as store:
        failures = kit.count("headend_store_errors_total", kind="SchemaError")
        ingest = run_ingest(store, kit.settings_for(empty_dsn, broker.port))
        field.send("concentrator/C1/profile", profile(1, ["Acme/1"], 4))
        kit.wait_until(lambda: kit.count("headend_store_errors_total", kind="SchemaError") > failures, "refused")
        _made_at_once(empty_dsn, kit)
        field.confirmations({("C1", 1)})
        assert rows(store, kit) == 4
        ingest.stop()


def test_two_processes_with_one_client_id_are_told_apart_in_the_log_and_lose_nothing(
    field_store: Store, broker: EmbeddedBroker, field: Any, run_ingest: Callable[..., Any], kit: Any
) -> None:
    settings = kit.settings_for(field_store.dsn, broker.port)
    with capture_logs() as logs:
        first, second = run_ingest(field_store, settings), run_ingest(field_store, settings)
        kit.wait_until(
            lambda: any("mqtt.client_id" in line["event"] and line["client_id"] == "ingest-test" for line in logs),
            "a warning that names the key",
        )
        for n in range(1, 10):
            field.publish("concentrator/C1/profile", profile(n, [f"Acme/{n}"], 4)).wait_for_publish(kit.PATIENCE_S)
        second.stop()
        kit.wait_until(lambda: rows(field_store, kit) == 9 * 4, "all rows")
        first.stop()
