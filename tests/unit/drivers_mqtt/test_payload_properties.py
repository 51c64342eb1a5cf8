"""The own MQTT format by property: round trips, and nothing but a payload error whatever comes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import ABSENT, ABSENT_DV
from drivers.errors import PayloadError
from drivers.events import EventKind
from drivers.mqtt import messages as m
from drivers.mqtt.payload import (
    REASONS,
    ConcentratorState,
    MeterReadings,
    ProfileUpload,
    decode,
    seq_of,
)
from support.own_format import BATCH, COLUMNS, EVENT, PREFIX, PROFILE, READING, T0_US, read, us

zones = st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(timedelta(hours=-3, minutes=-30))])
instants = st.datetimes(datetime(2000, 1, 3), datetime(2099, 12, 29), timezones=zones)  # noqa: DTZ001 as hypothesis wants them
registers = st.none() | st.integers(0, m.MAX_REGISTER_WH)
volts = st.none() | st.integers(0, 10_000).map(lambda dv: dv / 10)
amperes = st.none() | st.integers(-(10**9), 10**9).map(lambda ma: ma / 1000)


def triple(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=3, max_size=3)


rates = st.lists(registers, min_size=1, max_size=8)
readings = st.builds(
    m.ReadingMessage,
    ts=instants,
    import_wh=st.integers(0, m.MAX_REGISTER_WH),
    export_wh=registers,
    voltage_v=volts | triple(volts),
    current_a=amperes | triple(amperes),
    power_w=st.none() | st.integers(-(10**9), 10**9).map(float),
    import_phase_wh=st.none() | triple(registers),
    export_phase_wh=st.none() | triple(registers),
    import_tariff_wh=st.none() | rates,
    clock_suspect=st.booleans(),
)


def absent(value: Any, scale: int, missing: int) -> int:
    return missing if value is None else round(value * scale)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(readings, min_size=1, max_size=5))
def test_batch_round_trip(sent: list[m.ReadingMessage]) -> None:
    batch = read(
        BATCH, m.encode(m.BatchMessage(readings=sent)), received_us=us(datetime(2099, 12, 31, tzinfo=UTC))
    ).batch
    assert batch.rows["ts_us"].tolist() == [us(r.ts) for r in sent]
    assert batch.rows["import_wh"].tolist() == [r.import_wh for r in sent]
    assert batch.rows["export_wh"].tolist() == [absent(r.export_wh, 1, ABSENT) for r in sent]
    assert batch.rows["flags"].tolist() == [int(r.clock_suspect) for r in sent]
    by_instant = {int(p["ts_us"]): p for p in batch.phases}
    for r in sent:
        if [x.ts for x in sent].count(r.ts) > 1:
            continue
        listed = {
            "voltage_dv": (r.voltage_v, 10, ABSENT_DV),
            "current_ma": (r.current_a, 1000, ABSENT),
            "import_wh": (r.import_phase_wh, 1, ABSENT),
            "export_wh": (r.export_phase_wh, 1, ABSENT),
        }
        if us(r.ts) not in by_instant:
            assert r.power_w is None
            assert r.current_a is None
            assert r.import_phase_wh is None
            assert r.export_phase_wh is None
            assert r.import_tariff_wh is None
            assert not isinstance(r.voltage_v, list)
            continue
        phase = by_instant[us(r.ts)]
        assert phase["power_w"] == absent(r.power_w, 1, ABSENT)
        for name, (value, scale, missing) in listed.items():
            three = value if isinstance(value, list) else [value, None, None]
            assert phase[name].tolist() == [absent(v, scale, missing) for v in three], name
        told = r.import_tariff_wh or []
        assert phase["import_tariff_wh"].tolist() == [absent(v, 1, ABSENT) for v in told + [None] * (8 - len(told))]


@st.composite
def profiles(draw: st.DrawFn) -> m.ProfileMessage:
    meters = draw(st.lists(st.integers(0, 99).map(lambda n: f"Acme/{n}"), min_size=1, max_size=4, unique=True))
    ts = sorted(draw(st.lists(instants, min_size=1, max_size=6, unique_by=us)), key=us)

    def grid(values: st.SearchStrategy[Any]) -> Any:
        return draw(
            st.none()
            | st.lists(st.lists(values, min_size=len(ts), max_size=len(ts)), min_size=len(meters), max_size=len(meters))
        )

    return m.ProfileMessage(
        format="headend.profile/1", seq=draw(st.integers(0, 2**53)), backlog=draw(st.integers(0, 2**53)),
        meters=meters, ts=ts, import_wh=grid(registers), export_wh=grid(registers), voltage_v=grid(volts),
    )  # fmt: skip


@settings(derandomize=True, deadline=None, max_examples=200)
@given(profiles())
def test_profile_round_trip(sent: m.ProfileMessage) -> None:
    expected = {}
    for i, meter in enumerate(sent.meters):
        for j, ts in enumerate(sent.ts):
            cell = [None if g is None else g[i][j] for g in (sent.import_wh, sent.export_wh, sent.voltage_v)]
            if cell[0] is not None or cell[1] is not None:
                expected[meter, us(ts)] = tuple(cell)
    body = m.encode(sent)
    if not expected:
        with pytest.raises(PayloadError, match="throughout"):
            read(PROFILE, body)
        return
    upload = read(PROFILE, body)
    assert (upload.seq, upload.backlog) == (sent.seq, sent.backlog)
    got = {
        (str(upload.batch.meters[row["meter"]]), int(row["ts_us"])): (
            None if row["import_wh"] == ABSENT else int(row["import_wh"]),
            None if row["export_wh"] == ABSENT else int(row["export_wh"]),
            None if row["voltage_dv"] == ABSENT_DV else row["voltage_dv"] / 10,
        )
        for row in upload.batch.rows
    }
    assert got == expected
    assert seq_of(PROFILE, body, prefix=PREFIX) == ("C1", sent.seq)


topics = st.sampled_from([READING, BATCH, PROFILE, f"{PREFIX}/concentrator/C1/state"]) | st.text(max_size=60)
scraps = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
known_keys = st.sampled_from(
    ["ts", "import_wh", "export_wh", "voltage_v", "current_a", "power_w", "readings", "meters", "seq", "backlog",
     "format", "phases", "meter", "concentrator", "import_phase_wh"]
)  # fmt: skip
nearly = st.dictionaries(
    known_keys, scraps | st.just("2026-11-23T05:15:00Z") | st.just("headend.profile/1"), max_size=8
)


@settings(derandomize=True, deadline=None, max_examples=1000)
@given(
    topics,
    st.binary(max_size=200)
    | scraps.map(lambda v: json.dumps(v).encode())
    | nearly.map(lambda v: json.dumps(v).encode()),
)
def test_nothing_but_payload_error_whatever_comes(topic: str, payload: bytes) -> None:
    try:
        outcome: Any = decode(topic, payload, prefix=PREFIX, received_us=T0_US)
    except PayloadError as error:
        outcome = error
    if isinstance(outcome, PayloadError):
        assert outcome.reason in REASONS
    else:
        assert isinstance(outcome, MeterReadings | ProfileUpload | ConcentratorState)
    seq_of(topic, payload, prefix=PREFIX)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(profiles(), st.data())
def test_damaged_profiles_are_refused_or_read_whole(sent: m.ProfileMessage, data: st.DataObject) -> None:
    body = bytearray(m.encode(sent))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    del body[data.draw(st.integers(0, len(body))) :]
    try:
        upload: Any = decode(PROFILE, bytes(body), prefix=PREFIX, received_us=T0_US)
    except PayloadError as error:
        upload = error
    if isinstance(upload, PayloadError):
        assert upload.reason in REASONS
    else:
        assert isinstance(upload, ProfileUpload)
        rows = upload.batch.rows
        for name in ("import_wh", "export_wh"):
            assert np.all((rows[name] == ABSENT) | ((rows[name] >= 0) & (rows[name] <= m.MAX_REGISTER_WH)))


@st.composite
def columns(draw: st.DrawFn) -> m.ColumnsMessage:
    ts = sorted(draw(st.lists(instants, min_size=1, max_size=6, unique_by=us)), key=us)

    def column(values: st.SearchStrategy[Any]) -> Any:
        return draw(st.none() | st.lists(values, min_size=len(ts), max_size=len(ts)))

    return m.ColumnsMessage(
        ts=ts, import_wh=column(registers), export_wh=column(registers), voltage_v=column(volts | triple(volts)),
        current_a=column(amperes | triple(amperes)),
        power_w=column(st.none() | st.integers(-(10**9), 10**9).map(float)),
        import_phase_wh=column(st.none() | triple(registers)), export_phase_wh=column(st.none() | triple(registers)),
        import_tariff_wh=column(st.none() | rates),
        resolution_wh=draw(st.none() | st.integers(1, 1000).map(float)), clock_suspect=draw(st.booleans()),
    )  # fmt: skip


@settings(derandomize=True, deadline=None, max_examples=200)
@given(columns())
def test_columns_are_the_same_as_a_batch_of_objects(sent: m.ColumnsMessage) -> None:
    late = us(datetime(2099, 12, 31, tzinfo=UTC))
    names = ("import_wh", "export_wh", "voltage_v", "current_a", "power_w", "import_phase_wh", "export_phase_wh",
             "import_tariff_wh")  # fmt: skip
    objects = [
        m.ReadingMessage(
            ts=ts,
            resolution_wh=sent.resolution_wh,
            clock_suspect=sent.clock_suspect,
            **{n: None if (c := getattr(sent, n)) is None else c[i] for n in names},
        )
        for i, ts in enumerate(sent.ts)
    ]
    objects = [o for o in objects if o.import_wh is not None or o.export_wh is not None]
    if not objects:
        with pytest.raises(PayloadError, match="throughout"):
            read(COLUMNS, m.encode(sent), late)
        return
    one = read(COLUMNS, m.encode(sent), late).batch
    other = read(BATCH, m.encode(m.BatchMessage(readings=objects)), late).batch
    assert np.array_equal(one.rows, other.rows)
    assert np.array_equal(one.phases, other.phases)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(
        st.builds(
            m.EventMessage,
            kind=st.sampled_from(EventKind),
            ts=instants,
            phase=st.none() | st.integers(1, 3),
            value=st.none() | st.floats(-1e12, 1e12),
            detail=st.none() | st.text(max_size=40),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_events_round_trip(sent: list[m.EventMessage]) -> None:
    told = read(EVENT, b"[" + b",".join(map(m.encode, sent)) + b"]")
    assert [(e.kind, e.instant_us, e.phase, e.value, e.detail) for e in told.events] == [
        (s.kind, us(s.ts), s.phase, s.value, s.detail or "") for s in sent
    ]
