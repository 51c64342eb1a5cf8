"""Power failures that meters told: through ingest into settled days, whichever comes first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from drivers.base import MeterIdentity, RegisterReading, Source, batch_of
from drivers.events import DeviceEvent, EventKind
from headend.domain.calendar import to_us
from headend.domain.gaps import EVENT_SKEW_S
from headend.domain.quality import Quality
from headend.ingest.item import Item, Told
from headend.ingest.writer import ReadingWriter
from headend.settlement.grid import DayRange
from headend.settlement.inputs import load_inputs
from headend.settlement.rules import Rules
from reconciliation.outages import SKEW_US
from support.field import DAY0, HOUR, QUARTER, T0, Field
from support.waiting import until

NOW = T0 + timedelta(days=2, hours=5)
FAILED, BACK = T0 + timedelta(hours=23), T0 + timedelta(hours=25)
HOUSE = MeterIdentity("Acme", "house")


class Street:
    """An area with one household that is read from the first midnight on, and not between 22:00 and 02:00."""

    def __init__(self, field: Field) -> None:
        self.field = field
        self.area = field.area()
        field.metered(self.area, "sum", "area", multiplier="40")
        field.metered(self.area, "house")
        self.now = NOW
        self.writer = ReadingWriter(field.store, field.settings, lambda: self.now)

    def write(self, *items: Item) -> None:
        self.writer.write(items)

    def settle(self) -> None:
        self.field.settle_all(self.now + HOUR, most=20)

    def dirty(self) -> list[Any]:
        return [row["day"] for row in self.field.rows("select day from dirty_day order by day")]

    def rows(self) -> list[dict[str, Any]]:
        return [row for row in self.field.intervals() if row["meters"] != [1]]


def _read(at: datetime, register: int) -> Item:
    reading = RegisterReading(instant_us=to_us(at), uncertainty_ms=0, import_wh=register, export_wh=0)
    return _item(batch=batch_of([(HOUSE, reading)], Source.MQTT))


def _told(kind: EventKind, at: datetime) -> Item:
    return _item(told=(Told(HOUSE, (DeviceEvent(kind=kind, instant_us=to_us(at)),)),))


def _item(**what: Any) -> Item:
    return Item(channel="mqtt", origin="topic", received_us=to_us(NOW), payload=b"payload", **what)


def _parts() -> list[list[Item]]:
    """600 Wh up to 22:00; 24 Wh between 22:00 and 02:00, with power in two hours of it; what else was read; events."""
    evening = [_read(T0 + k * QUARTER, 5 * k) for k in range(89)]
    morning = [_read(T0 + timedelta(hours=26) + k * QUARTER, 464 + 5 * k) for k in range(20)]
    return [evening, morning, [_told(EventKind.POWER_FAILED, FAILED)], [_told(EventKind.POWER_RESTORED, BACK)]]


@pytest.fixture
def street(make_field: Callable[..., Field]) -> Street:
    return Street(make_field())


def test_an_outage_over_midnight_is_zero_by_event_on_both_days(street: Street) -> None:
    for part in _parts():
        street.write(*part)
    street.settle()
    first, second = street.rows()[:2]
    # 464 - 440 = 24 Wh from 22:00 to 02:00; dark from 23:00 to 01:00: 3 Wh in each of the 8 quarters with power
    assert first["import_wh"][88:] == [3] * 4 + [0] * 4
    assert first["quality"][88:] == [Quality.ESTIMATED] * 4 + [Quality.ZERO_BY_EVENT] * 4
    assert second["import_wh"][:8] == [0] * 4 + [3] * 4
    assert second["quality"][:8] == [Quality.ZERO_BY_EVENT] * 4 + [Quality.ESTIMATED] * 4
    assert first["estimated"] == 4, "zero by event is no estimate"
    assert first["measured"] == 88, "nor is it measured"


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_readings_and_events_in_any_order_settle_to_the_same(street: Street, order: tuple[int, ...]) -> None:
    parts = _parts()
    for part in parts:
        street.write(*part)
    street.settle()
    wanted = street.rows()
    street.field.run(
        "truncate register_reading, phase_reading, latest_reading, device_event, interval_day, balance_day, dirty_day"
    )
    for place in order:
        street.write(*parts[place])
        street.settle()
    assert street.rows() == wanted


def test_an_event_marks_the_days_of_its_gap_and_a_repeated_one_none(street: Street) -> None:
    evening, morning, failed, back = _parts()
    street.write(*evening, *morning)
    street.settle()
    assert street.dirty() == []
    street.write(*failed)
    assert street.dirty() == [DAY0, DAY0 + timedelta(days=1)]
    street.settle()
    street.write(*failed)
    assert street.dirty() == [], "told before"
    street.write(_told(EventKind.COVER_OPENED, FAILED))
    assert street.dirty() == [], "settlement does not go by covers"
    street.write(*back)
    assert street.dirty() == [DAY0, DAY0 + timedelta(days=1)]
    street.settle()
    assert street.rows()[0]["quality"][95] == Quality.ZERO_BY_EVENT


def test_an_event_next_to_a_reading_marks_the_gaps_on_both_sides(street: Street) -> None:
    # 5 s before the reading at midnight, by another clock perhaps: it may lie in either gap
    street.write(*(_read(T0 + k * QUARTER, 5 * k) for k in range(200)))
    street.settle()
    street.write(_told(EventKind.POWER_FAILED, T0 + timedelta(days=1, seconds=-5)))
    assert street.dirty() == [DAY0, DAY0 + timedelta(days=1)]
    assert EVENT_SKEW_S * 1_000_000 == SKEW_US


def test_what_was_not_told_yet_was_not_known(street: Street) -> None:
    evening, morning, failed, back = _parts()
    street.write(*evening, *morning)
    street.now = told_at = NOW + timedelta(days=3)
    street.write(*failed, *back)
    rules = Rules.of(street.field.settings.settlement)
    days = DayRange(rules.calendar, DAY0, DAY0 + timedelta(days=1))
    with street.field.store.transaction() as connection:
        now = load_inputs(connection, street.area, days, rules)
        then = load_inputs(connection, street.area, days, rules, known_at=told_at - timedelta(hours=1))
    assert [spans.tolist() for spans in now.outages.values()] == [[[to_us(FAILED), to_us(BACK)]]]
    assert not then.outages


def test_a_reading_that_is_being_stored_beside_an_event_is_waited_for(street: Street) -> None:
    """Each alone would mark less: the event no further than its own day, because the gap seems open yet."""
    parts = _parts()
    street.write(*parts[0], *parts[2])
    street.settle()
    street.field.run("delete from dirty_day")
    other = ReadingWriter(street.field.store, street.field.settings, lambda: NOW)
    with street.field.store.transaction() as held:
        # as a writer of readings does before it commits: its row, and the meter's newest reading
        held.execute(
            "insert into register_reading (meter_id, ts, import_wh, export_wh, flags, source, uncertainty_ms) "
            "values (2, %s, 520, 0, 0, 3, 0)",
            [T0 + timedelta(hours=50)],
        )
        held.execute("update latest_reading set ts = %s where meter_id = 2", [T0 + timedelta(hours=50)])
        telling = threading.Thread(target=other.write, args=(parts[3],))
        telling.start()
        until(street.field.waiting, "it waits")
    telling.join(30)
    assert not telling.is_alive()
    assert street.dirty() == [DAY0, DAY0 + timedelta(days=1), DAY0 + timedelta(days=2)]


def test_an_event_that_marks_too_little_is_passed_on_over_midnight(street: Street) -> None:
    """A device that tells its voltage beside the outage: the rows next to the event are not the registers' gap."""
    evening, morning, _, _ = _parts()
    beside = [T0 + timedelta(hours=24, minutes=20), T0 + timedelta(hours=25)]
    volts = [RegisterReading(instant_us=to_us(at), uncertainty_ms=0, voltage_v=(230.0, None, None)) for at in beside]
    street.write(_item(batch=batch_of([(HOUSE, reading) for reading in volts], Source.MQTT)))
    street.write(*evening, *morning)
    street.settle()
    assert sum(street.rows()[0]["import_wh"][88:]) == 12, "24 Wh from 22:00 to 02:00, half of them before midnight"
    street.write(
        _told(EventKind.POWER_FAILED, T0 + timedelta(hours=24, minutes=25)),
        _told(EventKind.POWER_RESTORED, T0 + timedelta(hours=24, minutes=55)),
    )
    assert street.dirty() == [DAY0 + timedelta(days=1)], "by the rows next to it"
    street.settle()
    first, second = street.rows()[:2]
    # 210 minutes with power, 120 of them before midnight: 24 x 120 / 210 = 13.7, and the day before learns of it
    assert sum(first["import_wh"][88:]) == 14
    assert sum(second["import_wh"][:8]) == 10
    assert first["end_mark"] == second["start_mark"]
