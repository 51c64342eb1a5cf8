"""`headend probe mqtt`: what the head-end makes of one message, and what looks wrong with it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from drivers.errors import DriverConfigError
from drivers.modbus.map_file import load_models
from drivers.mqtt.map_file import load_maps
from drivers.mqtt.router import Router
from headend.ingest.probe import describe_mqtt, explain
from headend.ingest.probe_modbus import find_model

NOW = datetime(2026, 11, 20, 4, 0, 5, tzinfo=UTC)
TOPIC = "headend/v1/meter/Eastron/120001/reading"


def _explain(payload: Any, topic: str = TOPIC) -> Any:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return explain(topic, raw, router=Router("headend/v1", load_maps()), received_at=NOW)


def test_a_good_reading() -> None:
    probe = _explain({"ts": "2026-11-20T04:00:00Z", "import_wh": 1234, "voltage_v": 229.8})
    assert (probe.kind, probe.remarks) == ("reading", ())
    [reading] = probe.readings
    assert (reading.meter, reading.import_wh, reading.export_wh, reading.voltage_v) == (
        "Eastron/120001",
        1234,
        None,
        229.8,
    )
    told = "\n".join(describe_mqtt(probe))
    assert "          1234 Wh" in told
    assert "not measured Wh" in told
    assert "nothing looks wrong" in told
    assert '"voltage_v": 229.8' in told


def test_what_looks_wrong() -> None:
    probe = _explain({"ts": "2026-11-20T03:00:00Z", "import_wh": 1, "voltage_v": 401.0})
    assert probe.remarks == (
        "Eastron/120001: voltage_v = 401: outside 80..300 V",
        "stamped 3605 s before it arrived: check the clock",
    )
    assert "  ! stamped 3605 s before it arrived: check the clock" in describe_mqtt(probe)


def test_what_cannot_be_understood_names_the_reason() -> None:
    probe = _explain(b"\xff{")
    assert probe.kind == "not_json"
    assert TOPIC in probe.remarks[0]
    assert "raw: \\xff{" in "\n".join(describe_mqtt(probe))


def test_a_profile_and_a_state() -> None:
    profile = {
        "format": "headend.profile/1",
        "seq": 3,
        "backlog": 7,
        "meters": ["Eastron/1", "Eastron/2"],
        "ts": ["2026-11-20T03:45:00Z", "2026-11-20T04:00:00Z"],
        "import_wh": [[1, 2], [3, None]],
    }
    probe = _explain(profile, "headend/v1/concentrator/C1/profile")
    assert (probe.kind, len(probe.readings)) == ("profile", 3)
    assert probe.remarks == ("7 uploads still wait at the concentrator",)
    gone = _explain(b"offline", "headend/v1/concentrator/C1/state")
    assert (gone.kind, gone.remarks) == ("state", ("concentrator C1 is offline",))


def test_models_by_id_or_by_its_end() -> None:
    models = load_models()
    assert find_model(models, "eastron-sdm630").id == find_model(models, "sdm630").id == "eastron-sdm630"
    with pytest.raises(DriverConfigError, match=r"no model .sdm63.; known are .*eastron-sdm630"):
        find_model(models, "sdm63")


def test_a_message_of_a_foreign_device() -> None:
    probe = _explain({"Time": "2026-11-20T04:00:00Z", "ENERGY": {"Total": 12.345, "Voltage": 227}}, "tele/plug1/SENSOR")
    assert (probe.kind, probe.remarks) == ("reading", ())
    assert [(r.meter, r.import_wh, r.voltage_v) for r in probe.readings] == [("Tasmota/plug1", 12345, 227.0)]


def test_what_is_ignored_says_by_which_rule() -> None:
    probe = _explain({"state": "ON"}, "zigbee2mqtt/lamp")
    assert probe.kind == "ignored"
    assert probe.remarks == ("nothing in it for the head-end: a device that measures no energy",)


def test_events_are_told_in_words() -> None:
    event = {"kind": "over_voltage", "ts": "2026-11-20T03:59:58Z", "phase": 2, "value": 261.4, "detail": "U2"}
    probe = _explain(event, "headend/v1/meter/Acme/1/event")
    assert probe.kind == "event"
    assert probe.remarks == ("Acme/1: over_voltage on phase 2 (261.4) at 2026-11-20T03:59:58+00:00: U2",)
