"""Many messages at once say what each says alone: whatever comes, in whatever mixture, understood or not."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import PayloadError
from drivers.mqtt import bulk
from drivers.mqtt.bulk import BulkDecoder
from drivers.mqtt.decoded import Decoded, MeterReadings, ProfileUpload
from drivers.mqtt.router import Heard, Router
from drivers.mqtt.stamps import bulk_instants
from support.own_format import BATCH, COLUMNS, PREFIX, PROFILE, READING, T0_US, us

T0 = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
ALONE = Router(PREFIX)
NOW_US = T0_US + 3600 * 1_000_000

stamps = st.sampled_from(
    [
        "2026-11-23T05:00:00Z", "2026-11-23T05:15:00Z", "2026-11-23T05:30:00Z", "2026-11-23T13:15:00+08:00",
        "2026-11-23T01:30:00-03:30", "2026-02-29T05:00:00Z", "2028-02-29T23:59:59Z", "2026-11-23T05:00:00.5Z",
        "2026-11-23t05:00:00z", "2026-11-23 05:00:00Z", "2026-11-23T05:00:00", "1999-12-31T23:59:59Z",
        "2099-12-31T23:59:59Z", "2100-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
        "2026-11-00T00:00:00Z", "2026-11-31T00:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T05:60:00Z",
        "2026-11-23T05:00:60Z", "2026-11-23T05:00:00+24:00", "2026-11-23T05:00:00+08:60", "2026-11-23T05:00:00+0800",
        "2026-11-23T05:00:0٣Z", "ab26-11-23T05:00:00Z", "2026-11-23T05:00:00-00:00", "2026-11-23T05:00:00+23:59",
        "2000-01-01T00:00:00+08:00", "", "now", 1, None,
    ]
)  # fmt: skip
registers = st.sampled_from([0, 1, 123_450, 10**15, 10**15 + 1, -1, None, 1.5, 2.0, "1", True, 10**30])
volts = st.sampled_from([0, 229.8, 230, 229.85, 1000.0, 1000.1, -1, -1.0, None, "230", [229.8, 230.1, None]])
good_stamps = st.integers(0, 400).map(lambda i: (T0 + timedelta(minutes=15 * i)).isoformat().replace("+00:00", "Z"))
good_registers = st.integers(0, 10**15)
good_volts = st.integers(0, 10_000).map(lambda dv: dv / 10)


def objects(stamp: Any, register: Any, volt: Any, extra: Any) -> st.SearchStrategy[dict[str, Any]]:
    optional = {"import_wh": register, "export_wh": register, "voltage_v": volt, **extra}
    return st.fixed_dictionaries({"ts": stamp}, optional=optional)


unusual = {
    "meter": st.sampled_from(["Acme/210001", "Acme/2", None]),
    "resolution_wh": st.sampled_from([10, 0, None]),
    "clock_suspect": st.booleans(),
    "power_w": st.just(5.0),
    "wh": st.just(1),
}
good = objects(good_stamps, good_registers, good_volts, {})
any_object = good | objects(stamps, registers, volts, {}) | objects(good_stamps, good_registers, good_volts, unusual)


@st.composite
def columns(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(0, 4))
    made: dict[str, Any] = {"ts": sorted(draw(st.lists(good_stamps, min_size=n, max_size=n)))}
    if draw(st.integers(0, 9)) == 0:
        made["ts"] = draw(st.lists(stamps, min_size=n, max_size=n))
    for name, values in (("import_wh", good_registers), ("export_wh", good_registers), ("voltage_v", good_volts)):
        if draw(st.booleans()):
            m = draw(st.sampled_from([n, n, n, n, n + 1]))
            made[name] = draw(st.lists(st.none() | values, min_size=m, max_size=m))
    return made | ({"clock_suspect": True} if draw(st.integers(0, 9)) == 0 else {})


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    n, m = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    names = st.sampled_from(["Acme/1", "Acme/2", "Acme/3", "Acme/4"] if draw(st.integers(0, 4)) else ["Acme/1", "Acme"])
    made: dict[str, Any] = {
        "format": draw(st.sampled_from(["headend.profile/1"] * 9 + ["headend.profile/2"])),
        "seq": draw(st.integers(0, 100)),
        "backlog": draw(st.integers(-1, 100)),
        "meters": draw(st.lists(names, min_size=m, max_size=m)),
        "ts": sorted(draw(st.lists(good_stamps, min_size=n, max_size=n))),
    }
    for name, values in (("import_wh", good_registers), ("export_wh", good_registers), ("voltage_v", good_volts)):
        if draw(st.booleans()):
            rows = m + (draw(st.integers(0, 9)) == 0)
            row = st.lists(st.none() | values, min_size=n, max_size=n + (draw(st.integers(0, 9)) == 0))
            made[name] = draw(st.lists(row, min_size=rows, max_size=rows))
    if draw(st.integers(0, 4)) == 0:
        made |= {"concentrator": "C1", "resolution_wh": [10] * m}
    return made


def text(value: Any, repeat: str) -> bytes:
    """JSON; with `repeat`, the first object that has this key says it twice."""
    made = json.dumps(value)
    return (made.replace(f'"{repeat}":', f'"{repeat}": 0, "{repeat}":', 1) if repeat else made).encode()


repeated = st.sampled_from(["", "", "", "", "import_wh", "ts", "readings", "voltage_v", "seq"])
own = st.one_of(
    st.tuples(st.just(READING), st.builds(text, any_object, repeated)),
    st.tuples(st.just(BATCH), st.builds(lambda r, k: text({"readings": r}, k), st.lists(good, max_size=4), repeated)),
    st.tuples(
        st.just(BATCH), st.builds(lambda r, k: text({"readings": r}, k), st.lists(any_object, max_size=3), repeated)
    ),
    st.tuples(st.just(COLUMNS), st.builds(text, columns(), repeated)),
    st.tuples(st.just(PROFILE), st.builds(text, profiles(), repeated)),
    st.tuples(st.sampled_from([READING, BATCH, PROFILE, f"{PREFIX}/meter/a/b", "elsewhere"]), st.binary(max_size=20)),
)


def same(one: Decoded | PayloadError, other: Decoded | PayloadError) -> None:
    assert type(one) is type(other), (one, other)
    if isinstance(one, PayloadError) and isinstance(other, PayloadError):
        assert (one.reason, str(one)) == (other.reason, str(other))
    elif isinstance(one, MeterReadings | ProfileUpload) and isinstance(other, MeterReadings | ProfileUpload):
        assert one.batch.meters == other.batch.meters
        assert one.batch.rows.dtype == other.batch.rows.dtype
        assert one.batch.rows.tolist() == other.batch.rows.tolist()
        assert one.batch.phases.tobytes() == other.batch.phases.tobytes()
        told = [getattr(decoded, "events", ()) for decoded in (one, other)]
        assert told[0] == told[1]
        if isinstance(one, ProfileUpload) and isinstance(other, ProfileUpload):
            assert (one.concentrator, one.seq, one.backlog) == (other.concentrator, other.seq, other.backlog)
    else:
        assert one == other


def alone(heard: Heard) -> Decoded | PayloadError:
    topic, payload, received_us, retained = heard
    try:
        return ALONE.decode(topic, payload, received_us, retained=retained)
    except PayloadError as error:
        return error


@settings(derandomize=True, deadline=None, max_examples=250)
@given(st.lists(own, min_size=1, max_size=8))
def test_many_at_once_say_what_each_says_alone(sent: list[tuple[str, bytes]]) -> None:
    # Of different instants of arrival, so that clocks run ahead here and profiles come late there.
    heard = [(topic, payload, NOW_US + i * 7200 * 10**6, False) for i, (topic, payload) in enumerate(sent)]
    said = Router(PREFIX).decode_all(heard)
    for one, decoded in zip(heard, said, strict=True):
        same(decoded, alone(one))


def usual(kind: str) -> Any:
    ts = [f"2026-11-23T0{h}:15:00Z" for h in range(4)]
    values = {"import_wh": [1, 2, 3, 4], "export_wh": [0, 0, 0, 0], "voltage_v": [230.0, 229.9, 229.8, 229.7]}
    match kind:
        case "columns":
            return {"ts": ts} | values
        case "profile":
            shared = {"format": "headend.profile/1", "seq": 1, "backlog": 0, "meters": ["Acme/1", "Acme/2"], "ts": ts}
            return shared | {name: [column, column] for name, column in values.items()}
    readings = [{"ts": t} | {k: v[i] for k, v in values.items()} for i, t in enumerate(ts)]
    return {"readings": readings} if kind == "batch" else readings[0]


TOPIC = {"reading": READING, "batch": BATCH, "columns": COLUMNS, "profile": PROFILE}


@pytest.mark.parametrize("kind", list(TOPIC))
def test_usual_messages_are_taken_together(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the careful way, message by message, which gives the same and takes five times as long."""
    body = usual(kind)
    payload = json.dumps(body).encode()
    monkeypatch.setattr("drivers.mqtt.payload.decode", None)
    said = Router(PREFIX).decode_all([(TOPIC[kind], payload, NOW_US, False)] * 3)
    assert [type(s) for s in said] == [ProfileUpload if kind == "profile" else MeterReadings] * 3
    without_volts = json.loads(payload)
    for part in without_volts["readings"] if kind == "batch" else [without_volts]:
        del part["voltage_v"]
        part["export_wh"] = None if kind in {"reading", "batch"} else part["export_wh"]
    assert len(BulkDecoder(PREFIX).decode([(TOPIC[kind], json.dumps(without_volts).encode(), NOW_US, False)])) == 1


@pytest.mark.parametrize("kind", list(TOPIC))
def test_one_that_is_wrong_spoils_none_beside_it(kind: str) -> None:
    fine = (TOPIC[kind], json.dumps(usual(kind)).encode(), NOW_US, False)
    for spoilt in (b"2026-11-23T05:99:00Z", b"2026-11-23T01:15:00.25Z", b"1998-11-23T01:15:00Z"):
        wrong = (TOPIC[kind], fine[1].replace(b"2026-11-23T00:15:00Z", spoilt), NOW_US, False)
        said = Router(PREFIX).decode_all([fine, wrong, fine])
        for one, decoded in zip([fine, wrong, fine], said, strict=True):
            same(decoded, alone(one))


def test_a_key_given_twice_is_seen_although_another_reading_lacks_it() -> None:
    sent = b'{"readings":[{"ts":"2026-11-23T00:15:00Z","import_wh":1,"import_wh":1},{"ts":"2026-11-23T00:30:00Z",'
    sent += b'"export_wh":1}]}'
    heard = (BATCH, sent, NOW_US, False)
    assert BulkDecoder(PREFIX).decode([heard]) == {}
    decoded = Router(PREFIX).decode_all([heard])[0]
    assert isinstance(decoded, PayloadError)
    assert decoded.reason == "duplicate_key"


def test_births_are_forgotten_exactly_where_messages_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    router = Router(PREFIX)
    monkeypatch.setattr(router, "missed", lambda: order.append("missed"))
    monkeypatch.setattr(router, "decode", lambda topic, *_, **__: order.append(topic))
    router.decode_all([(topic, b"", 0, False) for topic in "abc"], missed={0, 2})
    assert order == ["missed", "a", "b", "missed", "c"]


def test_a_meter_that_stands_twice_in_an_upload_is_not_taken() -> None:
    twice = usual("profile") | {"meters": ["Acme/1", "Acme/1"]}
    assert BulkDecoder(PREFIX).decode([(PROFILE, json.dumps(twice).encode(), NOW_US, False)]) == {}


@pytest.mark.parametrize(
    ("stamp", "read"),
    [
        ("2028-02-29T23:59:59Z", True), ("2026-02-29T00:00:00Z", False), ("2026-04-30T00:00:00Z", True),
        ("2026-04-31T00:00:00Z", False), ("2026-12-31T23:59:59Z", True), ("2026-12-32T00:00:00Z", False),
        ("2026-01-00T00:00:00Z", False), ("2026-00-01T00:00:00Z", False), ("2026-13-01T00:00:00Z", False),
        ("2000-01-01T00:00:00Z", True), ("2099-12-31T23:59:59Z", True), ("1999-12-31T23:59:59Z", False),
        ("2100-01-01T00:00:00Z", False), ("2026-01-01T24:00:00Z", False), ("2026-01-01T00:60:00Z", False),
        ("2026-01-01T00:00:60Z", False), ("2026-01-01 00:00:00Z", False), ("2026/01/01T00:00:00Z", False),
        ("2026-01-01T00:00:00z", False), ("2026-01-01T00:00:0:Z", False), ("2026-01-01T00:00:00+24:00", False),
        ("2026-01-01T00:00:00+23:59", True), ("2026-01-01T00:00:00-08:60", False), ("2026-01-01T00:00:00*08:00", False),
        ("2026-01-01T00:00:00+08.00", False), ("2026-01-01T00:00:00.5Z", False),
    ],
)  # fmt: skip
def test_what_is_no_instant_is_not_read(stamp: str, read: bool) -> None:
    found, good = bulk_instants(["2026-01-01T00:00:00Z", stamp])
    assert good.tolist() == [True, read]
    assert int(found[1]) == (us(datetime.fromisoformat(stamp)) if read else 0)


def test_topics_and_names_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_KNOWN_MOST", 10)
    decoder = BulkDecoder(PREFIX)
    payload = json.dumps(usual("reading")).encode()
    said = decoder.decode([(f"{PREFIX}/meter/Acme/{i}/reading", payload, NOW_US, False) for i in range(95)])
    assert len(said) == 95
    assert len(decoder._topics) <= 10


def test_instants_in_bulk_are_those_of_the_calendar() -> None:
    rng = random.Random(4)
    seconds = [
        rng.randrange(us(datetime(2000, 1, 2, tzinfo=UTC)), us(datetime(2099, 12, 31, tzinfo=UTC))) for _ in range(999)
    ]
    wanted = np.array(seconds, dtype=np.int64) // 10**6 * 10**6
    moments = [datetime.fromtimestamp(int(s) // 10**6, UTC) for s in wanted]
    sent = [
        m.isoformat().replace("+00:00", "Z") if i % 3 else (m + timedelta(hours=8)).isoformat()[:19] + "+08:00"
        for i, m in enumerate(moments)
    ]
    found, read = bulk_instants(sent)
    assert read.all()
    assert found.tolist() == wanted.tolist()
    assert bulk_instants([])[0].size == 0
