"""Every check of the chaos' audit says so when just that is wrong, and nothing when all is right."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from headend.domain.calendar import to_us
from headend.ingest.intake import item_of
from headend.ingest.payloads import router_of
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store.pool import Store
from support.chaos.audit import CHECKS, audit, missing
from support.chaos.book import Book, Entry, Writer
from support.chaos.numbers import MAKER, PREFIX, TOPOLOGY, Numbers

BEGIN = datetime(2026, 11, 20, tzinfo=UTC)
NUMBERS = Numbers(int(BEGIN.timestamp()) * 1_000_000)
ACKED_NS = 1_000
SPOILT = f"{PREFIX}/meter/{MAKER}/1/reading"


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """Two messages of one meter, an upload, another value for one of its readings, and a spoilt message."""
    writer = Writer(tmp_path / "book.jsonl")
    for entry in (
        Entry(1, "reading", "meter-1", ((1, 1),)),
        Entry(2, "batch", "meter-1", ((1, 2), (1, 3))),
        Entry(3, "profile", "C1", ((9, 1), (10, 1)), seq=1),
        Entry(4, "other", "C1", ((9, 1),), seq=2),
        Entry(5, "spoilt", "meter-1", (), SPOILT, "{spoilt"),
    ):
        writer.made(entry)
        writer.acknowledged(entry.message, ACKED_NS)
    return Book(tmp_path / "book.jsonl")


def reading(meter: int, number: int) -> dict[str, object]:
    return {"ts": NUMBERS.ts(number), "import_wh": Numbers.import_wh(meter, number)}


def upload(seq: int, meters: list[int], *, more_wh: int = 0) -> dict[str, object]:
    return {
        "format": "headend.profile/1",
        "seq": seq,
        "backlog": 0,
        "meters": [f"{MAKER}/{meter}" for meter in meters],
        "ts": [NUMBERS.ts(1)],
        "import_wh": [[Numbers.import_wh(meter, 1) + more_wh] for meter in meters],
    }


@pytest.fixture
def right(dsn: str) -> str:
    """A store in which all of it is right, written by the head-end."""
    settings = Settings(database={"dsn": dsn})
    now = BEGIN + timedelta(hours=1)
    messages = [
        (SPOILT, json.dumps(reading(1, 1))),
        (f"{PREFIX}/meter/{MAKER}/1/batch", json.dumps({"readings": [reading(1, 2), reading(1, 3)]})),
        (f"{PREFIX}/concentrator/C1/profile", json.dumps(upload(1, [9, 10]))),
        (f"{PREFIX}/concentrator/C1/profile", json.dumps(upload(2, [9], more_wh=1))),
        (SPOILT, "{spoilt"),
    ]
    with Store(dsn) as store:
        with store.transaction() as connection:
            connection.execute(TOPOLOGY.encode())
        writer = ReadingWriter(store, settings, lambda: now)
        router = router_of(settings.mqtt, settings.settlement.zone)
        for topic, payload in messages:
            item = item_of(topic, payload.encode(), router=router, prefix=PREFIX, received_us=to_us(now))
            writer.write([item])
    return dsn


def test_what_is_right_is_right(right: str, book: Book) -> None:
    found = audit(right, book, NUMBERS)
    assert found.wrong == {}
    assert found.totals["readings_acknowledged"] == found.totals["readings_stored"] == 5
    assert missing(right, book, NUMBERS) == 0


NOT_STORED, SUM = "acknowledged and not stored", "sum of a meter differs"
COUNTED, LATEST = "counted otherwise than stored", "latest reading is not the latest"
NO_REVISION = "another value confirmed and not noted"


@pytest.mark.parametrize(
    ("deed", "checks"),
    [
        ("delete from register_reading where meter_id = 10", {NOT_STORED, SUM, COUNTED, LATEST}),
        (
            "insert into register_reading (meter_id, ts, import_wh, flags, source, uncertainty_ms) "
            f"values (1, '{NUMBERS.ts(0)}', 1, 0, 2, 0)",
            {"stored and never sent", COUNTED},
        ),
        (
            f"update register_reading set import_wh = import_wh + 7 where meter_id = 1 and ts = '{NUMBERS.ts(2)}'",
            {"stored with another value than sent", SUM},
        ),
        ("update latest_reading set readings_mqtt = 4 where meter_id = 1", {COUNTED}),
        (f"update latest_reading set ts = '{NUMBERS.ts(2)}' where meter_id = 1", {LATEST}),
        ("delete from latest_reading where meter_id = 9", {LATEST, COUNTED}),
        ("delete from dirty_day", {"neither settled nor marked"}),
        ("delete from quarantine", {"spoilt and not in the quarantine"}),
        (
            "update quarantine set payload = 'other'",
            {"in the quarantine and not spoilt", "spoilt and not in the quarantine"},
        ),
        (
            "insert into quarantine (received_at, last_received_at, source, origin, reason, detail, payload) "
            "select received_at, last_received_at, source, origin, 'again', detail, payload from quarantine",
            {"in the quarantine more than once"},
        ),
        ("delete from reading_revision", {NO_REVISION}),
        (
            "update reading_revision set meter_id = 10",
            {"revision noted where no other value was sent", NO_REVISION},
        ),
        ("update concentrator set confirmed_seq = 1 where code = 'C1'", {"concentrator's book is wrong"}),
    ],
)
def test_each_check_finds_its_wrong_and_no_other_one_does(right: str, book: Book, deed: str, checks: set[str]) -> None:
    with psycopg.connect(right) as connection:
        connection.execute(deed.encode())
    assert set(audit(right, book, NUMBERS).wrong) == checks <= set(CHECKS)


def test_a_puback_that_the_broker_could_not_save_before_it_was_killed_is_in_doubt(right: str, book: Book) -> None:
    book.doubts.append((ACKED_NS - 1, ACKED_NS + 1))
    with psycopg.connect(right) as connection:
        connection.execute(b"delete from register_reading where meter_id = 1")
        connection.execute(b"delete from register_reading where meter_id = 10")
    found = audit(right, book, NUMBERS)
    assert found.counts["acknowledged and not stored"] == 1, "the concentrator's, which the head-end confirmed itself"
    assert found.totals["readings_lost_in_doubt"] == 3
    assert {entry.message for entry in book.in_doubt()} == {1, 2, 5}
