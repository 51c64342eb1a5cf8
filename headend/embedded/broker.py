"""An MQTT 5 broker on the loopback address: rumqttd, from the Python package ``iotcore``, in a child process.

What it does, and what it does not (measured with iotcore 0.4.0; the integration tests hold it to this):

- QoS 1, persistent sessions over a client's reconnect, redelivery of what was not acknowledged, retained messages,
  last will, shared subscriptions.
- **Nothing survives its restart**: sessions, retained messages and queued messages live in memory. Whoever needs more
  has to confirm per upload at the level of the application and send again.
- **At most 100 messages are in flight to one client**, whatever receive-maximum that client offers: rumqttd has it as
  a constant. A consumer that acknowledges after its commit must commit when 100 are waiting.
- A redelivered message does not carry the DUP flag.
- It keeps the latest ``BACKLOG_BYTES`` per subscription filter, read or not; a session that falls further behind
  loses the oldest, silently. So its memory grows to about that per filter and stays there.
- No users, no access lists, no TLS here: 127.0.0.1 only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from headend.embedded import broker_child
from headend.embedded.ports import LOOPBACK, choose_port
from headend.embedded.probes import mqtt_ready
from headend.embedded.process import ChildProcess

DEFAULT_PORT = 18_830
SEGMENT_BYTES = 16 * 1024 * 1024
SEGMENTS = 16
BACKLOG_BYTES = SEGMENT_BYTES * SEGMENTS
MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
MAX_INFLIGHT = 1_000
"""From one publisher to the broker; from the broker to a subscriber see the module's text."""


class EmbeddedBroker:
    """The broker: ``with EmbeddedBroker(data_dir) as broker: connect(broker.host, broker.port)``.

    ``port`` is the preferred one: the broker moves when it is taken and stays where it is over its own restarts.
    ``data_dir`` takes its configuration and its log. It is a service for
    :class:`~headend.embedded.supervisor.Supervisor`, which starts it again when it dies.
    """

    name = "broker"
    host = LOOPBACK

    def __init__(self, data_dir: Path | str, *, port: int = DEFAULT_PORT, ready_timeout_s: float = 20.0) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.log_path = self.data_dir / "broker.log"
        self.config_path = self.data_dir / "broker.toml"
        self._preferred_port = port
        self._port: int | None = None
        self._ready_timeout_s = ready_timeout_s
        self._child: ChildProcess | None = None

    @property
    def port(self) -> int:
        """The port it listens on; before the first start the preferred one."""
        return self._preferred_port if self._port is None else self._port

    @property
    def pid(self) -> int | None:
        """Process id of the broker."""
        return None if self._child is None else self._child.pid

    @property
    def running(self) -> bool:
        """Whether the broker process is alive."""
        return self._child is not None and self._child.running

    @property
    def exit_status(self) -> int | None:
        """Exit status of a broker that died; see :class:`~headend.embedded.process.ChildProcess`."""
        return None if self._child is None else self._child.exit_status

    def answers(self) -> bool:
        """Whether it accepts an MQTT 5 session now."""
        return mqtt_ready(self.host, self.port)

    def start(self) -> None:
        """Choose the port on the first start, write the configuration, start and wait for the first session.

        Raises EmbeddedError with the log's tail when it does not come up, also when its port was taken meanwhile.
        """
        if self._child is None:
            self._port = choose_port(self._preferred_port)
            self._child = ChildProcess(
                self.name,
                [sys.executable, "-P", broker_child.__file__, str(self.config_path)],
                log_path=self.log_path,
                port=self._port,
                ready=self.answers,
                ready_timeout_s=self._ready_timeout_s,
                stop_timeout_s=1.0,  # it has nothing to save
            )
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.config_path.write_text(broker_config(self.host, self.port), "utf-8")
        self._child.start()

    def stop(self) -> None:
        """Stop it; what it held in memory is gone."""
        if self._child is not None:
            self._child.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def broker_config(host: str, port: int) -> str:
    """rumqttd's TOML for one MQTT 5 listener without TLS."""
    return f"""\
id = 0

[router]
id = 0
max_connections = 10000
max_outgoing_packet_count = 1000
max_segment_size = {SEGMENT_BYTES}
max_segment_count = {SEGMENTS}

[v5.1]
name = "mqtt5"
listen = {json.dumps(f"{host}:{port}")}
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 10000
max_payload_size = {MAX_PAYLOAD_BYTES}
max_inflight_count = {MAX_INFLIGHT}
dynamic_filters = true
"""
