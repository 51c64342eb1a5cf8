"""A slow database slows the acknowledgements: what is held stays below its bound, nothing is lost, the flow resumes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from drivers.mqtt.client import READ_BYTES
from headend.ingest.service import HELD_BYTES
from headend.store.pool import Store
from support import raw_publisher
from support.mosquitto import needs_mosquitto

PADDED = 256 * 1024
"""Bytes of a message: white space, so that few rows are much to hold."""
MESSAGES = 800
MOST_RSS = 180 * 1024 * 1024
"""What the process may grow by while it holds HELD_BYTES; without a bound it would take all of the 200 MiB."""

pytestmark = needs_mosquitto


def flood() -> list[tuple[str, bytes]]:
    """Distinct readings of 50 meters."""
    made = []
    for n in range(MESSAGES):
        body = json.dumps({"ts": f"2026-11-20T0{n // 300}:{n // 5 % 60:02}:{n % 5:02}Z", "import_wh": n}).encode()
        made.append((f"headend/v1/meter/Acme/{1 + n % 50}/reading", body[:-1] + b" " * (PADDED - len(body)) + b"}"))
    return made


def rss() -> int:
    """Bytes of this process in memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


@contextmanager
def published(port: int, file: Path) -> Iterator[subprocess.Popen[str]]:
    """A foreign process that publishes the file once, as fast as the broker takes it."""
    command = [sys.executable, raw_publisher.__file__, "127.0.0.1", str(port), str(file), "200"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as publisher:
        assert publisher.stdin is not None
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == "ready\n"
        publisher.stdin.write("go\n")
        publisher.stdin.flush()
        yield publisher
        publisher.stdin.close()
        assert publisher.wait(30) == 0


def held_up(store: Store) -> psycopg.Connection[Any]:
    """A database in which no reading can be written until this is closed."""
    connection = psycopg.connect(store.dsn)
    connection.execute("lock table register_reading in access exclusive mode")
    return connection


@pytest.mark.parametrize("outlasts_keepalive", [False, True], ids=["for a while", "for long"])
def test_what_is_held_is_bounded_and_nothing_is_lost(
    outlasts_keepalive: bool,
    field_store: Store,
    mosquitto: Callable[..., Any],
    run_ingest: Callable[..., Any],
    tmp_path: Path,
    kit: Any,
) -> None:
    """For long: beyond what the network thread may wait, so that messages are not taken, and asked for anew."""
    broker = mosquitto("allow_anonymous true", "max_inflight_messages 0")
    keepalive_s = 5 if outlasts_keepalive else 60
    settings = kit.settings_for(
        field_store.dsn, broker.port, mqtt={"keepalive_s": keepalive_s, "receive_maximum": 2000}
    )
    file = tmp_path / "flood"
    file.write_bytes(raw_publisher.pack(flood()))
    service = run_ingest(field_store, settings).service
    kit.wait_until(lambda: service.health()["connected"], "connected")
    before = rss()
    overflowed = kit.count("headend_mqtt_overflow_total", qos="1")
    with held_up(field_store), published(broker.port, file) as publisher:
        assert publisher.stdout is not None
        assert publisher.stdout.readline().startswith("{"), "the broker has all of them"
        kit.wait_until(lambda: service._window.held()[1] > HELD_BYTES - 2 * PADDED, "the bound is met")
        if outlasts_keepalive:
            kit.wait_until(lambda: kit.count("headend_mqtt_overflow_total", qos="1") > overflowed, "one not taken")
        messages, size = service._window.held()
        assert size <= HELD_BYTES
        assert messages <= HELD_BYTES // PADDED
        assert kit.count("headend_unacked_messages") == messages
        assert kit.count("headend_unacked_bytes") == size
        assert rss() - before < MOST_RSS
        health = service.health()
        assert health["readings_stored"] == 0
        assert health["last_commit_age_s"] is None, "nothing is acknowledged that is not committed"
        assert health["oldest_waiting_s"] > 0
    kit.wait_until(
        lambda: kit.values(field_store, "select count(*) from register_reading") == [(MESSAGES,)], "all rows"
    )
    total = MESSAGES * (MESSAGES - 1) // 2
    assert kit.values(field_store, "select sum(import_wh)::bigint from register_reading") == [(total,)]
    kit.wait_until(lambda: kit.count("headend_unacked_messages") == 0, "all acknowledged")
    assert kit.count("headend_unacked_bytes") == 0
    assert service.health()["unacked_bytes"] == 0
    assert READ_BYTES < HELD_BYTES / 100, "what the client has read ahead does not count"
