"""Devices that nobody imported: listed with their first messages, adopted without loss, bounded in number."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from drivers.base import MeterIdentity, RegisterReading
from drivers.mqtt.router import Router
from headend.domain.calendar import to_us
from headend.ingest.adoption import Adoption, AdoptionRefused, AsConcentrator, AsMeter, Placing, UnknownDiscovered
from headend.ingest.intake import item_of
from headend.ingest.item import Item
from headend.ingest.poll_items import items_of
from headend.ingest.poll_round import Mismatch, RoundResult
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store import discovered
from headend.store.errors import StoreConflict
from headend.store.pool import Store
from headend.store.topology import poll_target_of

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PREFIX = "headend/v1"
STOCK = AsMeter(model="any", phases=3, digits=8, resolution_wh=10)


def message(topic: str, body: Any, minutes: int = 0) -> Item:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    received_us = to_us(NOW - minutes * MINUTE)
    return item_of(f"{PREFIX}/{topic}", payload, router=Router(PREFIX), prefix=PREFIX, received_us=received_us)


def reading(serial: str, minutes: int, **more: Any) -> Item:
    body = {"ts": (NOW - minutes * MINUTE).isoformat(), "import_wh": 1000 - minutes} | more
    return message(f"meter/New/{serial}/reading", body, minutes)


def profile(seq: int, *meters: str) -> Item:
    body = {
        "format": "headend.profile/1",
        "seq": seq,
        "backlog": 0,
        "meters": list(meters),
        "ts": [NOW.isoformat()],
        "import_wh": [[100 + m] for m in range(len(meters))],
    }
    return message("concentrator/C1/profile", body)


class Desk:
    """A writer, the adoption, and what the store has."""

    def __init__(self, store: Store, settings: Settings, kit: Any) -> None:
        self.store, self.settings, self._kit = store, settings, kit
        self.writer = ReadingWriter(store, settings, lambda: NOW)
        self.adoption = Adoption(store, settings, lambda: NOW)

    def write(self, *items: Item) -> Any:
        return self.writer.write(items)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._kit.values(self.store, query)
        return found

    def listed(self) -> list[str]:
        with self.store.transaction() as connection:
            return [f"{r['manufacturer']}/{r['serial']} {r['messages']}" for r in discovered.listed(connection)]

    def id_of(self, serial: str) -> int:
        return int(self.rows(f"select discovered_id from discovered_device where serial = '{serial}'")[0][0])


@pytest.fixture
def desk(field_store: Store, settings: Settings, kit: Any) -> Desk:
    return Desk(field_store, settings, kit)


def test_a_stranger_is_listed_with_its_first_messages(desk: Desk, kit: Any) -> None:
    seen = kit.count("headend_discovered_devices_total")
    for minutes in (40, 30, 20, 10, 0):
        desk.write(reading("7", minutes, voltage_v=[230, 231, 229]))
    with desk.store.transaction() as connection:
        (row,) = discovered.listed(connection)
        shown = discovered.show(connection, row["discovered_id"])
    assert shown is not None
    assert (row["kind"], row["manufacturer"], row["serial"], row["protocol"]) == ("meter", "New", "7", "mqtt")
    assert (row["messages"], row["phases_guess"], row["origin"]) == (5, 3, f"{PREFIX}/meter/New/7/reading")
    assert (row["first_seen_at"], row["last_seen_at"]) == (NOW - 40 * MINUTE, NOW)
    assert [m["received_at"] for m in shown["first_messages"]] == [
        NOW - 40 * MINUTE,
        NOW - 30 * MINUTE,
        NOW - 20 * MINUTE,
    ]
    assert json.loads(bytes(shown["first_messages"][0]["payload"]))["import_wh"] == 960
    assert desk.rows("select count(*), max(strangers) from quarantine") == [(5, ["New/7"])]
    assert kit.count("headend_discovered_devices_total") == seen + 1


def test_a_large_message_of_many_strangers_is_kept_once_and_cut(desk: Desk) -> None:
    meters = [f"New/{n:04}" for n in range(4000)]
    desk.write(profile(1, "Acme/1", *meters))
    assert len(desk.rows("select * from discovered_device")) == 4000
    assert desk.rows("select distinct concentrator from discovered_device") == [("C1",)]
    ((length, size),) = desk.rows("select length(payload), size from discovered_payload")
    assert length == 65536
    assert size > 65536
    assert desk.rows("select import_wh from register_reading") == [(100,)], "the known one's is stored"


def test_adopted_as_stock_nothing_of_it_is_lost(desk: Desk) -> None:
    items = [reading("7", minutes) for minutes in (30, 20, 10)]
    desk.write(items[0], reading("8", 30))
    desk.write(items[1], profile(1, "New/7", "Acme/1"))
    desk.write(items[2])
    adopted = desk.adoption.adopt(desk.id_of("7"), STOCK, by="Li Wei")
    assert (adopted.name, adopted.made, adopted.usage_point) == ("New/7", True, None)
    assert (adopted.replayed.messages, adopted.replayed.closed, adopted.replayed.stored) == (4, 4, 4)
    assert desk.rows(
        "select ts, import_wh from register_reading join meter using (meter_id) where serial = '7' order by 1"
    ) == [(NOW - m * MINUTE, wh) for m, wh in ((30, 970), (20, 980), (10, 990), (0, 100))]
    assert desk.rows("select reason, strangers from quarantine where replayed_at is null") == [
        ("unknown_meter", ["New/8"])
    ]
    assert desk.rows("select model, phases, digits, resolution_wh from meter where manufacturer = 'New'") == [
        ("any", 3, 8, 10)
    ]
    assert desk.rows(
        "select protocol, c.code from endpoint join meter using (meter_id) join concentrator c using (concentrator_id) "
        "where serial = '7'"
    ) == [("mqtt", "C1")]
    assert desk.listed() == ["New/8 1"]
    assert desk.rows("select adopted_by from discovered_device where serial = '7'") == [("Li Wei",)]
    again = desk.adoption.adopt(desk.id_of("7"), STOCK, by="somebody else")
    assert (again.made, again.replayed.messages) == (False, 0)
    desk.write(reading("7", 0))
    assert desk.rows("select adopted_by from discovered_device where serial = '7'") == [("Li Wei",)]


def test_adopted_at_a_usage_point_it_serves_and_its_days_are_marked(desk: Desk) -> None:
    with desk.store.transaction() as connection:
        connection.execute(b"delete from dirty_day")
    desk.write(reading("7", 30))
    placing = Placing(usage_point="U59", since=NOW - 60 * MINUTE, start_import_wh=900, seal="S-1")
    adopted = desk.adoption.adopt(
        desk.id_of("7"), AsMeter(model="any", phases=1, digits=8, resolution_wh=10, placing=placing), by="Li Wei"
    )
    assert (adopted.usage_point, adopted.replayed.stored) == ("U59", 1)
    assert desk.rows(
        "select u.code, valid_from, start_import_wh, seal from installation join usage_point u using (usage_point_id) "
        "join meter using (meter_id) where manufacturer = 'New'"
    ) == [("U59", NOW - 60 * MINUTE, 900, "S-1")]
    assert desk.rows("select a.code from dirty_day join area a using (area_id)") == [("A",)]


def test_what_cannot_be_adopted_changes_nothing(desk: Desk) -> None:
    desk.write(reading("7", 30), message("concentrator/C7/state", b"online"))
    seven, code = desk.id_of("7"), desk.id_of("C7")
    with pytest.raises(UnknownDiscovered):
        desk.adoption.adopt(10**6, STOCK, by="x")
    with pytest.raises(AdoptionRefused, match="New/7 is a meter"):
        desk.adoption.adopt(seven, AsConcentrator("A"), by="x")
    with pytest.raises(AdoptionRefused, match="no area 'Z'"):
        desk.adoption.adopt(code, AsConcentrator("Z"), by="x")

    def placed(usage_point: str, since: datetime) -> AsMeter:
        return AsMeter(
            model="any", phases=1, digits=8, resolution_wh=10, placing=Placing(usage_point=usage_point, since=since)
        )

    with pytest.raises(AdoptionRefused, match="no usage point 'U99'"):
        desk.adoption.adopt(seven, placed("U99", NOW), by="x")
    with pytest.raises(AdoptionRefused, match="future"):
        desk.adoption.adopt(seven, placed("U59", NOW + MINUTE), by="x")
    with pytest.raises(StoreConflict, match="the usage point is taken"):
        desk.adoption.adopt(seven, placed("U1", NOW), by="x")
    assert desk.rows("select 1 from meter where manufacturer = 'New'") == []
    assert sorted(desk.listed()) == ["/C7 1", "New/7 1"]


def test_a_concentrator_is_adopted_and_then_its_strangers_are_seen(desk: Desk) -> None:
    desk.write(message("concentrator/C7/state", b"online", 5))
    body = json.loads(profile(4, "Acme/1", "New/9").payload)
    desk.write(message("concentrator/C7/profile", body))
    assert desk.listed() == ["/C7 2"]
    adopted = desk.adoption.adopt(desk.id_of("C7"), AsConcentrator("B"), by="Li Wei")
    assert (adopted.name, adopted.made, adopted.replayed.messages) == ("C7", True, 2)
    assert desk.rows("select online, confirmed_seq from concentrator where code = 'C7'") == [(True, 4)]
    assert desk.rows("select import_wh from register_reading") == [(100,)]
    assert desk.listed() == ["New/9 1"]


def test_a_message_under_way_while_its_device_is_adopted_is_not_lost(desk: Desk) -> None:
    """The writer has found the device unknown; before it commits, somebody adopts it."""
    desk.write(reading("7", 30))
    looked_up, adopted = threading.Event(), threading.Event()
    look_up = desk.writer._look_up

    def slow(items: Any) -> bool:
        unknown = look_up(items)
        looked_up.set()
        assert adopted.wait(20)
        return unknown

    desk.writer._look_up = slow
    outcome: list[Any] = []

    def write() -> None:
        try:
            desk.write(reading("7", 0))
        except StoreConflict as error:
            outcome.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    assert looked_up.wait(20)
    desk.adoption.adopt(desk.id_of("7"), STOCK, by="x")
    adopted.set()
    thread.join(20)
    assert "New/7 was imported just now" in str(outcome[0])
    desk.writer._look_up = look_up
    desk.write(reading("7", 0))  # as the service does after a conflict
    assert len(desk.rows("select 1 from register_reading join meter using (meter_id) where serial = '7'")) == 2
    assert desk.rows("select 1 from quarantine where replayed_at is null") == []


def test_the_list_is_bounded_and_the_stalest_go(desk: Desk, settings: Settings) -> None:
    few = settings.model_copy(update={"ingest": settings.ingest.model_copy(update={"discovered_most": 3})})
    desk.writer = ReadingWriter(desk.store, few, lambda: NOW)
    desk.write(reading("a", 50))
    desk.adoption.adopt(desk.id_of("a"), STOCK, by="x")
    for n, serial in enumerate("bcd"):
        desk.write(reading(serial, 40 - n))
    desk.write(reading("b", 30))
    desk.write(reading("e", 20))
    assert desk.listed() == ["New/e 1", "New/b 2", "New/d 1"]
    assert desk.rows("select count(*) from discovered_payload") == [(5,)], "a's, b's two, d's, e's"
    assert desk.rows("select count(*) from quarantine") == [(6,)], "the quarantine keeps c's"


def test_another_meter_on_a_bus_is_discovered_with_the_model_it_was_read_as(desk: Desk) -> None:
    with desk.store.transaction() as connection:
        connection.execute(
            b"insert into endpoint (meter_id, protocol, bus, unit) values (1, 'modbus', 'modbus+tcp://127.0.0.1', 4)"
        )
        target = poll_target_of(connection, 1)
    assert target is not None
    read = RegisterReading(instant_us=to_us(NOW), uncertainty_ms=5, import_wh=77, serial="999")
    result = RoundResult("127.0.0.1:502", to_us(NOW), mismatches=[Mismatch(target, read)])
    desk.write(*items_of(result))
    assert desk.rows("select manufacturer, serial, protocol, model_guess from discovered_device") == [
        ("Acme", "999", "modbus", "any")
    ]
    adopted = desk.adoption.adopt(desk.id_of("999"), STOCK, by="x")
    assert adopted.replayed.stored == 1
    assert desk.rows("select m.serial, r.import_wh from register_reading r join meter m using (meter_id)") == [
        ("999", 77)
    ]
    assert desk.rows("select count(*) from endpoint where protocol = 'mqtt'") == [(0,)]
    known = RegisterReading(instant_us=to_us(NOW), uncertainty_ms=5, import_wh=78, serial="2")
    desk.write(*items_of(RoundResult("127.0.0.1:502", to_us(NOW), mismatches=[Mismatch(target, known)])))
    assert desk.listed() == [], "a meter of ours at the wrong place is none that nobody knows"


def test_identities_disagree(desk: Desk) -> None:
    told = {"ts": NOW.isoformat(), "import_wh": 5, "meter": "Acme/2"}
    result = desk.write(message("meter/Acme/1/reading", told))
    assert [e.reason for e in result.quarantined[0]] == ["identity_mismatch"]
    assert desk.rows("select count(*) from register_reading") == [(0,)]
    assert desk.listed() == []
    assert MeterIdentity("Acme", "1") != MeterIdentity("Acme", "2")
