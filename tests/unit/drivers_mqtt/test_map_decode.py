"""What a payload map can say, key by key, on small maps of its own; how strict it is; what it remembers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drivers.base import ABSENT, ABSENT_DV, MeterIdentity, ReadingFlag, Source
from drivers.errors import PayloadError
from drivers.events import EventKind
from drivers.mqtt.decoded import REASONS, Events, Ignored, MeterReadings
from drivers.mqtt.map_decode import RETAINED, UNCHANGED
from support.mapped import NOW_US, Decode, us

Mapped = Callable[..., Decode]
MESSAGE = '[[messages]]\ntopic = "acme/{serial}"\n'
ARRIVAL = 'timestamps = [{ format = "arrival", uncertainty_ms = 5000 }]\n'
ENERGY = 'import_wh = { at = "e", unit = "kWh" }\n'


def refused(decode: Decode, payload: Any, reason: str, where: str = "", **more: Any) -> None:
    with pytest.raises(PayloadError) as error:
        decode(payload, **more)
    assert error.value.reason == reason, str(error.value)
    assert reason in REASONS
    assert where in str(error.value)


def row(decoded: Any) -> Any:
    assert isinstance(decoded, MeterReadings)
    assert len(decoded.batch) == 1
    return decoded.batch.rows[0]


def test_a_reading(mapped: Mapped) -> None:
    decode = mapped(MESSAGE + ARRIVAL + ENERGY)
    decoded = decode({"e": 12.345, "more": [1, {"x": None}]})
    assert isinstance(decoded, MeterReadings)
    assert decoded.batch.meters == (MeterIdentity("Acme", "7"),)
    r = row(decoded)
    assert (r["ts_us"], r["uncertainty_ms"], r["import_wh"], r["export_wh"]) == (NOW_US, 5000, 12345, ABSENT)
    assert (r["voltage_dv"], r["flags"], r["source"], r["resolution_wh"]) == (ABSENT_DV, 0, Source.MQTT, 0)
    assert decoded.batch.phases.size == 0


@pytest.mark.parametrize(
    ("rule", "payload", "wh"),
    [
        ('unit = "kWh"', b'{"e":12.345}', 12345),
        ('unit = "kWh"', b'{"e":0.1}', 100),
        ('unit = "kWh"', b'{"e":100000000.001}', 100000000001),
        ('unit = "kWh"', b'{"e":1.2345e1}', 12345),
        ('unit = "MWh"', b'{"e":0.000001}', 1),
        ('unit = "Wh"', b'{"e":345.67}', 346),
        ('unit = "Wh"', b'{"e":0.4}', 0),
        ('unit = "Wmin"', b'{"e":59}', 1),
        ('unit = "Wmin"', b'{"e":29}', 0),
        ('unit = "Wmin"', b'{"e":600000}', 10000),
        ('unit = "J"', b'{"e":3600000}', 1000),
        ('unit = "Wh", scale = 0.1', b'{"e":123450}', 12345),
        ('unit = "Wh", sign = -1', b'{"e":-5}', 5),
        ('unit = "Wh", text = true', b'{"e":" 12.6 "}', 13),
        ('unit = "Wh", text = true', b'{"e":12}', 12),
        ('unit = "Wh", scaler = "s"', b'{"e":12345,"s":-1}', 1234),
        ('unit = "Wh", scaler = "s"', b'{"e":12,"s":3}', 12000),
        ('unit = "Wh"', b'{"e":1000000000000000}', 10**15),
    ],
)
def test_energies_are_whole_wh_exactly(mapped: Mapped, rule: str, payload: bytes, wh: int) -> None:
    decode = mapped(MESSAGE + ARRIVAL + f'import_wh = {{ at = "e", {rule} }}\n')
    assert row(decode(payload))["import_wh"] == wh


def test_single_phase_and_three(mapped: Mapped) -> None:
    decode = mapped(
        MESSAGE + ARRIVAL + ENERGY + 'export_wh = { at = "x", unit = "Wh" }\npower_w = { at = "p[*]", unit = "kW" }\n'
        + "".join(f'voltage_l{n}_v = {{ at = "u[{n - 1}]", unit = "V" }}\n' for n in (1, 2, 3))
        + "".join(f'current_l{n}_a = {{ at = "i[{n - 1}]", unit = "mA" }}\n' for n in (1, 2, 3))
        + "".join(f'import_l{n}_wh = {{ at = "l[{n - 1}]", unit = "kWh" }}\n' for n in (1, 2, 3))
    )  # fmt: skip
    three = decode({"e": 6, "x": 1, "u": [230, None, 231.04], "i": [1500, -2, 0], "p": [1, -0.5, 0.25], "l": [1, 2, 3]})
    assert isinstance(three, MeterReadings)
    assert (row(three)["export_wh"], row(three)["voltage_dv"]) == (1, 2305)
    phase = three.batch.phases[0]
    assert phase["voltage_dv"].tolist() == [2300, ABSENT_DV, 2310]
    assert phase["current_ma"].tolist() == [1500, -2, 0]
    assert phase["import_wh"].tolist() == [1000, 2000, 3000]
    assert phase["export_wh"].tolist() == [ABSENT] * 3
    assert phase["power_w"] == 750
    one = decode({"e": 6, "u": 229.96, "p": 0.0404})
    assert isinstance(one, MeterReadings)
    assert row(one)["voltage_dv"] == 2300
    assert one.batch.phases["power_w"].tolist() == [40]
    assert one.batch.phases["voltage_dv"].tolist() == [[2300, ABSENT_DV, ABSENT_DV]]


def test_alternatives_and_sums(mapped: Mapped) -> None:
    decode = mapped(
        MESSAGE + ARRIVAL + 'import_wh = { at = ["new", "old"], unit = "Wh" }\n'
        'export_wh = { at = ["t1", "t2"], added = true, unit = "Wh" }\n'
    )
    assert row(decode({"old": 1}))["import_wh"] == 1
    assert row(decode({"old": 1, "new": 2}))["import_wh"] == 2
    assert row(decode({"old": 1, "new": None}))["import_wh"] == 1
    assert row(decode({"old": 1, "t1": 3, "t2": 4}))["export_wh"] == 7
    assert row(decode({"old": 1, "t1": 3}))["export_wh"] == ABSENT  # a sum with a part missing is not measured
    refused(decode, {"t1": 3}, "no_energy")


def test_a_sum_of_which_an_element_is_missing_is_not_measured(mapped: Mapped) -> None:
    decode = mapped(MESSAGE + ARRIVAL + ENERGY + 'power_w = { at = "p[*]", unit = "W" }\n')
    decoded = decode({"e": 1, "p": [1, None]})
    assert isinstance(decoded, MeterReadings)
    assert decoded.batch.phases.size == 0


def test_values_that_mean_not_measured(mapped: Mapped) -> None:
    decode = mapped(MESSAGE + ARRIVAL + ENERGY + 'export_wh = { at = "x", unit = "Wh", absent = [0, "n/a", true] }\n')
    for nothing in (0, 0.0, "n/a", True, None):
        assert row(decode({"e": 1, "x": nothing}))["export_wh"] == ABSENT
    assert row(decode({"e": 1, "x": 1}))["export_wh"] == 1  # true is not 1
    refused(decode, {"e": 1, "x": False}, "wrong_type", "x: 'False' is no number")


@pytest.mark.parametrize(
    ("payload", "reason", "where"),
    [
        (b"", "not_json", "not JSON"),
        (b"\xff", "not_json", "not JSON"),
        (b"[" * 100_000, "not_json", ""),
        (b'{"e":NaN}', "not_json", ""),
        (b'{"e":1}x', "not_json", ""),
        (b'{"e":1,"e":1}', "duplicate_key", "'e' stands twice"),
        (b'{"e":1,"z":{"a":1,"\\u0061":2}}', "duplicate_key", "'a' stands twice"),
        (b"7", "wrong_type", "'e' is looked for in int"),
        (b"[]", "wrong_type", "no object"),
        (b'{"e":"1"}', "wrong_type", "e: '1' is no number"),
        (b'{"e":true}', "wrong_type", "no number"),
        (b'{"e":{}}', "wrong_type", "no number"),
        (b'{"e":[1]}', "wrong_type", "no number"),
        (b'{"e":-0.001}', "out_of_range", "import_wh (e): -1 is outside 0 to 1e+15"),
        (b'{"e":1000000000000.001}', "out_of_range", "outside"),
        (b'{"e":1e999999999}', "out_of_range", "measures nothing"),
        (b'{"e":1e-999999999}', "out_of_range", "measures nothing"),
        (b'{"e":0e999999999}', "out_of_range", "measures nothing"),
        (b'{"e":1e%s}' % (b"9" * 30), "out_of_range", "measures nothing"),
        (b'{"e":1e-%s}' % (b"9" * 30), "out_of_range", "measures nothing"),
        (b'{"e":' + b"9" * 4000 + b"}", "out_of_range", "measures nothing"),
        (b'{"e":0.' + b"1" * 4000 + b"}", "out_of_range", "measures nothing"),
        (b'{"e":' + b"9" * 5000 + b"}", "not_json", ""),
        (b'{"e":1,"u":1000.1}', "out_of_range", "voltage_l1_v"),
        (b'{"e":1,"u":-1}', "out_of_range", "voltage_l1_v"),
        (b'{"e":1,"u":"230"}', "wrong_type", "u: '230'"),
        (b'{"e":1,"i":1e7}', "out_of_range", "current_l1_a"),
        (b'{"e":1,"p":-2e9}', "out_of_range", "power_w"),
        (b'{"u":230}', "no_energy", "no import"),
        (b'{"e":null}', "no_energy", ""),
    ],
)
def test_refused_with_reason_and_place(mapped: Mapped, payload: bytes, reason: str, where: str) -> None:
    decode = mapped(
        MESSAGE
        + ARRIVAL
        + ENERGY
        + 'voltage_l1_v = { at = "u", unit = "V" }\ncurrent_l1_a = { at = "i", unit = "A" }\n'
        'power_w = { at = "p", unit = "W" }\n'
    )
    refused(decode, payload, reason, where)


@pytest.mark.parametrize(
    ("scale", "reason"), [("true", "wrong_type"), ("0.5", "wrong_type"), ("null", "wrong_type"), ("13", "out_of_range")]
)
def test_a_scaler_that_is_none(mapped: Mapped, scale: str, reason: str) -> None:
    decode = mapped(MESSAGE + ARRIVAL + 'import_wh = { at = "e", unit = "Wh", scaler = "s" }\n')
    refused(decode, f'{{"e":1,"s":{scale}}}'.encode(), reason, "s: ")


def test_resolution_is_the_coarsest_of_the_registers_read(mapped: Mapped) -> None:
    decode = mapped(
        MESSAGE + ARRIVAL + 'import_wh = { at = "e", unit = "kWh", resolution = 0.01 }\n'
        'export_wh = { at = "x", unit = "kWh", resolution = 0.1 }\n'
    )
    assert row(decode({"e": 1}))["resolution_wh"] == 10
    assert row(decode({"e": 1, "x": 1}))["resolution_wh"] == 100


# --- identity ---


def test_topic_and_payload_must_name_the_same_device(mapped: Mapped) -> None:
    decode = mapped(MESSAGE + ARRIVAL + ENERGY + 'names = { serial = ["id", "old.id"] }\n')
    assert row(decode({"e": 1}))["import_wh"] == 1000
    assert row(decode({"e": 1, "id": "7"}))["import_wh"] == 1000
    assert row(decode({"e": 1, "id": 7}))["import_wh"] == 1000
    refused(decode, {"e": 1, "id": "8"}, "identity_mismatch", "id is '8', the topic is of '7'")
    refused(decode, {"e": 1, "old": {"id": "8"}}, "identity_mismatch", "old.id is '8'")
    refused(decode, {"e": 1, "id": True}, "wrong_type", "no name")
    refused(decode, {"e": 1, "id": {}}, "wrong_type", "no name")


def test_a_name_that_only_the_payload_has(mapped: Mapped) -> None:
    decode = mapped(
        '[[messages]]\ntopic = "acme/gateway"\nnames = { serial = "id" }\n' + ARRIVAL + ENERGY,
    )
    decoded = decode({"e": 1, "id": "A 9"}, topic="acme/gateway")
    assert isinstance(decoded, MeterReadings)
    assert decoded.batch.meters == (MeterIdentity("Acme", "A 9"),)
    refused(decode, {"e": 1}, "missing_key", "id: missing, it names the device", topic="acme/gateway")
    for bad in ("", "a/b", "a+b", "a\x00b", "x" * 65):
        refused(decode, {"e": 1, "id": bad}, "bad_name", topic="acme/gateway")


def test_a_device_cannot_speak_for_a_channel_of_another(mapped: Mapped) -> None:
    decode = mapped(
        '[[messages]]\ntopic = "acme/{device}/{channel}"\nserial = "{device}:{channel}"\n' + ARRIVAL + ENERGY
        + '[[messages]]\ntopic = "acme/{device}"\nserial = "{device}"\n' + ARRIVAL + ENERGY
    )  # fmt: skip
    decoded = decode({"e": 1}, topic="acme/a/0")
    assert isinstance(decoded, MeterReadings)
    assert decoded.batch.meters[0].serial == "a:0"
    refused(decode, {"e": 1}, "bad_name", "could be taken for another device", topic="acme/a:0")
    refused(decode, {"e": 1}, "bad_name", "could be taken for another device", topic="acme/a:0/1")


# --- which rule ---


def test_rules_are_tried_in_order(mapped: Mapped) -> None:
    decode = mapped(
        MESSAGE + 'when = [{ at = "kind", is = ["a", 1, true] }]\n' + ARRIVAL + ENERGY
        + MESSAGE + 'when = [{ at = "kind", given = false }]\nignore = "of no kind"\n'
        + MESSAGE + 'when = [{ at = "tags", is = "x" }]\nignore = "tagged"\n'
    )  # fmt: skip
    for kind in ("a", 1, 1.0, True, ["z", "a"]):
        assert row(decode({"kind": kind, "e": 1}))["import_wh"] == 1000
    assert decode({"e": 1}) == Ignored("of no kind")
    assert decode({"kind": "b", "tags": ["w", "x"]}) == Ignored("tagged")
    for kind in ("b", "true", 2, False, []):
        refused(decode, {"kind": kind, "e": 1}, "unknown_message", "acme has no rule")


def test_a_message_without_a_register_where_the_map_says_why(mapped: Mapped) -> None:
    decode = mapped(MESSAGE + ARRIVAL + ENERGY + 'without_energy = "a change of the lamp"\n')
    assert decode({"state": "on"}) == Ignored("a change of the lamp")


def test_an_ignored_topic_is_not_even_read(mapped: Mapped) -> None:
    assert mapped(MESSAGE + 'ignore = "pictures"\n')(b"\xff\xd8") == Ignored("pictures")


def test_a_bare_word(mapped: Mapped) -> None:
    decode = mapped(MESSAGE + 'encoding = "text"\n' + ARRIVAL + 'import_wh = { at = "$", unit = "Wh", text = true }\n')
    assert row(decode(b"12.5"))["import_wh"] == 12
    refused(decode, b"12,5", "wrong_type", "no number")
    refused(decode, b"1e999", "wrong_type", "no number")
    refused(decode, b"\xff", "not_text")


# --- time ---


@pytest.mark.parametrize(
    ("rule", "stamp", "instant"),
    [
        ('format = "rfc3339"', "2026-11-23T13:15:00+08:00", datetime(2026, 11, 23, 5, 15, tzinfo=UTC)),
        ('format = "rfc3339"', "2026-11-23T05:15:00.25Z", datetime(2026, 11, 23, 5, 15, 0, 250_000, tzinfo=UTC)),
        ('format = "unix_s"', 1795410900, datetime(2026, 11, 23, 5, 15, tzinfo=UTC)),
        ('format = "unix_s"', 1795410900.789, datetime(2026, 11, 23, 5, 15, 0, 789_000, tzinfo=UTC)),
        ('format = "unix_ms"', 1795410900789, datetime(2026, 11, 23, 5, 15, 0, 789_000, tzinfo=UTC)),
        ('format = "local", zone = "Asia/Shanghai"', "2026-11-23T13:15:00", datetime(2026, 11, 23, 5, 15, tzinfo=UTC)),
        ('format = "local", zone = "site"', "2026-11-23 06:15:00", datetime(2026, 11, 23, 5, 15, tzinfo=UTC)),
    ],
)
def test_instants(mapped: Mapped, rule: str, stamp: Any, instant: datetime) -> None:
    text = MESSAGE + f'timestamps = [{{ at = "t", {rule}, uncertainty_ms = 750 }}]\n' + ENERGY
    r = row(mapped(text, site=ZoneInfo("Europe/Vienna"))({"e": 1, "t": stamp}))
    assert (r["ts_us"], r["uncertainty_ms"]) == (us(instant), 750)


@pytest.mark.parametrize(
    ("rule", "stamps"),
    [
        ('format = "rfc3339"', [None, "", "2026-11-23T05:15:00", "2026-02-30T05:15:00Z", 1795410900,
         "1999-12-31T23:59:59Z", "2100-01-01T00:00:00Z"]),
        ('format = "unix_s"', [None, True, "1795410900", 0, -1, 1795410900789, 1e300, 4102444800, [1]]),
        ('format = "unix_ms"', [1795410900, {}]),
        ('format = "local", zone = "site"', ["2026-11-23T13:15:00Z", "2026-02-30T00:00:00", "2026-03-29T02:30:00",
         "1970-01-01T00:00:12", 5, "yesterday", "2026-11-23T24:00:01"]),
    ],
)  # fmt: skip
def test_instants_that_are_none(mapped: Mapped, rule: str, stamps: list[Any]) -> None:
    text = MESSAGE + f'timestamps = [{{ at = "t", {rule}, uncertainty_ms = 500 }}]\n' + ENERGY
    decode = mapped(text, site=ZoneInfo("Europe/Vienna"))
    for stamp in stamps:
        refused(decode, {"e": 1, "t": stamp}, "bad_timestamp")
    for number in (b"1e999999999", b"1e-999999999", b"9" * 4000):
        refused(decode, b'{"e":1,"t":%s}' % number, "bad_timestamp")


def test_an_instant_that_nothing_reads_says_what_each_rule_missed(mapped: Mapped) -> None:
    decode = mapped(
        MESSAGE + 'timestamps = [{ at = "epoch", format = "unix_s", uncertainty_ms = 1 },\n'
        '{ at = "t", format = "local", zone = "Europe/Vienna", uncertainty_ms = 1 },\n'
        '{ at = "t", format = "unix_s", uncertainty_ms = 1 }, { at = "t", format = "unix_ms", uncertainty_ms = 1 }]\n'
        + ENERGY
    )  # fmt: skip
    refused(
        decode, {"e": 1, "epoch": 8, "t": "2026-03-29T02:30:00"}, "bad_timestamp",
        "epoch: '8' is outside 2000 to 2099; t: '2026-03-29T02:30:00' does not exist in Europe/Vienna: the clocks went "
        "forward, is no number of seconds or milliseconds",
    )  # fmt: skip
    refused(decode, {"e": 1}, "bad_timestamp", "no instant is given")


def test_an_hour_that_happens_twice_is_the_one_nearer_to_the_arrival(mapped: Mapped) -> None:
    text = (
        MESSAGE
        + 'timestamps = [{ at = "t", format = "local", zone = "Europe/Vienna", uncertainty_ms = 500 }]\n'
        + ENERGY
    )
    decode = mapped(text)
    first, second = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    for instant in (first, second):
        assert row(decode({"e": 1, "t": "2026-10-25T02:30:00"}, now_us=us(instant) + 2_000_000))["ts_us"] == us(instant)


def test_the_first_stamp_that_fits_counts(mapped: Mapped) -> None:
    decode = mapped(
        MESSAGE + 'timestamps = [{ at = "t", format = "rfc3339", uncertainty_ms = 1 },\n'
        '{ at = "t", format = "unix_ms", absent = [0], uncertainty_ms = 2 },\n'
        '{ format = "arrival", uncertainty_ms = 3 }]\n'
        + ENERGY
    )  # fmt: skip
    assert row(decode({"e": 1, "t": "2026-11-23T05:15:00Z"}))["uncertainty_ms"] == 1
    assert row(decode({"e": 1, "t": 1795410900000}))["uncertainty_ms"] == 2
    assert row(decode({"e": 1}))["uncertainty_ms"] == 3
    refused(decode, {"e": 1, "t": "yesterday"}, "bad_timestamp", "t: 'yesterday'")  # it is there, and no rule reads it


def test_a_clock_that_is_ahead_is_marked(mapped: Mapped) -> None:
    decode = mapped(MESSAGE + 'timestamps = [{ at = "t", format = "unix_s", uncertainty_ms = 500 }]\n' + ENERGY)
    assert row(decode({"e": 1, "t": NOW_US // 10**6 + 61}))["flags"] == ReadingFlag.CLOCK_SUSPECT | ReadingFlag.AHEAD
    assert row(decode({"e": 1, "t": NOW_US // 10**6 + 60}))["flags"] == 0


def test_a_retained_message_is_stamped_by_itself_or_not_at_all(mapped: Mapped) -> None:
    assert mapped(MESSAGE + ARRIVAL + ENERGY)({"e": 1}, retained=True) == Ignored(RETAINED)
    stamped = mapped(MESSAGE + 'timestamps = [{ at = "t", format = "unix_s", uncertainty_ms = 500 }]\n' + ENERGY)
    assert row(stamped({"e": 1, "t": 1795410900}, retained=True))["ts_us"] == NOW_US


# --- events ---

FLAG = (
    MESSAGE + ARRIVAL
    + 'events = [{ at = "state", is = "offline", set = "communication_lost", cleared = "communication_restored" }]\n'
)  # fmt: skip


def test_a_flag_is_told_when_it_changes(mapped: Mapped) -> None:
    decode = mapped(FLAG)
    on, off = {"state": "online"}, {"state": "offline"}
    assert decode(on) == Ignored(UNCHANGED)  # nothing was known to be lost
    lost = decode(off, now_us=NOW_US + 1)
    assert isinstance(lost, Events)
    assert lost.device == MeterIdentity("Acme", "7")
    (event,) = lost.events
    assert (event.kind, event.instant_us, event.uncertainty_ms) == (EventKind.COMMUNICATION_LOST, NOW_US + 1, 5000)
    assert event.detail == "acme: state"
    assert decode(off) == Ignored(UNCHANGED)
    assert decode({"state": None}) == Ignored(UNCHANGED)  # absent says nothing
    back = decode(on)
    assert isinstance(back, Events)
    assert back.events[0].kind is EventKind.COMMUNICATION_RESTORED
    first_seen = decode(off, topic="acme/8")
    assert isinstance(first_seen, Events)  # another device has flags of its own


def test_a_flag_that_the_broker_had_kept(mapped: Mapped) -> None:
    decode = mapped(FLAG)
    assert decode({"state": "offline"}, retained=True) == Ignored(UNCHANGED)  # since when, nobody knows
    assert decode({"state": "offline"}) == Ignored(UNCHANGED)
    changed = decode({"state": "online"}, retained=True, now_us=NOW_US + 3_600_000_000)
    assert isinstance(changed, Events)
    assert changed.events[0].uncertainty_ms == 3_600_000  # some time since it was seen last


def test_events_come_with_a_reading_and_of_a_phase_with_a_value(mapped: Mapped) -> None:
    decode = mapped(
        MESSAGE + ARRIVAL + ENERGY
        + 'events = [{ at = "alarms", is = "u2", set = "over_voltage", cleared = "over_voltage_ended", phase = 2, '
        'value = "u", absent_clears = true }]\n'
    )  # fmt: skip
    both = decode({"e": 1, "alarms": ["x", "u2"], "u": 261.5})
    assert isinstance(both, MeterReadings)
    assert [(e.kind, e.phase, e.value) for e in both.events] == [(EventKind.OVER_VOLTAGE, 2, 261.5)]
    ended = decode({"e": 1})
    assert isinstance(ended, MeterReadings)
    assert [(e.kind, e.value) for e in ended.events] == [(EventKind.OVER_VOLTAGE_ENDED, None)]
    refused(decode, {"e": 1, "alarms": ["u2"], "u": "high"}, "wrong_type")
    again = decode({"e": 1, "alarms": ["u2"]})
    assert isinstance(again, MeterReadings)
    assert len(again.events) == 1  # the message refused has not changed what is remembered


def test_registers_per_rate(mapped: Mapped) -> None:
    rates = "".join(f'import_t{n}_wh = {{ at = "t[{n - 1}]", unit = "kWh" }}\n' for n in (1, 2, 8))
    decode = mapped(MESSAGE + ARRIVAL + ENERGY + rates)
    full = decode({"e": 10, "t": [4, 5.5, 0, 0, 0, 0, 0, 0.5]}).batch.phases
    assert full["import_tariff_wh"].tolist() == [[4000, 5500, *[ABSENT] * 5, 500]]
    assert full["import_wh"].tolist() == [[ABSENT] * 3]
    assert decode({"e": 10, "t": [None, 5.5]}).batch.phases["import_tariff_wh"][0, :2].tolist() == [ABSENT, 5500]
    assert decode({"e": 10}).batch.phases.size == 0
    refused(decode, {"e": 10, "t": ["4"]}, "wrong_type", "t[0]")
