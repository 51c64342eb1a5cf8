"""A small neighbourhood, a real broker, a head-end's side of the confirmed upload."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from headend.embedded.broker import EmbeddedBroker

SMALL = """
title = "two small areas"
seed = 7
zone = "Asia/Shanghai"
history_days = 3

[station]
code = "S"
name = "S"

[live]
single_publish_s = 1.0
resend_s = 1.0
window = 2

[modbus]
delay_ms = [0, 2]
gateway_timeout_ms = 20

[[areas]]
code = "A"
name = "A"
households = 6

[[areas]]
code = "B"
name = "B"
households = 5

[areas.shared]
premises = 2
"""


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Waits for a condition."""
    return _wait_until


def _wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Poll until it holds, or fail saying what did not."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {timeout_s} s: {what}")
        time.sleep(0.02)


@pytest.fixture
def scenario_file(tmp_path: Path) -> Path:
    """The small scenario."""
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    return file


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A real MQTT 5 broker."""
    with EmbeddedBroker(tmp_path / "broker", port=0) as running:
        yield running


class HeadEnd:
    """Subscribes as a head-end does; confirms uploads when `confirming` says so."""

    def __init__(self, host: str, port: int) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.confirming: Callable[[str, dict[str, Any]], bool] = lambda topic, body: True
        self._lock = threading.Lock()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="test-headend", protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.on_message = self._on_message
        self._filters = ["headend/v1/#"]
        self._client.on_connect = lambda client, *_: client.subscribe([(f, 1) for f in self._filters])
        self._client.reconnect_delay_set(1, 1)
        self._client.connect_async(host, port)
        self._client.loop_start()

    def _on_message(self, client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        with self._lock:
            self.messages.append((message.topic, bytes(message.payload)))
        if message.topic.endswith("/profile"):
            body = json.loads(message.payload)
            if self.confirming(message.topic, body):
                client.publish(
                    message.topic.replace("profile", "confirm"), json.dumps({"confirmed": [body["seq"]]}), qos=1
                )

    def listen(self, filter_: str) -> None:
        """Take these topics, too."""
        self._filters.append(filter_)
        self._client.subscribe(filter_, qos=1)  # in vain where it is not connected yet: then it comes with the others

    def of(self, suffix: str) -> list[tuple[str, bytes]]:
        """Messages whose topic ends so."""
        with self._lock:
            return [m for m in self.messages if m[0].endswith(suffix)]

    def seqs(self, code: str) -> list[int]:
        """Numbers of the uploads of one concentrator, as they came."""
        return [json.loads(p)["seq"] for t, p in self.of(f"{code}/profile")]

    def stop(self) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def headend(broker: EmbeddedBroker) -> Iterator[HeadEnd]:
    """The other side."""
    side = HeadEnd(broker.host, broker.port)
    yield side
    side.stop()
