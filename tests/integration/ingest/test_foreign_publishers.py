"""`mosquitto_pub` as a foreign publisher: the own format and the payload maps becomes rows, events, discoveries."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from drivers.mqtt.sparkplug import Payload
from headend.store.pool import Store
from support.mosquitto import Mosquitto, needs_mosquitto

pytestmark = needs_mosquitto
NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
PREFIX = "headend/v1"
METERS = """
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) values
    ('Sparkplug', 'North:gw1:m', 'any', 1, 8, 1), ('Sparkplug', 'North:gw2:m', 'any', 1, 8, 1),
    ('Shelly', 'shellypro3em-a0b1c2d3e4f5', 'pro 3em', 3, 8, 1), ('Tasmota', 'plug7', 'plug', 1, 8, 1),
    ('Zigbee2MQTT', 'kitchen', 'plug', 1, 8, 100)
"""


def row(store: Store, kit: Any, serial: str) -> tuple[Any, ...]:
    """What is stored of a meter's newest reading."""
    found: list[tuple[Any, ...]] = kit.values(
        store,
        "select r.ts, r.import_wh, r.export_wh, r.voltage_dv, r.resolution_wh, r.source "
        f"from register_reading r join meter using (meter_id) where serial = '{serial}' order by ts desc limit 1",
    )
    return found[0] if found else ()


@pytest.fixture
def broker(mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    """A real one."""
    return mosquitto()


@pytest.fixture
def ingest(field_store: Store, broker: Mosquitto, run_ingest: Callable[..., Any], kit: Any) -> Any:
    """Listens at the broker."""
    with field_store.transaction() as connection:
        connection.execute(METERS.encode())
    return run_ingest(field_store, kit.settings_for(field_store.dsn, broker.port))


@pytest.fixture
def heard(field_store: Store, broker: Mosquitto, ingest: Any, kit: Any) -> Mosquitto:
    """A broker whose ingest has its subscriptions."""
    while not kit.values(field_store, "select 1 from latest_reading where meter_id = 58"):
        broker.publish(f"{PREFIX}/meter/Acme/58/reading", [b'{"ts":"2026-11-20T03:00:00Z","import_wh":0}'])
        kit.pause(0.1)
    return broker


def test_own_format(field_store: Store, heard: Mosquitto, kit: Any) -> None:
    heard.publish(f"{PREFIX}/meter/Acme/1/reading", [b'{"ts":"2026-11-20T03:59:58Z","import_wh":7,"voltage_v":231.5}'])
    kit.wait_until(lambda: row(field_store, kit, "1"), "the row")
    assert row(field_store, kit, "1") == (datetime(2026, 11, 20, 3, 59, 58, tzinfo=UTC), 7, None, 2315, None, 2)


def test_shelly(field_store: Store, heard: Mosquitto, kit: Any) -> None:
    device = "shellypro3em-a0b1c2d3e4f5"
    status = {
        "src": device,
        "dst": f"{device}/events",
        "method": "NotifyStatus",
        "params": {"ts": 1795147190.0, "emdata:0": {"id": 0, "total_act": 123456.78, "total_act_ret": 12.0}},
    }
    heard.publish(f"{device}/events/rpc", [json.dumps(status).encode()])
    kit.wait_until(lambda: row(field_store, kit, device), "the row")
    ts, import_wh, export_wh, *_ = row(field_store, kit, device)
    assert (ts, import_wh, export_wh) == (datetime.fromtimestamp(1795147190, UTC), 123457, 12)


def test_tasmota(field_store: Store, heard: Mosquitto, kit: Any) -> None:
    sensor = {"Time": "2026-11-20T11:59:30", "ENERGY": {"Total": 12.345, "Power": 40, "Voltage": 229, "Current": 0.2}}
    heard.publish("tele/plug7/SENSOR", [json.dumps(sensor).encode()], qos=0)
    kit.wait_until(lambda: row(field_store, kit, "plug7"), "the row")
    ts, import_wh, _, voltage_dv, *_ = row(field_store, kit, "plug7")
    assert (ts, import_wh, voltage_dv) == (datetime(2026, 11, 20, 3, 59, 30, tzinfo=UTC), 12345, 2290)


def test_zigbee2mqtt(field_store: Store, heard: Mosquitto, kit: Any) -> None:
    state = {"energy": 12.3, "power": 40, "voltage": 229, "last_seen": "2026-11-20T03:59:30Z"}
    heard.publish("zigbee2mqtt/kitchen", [json.dumps(state).encode()])
    kit.wait_until(lambda: row(field_store, kit, "kitchen"), "the row")
    ts, import_wh, _, voltage_dv, resolution_wh, _ = row(field_store, kit, "kitchen")
    assert (ts, import_wh, voltage_dv) == (datetime(2026, 11, 20, 3, 59, 30, tzinfo=UTC), 12300, 2290)
    assert resolution_wh == 100, "as the map states it"


class EdgeNode:
    """A Sparkplug node with one meter, that hears what it is commanded."""

    def __init__(self, broker: Mosquitto, name: str) -> None:
        self.name = name
        self.asked: queue.Queue[Any] = queue.Queue()
        self.stamp_ms = int(NOW.timestamp() * 1000)
        ready = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda _c, _d, m: self.asked.put(Payload.FromString(bytes(m.payload)).metrics[0])
        self.client.connect(broker.host, broker.port)
        self.client.subscribe(f"spBv1.0/North/NCMD/{name}")
        self.client.loop_start()
        assert ready.wait(20)

    def say(self, kind: str, **metric: Any) -> None:
        """One metric, a second after the last one."""
        self.stamp_ms += 1000
        message = Payload(timestamp=self.stamp_ms)
        message.metrics.add(**metric)
        topic = f"spBv1.0/North/{kind}/{self.name}" + ("/m" if kind[0] == "D" else "")
        self.client.publish(topic, message.SerializeToString()).wait_for_publish(20)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def edge_node(heard: Mosquitto) -> Iterator[Callable[[str], EdgeNode]]:
    """Starts edge nodes; all of them are ended after the test."""
    started: list[EdgeNode] = []

    def start(name: str) -> EdgeNode:
        started.append(EdgeNode(heard, name))
        return started[-1]

    yield start
    for node in started:
        node.close()


def test_a_sparkplug_node_whose_birth_was_not_heard_is_asked_for_it_once(
    field_store: Store, edge_node: Callable[[str], EdgeNode], kit: Any
) -> None:
    node = edge_node("gw1")
    for _ in range(3):
        node.say("DDATA", alias=5, datatype=8, long_value=7)
    asked = node.asked.get(timeout=20)
    assert (asked.name, asked.boolean_value) == ("Node Control/Rebirth", True)
    node.say("NBIRTH", name="bdSeq", datatype=4, long_value=0)
    node.say("DBIRTH", name="import_wh", alias=5, datatype=8, long_value=8)
    node.say("DDATA", alias=5, datatype=8, long_value=9)
    kit.wait_until(lambda: row(field_store, kit, "North:gw1:m")[1:2] == (9,), "what the alias means")
    assert node.asked.empty()


def test_what_a_sparkplug_node_declared_is_over_with_our_connection(
    field_store: Store, heard: Mosquitto, edge_node: Callable[[str], EdgeNode], ingest: Any, kit: Any
) -> None:
    """Births are not kept for us: while we were away the alias may have been given to another metric."""
    node = edge_node("gw2")
    node.say("DBIRTH", name="import_wh", alias=5, datatype=8, long_value=8)
    kit.wait_until(lambda: row(field_store, kit, "North:gw2:m")[1:2] == (8,), "the birth")
    connection = ingest.service._client._connection
    ingest.service._client.renew()
    kit.wait_until(lambda: ingest.service._client._connection > connection, "connected again")

    def asked() -> bool:
        node.say("DDATA", alias=5, datatype=8, long_value=9)
        return not node.asked.empty()

    kit.wait_until(asked, "asked for its birth")
    assert row(field_store, kit, "North:gw2:m")[1] == 8


def test_what_a_device_tells_becomes_an_event_once(field_store: Store, heard: Mosquitto, kit: Any) -> None:
    told = {"ts": "2026-11-20T03:59:00Z", "kind": "power_failed", "detail": "last gasp"}
    for _ in range(2):
        heard.publish(f"{PREFIX}/meter/Acme/1/event", [json.dumps(told).encode()])
    heard.publish(f"{PREFIX}/meter/Acme/1/reading", [b'{"ts":"2026-11-20T03:59:58Z","import_wh":7}'])
    kit.wait_until(lambda: row(field_store, kit, "1"), "what was sent after them")
    kit.wait_until(lambda: kit.count("headend_unacked_messages") == 0, "acknowledged")
    assert kit.values(
        field_store, "select meter_id, kind, code, occurred_at, source, detail from device_event order by event_id"
    ) == [(1, "power_failed", "3.26.0.47", datetime(2026, 11, 20, 3, 59, tzinfo=UTC), "mqtt", "last gasp")]


def test_a_device_that_nobody_imported_is_discovered(field_store: Store, heard: Mosquitto, kit: Any) -> None:
    sensor = {"Time": "2026-11-20T11:59:30", "ENERGY": {"Total": 12.345, "Power": 40, "Voltage": 229, "Current": 0.2}}
    heard.publish("tele/attic/SENSOR", [json.dumps(sensor).encode()])
    kit.wait_until(lambda: kit.values(field_store, "select 1 from discovered_device"), "the discovery")
    assert kit.values(
        field_store, "select kind, manufacturer, serial, origin, phases_guess, messages from discovered_device"
    ) == [("meter", "Tasmota", "attic", "tele/attic/SENSOR", 1, 1)]
    assert kit.values(field_store, "select reason, strangers from quarantine") == [("unknown_meter", ["Tasmota/attic"])]
