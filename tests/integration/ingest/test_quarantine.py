"""What was not understood is replayed on a real PostgreSQL: in order, resumed, shared, and nothing is doubled."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from headend.ingest.item import Item, WriteResult
from headend.ingest.quarantine import AT_ONCE, Outcome, Quarantine, Summary
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store import quarantine
from headend.store.errors import StoreConflict, StoreError, StoreRefused, StoreUnavailable
from headend.store.pool import Store
from support.quarantined import EVERYTHING, MINUTE, NOW, Desk, kept, reading


@pytest.fixture
def desk(field_store: Store, settings: Settings, kit: Any) -> Desk:
    return Desk(field_store, settings, kit)


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
