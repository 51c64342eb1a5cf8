"""Events in the store: what readings and devices tell, once, whatever comes twice, late or in another order."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from drivers.base import MeterIdentity, RegisterReading, Source, batch_of
from drivers.events import DeviceEvent, EventKind
from headend.domain.calendar import to_us
from headend.ingest import device_events
from headend.ingest.derived_events import derive
from headend.ingest.item import Item, Presence, Told, Upload
from headend.ingest.status_events import StatusWord
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store.pool import Store

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def volts(minutes: int, value: float, serial: str = "1") -> Item:
    """A reading so many minutes ago."""
    reading = RegisterReading(
        instant_us=to_us(NOW - minutes * MINUTE),
        uncertainty_ms=500,
        import_wh=1000 - minutes,
        voltage_v=(value, None, None),
    )
    return Item(
        channel="mqtt",
        origin="topic",
        received_us=to_us(NOW),
        payload=b"payload",
        batch=batch_of([(MeterIdentity("Acme", serial), reading)], Source.MQTT),
    )


def told(kind: EventKind, at: datetime, device: MeterIdentity | str, **more: Any) -> Item:
    event = DeviceEvent(kind=kind, instant_us=to_us(at), **more)
    return Item(
        channel="mqtt", origin="topic", received_us=to_us(NOW), payload=b"payload", told=(Told(device, (event,)),)
    )


def word(value: int, minutes: int) -> Item:
    read = StatusWord(
        meter=MeterIdentity("Acme", "1"),
        register="holding 258",
        word=value,
        bits={0: (EventKind.COVER_OPENED, EventKind.COVER_CLOSED)},
        instant_us=to_us(NOW - minutes * MINUTE),
        uncertainty_ms=5,
    )
    return Item(channel="modbus", origin="bus", received_us=to_us(NOW), payload=b"[]", status=(read,))


class Desk:
    """A writer, and the events in the store."""

    def __init__(self, store: Store, settings: Settings, kit: Any) -> None:
        self.store, self.settings, self._kit = store, settings, kit
        self.writer = ReadingWriter(store, settings, lambda: NOW)

    def write(self, *items: Item) -> Any:
        return self.writer.write(items)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._kit.values(self.store, query)
        return found

    def events(self) -> list[tuple[str, int]]:
        """Kind and how many minutes ago, in order of time."""
        found = self.rows("select kind, occurred_at from device_event order by occurred_at, event_id")
        return [(kind, round((NOW - at) / MINUTE)) for kind, at in found]


@pytest.fixture
def desk(field_store: Store, settings: Settings, kit: Any) -> Desk:
    return Desk(field_store, settings, kit)


def test_an_episode_over_several_batches(desk: Desk, kit: Any) -> None:
    begun = kit.count("headend_device_events_total", kind="over_voltage")
    for minutes, value in ((50, 230.0), (40, 254.0), (30, 256.0), (20, 252.0), (10, 230.0), (0, 231.0)):
        desk.write(volts(minutes, value))
    assert desk.events() == [("over_voltage", 40), ("over_voltage_ended", 10)]
    assert desk.rows(
        "select meter_id, code, phase, value, uncertainty_ms, source, received_at from device_event limit 1"
    ) == [(1, "3.26.38.93", None, 254.0, 600_500, "headend", NOW)]
    assert desk.rows("select count(*) from event_episode") == [(0,)]
    assert kit.count("headend_device_events_total", kind="over_voltage") == begun + 1


def test_the_same_batch_again_and_late_readings_tell_nothing(desk: Desk) -> None:
    items = [volts(40, 230.0), volts(30, 254.0), volts(10, 255.0)]
    desk.write(*items)
    desk.write(*items)
    desk.write(volts(20, 230.0))
    desk.write(volts(35, 180.0))
    assert desk.events() == [("over_voltage", 30)]
    assert desk.rows("select open from event_episode") == [(1,)]
    desk.write(volts(0, 230.0))
    assert desk.events() == [("over_voltage", 30), ("over_voltage_ended", 0)]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_readings_of_one_batch_count_in_their_own_order(order: tuple[int, ...], desk: Desk) -> None:
    items = [volts(30, 230.0), volts(20, 254.0), volts(10, 230.0)]
    desk.write(*(items[i] for i in order))
    assert desk.events() == [("over_voltage", 20), ("over_voltage_ended", 10)]


def test_two_writers_at_one_meter_open_an_episode_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen it begin before either of them commits."""
    desk.write(volts(60, 230.0))
    both, looked = threading.Barrier(2), threading.local()

    def together(*arguments: Any) -> Any:
        found = derive(*arguments)
        if not getattr(looked, "once", False):
            looked.once = True
            both.wait(20)
        return found

    monkeypatch.setattr(device_events, "derive", together)
    writers = [ReadingWriter(desk.store, desk.settings, lambda: NOW) for _ in range(2)]
    threads = [
        threading.Thread(target=writer.write, args=([volts(minutes, 254.0)],))
        for writer, minutes in zip(writers, (20, 10), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [kind for kind, _ in desk.events()] == ["over_voltage"]
    assert desk.rows("select open from event_episode") == [(1,)]


def test_what_a_device_tells_is_one_row_however_often(desk: Desk) -> None:
    at = NOW - 5 * MINUTE
    meter = MeterIdentity("Acme", "2")
    for _ in range(2):
        desk.write(
            told(EventKind.POWER_FAILED, at, meter, detail="last gasp"),
            told(EventKind.PHASE_LOST, at, meter, phase=1),
            told(EventKind.PHASE_LOST, at, meter, phase=2),
            told(EventKind.POWER_FAILED, at, "C1"),
        )
    assert desk.rows(
        "select meter_id, concentrator_id, kind, code, phase, detail, source from device_event order by 1, 3, 5"
    ) == [
        (2, None, "phase_lost", None, 1, "", "mqtt"),
        (2, None, "phase_lost", None, 2, "", "mqtt"),
        (2, None, "power_failed", "3.26.0.47", None, "last gasp", "mqtt"),
        (None, 1, "power_failed", "0.26.0.47", None, "", "mqtt"),
    ]  # fmt: skip


def test_events_out_of_time_and_of_strangers_are_quarantined(desk: Desk) -> None:
    result = desk.write(
        told(EventKind.POWER_FAILED, NOW + timedelta(hours=1), MeterIdentity("Acme", "1")),
        told(EventKind.POWER_FAILED, NOW - timedelta(days=900), MeterIdentity("Acme", "1")),
        told(EventKind.POWER_FAILED, NOW, MeterIdentity("New", "1")),
        told(EventKind.POWER_FAILED, NOW, "C9"),
    )
    assert [e.reason for place in range(4) for e in result.quarantined[place]] == [
        "in_future", "too_old", "unknown_meter", "unknown_concentrator",
    ]  # fmt: skip
    assert desk.events() == []


def test_status_words_tell_what_changed_and_only_forward(desk: Desk) -> None:
    for value, minutes in ((0, 60), (1, 50), (1, 40), (0, 45), (0, 30), (1, 50)):
        desk.write(word(value, minutes))
    assert desk.events() == [("cover_opened", 50), ("cover_closed", 30)]
    assert desk.rows("select uncertainty_ms, source, detail from device_event order by event_id") == [
        (600_005, "modbus", "holding 258: bit 0 set"),
        (600_005, "modbus", "holding 258: bit 0 cleared"),
    ]
    assert desk.rows("select word, seen_at from status_word") == [(0, NOW - 30 * MINUTE)]


def test_words_of_one_batch_count_in_their_own_order(desk: Desk) -> None:
    desk.write(word(0, 30), word(1, 40), word(0, 50))
    assert desk.events() == [("cover_opened", 40), ("cover_closed", 30)]


def presence(online: bool, minutes: int) -> Item:
    return Item(
        channel="mqtt",
        origin="state",
        received_us=to_us(NOW - minutes * MINUTE),
        payload=b"",
        presence=Presence("C1", online),
    )


def upload(seq: int, minutes: int) -> Item:
    return Item(
        channel="mqtt",
        origin="profile",
        received_us=to_us(NOW - minutes * MINUTE),
        payload=b"",
        upload=Upload("C1", seq, 0),
    )


def test_a_concentrator_that_goes_and_comes_back(desk: Desk) -> None:
    desk.write(upload(1, 60))
    assert desk.events() == [], "heard of for the first time"
    desk.write(presence(True, 59))
    desk.write(presence(False, 50))
    desk.write(presence(False, 49))
    desk.write(upload(2, 40))
    desk.write(presence(False, 30))
    desk.write(presence(True, 20))
    assert desk.events() == [
        ("communication_lost", 50), ("communication_restored", 40),
        ("communication_lost", 30), ("communication_restored", 20),
    ]  # fmt: skip
    assert desk.rows("select distinct concentrator_id, meter_id, source from device_event") == [(1, None, "mqtt")]


def test_an_older_word_of_a_concentrator_that_is_written_later_changes_nothing(desk: Desk) -> None:
    desk.write(presence(True, 60))
    desk.write(presence(False, 30))
    desk.write(presence(True, 40))
    desk.write(upload(1, 45))
    assert desk.events() == [("communication_lost", 30)]
    assert desk.rows("select online from concentrator where code = 'C1'") == [(False,)]
