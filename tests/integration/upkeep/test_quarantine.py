"""The quarantine's chore: within its bounds, fair to every origin, and nothing goes without being counted and told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from headend.domain.alerts import AlertKind
from headend.settings import Database, Settings
from headend.settings import Quarantine as QuarantineSettings
from headend.store import alerts, quarantine
from headend.store.pool import Store
from headend.store.quarantine import Kept, Share
from headend.upkeep.chores import chores_of
from headend.upkeep.quarantine import QuarantineBounds

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def kept(origin: str, payload: bytes, *, reason: str = "not_json", at: datetime = NOW) -> Kept:
    return Kept(at, "mqtt", origin, reason, "", payload)


class Desk:
    """A quarantine with small bounds, and a clock."""

    def __init__(self, store: Store, **bounds: int) -> None:
        self.store = store
        self.now = NOW
        self.settings = Settings(
            database=Database(dsn=store.dsn),
            quarantine=QuarantineSettings(**({"max_messages": 40, "origin_messages": 16} | bounds)),
        )
        self.chore = QuarantineBounds(store, self.settings, lambda: self.now)
        self.share = Share.of(self.settings.quarantine)

    def keep(self, *messages: Kept) -> None:
        with self.store.transaction() as connection:
            quarantine.add(connection, messages, self.share)

    def flood(self, origin: str, count: int, *, first: int = 0, **more: Any) -> None:
        """One at a time, as they come."""
        for k in range(first, first + count):
            self.keep(kept(origin, f"{origin} {k}".encode(), **more))

    def payloads(self, origin: str) -> list[int]:
        found = self.store.rows(
            b"select convert_from(payload, 'UTF8') as p from quarantine where origin = %s order by quarantine_id",
            [origin],
        )
        return [int(row["p"].split()[-1]) for row in found]

    def given_up(self) -> dict[tuple[str, str], int]:
        found = self.store.rows(b"select origin, why, messages from quarantine_given_up")
        return {(row["origin"], row["why"]): row["messages"] for row in found}

    def alerts(self) -> list[tuple[str, float, str]]:
        with self.store.transaction() as connection:
            found = alerts.standing(connection)
        return [(a["subject"], a["value"], a["detail"]) for a in found if a["kind"] == AlertKind.QUARANTINE_FULL.value]


def counted(reason: str, why: str) -> float:
    return REGISTRY.get_sample_value("headend_quarantine_given_up_total", {"reason": reason, "why": why}) or 0.0


def test_within_the_bounds_nothing_goes_and_nothing_is_told(store: Store) -> None:
    desk = Desk(store)
    desk.flood("a", 15)
    desk.flood("b", 15)
    desk.flood("c", 10, reason="bad_shape")
    desk.chore.do()
    assert [len(desk.payloads(origin)) for origin in "abc"] == [15, 15, 10]
    assert (desk.given_up(), desk.alerts()) == ({}, [])
    assert REGISTRY.get_sample_value("headend_quarantine_open_messages", {"reason": "not_json"}) == 30
    assert REGISTRY.get_sample_value("headend_quarantine_open_bytes", {"reason": "bad_shape"}) == 30
    with store.transaction() as connection:
        connection.execute("delete from quarantine where reason = 'bad_shape'")
    desk.chore.do()
    assert REGISTRY.get_sample_value("headend_quarantine_open_messages", {"reason": "bad_shape"}) == 0


def test_a_flood_keeps_its_first_messages_and_its_newest(store: Store) -> None:
    desk = Desk(store)
    before = counted("not_json", "origin")
    desk.flood("flood", 20)
    desk.flood("quiet", 3)
    assert desk.payloads("flood") == list(range(16)), "what comes when it is full is counted"
    desk.chore.do()
    assert desk.payloads("flood") == [*range(8), *range(12, 16)], "the first half and the newest quarter"
    desk.flood("flood", 20, first=20)
    assert desk.payloads("flood") == [*range(8), *range(12, 16), *range(20, 24)]
    desk.chore.do()
    assert desk.payloads("flood") == [*range(8), *range(20, 24)]
    assert desk.payloads("quiet") == [0, 1, 2]
    assert desk.given_up() == {("flood", "origin"): 4 + 4 + 16 + 4}
    assert counted("not_json", "origin") == before + 8, "the rest was counted by whoever wrote"
    ((subject, value, detail),) = desk.alerts()
    assert (subject, value) == ("not_json", 28)
    assert "flood (28)" in detail
    # An hour without: it is over.
    desk.now = NOW + timedelta(hours=2)
    desk.chore.do()
    assert desk.alerts() == []
    assert desk.given_up() == {("flood", "origin"): 28}, "the count stays"


def test_one_that_has_most_makes_room_and_everybody_keeps_his_own(store: Store) -> None:
    desk = Desk(store, origin_messages=1000)
    for k in range(5):
        desk.keep(kept(f"small {k}", b"0"), kept(f"small {k}", b"1"))
    desk.flood("large", 30)
    desk.flood("larger", 60)
    before = counted("not_json", "full")
    desk.chore.do()
    for k in range(5):
        assert len(desk.payloads(f"small {k}")) == 2
    large, larger = desk.payloads("large"), desk.payloads("larger")
    assert len(large) + len(larger) + 10 == 38, "a twentieth is free"
    assert abs(len(large) - len(larger)) <= 2
    assert (large[0], large[-1], larger[0], larger[-1]) == (0, 29, 0, 59)
    assert larger[: len(larger) // 2 - 1] == list(range(len(larger) // 2 - 1)), "from the middle"
    gone = 100 - 38
    assert counted("not_json", "full") == before + gone
    assert sum(desk.given_up().values()) == gone
    assert desk.alerts()[0][1] == gone


def test_random_origins_of_one_reason_do_not_push_out_another(store: Store) -> None:
    desk = Desk(store)
    for k in range(10):
        desk.keep(kept(f"meter {k}", b"0", reason="unknown_meter"))
    for k in range(100):
        desk.keep(kept(f"random {k}", b"0"))
    desk.chore.do()
    found = store.rows(b"select reason, count(*) as n, min(origin) as o from quarantine group by 1 order by 1")
    assert [(row["reason"], row["n"]) for row in found] == [("not_json", 28), ("unknown_meter", 10)]
    assert desk.payloads("random 99") == [0], "of many with one each the newest stay"
    assert desk.given_up() == {("", "full"): 72}, "their names do not fill a table"
    assert "many origins (72)" in desk.alerts()[0][2]


def test_bytes_are_bounded_too(store: Store) -> None:
    desk = Desk(store, max_mib=1, origin_mib=1, payload_mib=1)
    for k in range(4):
        desk.keep(*(kept(f"{k}", bytes([65 + n]) * 100_000) for n in range(4)))
    desk.chore.do()
    ((size,),) = [(r["n"],) for r in store.rows(b"select sum(size)::bigint as n from quarantine")]
    assert size == 900_000
    assert sum(desk.given_up().values()) == 7


def test_old_ones_go_and_are_counted_answered_ones_just_go(store: Store) -> None:
    desk = Desk(store, keep_days=90, keep_closed_days=14)
    desk.keep(kept("old", b"0", at=NOW - 91 * DAY), kept("again", b"0", at=NOW - 91 * DAY), kept("new", b"0"))
    desk.keep(kept("again", b"0", at=NOW - DAY))
    desk.keep(kept("answered", b"0"), kept("answered long ago", b"0"))
    with store.transaction() as connection:
        numbers = {r["origin"]: r["quarantine_id"] for r in quarantine.search(
            connection, quarantine.Search(), state="all", limit=10).rows}  # fmt: skip
        quarantine.replayed(connection, numbers["answered"], NOW - 13 * DAY)
        quarantine.replayed(connection, numbers["answered long ago"], NOW - 15 * DAY)
    before = counted("not_json", "age")
    desk.chore.do()
    left = store.rows(b"select origin from quarantine order by 1")
    assert [row["origin"] for row in left] == ["again", "answered", "new"]
    assert counted("not_json", "age") == before + 1
    assert desk.given_up() == {("", "age"): 1}
    assert len(desk.alerts()) == 1


def test_names_of_whom_nothing_is_left_are_folded_in_time(store: Store) -> None:
    desk = Desk(store)
    desk.flood("flood", 20)
    desk.chore.do()
    with store.transaction() as connection:
        connection.execute("delete from quarantine")
    desk.chore.do()
    assert desk.given_up() == {("flood", "origin"): 8}
    desk.now = NOW + 15 * DAY
    desk.chore.do()
    assert desk.given_up() == {("", "origin"): 8}


def test_what_somebody_works_on_is_left_alone(store: Store) -> None:
    desk = Desk(store)
    desk.flood("flood", 16)
    with store.transaction() as connection:
        connection.execute("select from quarantine where payload = 'flood 10' for update")
        desk.chore.do()
    assert 10 in desk.payloads("flood")


def test_the_role_upkeep_does_it(store: Store) -> None:
    settings = Settings(database=Database(dsn=store.dsn))
    (chore,) = [c for c in chores_of(store, settings, lambda: NOW) if c.name == "quarantine"]
    chore.do()
    assert chore.every_s == pytest.approx(60.0)
