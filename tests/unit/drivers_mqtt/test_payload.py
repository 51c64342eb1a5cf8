"""The own format's decoder: what it takes, what it refuses, with which reason and at which place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drivers.base import ABSENT, ABSENT_DV, MeterIdentity, ReadingFlag, Source
from drivers.errors import PayloadError
from drivers.events import DeviceEvent, EventKind
from drivers.mqtt.payload import (
    REASONS,
    ConcentratorState,
    Events,
    MeterReadings,
    ProfileUpload,
    seq_of,
)
from drivers.mqtt.topics import confirm_topic, subscriptions
from support.own_format import BATCH, C_EVENT, COLUMNS, EVENT, PREFIX, PROFILE, READING, T0, T0_US, profile, read, us


def test_single_reading_in_columns() -> None:
    decoded = read(READING, {"ts": "2026-11-23T13:15:00+08:00", "import_wh": 123450, "voltage_v": 229.84})
    assert isinstance(decoded, MeterReadings)
    assert decoded.batch.meters == (MeterIdentity("Acme", "1"),)
    row = decoded.batch.rows[0]
    assert us(T0) == T0_US
    assert (row["ts_us"], row["import_wh"], row["export_wh"], row["voltage_dv"]) == (T0_US, 123450, ABSENT, 2298)
    assert (row["source"], row["flags"], row["uncertainty_ms"]) == (Source.MQTT, 0, 500)
    assert decoded.batch.phases.size == 0


def test_per_phase_values_go_to_the_phase_rows() -> None:
    decoded = read(
        READING,
        {
            "ts": "2026-11-23T05:15:00Z",
            "import_wh": 9,
            "voltage_v": [230, None, 231],
            "current_a": [1.2345, -2, None],
            "power_w": -120.6,
            "import_phase_wh": [3, None, 6],
        },
    )
    row, phase = decoded.batch.rows[0], decoded.batch.phases[0]
    assert row["voltage_dv"] == 2305
    assert phase["voltage_dv"].tolist() == [2300, ABSENT_DV, 2310]
    assert phase["current_ma"].tolist() == [1234, -2000, ABSENT]
    assert phase["import_wh"].tolist() == [3, ABSENT, 6]
    assert phase["export_wh"].tolist() == [ABSENT] * 3
    assert (phase["power_w"], phase["ts_us"]) == (-121, T0_US)


def test_registers_per_rate_go_to_the_phase_rows() -> None:
    message = {"ts": "2026-11-23T05:15:00Z", "import_wh": 9, "import_tariff_wh": [4, None, 5]}
    phase = read(READING, message).batch.phases[0]
    assert phase["import_tariff_wh"].tolist() == [4, ABSENT, 5, *[ABSENT] * 5]
    assert phase["import_wh"].tolist() == [ABSENT] * 3
    assert (phase["power_w"], phase["voltage_dv"].tolist()) == (ABSENT, [ABSENT_DV] * 3)
    eight = read(READING, message | {"import_tariff_wh": list(range(8))}).batch.phases[0]
    assert eight["import_tariff_wh"].tolist() == list(range(8))


@pytest.mark.parametrize(
    ("rates", "where"),
    [
        (["4"], "$.import_tariff_wh[0]"), ([1.5], "$.import_tariff_wh[0]"), ([-1], "$.import_tariff_wh[0]"),
        ([10**15 + 1], "$.import_tariff_wh[0]"), ([], "$.import_tariff_wh"), ([1] * 9, "$.import_tariff_wh"),
        ({"1": 4}, "$.import_tariff_wh"), (4, "$.import_tariff_wh"),
    ],
)  # fmt: skip
def test_wrong_rates_are_named(rates: Any, where: str) -> None:
    with pytest.raises(PayloadError) as error:
        read(READING, {"ts": "2026-11-23T05:15:00Z", "import_wh": 9, "import_tariff_wh": rates})
    assert f"`{where}`" in str(error.value), str(error.value)


def test_rates_in_columns_and_in_profiles() -> None:
    ts = ["2026-11-23T05:00:00Z", "2026-11-23T05:15:00Z"]
    columns = {"ts": ts, "import_wh": [8, 9], "import_tariff_wh": [None, [4, 5]]}
    phases = read(COLUMNS, columns, received_us=T0_US).batch.phases
    assert phases["ts_us"].tolist() == [T0_US]
    assert phases["import_tariff_wh"][0, :3].tolist() == [4, 5, ABSENT]
    with pytest.raises(PayloadError, match="import_tariff_wh has 1 values for 2 instants"):
        read(COLUMNS, columns | {"import_tariff_wh": [[4, 5]]}, received_us=T0_US)
    told = {"Acme/2": {"import_tariff_wh": [[1, 2], [3, None, 1]]}}
    batch = read(PROFILE, profile(phases=told)).batch
    assert batch.phases["ts_us"].tolist() == [T0_US]  # (Acme/2, 05:00) has no register: no reading
    assert batch.phases["import_tariff_wh"][0, :4].tolist() == [3, ABSENT, 1, ABSENT]
    assert batch.phases["import_wh"].tolist() == [[ABSENT] * 3]
    with pytest.raises(PayloadError, match="import_tariff_wh has 1 values for 2 instants"):
        read(PROFILE, profile(phases={"Acme/2": {"import_tariff_wh": [[1, 2]]}}))


def test_power_of_a_single_phase_meter_is_kept() -> None:
    phase = read(READING, {"ts": "2026-11-23T05:15:00Z", "import_wh": 9, "voltage_v": 230, "power_w": 40}).batch.phases
    assert (phase["power_w"].tolist(), phase["voltage_dv"].tolist()) == ([40], [[2300, ABSENT_DV, ABSENT_DV]])


def test_clock_flags() -> None:
    said = read(READING, {"ts": "2026-11-23T05:15:00Z", "import_wh": 9, "clock_suspect": True})
    seen = read(READING, {"ts": "2026-11-23T05:15:00Z", "import_wh": 9}, received_us=T0_US - 61_000_000)
    fine = read(READING, {"ts": "2026-11-23T05:15:00Z", "import_wh": 9}, received_us=T0_US - 60_000_000)
    ahead = ReadingFlag.CLOCK_SUSPECT | ReadingFlag.AHEAD
    assert [d.batch.rows["flags"][0] for d in (said, seen, fine)] == [ReadingFlag.CLOCK_SUSPECT, ahead, 0]


def test_profile_leaves_out_what_was_not_measured() -> None:
    decoded = read(PROFILE, profile(voltage_v=[[230, None], [1, 2]]))
    assert isinstance(decoded, ProfileUpload)
    assert (decoded.concentrator, decoded.seq, decoded.backlog) == ("C1", 17, 42)
    rows = decoded.batch.rows
    assert rows["meter"].tolist() == [0, 0, 1]
    assert rows["ts_us"].tolist() == [T0_US - 900_000_000, T0_US, T0_US]
    assert rows["import_wh"].tolist() == [1, 2, 4]
    assert rows["voltage_dv"].tolist() == [2300, ABSENT_DV, 20]
    assert set(rows["source"].tolist()) == {Source.CONCENTRATOR}
    assert set(rows["flags"].tolist()) == {0}


def test_old_profile_rows_are_backfill() -> None:
    rows = read(PROFILE, profile(), received_us=T0_US + 3_000_000_000).batch.rows
    assert rows["flags"].tolist() == [ReadingFlag.BACKFILL, 0, 0]


def test_profile_phases_only_where_there_is_a_reading() -> None:
    phases = {"Acme/2": {"import_wh": [[1, 2, 3], [4, 5, None]], "voltage_v": [None, [229, 230, 231]]}}
    batch = read(PROFILE, profile(phases=phases)).batch
    assert batch.phases["ts_us"].tolist() == [T0_US]  # (Acme/2, 05:00) has no register: no reading
    assert batch.phases["import_wh"].tolist() == [[4, 5, ABSENT]]
    assert batch.phases["voltage_dv"].tolist() == [[2290, 2300, 2310]]


def test_columns_of_one_meter() -> None:
    batch = read(
        COLUMNS,
        {
            "meter": "Acme/1",
            "ts": ["2026-11-23T05:00:00Z", "2026-11-23T13:15:00+08:00", "2026-11-23T05:30:00Z"],
            "import_wh": [1, None, 3],
            "export_wh": [None, None, 0],
            "voltage_v": [230, 231, [229, None, 231]],
            "current_a": [None, 1, None],
            "power_w": [40.4, 1, None],
            "import_phase_wh": [None, None, [1, 1, None]],
            "resolution_wh": 10,
            "clock_suspect": True,
        },
        received_us=T0_US + 900_000_000,
    ).batch
    assert batch.meters == (MeterIdentity("Acme", "1"),)
    assert batch.rows["ts_us"].tolist() == [
        T0_US - 900_000_000,
        T0_US + 900_000_000,
    ]  # no register at 05:15: no reading
    assert batch.rows["import_wh"].tolist() == [1, 3]
    assert batch.rows["export_wh"].tolist() == [ABSENT, 0]
    assert batch.rows["voltage_dv"].tolist() == [2300, 2300]
    assert batch.rows["resolution_wh"].tolist() == [10, 10]
    assert set(batch.rows["flags"].tolist()) == {ReadingFlag.CLOCK_SUSPECT}
    assert set(batch.rows["source"].tolist()) == {Source.MQTT}
    assert batch.phases["ts_us"].tolist() == batch.rows["ts_us"].tolist()
    assert batch.phases["power_w"].tolist() == [40, ABSENT]
    assert batch.phases["voltage_dv"].tolist() == [[2300, ABSENT_DV, ABSENT_DV], [2290, ABSENT_DV, 2310]]
    assert batch.phases["import_wh"].tolist() == [[ABSENT] * 3, [1, 1, ABSENT]]


def test_columns_without_detail_make_no_phase_rows() -> None:
    batch = read(
        COLUMNS, {"ts": ["2026-11-23T05:00:00Z"], "import_wh": [1], "voltage_v": [230], "power_w": [None]}
    ).batch
    assert (len(batch), batch.phases.size) == (1, 0)


def test_resolution_of_registers() -> None:
    one = read(READING, {"ts": "2026-11-23T05:15:00Z", "import_wh": 9, "resolution_wh": 7.8125}).batch
    assert one.rows["resolution_wh"].tolist() == [8]  # rounded up
    two = read(
        BATCH, {"readings": [{"ts": "2026-11-23T05:15:00Z", "import_wh": 9, "resolution_wh": r} for r in (1e6, None)]}
    )
    assert two.batch.rows["resolution_wh"].tolist() == [32767, 0]
    many = read(PROFILE, profile(resolution_wh=[10, None])).batch
    assert many.rows["resolution_wh"].tolist() == [10, 10, 0]


def test_events() -> None:
    one = read(EVENT, {"kind": "cover_opened", "ts": "2026-11-23T13:15:00+08:00", "meter": "Acme/1"})
    assert one == Events(
        MeterIdentity("Acme", "1"),
        (DeviceEvent(kind=EventKind.COVER_OPENED, instant_us=T0_US, uncertainty_ms=500),),
    )
    two = [
        {"kind": "phase_lost", "ts": "2026-11-23T05:15:00Z", "phase": 3, "value": 12.5, "detail": "L3"},
        {"kind": "power_restored", "ts": "2026-11-23T05:15:00Z", "concentrator": "C1"},
    ]
    told = read(C_EVENT, two)
    assert isinstance(told, Events)
    assert told.device == "C1"
    assert [(e.kind, e.phase, e.value, e.detail) for e in told.events] == [
        (EventKind.PHASE_LOST, 3, 12.5, "L3"),
        (EventKind.POWER_RESTORED, None, None, ""),
    ]


def test_an_explicit_null_or_a_blank_before_the_colon_is_no_key_twice() -> None:
    body = b'{"ts" : "2026-11-23T05:15:00Z","import_wh"\t:1,"export_wh":null,"meter":"Acme/1","clock_suspect":false}'
    assert read(READING, body).batch.rows["import_wh"].tolist() == [1]
    colons = read(
        f'{PREFIX}/meter/: "Acme:/1/reading', b'{"ts":"2026-11-23T05:15:00Z","import_wh":1,"meter":": \\"Acme:/1"}'
    )
    assert colons.batch.meters == (MeterIdentity(': "Acme:', "1"),)


def test_concentrator_state() -> None:
    assert read(f"{PREFIX}/concentrator/C1/state", b"online") == ConcentratorState("C1", True)
    assert read(f"{PREFIX}/concentrator/C1/state", b"offline") == ConcentratorState("C1", False)


R = '{"ts":"2026-11-23T05:15:00Z","import_wh":1'


@pytest.mark.parametrize(
    ("topic", "payload", "reason", "where"),
    [
        (READING, b"", "not_json", "not JSON"),
        (READING, b"\xff\xfe", "not_json", "byte 0"),
        (READING, b"{" * 50_000, "not_json", "not JSON"),
        (READING, b"[" * 50_000, "wrong_type", "object"),
        (READING, R + "}x", "not_json", "trailing"),
        (READING, R + ',"meter":"\\ud800"}', "not_json", "not JSON"),
        (READING, R.encode() + b',"meter":"\xff"}', "not_json", "not JSON"),
        (READING, '{"ts":"2026-11-23T05:15:00Z","import_wh":NaN}', "not_json", "byte"),
        (READING, "[]", "wrong_type", "object"),
        (READING, '{"ts":"2026-11-23T05:15:00Z","import_wh":"1"}', "wrong_type", "$.import_wh"),
        (READING, '{"ts":"2026-11-23T05:15:00Z","import_wh":1.5}', "wrong_type", "$.import_wh"),
        (READING, '{"ts":"2026-11-23T05:15:00Z","import_wh":true}', "wrong_type", "$.import_wh"),
        (READING, '{"ts":1795410900,"import_wh":1}', "wrong_type", "$.ts"),
        (READING, '{"ts":"2026-11-23T05:15:00Z","import_wh":-1}', "out_of_range", "$.import_wh"),
        (READING, '{"ts":"2026-11-23T05:15:00Z","import_wh":1000000000000001}', "out_of_range", "$.import_wh"),
        (READING, '{"ts":"2026-11-23T05:15:00Z","import_wh":9999999999999999999999}', "out_of_range", "$.import_wh"),
        (READING, R + ',"voltage_v":1e999}', "out_of_range", "$.voltage_v"),
        (READING, R + ',"voltage_v":1000.1}', "out_of_range", "$.voltage_v"),
        (READING, R + ',"voltage_v":[1,-2,3]}', "out_of_range", "$.voltage_v[1]"),
        (READING, R + ',"voltage_v":[1,2]}', "bad_shape", "$.voltage_v"),
        (READING, R + ',"current_a":[0,0,1e7]}', "out_of_range", "$.current_a[2]"),
        (READING, R + ',"power_w":-1e10}', "out_of_range", "$.power_w"),
        (READING, R + ',"impor_wh":1}', "unknown_key", "impor_wh"),
        (READING, '{"import_wh":1}', "missing_key", "ts"),
        (READING, '{"ts":"2026-11-23T05:15:00","import_wh":1}', "bad_timestamp", "timezone"),
        (READING, '{"ts":"2026-11-23T05:15:60Z","import_wh":1}', "bad_timestamp", "$.ts"),
        (READING, '{"ts":"2026-02-30T05:15:00Z","import_wh":1}', "bad_timestamp", "$.ts"),
        (READING, '{"ts":"yesterday","import_wh":1}', "bad_timestamp", "$.ts"),
        (READING, '{"ts":"1999-12-31T23:59:59Z","import_wh":1}', "bad_timestamp", "ts: 1999"),
        (READING, '{"ts":"2100-01-01T00:00:00Z","import_wh":1}', "bad_timestamp", "ts: 2100"),
        (READING, '{"ts":"0001-01-01T00:00:00+14:00","import_wh":1}', "bad_timestamp", "ts: 0001"),
        (READING, '{"ts":"2026-11-23T05:15:00Z"}', "no_energy", "import_wh"),
        (READING, R + ',"meter":"Acme/2"}', "identity_mismatch", "Acme/2"),
        (BATCH, '{"readings":[]}', "bad_shape", "$.readings"),
        (BATCH, '{"readings":[@},@,"meter":"Acme/2"}]}'.replace("@", R), "identity_mismatch", "readings[1].meter"),
        (BATCH, '{"readings":[@},{"ts":"2026-11-23T05:15:00Z"}]}'.replace("@", R), "no_energy", "readings[1]"),
        (BATCH, '{"readings":[@},{"ts":"2200-11-23T05:15:00Z","import_wh":1}]}'.replace("@", R), "bad_timestamp",
         "readings[1].ts"),
        (BATCH, '{"meter":"Acme/2","readings":[@}]}'.replace("@", R), "identity_mismatch", "Acme/2"),
        (BATCH, '{"readings":[@,"export_wh":"x"}]}'.replace("@", R), "wrong_type", "$.readings[0].export_wh"),
        (PROFILE, profile(format="headend.profile/2"), "wrong_type", "$.format"),
        (PROFILE, profile(seq=-1), "out_of_range", "$.seq"),
        (PROFILE, profile(seq=2**60), "out_of_range", "$.seq"),
        (PROFILE, profile(concentrator="C2"), "identity_mismatch", "C2"),
        (PROFILE, profile(meters=["Acme/1", "Acme/1"]), "bad_shape", "twice"),
        (PROFILE, profile(meters=["Acme/1", "Acme"]), "bad_name", "meters[1]"),
        (PROFILE, profile(meters=["Acme/1", "A\u0000/1"]), "bad_name", "meters[1]"),
        (PROFILE, profile(meters=["Acme/1", "A/b/c"]), "bad_name", "meters[1]"),
        (PROFILE, profile(ts=["2026-11-23T05:15:00Z", "2026-11-23T05:15:00Z"]), "bad_shape", "ts[1]"),
        (PROFILE, profile(ts=["2026-11-23T05:15:00Z", "2026-11-23T13:00:00+08:00"]), "bad_shape", "ts[1]"),
        (PROFILE, profile(import_wh=[[1, 2]]), "bad_shape", "import_wh has 1 rows for 2 meters"),
        (PROFILE, profile(import_wh=[[1, 2], [3]]), "bad_shape", "import_wh[1] has 1 values for 2 instants"),
        (PROFILE, profile(voltage_v=[[1, 2], [3, 4, 5]]), "bad_shape", "voltage_v[1]"),
        (PROFILE, profile(import_wh=[[1, 2], [3, -4]]), "out_of_range", "$.import_wh[1][1]"),
        (PROFILE, profile(import_wh=[[None, None], [None, None]]), "no_energy", "throughout"),
        (PROFILE, profile(import_wh=None), "no_energy", "throughout"),
        (PROFILE, profile(phases={"Acme/3": {}}), "bad_shape", "Acme/3"),
        (PROFILE, profile(phases={"Acme/1": {"import_wh": [[1, 2, 3]]}}), "bad_shape", "import_wh has 1 values"),
        (PROFILE, profile(phases={"Acme/1": {"import_wh": [[1, 2], None]}}), "bad_shape", "$.phases"),
        (PROFILE, profile(resolution_wh=[10]), "bad_shape", "resolution_wh has 1 values for 2 meters"),
        (PROFILE, profile(resolution_wh=[10, 0]), "out_of_range", "$.resolution_wh[1]"),
        (READING, R + ',"resolution_wh":0}', "out_of_range", "$.resolution_wh"),
        (READING, R + ',"import_wh":1}', "duplicate_key", "'import_wh' stands twice"),
        (READING, R + ',"import\\u005fwh":2}', "duplicate_key", "'import_wh' stands twice"),
        (READING, R + ',"export_wh":null,"export_wh":null}', "duplicate_key", "'export_wh' stands twice"),
        (BATCH, '{"readings":[@},@,"ts" : "2026-11-23T05:15:00Z"}]}'.replace("@", R), "duplicate_key", "'ts'"),
        (PROFILE, json.dumps(profile()).encode()[:-1] + b',"seq":18}', "duplicate_key", "'seq'"),
        (COLUMNS, {"ts": [], "import_wh": []}, "bad_shape", "$.ts"),
        (COLUMNS, {"ts": ["2026-11-23T05:15:00Z"], "import_wh": [1, 2]}, "bad_shape", "import_wh has 2 values for 1"),
        (COLUMNS, {"ts": ["2026-11-23T05:15:00Z"] * 2, "import_wh": [1, 2]}, "bad_shape", "ts[1] is not after ts[0]"),
        (COLUMNS, {"ts": ["2026-11-23T05:15:00Z"], "import_wh": [None]}, "no_energy", "throughout"),
        (COLUMNS, {"ts": ["2026-11-23T05:15:00Z"]}, "no_energy", "throughout"),
        (COLUMNS, {"ts": ["2026-11-23T05:15:00Z"], "import_wh": [-1]}, "out_of_range", "$.import_wh[0]"),
        (COLUMNS, {"ts": ["2026-11-23T05:15:00Z"], "import_wh": [1], "meter": "Acme/2"}, "identity_mismatch", "Acme/2"),
        (COLUMNS, {"ts": ["1999-11-23T05:15:00Z"], "import_wh": [1]}, "bad_timestamp", "ts[0]: 1999"),
        (COLUMNS, {"ts": ["2026-11-23T05:15:00Z"], "import_wh": [1], "x": 1}, "unknown_key", "x"),
        (EVENT, {"kind": "boom", "ts": "2026-11-23T05:15:00Z"}, "wrong_type", "$.kind"),
        (EVENT, {"kind": "phase_lost"}, "missing_key", "ts"),
        (EVENT, {"kind": "phase_lost", "ts": "2026-11-23T05:15:00Z", "phase": 4}, "out_of_range", "$.phase"),
        (EVENT, {"kind": "phase_lost", "ts": "2026-11-23T05:15:00Z", "detail": "x" * 501}, "bad_shape", "$.detail"),
        (EVENT, {"kind": "phase_lost", "ts": "2026-11-23T05:15:00Z", "meter": "Acme/2"}, "identity_mismatch", "Acme/2"),
        (EVENT, {"kind": "phase_lost", "ts": "2026-11-23T05:15:00Z", "concentrator": "C1"}, "identity_mismatch",
         "another"),
        (C_EVENT, [{"kind": "phase_lost", "ts": "2026-11-23T05:15:00Z", "meter": "Acme/1"}], "identity_mismatch",
         "[0]"),
        (EVENT, {"kind": "phase_lost", "ts": "1999-11-23T05:15:00Z"}, "bad_timestamp", "ts: 1999"),
        (EVENT, [{"kind": "phase_lost", "ts": "1999-11-23T05:15:00Z"}], "bad_timestamp", "[0].ts: 1999"),
        (EVENT, '{"kind":"phase_lost","ts":"2026-11-23T05:15:00Z","detail":"\\u0022:","phase":1,"phase":2}',
         "duplicate_key", "'phase'"),  # written without escape the detail holds what ends a key
        (EVENT, [], "bad_shape", "empty list"),
        (EVENT, "[[]]", "wrong_type", "object"),
        (f"{PREFIX}/concentrator/C1/state", b"ONLINE", "bad_state", "ONLINE"),
        (f"{PREFIX}/concentrator/C1/confirm", b"{}", "unknown_topic", "confirm"),
        (f"{PREFIX}/meter/Acme/1/readings", b"{}", "unknown_topic", "readings"),
        (f"{PREFIX}/meter/Acme/reading", b"{}", "unknown_topic", "known"),
        ("headend/v2/meter/Acme/1/reading", b"{}", "unknown_topic", "known"),
        (f"{PREFIX}/meter//1/reading", b"{}", "bad_name", "topic"),
        (f"{PREFIX}/meter/{'x' * 65}/1/reading", b"{}", "bad_name", "topic"),
    ],
)  # fmt: skip
def test_refused_with_reason_and_place(topic: str, payload: Any, reason: str, where: str) -> None:
    body = payload.encode() if isinstance(payload, str) else payload
    with pytest.raises(PayloadError) as refused:
        read(topic, body)
    assert refused.value.reason == reason
    assert refused.value.reason in REASONS
    assert where in str(refused.value)
    assert str(refused.value).startswith(topic)


def test_seq_of_an_upload_that_cannot_be_read() -> None:
    def seq(payload: bytes, topic: str = PROFILE) -> Any:
        return seq_of(topic, payload, prefix=PREFIX)

    assert seq(b'{"format":"x","seq": 17,"bro') == ("C1", 17)
    assert seq(b'{"seq":17,"phases":{"seq":18}}') is None  # which one?
    assert seq(b'{"seq":1.5}') is None
    assert seq(b'{"seq":-1}') is None
    assert seq(b'{"seq":99999999999999999999}') is None
    assert seq(b"\xff\x00") is None
    assert seq(b'{"seq":17}', READING) is None
    assert seq(b'{"seq":17}', "elsewhere") is None


def test_topics() -> None:
    concentrators = ("p/concentrator/+/profile", "p/concentrator/+/state", "p/concentrator/+/event")
    assert subscriptions("p") == ("p/meter/#", *concentrators)
    assert confirm_topic("p", "C1") == "p/concentrator/C1/confirm"


# --- by property ---
