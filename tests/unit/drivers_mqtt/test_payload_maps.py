"""Every payload map that is shipped decodes messages as its devices send them, and its README says what it says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drivers.base import ABSENT, MeterIdentity
from drivers.errors import PayloadError
from drivers.events import EventKind
from drivers.mqtt.decoded import Decoded, Events, Ignored, MeterReadings
from drivers.mqtt.map_file import load_maps
from drivers.mqtt.map_table import HEADINGS, row
from drivers.mqtt.router import Router
from drivers.mqtt.sparkplug import Payload
from support.map_table import BEGIN, END, README, with_table
from support.mapped import NOW_US

NOW_S = NOW_US // 10**6
RPC = {
    "src": "shellypro3em-0cb815fc5b04", "dst": "shellypro3em-0cb815fc5b04/events", "method": "NotifyStatus",
    "params": {"ts": NOW_S + 0.78, "emdata:0": {
        "id": 0, "a_total_act_energy": 1000.01, "a_total_act_ret_energy": 0.0, "b_total_act_energy": 2000.5,
        "b_total_act_ret_energy": 1.0, "c_total_act_energy": 3000.0, "c_total_act_ret_energy": 2.0,
        "total_act": 6000.51, "total_act_ret": 3.0}},
}  # fmt: skip
TASMOTA = {
    "Time": "2026-11-23T13:15:00",
    "ENERGY": {
        "TotalStartTime": "2018-11-23T15:33:47", "Total": 12.345, "TotalTariff": [0.0, 12.345], "Yesterday": 3.058,
        "Today": 0.127, "ExportActive": 0.001, "Period": 0, "Power": 40, "ApparentPower": 64, "ReactivePower": 50,
        "Factor": 0.63, "Voltage": 227, "Current": 0.282},
}  # fmt: skip
TASMOTA_3 = {
    "Time": "2026-11-23T13:15:00",
    "ENERGY": {
        "Total": [1.0, 2.0, 3.0],
        "Power": [100, -20, 5],
        "Voltage": [227, 228, 229],
        "Current": [0.1, 0.2, 0.3],
    },
}
Z2M = {
    "ac_frequency": 50, "current": 0.5, "device_temperature": 30, "energy": 31.02,
    "last_seen": "2026-11-23T06:15:00+01:00",
    "linkquality": 76, "power": 115, "power_reactive": -33, "state": "ON", "voltage": 236.19,
    "update": {"installed_version": 199696, "latest_version": 199696, "state": "idle"},
}  # fmt: skip
RL_DSP = {"meter": {"ts": "2026-11-23T05:15:00+00:00", "1.7.0": 1200.0, "1.8.0": 31550191.0, "2.8.0": 0.0,
                    "32.7.0": 230.1, "31.7.0": 5.2, "3.8.0": 17.0}}  # fmt: skip
AMS = {
    "id": "84:0D:8E:00:00:01", "name": "ams-reader", "up": 76820, "t": NOW_S, "vcc": 3.326, "rssi": -45, "temp": 0.00,
    "data": {
        "lv": "KFM_001", "meterId": "6970631401234567", "type": "MA304H3E", "P": 2434, "Q": 0, "PO": 0, "QO": 117,
        "I1": 6.25, "I2": 0.0, "I3": 6.62, "U1": 234.4, "U2": 0.0, "U3": 233.8, "tPI": 91234.567, "tPIT1": 0.0,
        "tPIT2": 0.0, "tPO": 0.0, "tPOT1": 0.0, "tPOT2": 0.0, "tQI": 12.3, "tQO": 4.5, "rtc": NOW_S - 5},
    "realtime": {"h": 0.512, "d": 12.3, "m": 400.1, "t": 5, "x": 3.2, "he": 0.0, "de": 0.0, "me": 0.0, "peaks": [3.2]},
}  # fmt: skip


def sparkplug(*metrics: dict[str, Any], timestamp: int = NOW_US // 1000) -> bytes:
    payload = Payload(timestamp=timestamp, seq=0)
    for metric in metrics:
        payload.metrics.add(**metric)
    return bytes(payload.SerializeToString())


@dataclass(frozen=True)
class Case:
    """One message, and the reading that it is."""

    map_id: str
    topic: str
    payload: Any
    meter: str
    import_wh: int | None
    export_wh: int | None
    ts_us: int = NOW_US
    uncertainty_ms: int = 1000
    voltage_dv: int | None = None
    resolution_wh: int = 0
    power_w: int | None = None
    import_phase_wh: list[int | None] | None = None
    import_tariff_wh: list[int | None] | None = None
    current_ma: list[int | None] | None = None
    more: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("shelly-gen2-em", "shellypro3em-0cb815fc5b04/events/rpc", RPC, "Shelly/shellypro3em-0cb815fc5b04", 6001, 3,
         ts_us=NOW_US + 780_000, import_phase_wh=[1000, 2000, 3000]),
    Case("shelly-gen2-em", "shellypro3em-0cb815fc5b04/status/emdata:0", RPC["params"]["emdata:0"],  # type: ignore[index]
         "Shelly/shellypro3em-0cb815fc5b04", 6001, 3, uncertainty_ms=5000, import_phase_wh=[1000, 2000, 3000]),
    Case("shelly-gen2-em", "shellyproem50-08f9e0e67204/status/em1data:1",
         {"id": 1, "total_act_energy": 6644.90, "total_act_ret_energy": 2595.26}, "Shelly/shellyproem50-08f9e0e67204:1",
         6645, 2595, uncertainty_ms=5000),
    Case("shelly-gen1-em", "shellies/shellyem-B9E5A2/emeter/0/total", b"5323.4", "Shelly/shellyem-B9E5A2:0", 5323, None,
         uncertainty_ms=5000),
    Case("shelly-gen1-em", "shellies/shellyem-B9E5A2/emeter/1/total_returned", b"0.0", "Shelly/shellyem-B9E5A2:1", None,
         0, uncertainty_ms=5000),
    Case("tasmota-energy", "tele/plug001/SENSOR", TASMOTA, "Tasmota/plug001", 12345, 1, voltage_dv=2270,
         resolution_wh=1, power_w=40, current_ma=[282, None, None]),
    Case("tasmota-energy", "tele/plug001/SENSOR", TASMOTA | {"Time": "2026-11-23T05:15:00+00:00"}, "Tasmota/plug001",
         12345, 1, voltage_dv=2270, resolution_wh=1),
    Case("tasmota-energy", "tele/plug001/SENSOR", TASMOTA | {"Epoch": NOW_S + 1}, "Tasmota/plug001", 12345, 1,
         ts_us=NOW_US + 1_000_000, voltage_dv=2270, resolution_wh=1),
    Case("tasmota-energy", "tele/plug001/SENSOR", TASMOTA | {"Time": NOW_S * 1000 + 250}, "Tasmota/plug001", 12345, 1,
         ts_us=NOW_US + 250_000, voltage_dv=2270, resolution_wh=1),
    Case("tasmota-energy", "tele/pzem/SENSOR", TASMOTA_3, "Tasmota/pzem", 6000, None, voltage_dv=2280, resolution_wh=1,
         power_w=85, current_ma=[100, 200, 300]),
    Case("zigbee2mqtt-metering", "zigbee2mqtt/PS5", Z2M, "Zigbee2MQTT/PS5", 31020, None, uncertainty_ms=2000,
         voltage_dv=2362, resolution_wh=100, power_w=115, current_ma=[500, None, None]),
    Case("zigbee2mqtt-metering", "zigbee2mqtt/PS5", Z2M | {"last_seen": NOW_S * 1000}, "Zigbee2MQTT/PS5", 31020, None,
         uncertainty_ms=2000, voltage_dv=2362, resolution_wh=100),
    Case("zigbee2mqtt-metering", "zigbee2mqtt/PS5", {"energy": 0.1, "produced_energy": 2.5}, "Zigbee2MQTT/PS5", 100,
         2500, uncertainty_ms=5000, resolution_wh=100),
    Case("zigbee2mqtt-metering", "zigbee2mqtt/main", Z2M | {"power_phase_b": 5, "power_phase_c": -20,
         "voltage_phase_b": 230, "voltage_phase_c": 240, "device": {"friendlyName": "main", "ieeeAddr": "0x01"}},
         "Zigbee2MQTT/main", 31020, None, uncertainty_ms=2000, voltage_dv=2354, resolution_wh=100, power_w=100),
    Case("dlms-rl-dsp", "dt/building/LGZ1030655933512/ds", RL_DSP, "DLMS/LGZ1030655933512", 31550191, 0,
         voltage_dv=2301, power_w=1200, current_ma=[5200, None, None]),
    Case("dlms-rl-dsp", "dt/building/LGZ1030655933512/ds",
         {"meter": {"ts": "2026-11-23T05:15:00+00:00", "1.8.1": 1000.4, "1.8.2": 2000.4}}, "DLMS/LGZ1030655933512",
         3001, None),
    Case("smartmeter-datacollector", "smartmeter/LGZ1030655933512/ACTIVE_ENERGY_P",
         {"value": 31550191.0, "timestamp": NOW_S, "obis": "1.8.0"}, "DLMS/LGZ1030655933512", 31550191, None),
    Case("smartmeter-datacollector", "smartmeter/LGZ1030655933512/ACTIVE_ENERGY_N", {"value": 1, "timestamp": NOW_S},
         "DLMS/LGZ1030655933512", None, 1),
    Case("amsreader", "ams/6970631401234567", AMS, "AMS/6970631401234567", 91234567, None, uncertainty_ms=2000,
         voltage_dv=2341, resolution_wh=1, power_w=2434, current_ma=[6250, None, 6620]),
    Case("amsreader", "ams/6970631401234567", AMS | {"t": 0}, "AMS/6970631401234567", 91234567, None,
         ts_us=NOW_US - 5_000_000, uncertainty_ms=10000, voltage_dv=2341, resolution_wh=1),
    Case("sparkplug-b", "spBv1.0/North/DDATA/gw1/meter9",
         sparkplug({"name": "import_wh", "datatype": 8, "long_value": 123456, "timestamp": NOW_US // 1000 + 40},
                   {"name": "export_wh", "datatype": 8, "is_null": True},
                   {"name": "voltage_l1_v", "datatype": 9, "float_value": 230.1},
                   {"name": "power_w", "datatype": 3, "int_value": 2**32 - 120}),
         "Sparkplug/North:gw1:meter9", 123456, None, ts_us=NOW_US + 40_000, uncertainty_ms=500, voltage_dv=2301,
         power_w=-120),
    Case("sparkplug-b", "spBv1.0/North/DBIRTH/gw1/meter9",
         sparkplug({"name": "import_wh", "alias": 5, "datatype": 10, "double_value": 12345.6}),
         "Sparkplug/North:gw1:meter9", 12346, None, uncertainty_ms=500),
    Case("sparkplug-b", "spBv1.0/North/DDATA/gw1/meter9",
         sparkplug({"name": "import_wh", "datatype": 8, "long_value": 900},
                   {"name": "import_t1_wh", "datatype": 8, "long_value": 400},
                   {"name": "import_t3_wh", "datatype": 8, "long_value": 500}),
         "Sparkplug/North:gw1:meter9", 900, None, uncertainty_ms=500,
         import_tariff_wh=[400, None, 500, None, None, None, None, None]),
]  # fmt: skip


def router() -> Router:
    return Router("headend/v1", load_maps(), site=ZoneInfo("Asia/Shanghai"))


def decode(topic: str, payload: Any, at: Router | None = None) -> Decoded:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return (at or router()).decode(topic, body, NOW_US)


def known(value: int | None) -> int:
    return ABSENT if value is None else value


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.map_id} {c.topic}")
def test_a_message_as_its_device_sends_it(case: Case) -> None:
    decoded = decode(case.topic, case.payload)
    assert isinstance(decoded, MeterReadings)
    assert [str(m) for m in decoded.batch.meters] == [case.meter]
    (r,) = decoded.batch.rows
    assert (r["import_wh"], r["export_wh"]) == (known(case.import_wh), known(case.export_wh))
    assert (r["ts_us"], r["uncertainty_ms"], r["flags"]) == (case.ts_us, case.uncertainty_ms, 0)
    assert r["resolution_wh"] == case.resolution_wh
    if case.voltage_dv is not None:
        assert r["voltage_dv"] == case.voltage_dv
    if case.power_w is not None:
        assert decoded.batch.phases["power_w"].tolist() == [case.power_w]
    if case.import_phase_wh is not None:
        assert decoded.batch.phases["import_wh"].tolist() == [[known(v) for v in case.import_phase_wh]]
    if case.import_tariff_wh is not None:
        assert decoded.batch.phases["import_tariff_wh"].tolist() == [[known(v) for v in case.import_tariff_wh]]
    if case.current_ma is not None:
        assert decoded.batch.phases["current_ma"].tolist() == [[known(v) for v in case.current_ma]]


def test_every_shipped_map_has_a_case() -> None:
    assert {c.map_id for c in CASES} == {m.map_id for m in load_maps()}


@pytest.mark.parametrize("map_", load_maps(), ids=lambda m: m.map_id)
def test_every_rule_of_a_map_is_shown(map_: Any) -> None:
    """A rule with quantities decodes a case of its own, so that no path in it was never tried."""
    shown = {
        rule.topic.text + str(len(rule.when))
        for case in CASES
        if case.map_id == map_.map_id
        for rule in map_.messages
        if rule.values and rule.topic.match(case.topic.split("/")) is not None
    }
    siblings = {"em1data:0", "em1data:2"}  # the same rule for another channel
    wanted = {r.topic.text + str(len(r.when)) for r in map_.messages if r.values and r.topic.text[-9:] not in siblings}
    assert wanted <= shown


@pytest.mark.parametrize(
    ("topic", "payload", "says"),
    [
        ("shellypro3em-1/events/rpc", {"src": "shellypro3em-1", "method": "NotifyStatus",
         "params": {"ts": 1, "wifi": {}}}, "no three-phase register"),
        ("shellypro3em-1/events/rpc", {"src": "shellypro3em-1", "method": "NotifyEvent",
         "params": {"ts": 1, "events": []}}, "no three-phase register"),
        ("shellyplus1-1/online", b"true", "takes along"),
        ("tele/lamp/SENSOR", {"Time": "2026-11-23T13:15:00", "DS18B20": {"Temperature": 20.6}}, "measures no energy"),
        ("zigbee2mqtt/lamp", {"state": "ON", "brightness": 7}, "measures no energy"),
        ("ams/1", {"id": "x", "name": "y", "t": NOW_S, "data": {"P": 5}}, "without registers"),
        ("ams/6970631401234567", AMS | {"data": AMS["data"] | {"tPI": 0.0}}, "has not sent"),  # type: ignore[operator]
        ("dt/b/1/ds", {"meter": {"ts": "2026-11-23T05:15:00+00:00", "1.7.0": 5}}, "without a register of energy"),
        ("spBv1.0/North/DDATA/gw1/m", sparkplug({"name": "power_w", "datatype": 9, "float_value": 1.0}),
         "other metrics"),
    ],
)  # fmt: skip
def test_what_carries_nothing_is_ignored_by_rule(topic: str, payload: Any, says: str) -> None:
    decoded = decode(topic, payload)
    assert isinstance(decoded, Ignored)
    assert says in decoded.reason


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("shellypro3em-2/events/rpc", RPC, "identity_mismatch"),
        ("ams/6970631401234568", AMS, "identity_mismatch"),
        ("zigbee2mqtt/other", Z2M | {"device": {"friendlyName": "PS5"}}, "identity_mismatch"),
        ("shellies/shellyem:1/emeter/0/total", b"5", "bad_name"),
        ("shellies/shellyem-1/emeter/0/total", b"", "not_json"),
        ("shellies/shellyem-1/emeter/0/total", b"true", "wrong_type"),
        ("shellies/shellyem-1/emeter/0/energy", b"5", "unknown_topic"),
        ("tele/a/SENSOR", TASMOTA | {"Time": "1970-01-01T00:00:12"}, "bad_timestamp"),
        ("zigbee2mqtt/PS5/availability", {"state": "asleep"}, "unknown_message"),
        ("smartmeter/1/ACTIVE_ENERGY_P", {"value": 1, "timestamp": NOW_S, "obis": "2.8.0"}, "unknown_message"),
        ("spBv1.0/North/DDATA/gw1/m", b"\xff\xff", "not_sparkplug"),
        ("spBv1.0/North/DDATA/gw1/m", sparkplug({"alias": 5, "datatype": 8, "long_value": 1}), "unknown_alias"),
        ("spBv1.0/No:rth/DDATA/gw1/m", sparkplug({"name": "import_wh", "long_value": 1}), "bad_name"),
    ],
)
def test_what_is_refused(topic: str, payload: Any, reason: str) -> None:
    with pytest.raises(PayloadError) as refused:
        decode(topic, payload)
    assert refused.value.reason == reason, str(refused.value)


LOST, RESTORED = EventKind.COMMUNICATION_LOST, EventKind.COMMUNICATION_RESTORED


@pytest.mark.parametrize(
    ("topics", "payloads", "device"),
    [
        ("shellypro3em-1/online", (b"true", b"false"), MeterIdentity("Shelly", "shellypro3em-1")),
        ("tele/plug1/LWT", (b"Online", b"Offline"), MeterIdentity("Tasmota", "plug1")),
        ("zigbee2mqtt/PS5/availability", (b'{"state":"online"}', b'{"state":"offline"}'),
         MeterIdentity("Zigbee2MQTT", "PS5")),
        ("spBv1.0/North/NBIRTH/gw1 spBv1.0/North/NDEATH/gw1", (sparkplug(), sparkplug()), "North:gw1"),
        ("spBv1.0/North/DBIRTH/gw1/m spBv1.0/North/DDEATH/gw1/m", (sparkplug(), sparkplug()),
         MeterIdentity("Sparkplug", "North:gw1:m")),
    ],
)  # fmt: skip
def test_a_device_that_goes_and_comes_back(topics: str, payloads: tuple[bytes, bytes], device: Any) -> None:
    at = router()
    on, off = (topics.split() * 2)[:2]
    assert isinstance(decode(on, payloads[0], at), Ignored)
    for topic, payload, kind in ((off, payloads[1], LOST), (on, payloads[0], RESTORED)):
        told = decode(topic, payload, at)
        assert isinstance(told, Events)
        assert told.device == device
        assert [e.kind for e in told.events] == [kind]
        assert isinstance(decode(topic, payload, at), Ignored)


def test_the_readme_shows_the_maps_as_they_are() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert text == with_table(text), "run: PYTHONPATH=. python tests/support/map_table.py"


def test_a_row_of_the_table() -> None:
    cells = dict(zip(HEADINGS, row(load_maps(only=["tasmota-energy"])[0]), strict=True))
    assert cells["topics"] == "`tele/{device}/SENSOR`, `tele/{device}/LWT`"
    assert cells["delivers"].startswith("import_wh (kWh), export_wh (kWh), voltage_l1…3_v (V), ")
    assert cells["delivers"].endswith("; events communication_lost, communication_restored")
    assert "Time (local, ± 1 s)" in cells["stamped by"]


def test_every_map_cites_documentation_and_at_least_one_more_source() -> None:
    for map_ in load_maps():
        assert map_.manual, map_.map_id
        assert map_.sources, map_.map_id
