"""How far behind concentrators are: by the newest stored reading of the meters that are read through each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from headend.store import lag
from headend.store.pool import Store
from headend.upkeep.lag import lag_of_concentrators
from support.operations import install

NOW = datetime(2026, 3, 10, 8, tzinfo=UTC)


def latest(store: Store, meter: int, ts: datetime) -> None:
    with store.transaction() as connection:
        connection.execute(
            b"insert into latest_reading (meter_id, ts, source, received_at) values (%s, %s, 3, %s)", [meter, ts, ts]
        )


def test_lag_and_silence(field: Store) -> None:
    for meter in (3, 4, 6):
        install(field, meter, 1, "2026-01-01T00:00Z", None if meter != 4 else "2026-03-01T00:00Z")
    latest(field, 3, NOW - timedelta(hours=2))
    latest(field, 4, NOW)  # taken down
    with field.transaction() as connection:
        connection.execute(b"insert into endpoint (meter_id, protocol, concentrator_id) values (2, 'mqtt', 1)")
    install(field, 2, 1, "2026-01-01T00:00Z")
    latest(field, 2, NOW)  # polled: its readings come another way
    lag_of_concentrators(field, lambda: NOW).do()
    with field.transaction() as connection:
        found = {r["concentrator"]: r for r in lag.worst(connection, 10)}
        assert {code: (r["meters"], r["newest_at"]) for code, r in found.items()} == {
            "C1": (2, NOW - timedelta(hours=2)),
            "C3": (1, None),
        }, "nobody is read through C2"
        assert list(found) == ["C1", "C3"], "the longest silent first"
        totals = lag.totals(connection, NOW - timedelta(minutes=3))
    assert totals == {
        "concentrators": 2, "never_heard": 0, "silent": 1, "offline": 0, "backlog": 3,
        "furthest_behind_at": NOW - timedelta(hours=2),
    }  # fmt: skip


def test_one_that_was_never_heard_of_comes_first(field: Store) -> None:
    with field.transaction() as connection:
        connection.execute(b"update concentrator set last_seen_at = null, backlog = null where code = 'C3'")
        found = lag.worst(connection, 2)
        assert [r["concentrator"] for r in found] == ["C2", "C3"], "before the first look, all count"
        assert lag.totals(connection, NOW)["never_heard"] == 2
