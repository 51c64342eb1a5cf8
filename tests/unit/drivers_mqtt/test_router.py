"""The router: own format first, then payload maps; overlaps are errors; nothing but PayloadError comes out of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import PayloadError
from drivers.mqtt.decoded import ConcentratorState, Ignored, MeterReadings
from drivers.mqtt.map_file import PayloadMapError, load_maps, parse_map
from drivers.mqtt.messages import MAX_REGISTER_WH
from drivers.mqtt.router import MAX_MAPPED_BYTES, MAX_OWN_BYTES, Router, Subscription
from support.decoding import TOPICS, check
from support.mapped import HEAD, NOW_US

OTHER = HEAD.replace('"acme"', '"other"')
TAKEN = '[[messages]]\ntopic = "{topic}"\nignore = "x"\n'


def map_of(topic: str, head: str = HEAD, more: str = 'ignore = "x"\n') -> Any:
    return parse_map(head + f'[[messages]]\ntopic = "{topic}"\n{more}', file=f"{head[6:9]}.toml")


def test_the_own_format_comes_first() -> None:
    router = Router("headend/v1", load_maps())
    decoded = router.decode("headend/v1/concentrator/C1/state", b"online", NOW_US)
    assert decoded == ConcentratorState("C1", online=True)
    with pytest.raises(PayloadError, match="no topic of ours; known below headend/v1/"):
        router.decode("headend/v1/nothing", b"", NOW_US)


@pytest.mark.parametrize(
    ("topic", "limit"),
    [
        ("headend/v1/meter/A/1/reading", MAX_OWN_BYTES),
        ("headend/v1/concentrator/C1/profile", MAX_OWN_BYTES),
        ("a/1", MAX_MAPPED_BYTES),
        ("of/nobody", MAX_MAPPED_BYTES),
    ],
)
def test_what_is_too_large_to_be_a_message_is_not_looked_into(topic: str, limit: int) -> None:
    router = Router("headend/v1", [map_of("a/{serial}")])

    def reason(size: int) -> str:
        with pytest.raises(PayloadError) as error:
            router.decode(topic, b"x" * size, NOW_US)
        return error.value.reason

    assert reason(limit + 1) == "too_large"
    if topic != "a/1":  # ignored unread
        assert reason(limit) in ("not_json", "unknown_topic")


def test_a_topic_of_nobody() -> None:
    with pytest.raises(
        PayloadError, match=r"neither below headend/v1/ nor of a payload map \(there is none\)"
    ) as error:
        Router("headend/v1").decode("tele/a/SENSOR", b"{}", NOW_US)
    assert error.value.reason == "unknown_topic"


def test_what_a_filter_takes_along_is_ignored() -> None:
    router = Router("headend/v1", [map_of("pump{n}/state")])
    assert isinstance(router.decode("lamp1/state", b"", NOW_US), Ignored)
    with pytest.raises(PayloadError):
        router.decode("lamp1/status", b"", NOW_US)


@pytest.mark.parametrize(
    ("topics", "says"),
    [
        (("a/{serial}", "a/b"), "topic a/b of other overlaps a/{serial} of acme"),
        (("a/{serial}/c", "{x}/b/c"), "whose is a message"),
    ],
)
def test_maps_must_not_share_a_topic(topics: tuple[str, str], says: str) -> None:
    first, second = map_of(topics[0]), map_of(topics[1], OTHER)
    with pytest.raises(PayloadMapError, match=rf"^{second.file}:12: topic: .*\({first.file}:12\)") as wrong:
        Router("headend/v1", [first, second])
    assert says in str(wrong.value)


@pytest.mark.parametrize("topic", ["headend/v1/meter/{a}/{b}/reading", "{x}/v1/concentrator/{b}/profile"])
def test_a_map_must_not_take_the_own_format_s_topics(topic: str) -> None:
    with pytest.raises(PayloadMapError, match=r":12: topic: .* overlaps the own format's below headend/v1/"):
        Router("headend/v1", [map_of(topic)])


def test_subscriptions_say_how_to_listen() -> None:
    stamped = (
        'import_wh = { at = "e", unit = "Wh" }\ntimestamps = [{ at = "t", format = "unix_s", uncertainty_ms = 1 }]\n'
    )
    arriving = 'import_wh = { at = "e", unit = "Wh" }\ntimestamps = [{ format = "arrival", uncertainty_ms = 1 }]\n'
    events = arriving + 'events = [{ at = "s", is = 1, set = "phase_lost" }]\n'
    maps = [
        map_of("a/{serial}", more=stamped),
        map_of("b/{serial}", OTHER, arriving),
        map_of("c/{serial}", HEAD.replace('"acme"', '"third"'), events),
        map_of("d/{serial}", HEAD.replace('"acme"', '"fourth"')),
    ]
    assert Router("p", maps).subscriptions()[4:] == (
        Subscription("a/+", qos=1, shareable=True),
        Subscription("b/+", qos=0, shareable=True),
        Subscription("c/+", qos=0, shareable=False),
    )
    assert [s.filter for s in Router("p").subscriptions()] == [
        "p/meter/#", "p/concentrator/+/profile", "p/concentrator/+/state", "p/concentrator/+/event",
    ]  # fmt: skip


def test_sparkplug_is_not_to_be_shared() -> None:
    found = {s.filter: s for s in Router("p", load_maps(only=["sparkplug-b"])).subscriptions()}
    assert not found["spBv1.0/+/DDATA/+/+"].shareable


# --- by property ---

scalars = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8)
    | st.sampled_from([1795410900, 1795410900000, "2026-11-23T05:15:00Z", "2026-11-23T13:15:00"])
    | st.sampled_from(["offline", "NotifyStatus", "headend.profile/1", "Acme/1", "phase_lost"])
)  # fmt: skip
keys = st.text(max_size=6) | st.sampled_from(
    [
        "ts", "import_wh", "readings", "meter", "meters", "phases", "format", "seq", "backlog", "kind", "voltage_v",
        "src", "method", "params", "emdata:0", "total_act", "total_act_energy", "ENERGY", "Total", "Time", "Epoch",
        "energy", "last_seen", "device", "friendlyName", "state", "data", "tPI", "t", "rtc", "meterId", "1.8.0",
        "value", "timestamp", "obis", "power_phase_b",
    ]
)  # fmt: skip
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5), max_leaves=20
)
MAPS = load_maps()


@settings(derandomize=True, deadline=None, max_examples=1500)
@given(st.sampled_from(TOPICS), documents, st.booleans())
def test_any_json_under_any_topic(topic: str, document: Any, retained: bool) -> None:
    check(Router("headend/v1", MAPS), topic, json.dumps(document).encode("utf-8", "surrogatepass"), retained)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.sampled_from(TOPICS) | st.text(max_size=40), st.binary(max_size=60), st.booleans())
def test_any_bytes_under_any_topic(topic: str, payload: bytes, retained: bool) -> None:
    check(Router("headend/v1", MAPS), topic, payload, retained)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.integers(0, MAX_REGISTER_WH), st.sampled_from([("kWh", 3), ("MWh", 6), ("Wh", 0)]))
def test_integer_wh_are_exact_however_they_are_written(wh: int, unit: tuple[str, int]) -> None:
    name, digits = unit
    text = f"{wh // 10**digits}.{wh % 10**digits:0{digits}d}" if digits else str(wh)
    made = f'import_wh = {{ at = "e", unit = "{name}" }}\ntimestamps = [{{ format = "arrival", uncertainty_ms = 1 }}]\n'
    decoded = Router("p", [map_of("a/{serial}", more=made)]).decode("a/1", f'{{"e":{text}}}'.encode(), NOW_US)
    assert isinstance(decoded, MeterReadings)
    assert decoded.batch.rows["import_wh"].tolist() == [wh]
