"""The session at a real Mosquitto: TLS, passwords, access lists, persistence, and a line that maltreats its packets."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from structlog.testing import capture_logs

from drivers.errors import DriverConfigError
from headend.ingest import mqtt_session
from headend.settings import Mqtt, SettingsError
from headend.store.pool import Store
from support.mosquitto import Certificates, Mosquitto, needs_mosquitto
from support.mqtt_proxy import PLAN, MqttProxy

pytestmark = needs_mosquitto
NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
PREFIX = "headend/v1"


def reading(number: int) -> bytes:
    """The number-th second of the day, and as many Wh."""
    return json.dumps({"ts": (NOW - timedelta(seconds=number)).isoformat(), "import_wh": number}).encode()


def rows(store: Store, kit: Any) -> int:
    return int(kit.values(store, "select count(*) from register_reading")[0][0])


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    """What was logged."""
    with capture_logs() as lines:
        yield lines


def problems(lines: list[Any]) -> str:
    return "\n".join(str(line.get("problem", "")) for line in lines)


class Watcher:
    """Hears what is published, retained messages first."""

    def __init__(self, broker: Mosquitto, topic: str) -> None:
        self.heard: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
        ready = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_connect = lambda c, *_: c.subscribe(topic, qos=1)
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda _c, _d, m: self.heard.put((m.topic, bytes(m.payload), m.retain))
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        assert ready.wait(20)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def watch() -> Iterator[Callable[..., Watcher]]:
    """Starts watchers; all of them are ended after the test."""
    started: list[Watcher] = []

    def start(broker: Mosquitto, topic: str) -> Watcher:
        started.append(Watcher(broker, topic))
        return started[-1]

    yield start
    for watcher in started:
        watcher.close()


def tls_lines(authority: Certificates, certificate: Path, key: Path, *, want_client: bool = True) -> list[str]:
    return [
        "allow_anonymous true",
        f"cafile {authority.ca}",
        f"certfile {certificate}",
        f"keyfile {key}",
        f"require_certificate {'true' if want_client else 'false'}",
        "use_identity_as_username true" if want_client else "",
    ]


def test_tls_with_a_client_certificate(
    tmp_path: Path, field_store: Store, mosquitto: Callable[..., Mosquitto], run_ingest: Callable[..., Any], kit: Any
) -> None:
    authority = Certificates(tmp_path / "tls", "utility")
    broker = mosquitto(*tls_lines(authority, *authority.issue("broker")))
    certificate, key = authority.issue("headend")
    own = {"tls": True, "tls_ca_file": authority.ca, "tls_cert_file": certificate, "tls_key_file": key}
    run_ingest(field_store, kit.settings_for(field_store.dsn, broker.port, mqtt=own))
    meter, meter_key = authority.issue("meter")
    options = ("--cafile", str(authority.ca), "--cert", str(meter), "--key", str(meter_key))
    broker.publish(f"{PREFIX}/meter/Acme/1/reading", [reading(7)], *options)
    kit.wait_until(lambda: rows(field_store, kit) == 1, "the reading over TLS")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("another authority", "certificate verify failed: self-signed certificate in certificate chain"),
        ("another name", "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("no certificate of ours", "hung up before it had answered; it may want a client certificate"),
    ],
)
def test_a_broker_that_is_not_the_right_one_is_refused_and_the_reason_said(
    case: str,
    said: str,
    tmp_path: Path,
    field_store: Store,
    mosquitto: Callable[..., Mosquitto],
    start_ingest: Callable[..., Any],
    logs: list[Any],
    kit: Any,
) -> None:
    authority, stranger = Certificates(tmp_path / "tls", "utility"), Certificates(tmp_path / "tls", "stranger")
    names = "IP:127.0.0.2" if case == "another name" else "IP:127.0.0.1"
    broker = mosquitto(*tls_lines(authority, *authority.issue("broker", names=names)))
    own: dict[str, Any] = {"tls": True, "tls_ca_file": (stranger if case == "another authority" else authority).ca}
    if case != "no certificate of ours":
        own["tls_cert_file"], own["tls_key_file"] = authority.issue("headend")
    ingest = start_ingest(field_store, kit.settings_for(field_store.dsn, broker.port, mqtt=own))
    kit.wait_until(lambda: said in problems(logs), said)
    assert not ingest.service._client.connected
    assert kit.count("headend_mqtt_connected") == 0


def test_tls_files_that_cannot_be_used_are_named_before_anything_starts(tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(DriverConfigError, match=r"CA file .*missing.pem cannot be used"):
        mqtt_session.check_files(Mqtt(tls=True, tls_ca_file=missing))
    authority, other = Certificates(tmp_path, "one"), Certificates(tmp_path, "two")
    certificate, _ = authority.issue("headend")
    _, key = other.issue("other")
    with pytest.raises(DriverConfigError, match=r"client certificate .*one-headend.pem with key .*two-other.key"):
        mqtt_session.check_files(Mqtt(tls=True, tls_ca_file=authority.ca, tls_cert_file=certificate, tls_key_file=key))
    with pytest.raises(SettingsError, match=r"mqtt.password_file .*missing.pem"):
        mqtt_session.check_files(Mqtt(password_file=missing))


def test_user_password_and_access_list(
    tmp_path: Path,
    field_store: Store,
    mosquitto: Callable[..., Mosquitto],
    run_ingest: Callable[..., Any],
    start_ingest: Callable[..., Any],
    logs: list[Any],
    kit: Any,
) -> None:
    passwords, access = tmp_path / "passwords", tmp_path / "access"
    kit.make_passwords(passwords, {"headend": "s3cret", "Acme-1": "meter"})
    access.write_text(
        f"user headend\ntopic read {PREFIX}/meter/#\ntopic write {PREFIX}/#\n"
        f"user Acme-1\ntopic write {PREFIX}/meter/Acme/1/#\n",
        encoding="utf-8",
    )
    broker = mosquitto("allow_anonymous false", f"password_file {passwords}", f"acl_file {access}")
    wrong = kit.settings_for(
        field_store.dsn, broker.port, mqtt={"username": "headend", "password": "guess", "client_id": "wrong"}
    )
    start_ingest(field_store, wrong)
    kit.wait_until(lambda: "broker refused the connection: Not authorized" in problems(logs), "the refusal")
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n", encoding="utf-8")
    run_ingest(
        field_store,
        kit.settings_for(field_store.dsn, broker.port, mqtt={"username": "headend", "password_file": secret}),
    )
    broker.publish(f"{PREFIX}/meter/Acme/2/reading", [reading(1)], "-u", "Acme-1", "-P", "meter")
    broker.publish(f"{PREFIX}/meter/Acme/1/reading", [reading(7)], "-u", "Acme-1", "-P", "meter")
    kit.wait_until(lambda: rows(field_store, kit) == 1, "the meter's own reading")
    assert kit.values(field_store, "select meter_id, import_wh from register_reading") == [(1, 7)]
    assert not any("s3cret" in str(line) or "guess" in str(line) for line in logs)


def test_broker_killed_and_started_again_with_its_persistence(
    field_store: Store, mosquitto: Callable[..., Mosquitto], run_ingest: Callable[..., Any], kit: Any
) -> None:
    broker = mosquitto("allow_anonymous true", durable=True)
    ingest = run_ingest(field_store, kit.settings_for(field_store.dsn, broker.port))
    broker.publish(f"{PREFIX}/meter/Acme/1/reading", [reading(n) for n in range(50)])
    kit.wait_until(lambda: rows(field_store, kit) == 50, "the first readings")
    ingest.stop()
    broker.publish(f"{PREFIX}/meter/Acme/2/reading", [reading(n) for n in range(300)])
    kit.wait_until(broker.saved, "the broker's save")
    broker.kill()
    broker.start()
    run_ingest(field_store, kit.settings_for(field_store.dsn, broker.port))
    kit.wait_until(lambda: rows(field_store, kit) == 350, "what the broker had acknowledged before it was killed")
    assert kit.values(field_store, "select count(*) from reading_revision") == [(0,)]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_line_that_delays_drops_doubles_truncates_and_cuts_loses_and_doubles_nothing(
    seed: int, field_store: Store, mosquitto: Callable[..., Mosquitto], run_ingest: Callable[..., Any], kit: Any
) -> None:
    broker = mosquitto()
    proxy = MqttProxy(broker.host, broker.port, seed)
    try:
        run_ingest(field_store, kit.settings_for(field_store.dsn, proxy.port, mqtt={"keepalive_s": 5}))
        broker.publish(f"{PREFIX}/meter/Acme/58/reading", [reading(0)])
        kit.wait_until(lambda: rows(field_store, kit) == 1, "a subscription")
        proxy.evil.set()
        for meter in range(1, 6):
            broker.publish(f"{PREFIX}/meter/Acme/{meter}/reading", [reading(n) for n in range(200)])

        kit.wait_until(lambda: sum(proxy.done.values()) > 1200, "packets maltreated by the plan", timeout_s=120.0)
        assert set(PLAN) == set(proxy.done)
        proxy.evil.clear()
        proxy.cut()  # what was dropped is sent again over a new line only
        kit.wait_until(lambda: rows(field_store, kit) == 1001, "every reading")
        assert kit.values(field_store, "select sum(readings) from reading_count") == [(1001,)]
        assert kit.values(field_store, "select count(*) from reading_revision") == [(0,)]
        assert kit.values(field_store, "select count(*) from quarantine") == [(0,)]
        assert kit.values(
            field_store,
            "select meter_id, sum(import_wh) from register_reading where meter_id < 6 group by 1 order by 1",
        ) == [(meter, sum(range(200))) for meter in range(1, 6)]
    finally:
        proxy.close()


def test_our_own_state_is_retained_and_the_brokers_to_say_when_we_vanish(
    field_store: Store,
    mosquitto: Callable[..., Mosquitto],
    watch: Callable[..., Watcher],
    run_ingest: Callable[..., Any],
    kit: Any,
) -> None:
    broker = mosquitto()
    ingest = run_ingest(field_store, kit.settings_for(field_store.dsn, broker.port))
    topic = f"{PREFIX}/headend/ingest-test/state"
    watcher = watch(broker, topic)
    assert watcher.heard.get(timeout=20) == (topic, b"online", True)
    proxyless = ingest.service._client._client.socket()
    proxyless.close()  # as a process that vanished: no goodbye
    assert watcher.heard.get(timeout=20) == (topic, b"offline", False)
    assert watcher.heard.get(timeout=20) == (topic, b"online", False)
    ingest.stop()
    assert watcher.heard.get(timeout=20) == (topic, b"offline", False)


def test_last_will_and_return_of_a_concentrator_are_events(
    field_store: Store, mosquitto: Callable[..., Mosquitto], run_ingest: Callable[..., Any], kit: Any
) -> None:
    broker = mosquitto()
    run_ingest(field_store, kit.settings_for(field_store.dsn, broker.port))
    topic = f"{PREFIX}/concentrator/C1/state"
    states = "select online, state_at is not null from concentrator where code = 'C1'"
    told = "select kind, code, source from device_event where concentrator_id = 1 order by event_id"
    for state in (b"online", b"online", b"offline", b"offline", b"online"):
        broker.publish(topic, [state], "-r")
        kit.wait_until(lambda s=state: kit.values(field_store, states) == [(s == b"online", True)], "the state")
        kit.wait_until(lambda: kit.count("headend_unacked_messages") == 0, "acknowledged")
    assert kit.values(field_store, told) == [
        ("communication_lost", None, "mqtt"),
        ("communication_restored", "0.1.52.29", "mqtt"),
    ]


def test_a_broker_that_sends_more_than_receive_maximum_is_slowed_down_and_nothing_is_sent_twice(
    field_store: Store, mosquitto: Callable[..., Mosquitto], run_ingest: Callable[..., Any], kit: Any
) -> None:
    """Mosquitto 2.0.11 answers each acknowledgement with as many messages as receive-maximum allows in all."""
    broker = mosquitto()
    ingest = run_ingest(field_store, kit.settings_for(field_store.dsn, broker.port, mqtt={"receive_maximum": 20}))
    broker.publish(f"{PREFIX}/meter/Acme/58/reading", [reading(0)])
    kit.wait_until(lambda: rows(field_store, kit) == 1, "a subscription")
    overflowed = kit.count("headend_mqtt_overflow_total", qos="1")
    received = kit.count("headend_readings_received_total", source="mqtt")
    write, go_on = ingest.service._writer.write, threading.Event()

    def held(items: Any) -> Any:
        result = write(items)
        go_on.wait(8.0)  # the acknowledgements of this batch come when the broker has much more to send
        return result

    ingest.service._writer.write = held
    broker.publish(f"{PREFIX}/meter/Acme/1/reading", [reading(n) for n in range(3000)])
    go_on.set()
    kit.wait_until(lambda: rows(field_store, kit) == 3001, "all of them")
    assert kit.count("headend_mqtt_overflow_total", qos="1") == overflowed
    assert kit.count("headend_readings_received_total", source="mqtt") == received + 3000
    assert ingest.service._client._connection == 1, "over one connection"
