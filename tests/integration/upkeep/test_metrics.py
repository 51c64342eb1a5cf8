"""The metrics that operators alert on, as a service of three processes shows them: names, labels, and their values."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client.parser import text_string_to_metric_families

from headend.domain.alerts import AlertKind, Severity
from headend.embedded.broker import EmbeddedBroker
from headend.embedded.ports import choose_port
from headend.store import alerts
from headend.store.pool import Store
from support.operations import install

PROCESSES = {"reader": "ingest,poll", "keeper": "settle,upkeep", "web": "web"}
PATIENCE_S = 90.0
LABELS = {
    "headend_readings_received": {"source"},
    "headend_readings_stored": {"source"},
    "headend_readings_duplicate": {"source"},
    "headend_readings_revised": {"source"},
    "headend_readings_late": {"source"},
    "headend_quarantined": {"source", "reason"},
    "headend_unacked_messages": set(),
    "headend_flush_seconds": {"le"},
    "headend_mqtt_connected": set(),
    "headend_store_up": set(),
    "headend_roles_running": {"role"},
    "headend_read_success_ratio": {"area", "day"},
    "headend_read_success_fleet_ratio": {"day"},
    "headend_reads_scheduled": {"day"},
    "headend_reads_stored": {"day"},
    "headend_concentrator_lag_seconds": {"concentrator"},
    "headend_concentrator_silent_seconds": {"concentrator"},
    "headend_concentrator_backlog_uploads": {"concentrator"},
    "headend_alerts_standing": {"kind", "severity"},
    "headend_dirty_area_days": set(),
    "headend_chores": {"chore", "outcome"},
}
"""What the issue names, and what tells how the head-end itself is; families as Prometheus calls them."""


class Service:
    """The service's processes; what they count is asked of the one with the role web."""

    def __init__(self, directory: Path, config: Path, web: int) -> None:
        self._directory, self._config = directory, config
        self.url = f"http://127.0.0.1:{web}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        ready = self._directory / f"{name}.ready"
        ready.unlink(missing_ok=True)
        shared = self._directory / "metrics"
        shared.mkdir(exist_ok=True)
        with (self._directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [
                    *(sys.executable, "-m", "headend.cli", "run", "--config", str(self._config)),
                    *("--roles", PROCESSES[name], "--ready-file", str(ready)),
                ],
                stderr=log,
                env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(shared)},
            )
        self.until(ready.exists, f"{name} is ready")

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            assert not ended, f"{ended} ended: {(self._directory / f'{ended[0]}.log').read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
            time.sleep(0.05)
        return found

    def families(self) -> dict[str, Any]:
        try:
            text = httpx.get(f"{self.url}/metrics", trust_env=False, timeout=15).text
        except httpx.HTTPError:
            return {}
        return {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, name: str, **labels: str) -> float | None:
        for family in self.families().values():
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return None

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(60)


def noon_zone(now: datetime) -> str:
    """A zone in which it is about noon: the hours that the test looks at lie in one local day."""
    offset = 12 - now.hour
    return f"Etc/GMT{-offset:+d}" if offset else "Etc/GMT"


@pytest.fixture
def publish() -> Iterator[Callable[..., Any]]:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="field", protocol=mqtt.MQTTv5)

    def connect_and(port: int) -> Callable[[str, Any], None]:
        client.connect("127.0.0.1", port)
        client.loop_start()

        def send(topic: str, payload: Any) -> None:
            body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            client.publish(f"headend/v1/{topic}", body, qos=1).wait_for_publish(30)

        return send

    yield connect_and
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def service(field: Store, dsn: str, tmp_path: Path) -> Iterator[tuple[Service, EmbeddedBroker]]:
    now = datetime.now(UTC)
    with EmbeddedBroker(tmp_path / "broker", port=0) as broker:
        config, web = tmp_path / "headend.toml", choose_port(0)
        config.write_text(
            f"[database]\ndsn = {json.dumps(dsn)}\n[mqtt]\nport = {broker.port}\n[web]\nport = {web}\n"
            f'[settlement]\nzone = "{noon_zone(now)}"\n[poll]\nspool_dir = "{tmp_path / "spool"}"\n'
            "[objectives]\ndue_s = 0\ngrace_s = 0\ncount_s = 0.2\n[upkeep]\ncheck_s = 1\n"
        )
        found = Service(tmp_path, config, web)
        try:
            yield found, broker
        finally:
            found.stop()


def test_names_labels_and_values_after_known_traffic(
    field: Store, service: tuple[Service, EmbeddedBroker], publish: Callable[..., Any]
) -> None:
    head_end, broker = service
    now = datetime.now(UTC)
    began = now - timedelta(hours=2)
    install(field, 3, 1, "2020-01-01T00:00Z")
    with field.transaction() as connection:
        connection.execute(b"insert into read_success_area (area_id, since_at) values (1, %s), (2, %s)", [began, began])
        alerts.raise_alert(connection, AlertKind.STORAGE, "x", detail="", now=now, severity=Severity.WARNING)
    head_end.start("reader")
    head_end.start("web")
    head_end.until(lambda: head_end.value("headend_mqtt_connected") == 1, "connected")
    send = publish(broker.port)
    grid = datetime.fromtimestamp(now.timestamp() // 900 * 900, UTC)
    times = [grid - timedelta(minutes=15 * k) for k in (4, 3, 1)]  # three of the eight or nine slots since then

    def reading(ts: datetime, import_wh: int, meter: str = "3") -> None:
        send(f"meter/Acme/{meter}/reading", {"ts": ts.isoformat(), "import_wh": import_wh})

    def stored() -> float:
        return head_end.value("headend_readings_stored_total", source="mqtt") or 0.0

    send("meter/Acme/3/reading", b"no json")
    for position, ts in enumerate(times):
        reading(ts, 1000 + position)
        head_end.until(lambda position=position: stored() == position + 1, "stored")
    reading(times[-1], 1002)  # again
    reading(times[-1], 9999)  # another value
    reading(times[0] - timedelta(hours=30), 900)  # older than the newest
    reading(now, 5, meter="nobody")
    head_end.until(lambda: stored() == 4, "the late one")
    head_end.until(
        lambda: (head_end.value("headend_quarantined_total", source="mqtt", reason="unknown_meter") or 0) == 1,
        "stranger",
    )
    counted = {
        name: head_end.value(f"headend_{name}_total", source="mqtt")
        for name in ("readings_received", "readings_stored", "readings_duplicate", "readings_revised", "readings_late")
    }
    assert counted == {
        "readings_received": 7, "readings_stored": 4, "readings_duplicate": 1, "readings_revised": 1,
        "readings_late": 1,
    }  # fmt: skip
    assert head_end.value("headend_quarantined_total", source="mqtt", reason="not_json") == 1
    assert head_end.value("headend_unacked_messages") == 0
    assert (head_end.value("headend_flush_seconds_count") or 0) >= 3
    head_end.start("keeper")  # now, so that the first look at the lag sees what came
    # Read success: three of the slots since two hours ago, in the area whose meter it is.
    head_end.until(lambda: head_end.value("headend_reads_stored", day="today") == 3, "counted")
    scheduled = head_end.value("headend_reads_scheduled", day="today")
    assert scheduled in (8, 9)
    assert head_end.value("headend_read_success_ratio", area="A", day="today") in (3 / 8, 3 / 9)
    assert head_end.value("headend_read_success_ratio", area="B", day="today") is None, "nothing is scheduled there"
    head_end.until(lambda: head_end.value("headend_concentrator_lag_seconds", concentrator="C1") is not None, "lag")
    lag_s = head_end.value("headend_concentrator_lag_seconds", concentrator="C1") or 0.0
    assert 15 * 60 <= lag_s <= 15 * 60 + (datetime.now(UTC) - grid).total_seconds()
    assert head_end.value("headend_concentrator_backlog_uploads", concentrator="C1") == 3
    assert head_end.value("headend_alerts_standing", kind="storage", severity="warning") == 1
    for role in ("ingest", "poll", "settle", "upkeep", "web"):
        head_end.until(lambda role=role: head_end.value("headend_roles_running", role=role) == 1, role)

    families = head_end.families()
    for name, labels in LABELS.items():
        assert name in families, name
        found = {key for sample in families[name].samples for key in sample.labels}
        assert found == labels, name

    # A killed reader holds no session and no message; what it counted stays.
    reader = head_end.processes.pop("reader")
    reader.kill()
    reader.wait()
    assert head_end.value("headend_mqtt_connected") in (0, None)
    assert stored() == 4
    with field.transaction() as connection:
        connection.execute(
            b"update service_process set beat_at = beat_at - interval '10 minutes' where 'ingest' = any (roles)"
        )
    assert head_end.value("headend_roles_running", role="ingest") == 0
