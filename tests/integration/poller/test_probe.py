"""`headend probe` against a real Modbus gateway and a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Quantity
from drivers.errors import ConnectionFailed, DriverConfigError, ResponseTimeout
from drivers.mqtt.client import Broker, MqttClient
from headend.embedded.broker import EmbeddedBroker
from headend.ingest.probe import probe_mqtt
from headend.ingest.probe_modbus import describe_modbus, probe_modbus
from headend.settings import Mqtt, Poll

Q = Quantity
POLL = Poll(timeout_s=0.2, retries=0)


def test_a_meter_with_values_raw_registers_and_times(serve: Any, meter_device: Any) -> None:
    async def scenario() -> None:
        values = {Q.IMPORT_WH: 5_000, Q.VOLTAGE_L1_V: 410.0, Q.FREQUENCY_HZ: 50.0, Q.SERIAL: "120001"}
        async with serve([meter_device(2, "eastron-sdm120", values)]) as gateway:
            where = {"endpoint": f"modbus+tcp://127.0.0.1:{gateway.port}", "unit": 2, "poll": POLL}
            good = await probe_modbus(model="sdm120", expected_serial="0120001", **where)
            other = await probe_modbus(model="eastron-sdm120", expected_serial="120002", **where)
            told = "\n".join(describe_modbus(good))
            assert f"127.0.0.1:{gateway.port} unit 2, model eastron-sdm120" in told
            assert "import_wh                5000 Wh  input 0x0048    [40A0 0000]" in told
            assert "voltage_l1_v              410 V   input 0x0000    [43CD 0000]" in told
            assert "serial                 120001     holding 0xFC00  [0001 D4C1]" in told
            assert "registers: answered in" in told
            assert good.remarks == ("voltage_l1_v = 410: outside 80..300 V",)
            assert other.remarks[-1] == "serial mismatch: expected 120002, the meter says 120001"
            with pytest.raises(DriverConfigError, match="no model 'sdm999'"):
                await probe_modbus(model="sdm999", **where)
            gateway.silent.add(2)
            with pytest.raises(ResponseTimeout, match=r"unit 2: no answer within 0\.2 s"):
                await probe_modbus(model="sdm120", **where)

    asyncio.run(scenario())


def test_a_meter_that_does_not_tell_its_serial(serve: Any, meter_device: Any) -> None:
    async def scenario() -> None:
        async with serve([meter_device(1, "eastron-sdm230", {Q.IMPORT_WH: 1, Q.FREQUENCY_HZ: 50.0})]) as gateway:
            report = await probe_modbus(
                endpoint=f"modbus+tcp://127.0.0.1:{gateway.port}",
                unit=1,
                model="sdm230",
                poll=POLL,
                expected_serial="1",
            )
            assert "serial 1 could not be checked: the meter does not tell its serial" in report.remarks

    asyncio.run(scenario())


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    started = EmbeddedBroker(tmp_path / "broker")
    started.start()
    try:
        yield started
    finally:
        started.stop()


def test_messages_of_a_topic(broker: EmbeddedBroker) -> None:
    settings = Mqtt(host=broker.host, port=broker.port)
    publisher = MqttClient(
        Broker(host=broker.host, port=broker.port, client_id="meter", session_expiry_s=0), ["nothing"], lambda _: None
    )
    payload = json.dumps({"ts": "2026-11-20T04:00:00Z", "import_wh": 1234}).encode()

    async def publish() -> None:
        while True:  # until the probe has subscribed
            publisher.publish("headend/v1/meter/Eastron/120001/reading", payload)
            publisher.publish("headend/v1/meter/Eastron/120002/reading", b"{")
            await asyncio.sleep(0.05)

    async def scenario() -> None:
        publishing = asyncio.create_task(publish())
        try:
            good = await probe_mqtt(settings, topic="headend/v1/meter/+/120001/#", wait_s=20, most=2)
            bad = await probe_mqtt(settings, topic="headend/v1/meter/Eastron/120002/reading", wait_s=20)
        finally:
            publishing.cancel()
        assert [(p.kind, p.payload, p.readings[0].import_wh) for p in good] == [("reading", payload, 1234)] * 2
        assert [p.kind for p in bad] == ["not_json"]
        assert await probe_mqtt(settings, topic="nobody/speaks", wait_s=0.3) == []

    publisher.start()
    try:
        asyncio.run(scenario())
    finally:
        publisher.stop()


def test_a_broker_that_is_not_there(unused_port: int) -> None:
    with pytest.raises(ConnectionFailed, match="no connection to"):
        asyncio.run(probe_mqtt(Mqtt(port=unused_port), wait_s=10))
