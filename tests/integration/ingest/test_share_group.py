"""Several ingest processes on one Mosquitto: each message once, and none stays with a process that is gone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from headend.settings import Settings
from headend.store.pool import Store
from support.mosquitto import Mosquitto, needs_mosquitto

pytestmark = needs_mosquitto
NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
PREFIX = "headend/v1"
GROUP = "workers"


def reading(number: int) -> bytes:
    return json.dumps({"ts": (NOW - timedelta(seconds=number)).isoformat(), "import_wh": number}).encode()


def rows(store: Store, kit: Any) -> int:
    return int(kit.values(store, "select count(*) from register_reading")[0][0])


def worker(kit: Any, store: Store, broker: Mosquitto, name: str, **mqtt: Any) -> Settings:
    settings: Settings = kit.settings_for(
        store.dsn, broker.port, mqtt={"client_id": name, "share_group": GROUP, "unshared": False} | mqtt
    )
    return settings


def test_two_workers_share_the_messages(
    field_store: Store, mosquitto: Callable[..., Mosquitto], run_ingest: Callable[..., Any], kit: Any
) -> None:
    broker = mosquitto()
    workers = [run_ingest(field_store, worker(kit, field_store, broker, name)) for name in ("one", "two")]
    before = kit.count("headend_readings_received_total", source="mqtt")
    probes = 0
    while not kit.values(field_store, "select 1 from latest_reading where meter_id = 58"):
        broker.publish(f"{PREFIX}/meter/Acme/58/reading", [reading(probes)])  # lost until there is a subscription
        probes += 1
        kit.pause(0.1)
    kit.wait_until(lambda: kit.count("headend_unacked_messages") == 0, "acknowledged")
    lost = probes - (kit.count("headend_readings_received_total", source="mqtt") - before)
    handled = [0, 0]
    for place, one in enumerate(workers):
        write = one.service._writer.write

        def counting(items: Any, place: int = place, write: Any = write) -> Any:
            handled[place] += len(items)
            return write(items)

        one.service._writer.write = counting
    for meter in range(1, 6):
        broker.publish(f"{PREFIX}/meter/Acme/{meter}/reading", [reading(n) for n in range(100)])
    kit.wait_until(lambda: rows(field_store, kit) == 500 + probes - lost, "all readings")
    kit.wait_until(lambda: kit.count("headend_unacked_messages") == 0, "acknowledged")
    received = kit.count("headend_readings_received_total", source="mqtt") - before
    assert received == 500 + probes - lost, "each by one of them"
    assert min(handled) > 100, handled


def test_what_a_killed_worker_had_is_taken_over(
    field_store: Store,
    mosquitto: Callable[..., Mosquitto],
    run_ingest: Callable[..., Any],
    spawn_ingest: Callable[..., subprocess.Popen[bytes]],
    kit: Any,
) -> None:
    broker = mosquitto()
    takeovers = kit.count("headend_mqtt_takeovers_total", outcome="emptied")
    doomed = spawn_ingest(field_store.dsn, broker.port, "hold", client_id="doomed", share_group=GROUP)
    run_ingest(field_store, worker(kit, field_store, broker, "heir", takeover_s=0.5))

    def half_is_missing() -> bool:
        """Both subscribe: of a few readings only the survivor's are stored."""
        start = rows(field_store, kit)
        broker.publish(
            f"{PREFIX}/meter/Acme/2/reading", [reading(n) for n in range(next_number[0], next_number[0] + 10)]
        )
        next_number[0] += 10
        kit.wait_until(lambda: rows(field_store, kit) >= start + 5, "at least the survivor's half")
        kit.pause(0.3)
        return rows(field_store, kit) < start + 10

    next_number = [0]
    kit.wait_until(half_is_missing, "both share")
    broker.publish(f"{PREFIX}/meter/Acme/1/reading", [reading(n) for n in range(200)])
    kit.wait_until(lambda: rows(field_store, kit) >= 100, "the survivor's share")
    kit.pause(0.5)
    assert rows(field_store, kit) < next_number[0] + 200, "the other one holds the rest"
    doomed.kill()
    doomed.wait()
    kit.wait_until(lambda: rows(field_store, kit) == next_number[0] + 200, "all of it")
    kit.wait_until(
        lambda: kit.count("headend_mqtt_takeovers_total", outcome="emptied") == takeovers + 1, "the session ended"
    )
    assert kit.values(field_store, "select sum(readings) from reading_count") == [(next_number[0] + 200,)]
    # Nothing more is given to the one that is gone.
    broker.publish(f"{PREFIX}/meter/Acme/3/reading", [reading(n) for n in range(50)])
    kit.wait_until(lambda: rows(field_store, kit) == next_number[0] + 250, "the survivor gets everything now")


def test_a_worker_that_comes_back_gets_its_own_messages(
    field_store: Store,
    mosquitto: Callable[..., Mosquitto],
    spawn_ingest: Callable[..., subprocess.Popen[bytes]],
    run_ingest: Callable[..., Any],
    kit: Any,
) -> None:
    broker = mosquitto()
    run_ingest(field_store, worker(kit, field_store, broker, "other", takeover_s=3600.0))
    back = run_ingest(field_store, worker(kit, field_store, broker, "back"))
    back.stop()
    broker.publish(f"{PREFIX}/meter/Acme/1/reading", [reading(n) for n in range(40)])
    kit.wait_until(lambda: rows(field_store, kit) >= 20, "the other one's share")
    kit.pause(0.5)
    waiting = 40 - rows(field_store, kit)
    assert waiting > 0, "the broker keeps the share of the one that is away"
    run_ingest(field_store, worker(kit, field_store, broker, "back"))
    kit.wait_until(lambda: rows(field_store, kit) == 40, "its share too")


def test_what_members_said_while_one_was_away_is_not_taken_for_a_reading(
    field_store: Store,
    mosquitto: Callable[..., Mosquitto],
    run_ingest: Callable[..., Any],
    spawn_ingest: Callable[..., subprocess.Popen[bytes]],
    kit: Any,
) -> None:
    broker = mosquitto()
    takeovers = kit.count("headend_mqtt_takeovers_total", outcome="emptied")
    doomed = spawn_ingest(field_store.dsn, broker.port, "run", client_id="doomed", share_group=GROUP)
    state = f"{PREFIX}/headend/doomed/state"
    seen = subprocess.run(
        ["mosquitto_sub", "-h", broker.host, "-p", str(broker.port), "-t", state, "-C", "1", "-W", "20"],
        capture_output=True,
        check=True,
    )
    assert seen.stdout == b"online workers\n"
    broker.publish(f"{PREFIX}/headend/third/state", [b"online workers"], "-r")  # it is subscribed by now, or soon
    doomed.kill()
    doomed.wait()
    for word in (b"offline workers", b"online workers", b"offline other"):
        broker.publish(f"{PREFIX}/headend/third/state", [word])
    run_ingest(field_store, worker(kit, field_store, broker, "heir", takeover_s=0.5))
    kit.wait_until(
        lambda: kit.count("headend_mqtt_takeovers_total", outcome="emptied") > takeovers, "a session emptied"
    )
    assert kit.values(field_store, "select origin, reason, payload from quarantine") == []
