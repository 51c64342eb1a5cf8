"""The quarantine on a real PostgreSQL: searched by everything, and bounded by origin when a message comes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from headend.ingest.item import Item, QuarantineEntry
from headend.ingest.quarantine import Outcome
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store import quarantine
from headend.store.pool import Store
from headend.store.quarantine import Search, Share, content_of
from support.quarantined import EVERYTHING, MINUTE, NOW, Desk, kept


@pytest.fixture
def desk(field_store: Store, settings: Settings, kit: Any) -> Desk:
    return Desk(field_store, settings, kit)


# Searching.


@pytest.fixture
def searched(desk: Desk) -> Desk:
    """Five messages, numbers 1…5, a minute apart; the fifth is closed."""
    for entry in (
        kept("7", b'{"a": "\xe7\x94\xb5"}', detail="Not imported: Acme/7", strangers=("Acme/7",)),
        kept("8", b"\x00\xff\x01", reason="not_text", at=NOW + MINUTE, origin="sites/a_b/8"),
        kept("9", b"{}", reason="bad_shape", at=NOW + 2 * MINUTE, origin="sites/aXb/8"),
        kept("1", b"[]", reason="spoiled_record", source="modbus", origin="10.0.0.1:502 unit 3", at=NOW + 3 * MINUTE),
        kept("1", b"{}", reason="not_json", at=NOW + 4 * MINUTE),
    ):
        desk.keep(entry)
    with desk.store.transaction() as connection:
        quarantine.replayed(connection, 5, NOW)
    return desk


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Search(), [4, 3, 2, 1]),
        (Search(reason="bad_shape"), [3]),
        (Search(source="modbus"), [4]),
        (Search(origin="sites/"), [3, 2]),
        (Search(origin="sites/a_b"), [2]),
        (Search(origin="sites/*/8"), [3, 2]),
        (Search(origin="*unit 3"), [4]),
        (Search(origin="*unit"), []),
        (Search(origin="100%"), []),
        (Search(device="Acme/7"), [1]),
        (Search(device="Acme"), []),
        (Search(since=NOW + 2 * MINUTE), [4, 3]),
        (Search(until=NOW + 2 * MINUTE), [2, 1]),
        (Search(since=NOW + MINUTE, until=NOW + 3 * MINUTE), [3, 2]),
        (Search(detail="NOT IMPORTED: acme"), [1]),
        (Search(content=content_of("电")), [1]),
        (Search(content=content_of("0xff01")), [2]),
        (Search(content=content_of("0xf")), []),
        (Search(content=b"{", reason="bad_shape"), [3]),
    ],
)
def test_every_filter_finds_just_what_fits(searched: Desk, wanted: Search, numbers: list[int]) -> None:
    assert [row["quarantine_id"] for row in searched.quarantine.search(wanted).rows] == numbers
    assert searched.quarantine.count(wanted) == len(numbers)
    # A replay takes the same, oldest first.
    replayed = [m.quarantine_id for batch in searched.quarantine.replay_all(wanted) for m in batch.messages]
    assert replayed == numbers[::-1]


def test_closed_ones_are_found_when_asked_for(searched: Desk) -> None:
    def found(state: Any) -> list[int]:
        return [row["quarantine_id"] for row in searched.quarantine.search(EVERYTHING, state=state).rows]

    assert (found("closed"), found("all")) == ([5], [5, 4, 3, 2, 1])


def test_pages_follow_each_other(searched: Desk) -> None:
    first = searched.quarantine.search(EVERYTHING, limit=3)
    second = searched.quarantine.search(EVERYTHING, limit=3, before=first.before)
    assert [[r["quarantine_id"] for r in page.rows] for page in (first, second)] == [[4, 3, 2], [1]]
    assert (first.before, second.before) == (2, None)


def test_a_search_by_content_looks_through_a_part_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "LOOKED_THROUGH", 4)
    for k in range(10):
        desk.keep(kept(str(k), b"needle" if k in (0, 1, 7) else b"hay", reason="not_json", at=NOW + k * MINUTE))
    seen, before, looks = [], None, 0
    while True:
        found = desk.quarantine.search(Search(content=b"needle"), before=before)
        seen += [row["quarantine_id"] for row in found.rows]
        looks += 1
        if found.before is None:
            break
        assert found.looked_back_to is not None
        before = found.before
    assert (seen, looks) == ([8, 2, 1], 3)
    monkeypatch.setattr(quarantine, "LOOKED_THROUGH_BYTES", 1)  # one at a time at the least
    assert desk.quarantine.search(Search(content=b"needle")).before == 10


# Bounds that hold when a message comes.

SMALL = Share(messages=4, size=1000, payload=500)


def test_an_origin_that_floods_is_counted_and_others_are_kept(desk: Desk) -> None:
    flood = [kept("flood", str(k).encode(), reason="not_json", at=NOW + k * MINUTE) for k in range(10)]
    assert desk.keep(*flood[:3], share=SMALL) == {}
    assert desk.keep(*flood[3:], kept("quiet", b"1", reason="not_json"), share=SMALL) == {"not_json": 6}
    assert desk.rows("select payload from quarantine where origin like '%flood%' order by 1") == [
        (b"0",), (b"1",), (b"2",), (b"3",)
    ]  # fmt: skip
    assert desk.rows("select count(*) from quarantine where origin like '%quiet%'") == [(1,)]
    assert desk.rows("select reason, why, messages, bytes, first_at, last_at from quarantine_given_up") == [
        ("not_json", "origin", 6, 6, NOW + 4 * MINUTE, NOW + 9 * MINUTE)
    ]
    # What is in here already is not given up: it is counted there.
    assert desk.keep(flood[0], share=SMALL) == {}
    assert desk.rows("select times from quarantine where payload = '0'") == [(2,)]
    # With another reason it has a share of its own.
    assert desk.keep(kept("flood", b"x", reason="bad_shape"), share=SMALL) == {}
    assert desk.keep(*flood[4:6], share=SMALL) == {"not_json": 2}
    assert desk.rows("select messages, since_messages from quarantine_given_up") == [(8, 8)]
    later = [kept("flood", b"later", reason="not_json", at=NOW + timedelta(hours=3))]
    assert desk.keep(*later, share=SMALL) == {"not_json": 1}
    assert desk.rows("select messages, since_messages from quarantine_given_up") == [(9, 1)], "another spell"


def test_an_origin_is_bounded_in_bytes_too(desk: Desk) -> None:
    big = [kept("big", bytes([k]) * 400, reason="not_text", at=NOW + k * MINUTE) for k in range(3)]
    assert desk.keep(*big, share=SMALL) == {"not_text": 1}
    assert desk.rows("select count(*), sum(size) from quarantine") == [(2, 800)]
    only = Share(messages=4, size=10, payload=500)
    assert desk.keep(kept("one", b"x" * 400, reason="not_text"), share=only) == {}, "one is always kept"


def test_a_message_too_large_to_be_kept_whole_says_so(desk: Desk) -> None:
    desk.keep(kept("huge", b"x" * 501, reason="too_large"), kept("fits", b"x" * 500, reason="too_large"), share=SMALL)
    assert desk.rows("select whole_size, size from quarantine order by 1") == [(501, 500), (None, 500)]
    desk.import_meter("huge")
    done = desk.replay_all()
    assert (done.outcomes, done.reasons["too_large"]) == ({Outcome.STAYS: 1, Outcome.BECAME: 1}, 1), (
        "a part of it is never taken for it"
    )


def test_an_origin_longer_than_an_index_holds(desk: Desk, settings: Settings) -> None:
    topic = "headend/v1/meter/" + "".join(chr(0x4E00 + k * 37 % 20000) for k in range(20_000)) + "/reading"
    item = Item(
        channel="mqtt", origin=topic, received_us=0, payload=b"1", quarantine=(QuarantineEntry("bad_name", topic),)
    )
    other = Item(
        channel="mqtt",
        origin=topic + "x",
        received_us=0,
        payload=b"1",
        quarantine=(QuarantineEntry("bad_name", topic),),
    )
    ReadingWriter(desk.store, settings, lambda: NOW).write([item, other])
    assert desk.rows("select count(distinct origin), min(length(detail)) from quarantine") == [(2, len(topic))]
    assert [r["reason"] for r in desk.quarantine.list(origin=topic)] == ["bad_name"]


def test_the_writer_counts_what_is_given_up(desk: Desk) -> None:
    settings = desk.settings.model_copy(
        update={"quarantine": desk.settings.quarantine.model_copy(update={"origin_messages": 4})}
    )
    before = desk._kit.count("headend_quarantine_given_up_total", reason="not_json", why="origin")
    entry = QuarantineEntry("not_json", "")
    items = [
        Item(channel="mqtt", origin="x", received_us=k, payload=str(k).encode(), quarantine=(entry,)) for k in range(7)
    ]
    ReadingWriter(desk.store, settings, lambda: NOW).write(items)
    assert desk._kit.count("headend_quarantine_given_up_total", reason="not_json", why="origin") == before + 3
    assert desk.rows("select count(*) from quarantine") == [(4,)]
