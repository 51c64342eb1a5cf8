"""From a publisher over broker and ingest to committed rows, against COPY of the same rows straight into the table."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from drivers.base import PHASE_DTYPE, READING_DTYPE, Source, empty
from headend.domain.calendar import from_us, to_us
from headend.embedded.broker import EmbeddedBroker
from headend.store import readings
from headend.store.partitions import Partitions
from headend.store.pool import Store

pytestmark = pytest.mark.bench
EACH = 100
"""Readings of one message."""
COPIED = 10_000
"""Rows of one COPY."""


def rows_of(meters: int, seed: int) -> np.ndarray:
    """(meters × EACH,) READING_DTYPE: a day of quarter-hours for each meter up to now, meter after meter."""
    rng = np.random.default_rng(seed)
    last_us = to_us(datetime.now(UTC).replace(minute=0, second=0, microsecond=0))
    rows = empty(READING_DTYPE, meters * EACH)
    rows["meter"] = np.repeat(np.arange(1, meters + 1), EACH)
    rows["ts_us"] = np.tile(last_us - 900_000_000 * np.arange(EACH)[::-1], meters)
    rows["import_wh"] = np.cumsum(rng.integers(0, 50, (meters, EACH)) * 10, axis=1).ravel() + 100_000
    rows["export_wh"] = 0
    rows["voltage_dv"] = rng.integers(2200, 2400, meters * EACH)
    rows["source"] = Source.MQTT
    return rows


def messages_of(rows: np.ndarray) -> list[tuple[str, bytes]]:
    encoder = msgspec.json.Encoder()
    made = []
    for own in rows.reshape(-1, EACH):
        batch = [
            {"ts": from_us(ts).isoformat(), "import_wh": imported, "export_wh": 0, "voltage_v": dv / 10}
            for ts, imported, dv in zip(
                own["ts_us"].tolist(), own["import_wh"].tolist(), own["voltage_dv"].tolist(), strict=True
            )
        ]
        made.append((f"headend/v1/meter/Acme/{own['meter'][0]}/batch", encoder.encode({"readings": batch})))
    return made


def copy_directly(store: Store, rows: np.ndarray) -> float:
    """Seconds to commit the rows by binary COPY in batches; partitions are there before."""
    first, last = from_us(int(rows["ts_us"].min())), from_us(int(rows["ts_us"].max()))
    days = {(first + timedelta(days=i)).date() for i in range((last - first).days + 2)}
    Partitions().ensure(store, days)
    nothing = empty(PHASE_DTYPE, 0)
    started = time.perf_counter()
    for start in range(0, rows.size, COPIED):
        with store.transaction() as connection:
            readings.append(connection, rows[start : start + COPIED], nothing)
    return time.perf_counter() - started


def publish(broker: EmbeddedBroker, messages: list[tuple[str, bytes]]) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="field", protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(100)
    client.connect(broker.host, broker.port)
    client.loop_start()
    for topic, payload in messages:
        client.publish(topic, payload, qos=1)
    return client


def test_mqtt_to_committed_rows(
    databases: Any, kit: Any, neighbourhood: Callable[..., None], report: Any, tmp_path: Path
) -> None:
    meters = kit.scaled(3000, 40)
    rows = rows_of(meters, kit.SEED)
    messages = messages_of(rows)
    with databases.fresh("direct") as direct:
        copy_directly(direct, rows[:COPIED])  # warm
    with databases.fresh("direct") as direct:
        direct_s = copy_directly(direct, rows)
    with databases.fresh("ingest") as store, EmbeddedBroker(tmp_path / "broker", port=0) as broker:
        neighbourhood(store, areas=max(1, meters // 100), meters=100)
        config, ready = tmp_path / "headend.toml", tmp_path / "ready"
        config.write_text(f"[database]\ndsn = '{store.dsn}'\n[mqtt]\nport = {broker.port}\n[log]\nlevel = 'warning'\n")
        arguments = (
            "-m",
            "headend.cli",
            "run",
            "--config",
            str(config),
            "--roles",
            "ingest",
            "--ready-file",
            str(ready),
        )
        with kit.child(*arguments, log=tmp_path / "ingest.log") as ingest:
            kit.wait_for(ready.exists, "the ingest", ingest)
            time.sleep(1.0)  # subscribed
            started = time.perf_counter()
            client = publish(broker, messages)

            def stored() -> bool:
                (found,) = store.rows(b"select coalesce(sum(readings), 0)::bigint as n from reading_count")
                return bool(found["n"] >= rows.size)

            kit.wait_for(stored, "all rows", ingest)
            ingest_s = time.perf_counter() - started
            client.disconnect()
            client.loop_stop()
        (kept,) = store.rows(b"select count(*) as n, sum(import_wh)::bigint as wh from register_reading")
        assert kept == {"n": rows.size, "wh": int(rows["import_wh"].sum())}
    report("direct_copy_rows", rows.size / direct_s, "rows/s", n=rows.size)
    report(
        "mqtt_to_committed_rows",
        rows.size / ingest_s,
        "rows/s",
        ratio_to={"direct_copy_rows": direct_s / ingest_s},
        n=rows.size,
    )
