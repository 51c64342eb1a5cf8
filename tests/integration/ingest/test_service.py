"""The whole way: bytes published to a real broker, rows committed in a real PostgreSQL, acknowledged, confirmed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from headend.embedded.broker import EmbeddedBroker
from headend.store.pool import Store

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)


def profile(seq: int, meters: list[str], instants: int, *, start_wh: int = 0, backlog: int = 0) -> dict[str, Any]:
    """A profile of 15-minute registers that end at NOW."""
    first = NOW - timedelta(minutes=15 * (instants - 1))
    return {
        "format": "headend.profile/1",
        "seq": seq,
        "backlog": backlog,
        "meters": meters,
        "ts": [(first + timedelta(minutes=15 * i)).isoformat() for i in range(instants)],
        "import_wh": [[start_wh + 100 * m + i for i in range(instants)] for m in range(len(meters))],
    }


def test_publish_to_rows_to_acknowledgement_and_confirmation(
    field_store: Store, broker: EmbeddedBroker, field: Any, run_ingest: Callable[..., Any], kit: Any
) -> None:
    settings = kit.settings_for(field_store.dsn, broker.port)
    ingest = run_ingest(field_store, settings)
    field.send("concentrator/C1/state", b"online", retain=True)
    field.send("concentrator/C1/profile", profile(1, ["Acme/1", "Acme/2"], 96, backlog=7))
    field.send("meter/Acme/3/reading", {"ts": NOW.isoformat(), "import_wh": 5, "voltage_v": [229.0, 231.0, 230.0], "power_w": 40})
    field.confirmations({("C1", 1)})
    kit.wait_until(lambda: kit.values(field_store, "select count(*) from register_reading") == [(193,)], "all rows")
    assert kit.values(field_store, "select meter_id, import_wh, voltage_dv, power_w from latest_reading order by 1") == [
        (1, 95, None, None), (2, 195, None, None), (3, 5, 2300, 40)]
    assert kit.values(field_store, "select confirmed_seq, backlog, online, last_seen_at from concentrator where code = 'C1'") == [(1, 7, True, NOW)]
    assert kit.values(field_store, "select count(*) from quarantine") == [(0,)]
    kit.wait_until(lambda: kit.count("headend_unacked_messages") == 0, "acknowledged")
    ingest.stop()
    # Nothing comes again to the same session: it was all acknowledged.
    again = run_ingest(field_store, settings)
    field.send("concentrator/C1/profile", profile(2, ["Acme/1"], 96))
    field.confirmations({("C1", 2)})
    again.stop()
    assert kit.values(field_store, "select count(*) from register_reading") == [(193,)]
