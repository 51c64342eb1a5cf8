"""Sparkplug B: numbers, aliases and births, historical values, the bounds of what is remembered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import ReadingFlag
from drivers.errors import PayloadError
from drivers.mqtt import decoder_state
from drivers.mqtt.decoded import Events, Ignored, MeterReadings
from drivers.mqtt.decoder_state import DecoderState, FlagSeen
from drivers.mqtt.map_file import load_maps, parse_map
from drivers.mqtt.router import Router
from drivers.mqtt.sparkplug import MAX_METRICS, Payload, documents, parse_topic, rebirth_request
from support.mapped import HEAD, NOW_US

NOW_MS = NOW_US // 1000
DDATA = "spBv1.0/North/DDATA/gw1/m"


def message(*metrics: dict[str, Any], **more: Any) -> bytes:
    payload = Payload(**({"timestamp": NOW_MS} | more))
    for metric in metrics:
        payload.metrics.add(**metric)
    return bytes(payload.SerializeToString())


def live(payload: bytes, topic: str = DDATA, state: DecoderState | None = None) -> Any:
    return documents(topic, payload, state or DecoderState())[0].value


def test_the_wire_is_that_of_the_standard() -> None:
    """By hand: timestamp (field 1), a metric (2) of name (1), datatype (4) Int32 (3), int_value (10); seq (3)."""
    wire = (
        b"\x08\xa0\x1f"
        + b"\x12\x0f"
        + b"\x0a\x01e"
        + b"\x20\x03"
        + b"\x50\xff\xff\xff\xff\x0f"
        + b"\x80\x01\x01"
        + b"\x18\x07"
    )
    # 0x80 0x01: field 16 as a varint, which nobody declared: unknown fields are passed over
    wire = wire.replace(b"\x12\x0f", b"\x12\x0e")
    assert live(wire)["metrics"] == {"e": -1}
    assert live(wire)["timestamp"] == 4000


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ({"datatype": 1, "int_value": 0xFF}, -1),
        ({"datatype": 2, "int_value": 0x8000}, -32768),
        ({"datatype": 2, "int_value": 0xFFFF8000}, -32768),
        ({"datatype": 3, "int_value": 2**32 - 5}, -5),
        ({"datatype": 4, "long_value": 2**64 - 5}, -5),
        ({"datatype": 7, "int_value": 2**32 - 5}, 2**32 - 5),
        ({"datatype": 8, "long_value": 2**64 - 5}, 2**64 - 5),
        ({"datatype": 10, "double_value": 0.1}, 0.1),
        ({"datatype": 10, "double_value": float("nan")}, None),
        ({"datatype": 9, "float_value": float("inf")}, None),
        ({"datatype": 11, "boolean_value": True}, True),
        ({"datatype": 12, "string_value": "x"}, "x"),
        ({"datatype": 8, "long_value": 3, "is_null": True}, None),
        ({"datatype": 8}, None),
        ({"int_value": 7}, 7),
    ],
)
def test_values(metric: dict[str, Any], value: Any) -> None:
    found = live(message(metric | {"name": "x"}))["metrics"]["x"]
    assert found == value
    assert type(found) is type(value)


def test_single_precision_bears_its_own_resolution() -> None:
    """100,000 kWh in a 32-bit float resolve 0.0078125 kWh: 8 Wh, rounded up."""
    router = Router("headend/v1", load_maps())

    def resolution(value: float, kind: str) -> int:
        decoded = router.decode(DDATA, message({"name": "import_wh", kind: value}), NOW_US)
        assert isinstance(decoded, MeterReadings)
        return int(decoded.batch.rows["resolution_wh"][0])

    assert resolution(1e8, "float_value") == np.spacing(np.float32(1e8)) == 8
    assert resolution(1e8, "double_value") == 0


def test_a_double_is_taken_as_it_was_meant() -> None:
    """12.0125 has no exact double: the shortest decimal that is that double is what the device had."""
    text = HEAD.replace("{serial}", "{d}") + (
        '[[messages]]\ntopic = "spBv1.0/{g}/DDATA/{n}/{d}"\nencoding = "sparkplug_b"\n'
        'timestamps = [{ at = "timestamp", format = "unix_ms", uncertainty_ms = 1 }]\n'
        'import_wh = { at = "metrics.e", unit = "kWh" }\ncurrent_l1_a = { at = "metrics.i", unit = "A" }\n'
    )
    router = Router("headend/v1", [parse_map(text, file="acme.toml")])
    sent = message({"name": "e", "double_value": 12.0125}, {"name": "i", "double_value": 1e-15})
    decoded = router.decode(DDATA, sent, NOW_US)
    assert isinstance(decoded, MeterReadings)
    assert decoded.batch.rows["import_wh"].tolist() == [12012]  # to the nearest, ties to even
    assert decoded.batch.phases["current_ma"].tolist()[0][0] == 0


def test_aliases_are_those_of_the_last_birth() -> None:
    state = DecoderState()
    named = {"name": "import_wh", "alias": 5, "datatype": 3, "int_value": 1}
    data = message({"alias": 5, "int_value": 2**32 - 7})
    with pytest.raises(PayloadError, match="alias 5 was not declared") as unknown:
        live(data, state=state)
    assert unknown.value.reason == "unknown_alias"
    live(message(named), "spBv1.0/North/DBIRTH/gw1/m", state)
    assert live(data, state=state)["metrics"] == {"import_wh": -7}  # the datatype is the birth's
    assert live(message({"name": "import_wh", "int_value": 2**32 - 7}), state=state)["metrics"] == {"import_wh": -7}
    with pytest.raises(PayloadError):
        live(data, "spBv1.0/North/DDATA/gw2/m", state)  # another node's aliases are its own
    live(message({"name": "other", "alias": 5, "datatype": 7, "int_value": 0}), "spBv1.0/North/DBIRTH/gw1/m", state)
    assert live(data, state=state)["metrics"] == {"other": 2**32 - 7}
    live(message(), "spBv1.0/North/NBIRTH/gw1", state)  # the node is born anew: nothing of before holds
    with pytest.raises(PayloadError):
        live(data, state=state)


def test_an_alias_is_its_devices_own() -> None:
    """Unique within the node by the standard; where it is not, nobody's current is taken for another's register."""
    state = DecoderState()
    for device, name in (("m", "import_wh"), ("other", "voltage_l1_v")):
        birth = message({"name": name, "alias": 1, "datatype": 8, "long_value": 0})
        live(birth, f"spBv1.0/North/DBIRTH/gw1/{device}", state)
    assert live(message({"alias": 1, "long_value": 7}), state=state)["metrics"] == {"import_wh": 7}
    with pytest.raises(PayloadError, match="alias 1 was not declared"):
        live(message({"alias": 1, "long_value": 7}), "spBv1.0/North/DDATA/gw1/third", state)


def test_a_device_that_is_born_anew_declares_all_anew() -> None:
    state = DecoderState()
    topic = "spBv1.0/North/DBIRTH/gw1/m"
    live(message({"name": "import_wh", "alias": 1, "datatype": 8}, {"name": "power_w", "alias": 2}), topic, state)
    live(message({"name": "import_wh", "alias": 2, "datatype": 8}), topic, state)
    assert live(message({"alias": 2, "long_value": 7}), state=state)["metrics"] == {"import_wh": 7}
    with pytest.raises(PayloadError, match="alias 1 was not declared"):
        live(message({"alias": 1, "long_value": 7}), state=state)


def test_the_late_death_of_an_earlier_session_ends_nothing() -> None:
    """The broker misses the old connection when the node has long come back over a new one."""
    router = Router("headend/v1", load_maps())

    def session(number: int) -> dict[str, Any]:
        return {"name": "bdSeq", "datatype": 4, "long_value": number}

    router.decode("spBv1.0/North/NBIRTH/gw1", message(session(0)), NOW_US)
    router.decode("spBv1.0/North/NBIRTH/gw1", message(session(1)), NOW_US)
    named = {"name": "import_wh", "alias": 5, "datatype": 8, "long_value": 1}
    router.decode("spBv1.0/North/DBIRTH/gw1/m", message(named), NOW_US)
    late = router.decode("spBv1.0/North/NDEATH/gw1", message(session(0)), NOW_US)
    assert late == Ignored("the end of a session that a newer one has replaced")
    assert isinstance(router.decode(DDATA, message({"alias": 5, "long_value": 7}), NOW_US), MeterReadings)
    assert isinstance(router.decode("spBv1.0/North/NDEATH/gw1", message(session(1)), NOW_US), Events)
    with pytest.raises(PayloadError):
        router.decode(DDATA, message({"alias": 5, "long_value": 7}), NOW_US)


def test_after_a_gap_no_alias_is_believed() -> None:
    """A birth that we did not hear may have given the numbers to others."""
    router = Router("headend/v1", load_maps())
    named = {"name": "import_wh", "alias": 5, "datatype": 8, "long_value": 1}
    router.decode("spBv1.0/North/DBIRTH/gw1/m", message(named), NOW_US)
    router.missed()
    with pytest.raises(PayloadError) as unknown:
        router.decode(DDATA, message({"alias": 5, "long_value": 7}), NOW_US)
    assert unknown.value.reason == "unknown_alias"


def test_a_death_forgets() -> None:
    state = DecoderState()
    live(message({"name": "import_wh", "alias": 5, "datatype": 3, "int_value": 1}), "spBv1.0/North/DBIRTH/gw1/m", state)
    live(message(), "spBv1.0/North/NDEATH/gw1", state)
    assert state.births == {}


def test_historical_values_are_readings_of_their_own_instants() -> None:
    router = Router("headend/v1", load_maps())
    kept = [
        {"name": "import_wh", "datatype": 8, "long_value": 100 + i, "timestamp": NOW_MS - 900_000 * (4 - i),
         "is_historical": True}
        for i in range(4)
    ]  # fmt: skip
    now = {"name": "import_wh", "datatype": 8, "long_value": 104}
    other = {"name": "power_w", "datatype": 9, "float_value": 5.0, "timestamp": NOW_MS - 1, "is_historical": True}
    decoded = router.decode(DDATA, message(*kept, now, other), NOW_US)
    assert isinstance(decoded, MeterReadings)
    rows = decoded.batch.rows
    assert sorted(zip(rows["ts_us"].tolist(), rows["import_wh"].tolist(), rows["flags"].tolist(), strict=True)) == [
        *((NOW_US - 900_000_000 * (4 - i), 100 + i, ReadingFlag.BACKFILL) for i in range(4)),
        (NOW_US, 104, 0),
    ]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x12", "not_sparkplug"),
        (b"\x12\x03\x0a\x01\xff", "not_sparkplug"),
        (message({"int_value": 1}), "missing_key"),
        (message({"name": "a", "int_value": 1}, {"name": "a", "int_value": 2}), "duplicate_key"),
        (message(*({"name": str(i)} for i in range(MAX_METRICS + 1))), "not_sparkplug"),
    ],
)
def test_refused(payload: bytes, reason: str) -> None:
    with pytest.raises(PayloadError) as refused:
        live(payload)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "topic", ["spBv1.0/g/NDATA", "spBv1.0/g/NDATA/n/d", "spBv1.0/g/DDATA/n", "spAv1.0/g/NDATA/n", "spBv1.0/g/STATE/n"]
)
def test_topics_of_another_kind(topic: str) -> None:
    with pytest.raises(PayloadError, match=r"wanted spBv1\.0"):
        parse_topic(topic)


def test_a_rebirth_can_be_asked_for() -> None:
    topic, payload = rebirth_request(DDATA, NOW_US)
    assert topic == "spBv1.0/North/NCMD/gw1"
    command = Payload.FromString(payload)
    assert command.timestamp == NOW_MS
    assert [(m.name, m.datatype, m.boolean_value) for m in command.metrics] == [("Node Control/Rebirth", 11, True)]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_state, "MAX_METRICS", 4)
    monkeypatch.setattr(decoder_state, "MAX_FLAGS", 2)
    state = DecoderState()
    for node in ("a", "b", "c"):
        live(message({"name": "e", "alias": 1, "datatype": 8}), f"spBv1.0/g/NBIRTH/{node}", state)
    assert [n for _, n in state.births] == ["b", "c"]  # two entries a node: the name's and the alias's
    for device in ("a", "b", "c"):
        state.see_flag((device,), FlagSeen(set=True, at_us=0))
    assert sorted(state.flags) == [("b",), ("c",)]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.dictionaries(st.text(min_size=1, max_size=20), st.integers(-(2**63), 2**63 - 1), max_size=8))
def test_round_trip_through_aliases(values: dict[str, int]) -> None:
    state = DecoderState()
    birth = [{"name": n, "alias": i, "datatype": 4, "long_value": 0} for i, n in enumerate(values)]
    live(message(*birth), "spBv1.0/North/DBIRTH/gw1/m", state)
    data = [{"alias": i, "long_value": v % 2**64} for i, v in enumerate(values.values())]
    assert live(message(*data), state=state)["metrics"] == values
