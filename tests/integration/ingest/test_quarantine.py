"""The quarantine on a real PostgreSQL: searched by everything, replayed without doubling, bounded by origin."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headend.ingest.item import Item, QuarantineEntry, WriteResult
from headend.ingest.quarantine import AT_ONCE, Outcome, Quarantine, Summary
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store import quarantine
from headend.store.errors import StoreConflict, StoreError, StoreRefused, StoreUnavailable
from headend.store.pool import Store
from headend.store.quarantine import Kept, Search, Share, content_of

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVERYTHING = Search()


def reading(at: datetime, import_wh: int) -> bytes:
    return json.dumps({"ts": at.isoformat(), "import_wh": import_wh}).encode()


def kept(
    serial: str = "New", payload: bytes = b"{}", *, reason: str = "unknown_meter", at: datetime = NOW, **more: Any
) -> Kept:
    origin = more.pop("origin", f"headend/v1/meter/Acme/{serial}/reading")
    return Kept(at, more.pop("source", "mqtt"), origin, reason, more.pop("detail", "not imported"), payload, **more)


class Desk:
    """The quarantine with what the tests ask of the store."""

    def __init__(self, store: Store, settings: Settings, kit: Any) -> None:
        self.store, self.settings, self._kit = store, settings, kit
        self.quarantine = Quarantine(store, settings, lambda: NOW)

    def keep(self, *messages: Kept, share: Share | None = None) -> dict[str, int]:
        with self.store.transaction() as connection:
            added = quarantine.add(connection, messages, *([] if share is None else [share]))
            return dict(added.given_up())

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._kit.values(self.store, query)
        return found

    def import_meter(self, serial: str) -> None:
        with self.store.transaction() as connection:
            connection.execute(
                "insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) "
                "values ('Acme', %s, 'any', 1, 8, 10)",
                [serial],
            )

    def replay_all(self, wanted: Search = EVERYTHING, **options: Any) -> Summary:
        summary = Summary()
        for batch in self.quarantine.replay_all(wanted, **options):
            summary.add(batch)
        return summary


@pytest.fixture
def desk(field_store: Store, settings: Settings, kit: Any) -> Desk:
    return Desk(field_store, settings, kit)


# Replays.


def test_only_what_is_not_understood_of_a_message_stays_and_nothing_is_doubled(desk: Desk) -> None:
    profile = json.dumps(
        {
            "format": "headend.profile/1",
            "seq": 1,
            "backlog": 0,
            "meters": ["Acme/1", "Acme/New"],
            "ts": [(NOW - k * MINUTE).isoformat() for k in (3, 2, 1)],
            "import_wh": [[1, 2, 3], [10, 20, 30]],
        }
    ).encode()
    desk.keep(kept(payload=profile, origin="headend/v1/concentrator/C1/profile"))
    first = desk.replay_all()
    assert (first.stored, first.duplicates, first.outcomes) == (3, 0, {Outcome.STAYS: 1})
    again = desk.replay_all()
    assert (again.stored, again.duplicates, again.outcomes) == (0, 3, {Outcome.STAYS: 1})
    desk.import_meter("New")
    mended = desk.replay_all()
    assert (mended.stored, mended.duplicates, mended.outcomes) == (3, 3, {Outcome.UNDERSTOOD: 1})
    assert desk.rows("select count(*), sum(import_wh) from register_reading") == [(6, 66)]
    assert desk.replay_all().messages == 0


def test_a_replay_does_not_count_as_having_come_again(desk: Desk) -> None:
    message = kept(payload=reading(NOW, 1))
    desk.keep(message)
    desk.keep(message, message)
    assert desk.rows("select times, last_received_at from quarantine") == [(3, NOW)]
    counted = desk._kit.count("headend_quarantined_total", source="mqtt", reason="unknown_meter")
    assert desk.quarantine.replay(1).outcome is Outcome.STAYS
    assert desk.rows("select times, last_received_at from quarantine") == [(3, NOW)]
    assert desk._kit.count("headend_quarantined_total", source="mqtt", reason="unknown_meter") == counted


def test_another_reason_leaves_a_trail(desk: Desk) -> None:
    long_ago = NOW - timedelta(days=desk.settings.ingest.oldest_days + 1)
    desk.keep(kept(payload=reading(long_ago, 1), at=NOW - MINUTE))
    desk.import_meter("New")
    done = desk.quarantine.replay(1)
    assert done.outcome is Outcome.BECAME
    assert [entry.reason for entry in done.still] == ["too_old"]
    was, became = desk.quarantine.show(1), desk.quarantine.show(done.became or 0)
    assert was is not None
    assert became is not None
    assert (was["replayed_at"], was["became_id"]) == (NOW, done.became)
    assert (became["reason"], became["received_at"], became["came_from"]) == ("too_old", NOW - MINUTE, [1])
    assert [r["quarantine_id"] for r in desk.quarantine.list()] == [done.became]
    # It comes again as it was at first: open again, and the trail of then says nothing any more.
    desk.keep(kept(payload=reading(long_ago, 1)))
    assert desk.rows("select replayed_at, became_id, times from quarantine where quarantine_id = 1") == [
        (None, None, 2)
    ]


def test_a_rehearsal_says_what_would_happen_and_changes_nothing(desk: Desk) -> None:
    # A day that has no partition yet, a meter that was imported meanwhile, and one that was not.
    day = NOW - timedelta(days=300)
    desk.keep(kept("New", reading(day, 1)), kept("Other", reading(day, 2)), kept("New", b"nonsense", reason="not_json"))
    desk.import_meter("New")
    tables = "register_reading", "latest_reading", "reading_count", "dirty_day", "discovered_device"
    query = " union all ".join(f"select '{t}', count(*) from {t}" for t in tables)
    state = f"{query} union all select 'partitions', count(*) from pg_inherits"
    quarantined = "select quarantine_id, times, replayed_at, became_id, detail from quarantine order by 1"
    before = desk.rows(state), desk.rows(quarantined)
    rehearsed = desk.replay_all(rehearse=True)
    assert (desk.rows(state), desk.rows(quarantined)) == before
    done = desk.replay_all()
    assert (rehearsed.stored, rehearsed.outcomes, rehearsed.reasons) == (done.stored, done.outcomes, done.reasons)
    assert done.outcomes == {Outcome.UNDERSTOOD: 1, Outcome.STAYS: 2}


def test_many_are_replayed_in_the_order_in_which_they_came(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 2 * AT_ONCE + 50
    desk.keep(*(kept(payload=reading(NOW - k * MINUTE, k), at=NOW - k * MINUTE) for k in range(count)))
    desk.import_meter("New")
    handed: list[list[int]] = []
    write = ReadingWriter.write

    def noting(self: ReadingWriter, items: Sequence[Item]) -> WriteResult:
        handed.append([item.received_us for item in items])
        return write(self, items)

    monkeypatch.setattr(ReadingWriter, "write", noting)
    done = desk.replay_all()
    assert (done.messages, done.stored, done.closed) == (count, count, count)
    assert [len(batch) for batch in handed] == [AT_ONCE, AT_ONCE, 50]
    told = [received for batch in handed for received in batch]
    assert told == sorted(told)
    assert desk.replay_all().messages == 0


def test_large_messages_are_not_held_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.keep(*(kept("x", bytes([65 + k]) * 3_000_000, reason="not_json", at=NOW + k * MINUTE) for k in range(5)))
    sizes: list[int] = []
    write = ReadingWriter.write

    def noting(self: ReadingWriter, items: Sequence[Item]) -> WriteResult:
        sizes.append(sum(len(item.payload) for item in items))
        return write(self, items)

    monkeypatch.setattr(ReadingWriter, "write", noting)
    assert desk.replay_all().outcomes == {Outcome.STAYS: 5}
    assert sizes == [6_000_000, 6_000_000, 3_000_000]


def test_two_replays_at_once_share_the_work(desk: Desk) -> None:
    count = 3 * AT_ONCE
    desk.keep(*(kept(payload=reading(NOW - k * MINUTE, k), at=NOW - k * MINUTE) for k in range(count)))
    desk.import_meter("New")
    both = threading.Barrier(2)
    summaries: list[Summary] = []

    def work() -> None:
        both.wait(20)
        mine = Quarantine(desk.store, desk.settings, lambda: NOW)
        summary = Summary()
        for batch in mine.replay_all(EVERYTHING):
            summary.add(batch)
        summaries.append(summary)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(s.stored for s in summaries) == count
    assert sum(s.outcomes[Outcome.UNDERSTOOD] for s in summaries) == count, "each is replayed by one of them"
    assert sum(s.duplicates for s in summaries) == 0
    assert desk.rows("select count(*) from quarantine where replayed_at is null") == [(0,)]


def test_what_another_replay_holds_is_left_to_it(desk: Desk) -> None:
    desk.keep(kept(payload=reading(NOW, 1)), kept(payload=reading(NOW - MINUTE, 2), at=NOW - MINUTE))
    desk.import_meter("New")
    with desk.store.transaction() as elsewhere:
        assert len(quarantine.claim(elsewhere, [1])) == 1
        done = desk.replay_all()
        assert done.outcomes == {Outcome.UNDERSTOOD: 1, Outcome.ELSEWHERE: 1}
    assert desk.replay_all().outcomes == {Outcome.UNDERSTOOD: 1}


def test_the_same_messages_come_again_while_they_are_replayed(desk: Desk) -> None:
    messages = [kept(payload=reading(NOW - k * MINUTE, k), at=NOW - k * MINUTE) for k in range(AT_ONCE)]
    desk.keep(*messages)
    desk.import_meter("New")
    stop = threading.Event()
    failures: list[Exception] = []

    def come_again() -> None:
        try:
            while not stop.is_set():
                desk.keep(*reversed(messages))
        except StoreError as error:
            failures.append(error)

    thread = threading.Thread(target=come_again)
    thread.start()
    for _ in range(5):
        desk.replay_all()
    stop.set()
    thread.join(30)
    assert failures == []
    desk.replay_all()
    assert desk.rows("select count(*), sum(import_wh) from register_reading") == [
        (AT_ONCE, sum(range(AT_ONCE))),
    ]
    assert desk.rows("select count(*) from quarantine where replayed_at is null") == [(0,)]


def test_whoever_was_interrupted_begins_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3 * AT_ONCE
    desk.keep(*(kept(payload=reading(NOW - k * MINUTE, k), at=NOW - k * MINUTE) for k in range(count)))
    desk.import_meter("New")
    write, calls = ReadingWriter.write, [0]

    def failing(self: ReadingWriter, items: Sequence[Item]) -> WriteResult:
        calls[0] += 1
        if calls[0] == 2:
            write(self, items)
            raise StoreUnavailable("the database went away before the commit")
        return write(self, items)

    with monkeypatch.context() as broken:
        broken.setattr(ReadingWriter, "write", failing)
        summary = Summary()
        batches = desk.quarantine.replay_all(EVERYTHING)
        summary.add(next(batches))
        with pytest.raises(StoreUnavailable):
            next(batches)
    assert (summary.messages, summary.stored) == (AT_ONCE, AT_ONCE)
    assert desk.rows("select count(*) from register_reading") == [(AT_ONCE,)], "a batch is whole or not at all"
    again = desk.replay_all()
    assert (again.messages, again.stored, again.duplicates) == (2 * AT_ONCE, 2 * AT_ONCE, 0)


def test_a_message_that_the_database_refuses_holds_up_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.keep(*(kept(payload=reading(NOW - k * MINUTE, k), at=NOW - k * MINUTE) for k in range(9)))
    desk.import_meter("New")
    write, conflicts = ReadingWriter.write, [0]

    def refusing(self: ReadingWriter, items: Sequence[Item]) -> WriteResult:
        if not conflicts[0]:
            conflicts[0] += 1
            raise StoreConflict("deadlock detected", constraint=None)
        if any(item.batch is not None and b'"import_wh": 4}' in item.payload for item in items):
            raise StoreRefused("no such thing")
        return write(self, items)

    monkeypatch.setattr(ReadingWriter, "write", refusing)
    monkeypatch.setattr(desk.quarantine, "_pause", lambda _: None)
    done = desk.replay_all()
    assert done.outcomes == {Outcome.UNDERSTOOD: 8, Outcome.BECAME: 1}
    assert done.stored == 8
    assert desk.rows("select reason, detail from quarantine where replayed_at is null") == [
        ("store_refused", "no such thing")
    ]


@pytest.mark.parametrize("payload", [b"\xff", b'[{"manufacturer": "\xff"}]', b'[{"x": ' + b"[" * 200_000, b"", b"[]"])
def test_a_record_that_is_no_round_stays_and_holds_up_no_other(desk: Desk, payload: bytes) -> None:
    desk.keep(
        kept(payload=payload, source="modbus", reason="spoiled_record", origin="spool"), kept(payload=reading(NOW, 1))
    )
    desk.import_meter("New")
    done = desk.replay_all()
    assert done.stored == 1
    whole = payload == b"[]"  # a round without readings: nothing is left of it to understand
    assert done.outcomes == ({Outcome.UNDERSTOOD: 2} if whole else {Outcome.UNDERSTOOD: 1, Outcome.STAYS: 1})


def test_named_ones_are_replayed_whatever_became_of_them(desk: Desk) -> None:
    desk.keep(kept(payload=reading(NOW, 1)), kept("x", b"?", reason="not_json"))
    desk.import_meter("New")
    with pytest.raises(LookupError, match="quarantine has no message 7, 9"):
        list(desk.quarantine.replay_named([1, 7, 9]))
    assert desk.rows("select count(*) from register_reading") == [(0,)], "nothing was tried"
    for stored, known in ((1, 0), (0, 1)):
        first, second = desk.quarantine.replay_named([2, 1])
        told = {m.quarantine_id: m for m in (*first.messages, *second.messages)}
        assert (told[1].outcome, told[1].stored, told[1].duplicates) == (Outcome.UNDERSTOOD, stored, known)
        assert told[2].outcome is Outcome.STAYS


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
