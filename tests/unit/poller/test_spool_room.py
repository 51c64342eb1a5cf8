"""A full spool: what goes first, what never goes before there is nothing else, and that every reading is counted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from drivers.base import MeterIdentity
from drivers.events import EventKind
from headend.domain.calendar import from_us, to_us
from headend.ingest.poll_round import RoundResult
from headend.ingest.spool_file import Hole, NewRecord, SpoolFile, used_bytes
from headend.ingest.spool_record import VERSION, pack, unpack
from headend.ingest.spool_room import Room
from headend.ingest.status_events import StatusWord
from support.spooled import BUS, SHANGHAI, measured, round_at, spool_file

BEGIN = datetime(2026, 3, 1, 6, 0, 7, tzinfo=SHANGHAI)
QUARTER = timedelta(minutes=15)
BUSES = {f"10.0.0.{n}:502": [f"{n}{i:03}" for i in range(20)] for n in range(1, 4)}
STORING = "10.0.0.2:502"
"""Its meters store a profile, where a test says so."""
DAYS = 3


def _file(directory: Path, days: float = DAYS) -> tuple[SpoolFile, dict[str, dict[int, int]]]:
    """A spool of three buses with twenty meters each, and the registers by meter and instant."""
    file, rng = spool_file(directory), random.Random(4)
    registers = {serial: rng.randrange(10**7) for serials in BUSES.values() for serial in serials}
    book: dict[str, dict[int, int]] = {serial: {} for serial in registers}
    records = []
    for tick in range(round(days * 96)):
        for late, (bus, serials) in enumerate(BUSES.items()):
            at = BEGIN + tick * QUARTER + timedelta(seconds=late)
            for serial in serials:
                registers[serial] += rng.randrange(400)
                book[serial][to_us(at)] = registers[serial]
            result = measured(at, {s: registers[s] for s in serials}, rng, bus=bus)
            records.append(record(file, result, storing=bus == STORING))
    file.append(records)
    return file, book


def record(file: SpoolFile, result: RoundResult, *, storing: bool = False) -> NewRecord:
    thinned = Room(file, SHANGHAI, lambda _: storing).thinned(result)
    return NewRecord(VERSION, result.bus, result.began_us, len(result), thinned, pack(result))


def results(file: SpoolFile) -> list[RoundResult]:
    return [unpack(r.version, r.packed) for r in file.oldest(after=0, most=10**9)]


def kept(file: SpoolFile) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {serial: {} for serials in BUSES.values() for serial in serials}
    for result in results(file):
        for identity, reading in result.readings:
            assert reading.import_wh is not None
            found[identity.serial][reading.instant_us] = reading.import_wh
    return found


def bytes_of(file: SpoolFile) -> int:
    return file.read(used_bytes)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[SpoolFile, dict[str, dict[int, int]]]]:
    made = _file(tmp_path)
    yield made
    made[0].close()


def _room(file: SpoolFile, *storing: str) -> Room:
    return Room(file, SHANGHAI, lambda meter: meter.serial in storing)


def _counted(file: SpoolFile, book: dict[str, dict[int, int]]) -> int:
    """Readings that are gone; the file's own count has to say the same."""
    here = sum(len(of_meter) for of_meter in kept(file).values())
    assert file.totals().readings == here
    return sum(len(of_meter) for of_meter in book.values()) - here


def test_nothing_is_given_up_before_it_has_to_be(full: Any) -> None:
    file, book = full
    assert _room(file).make(bytes_of(file), behind=0) == {}
    assert kept(file) == book
    assert not file.totals().full
    given_up = _room(file).make(bytes_of(file) - 8192, behind=0)
    assert given_up == {"between": _counted(file, book)} == file.given_up()
    assert file.totals().full
    left = kept(file)
    gone = {at for serial in book for at in book[serial].keys() - left[serial].keys()}
    assert max(gone) < to_us(BEGIN + timedelta(hours=6))  # the oldest stretch, and no more of it than was wanted


def test_what_lies_between_goes_and_energy_stays(full: Any) -> None:
    file, book = full
    before = bytes_of(file)
    given_up = _room(file).make(before // 2, behind=0)
    assert bytes_of(file) <= before // 2
    assert given_up == {"between": _counted(file, book)} == file.given_up()
    everything = kept(file)
    for serial, registers in book.items():
        left = everything[serial]
        assert left.items() <= registers.items()
        instants = sorted(registers)
        assert min(left) == instants[0]
        assert max(left) == instants[-1]
        for a, b in pairwise(instants):
            if from_us(a).astimezone(SHANGHAI).date() != from_us(b).astimezone(SHANGHAI).date():
                assert {a, b} <= left.keys()
        hours = Counter(from_us(a).astimezone(SHANGHAI).strftime("%d %H") for a in left)
        assert len(hours) == DAYS * 24  # each hour has its register still
        energies = [left[b] - left[a] for a, b in pairwise(sorted(left))]
        assert sum(energies) == registers[instants[-1]] - registers[instants[0]]


def test_whole_rounds_go_when_nothing_lies_between_any_more(full: Any) -> None:
    file, book = full
    given_up = _room(file).make(38_000, behind=0)
    assert bytes_of(file) <= 38_000
    assert given_up.keys() == {"between", "oldest"}
    assert sum(given_up.values()) == _counted(file, book)
    assert file.given_up() == given_up
    left = kept(file)
    assert max(at for of_meter in left.values() for at in of_meter) == max(at for m in book.values() for at in m)
    assert all(max(left[serial]) == max(book[serial]) for serial in book)  # the newest of each stays
    # Behind the oldest that is left, midnights are whole.
    midnight = to_us(datetime(2026, 3, 4, tzinfo=SHANGHAI))
    assert all(any(abs(at - midnight) < 20 * 60 * 10**6 for at in left[serial]) for serial in book)


def test_meters_that_tell_again_go_first_and_are_noted(full: Any) -> None:
    file, book = full
    storing = BUSES[STORING]
    given_up = _room(file, *storing).make(bytes_of(file) * 3 // 4, behind=0)
    assert given_up == {"stored_profile": _counted(file, book)}
    left = kept(file)
    assert all(left[serial] == book[serial] for serial in book if serial not in storing)
    holes: dict[str, list[Hole]] = {}
    for hole in file.holes():
        holes.setdefault(hole.serial, []).append(hole)
    for serial in storing:
        gone = book[serial].keys() - left[serial].keys()
        assert gone == {at for at in book[serial] for h in holes[serial] if h.from_us < at < h.to_us}
        assert all({h.from_us, h.to_us} <= left[serial].keys() for h in holes[serial])  # both ends bound it


def test_what_is_on_its_way_to_the_store_is_left_alone(full: Any) -> None:
    file, book = full
    lent = [record.id for record in file.oldest(after=0, most=2000)][-1]
    before = kept_until(file, lent)
    _room(file).make(38_000, behind=lent)
    assert kept_until(file, lent) == before
    assert _counted(file, book) == sum(file.given_up().values())


def kept_until(file: SpoolFile, last: int) -> list[RoundResult]:
    return [unpack(r.version, r.packed) for r in file.oldest(after=0, most=10**9) if r.id <= last]


def test_what_was_passed_over_on_its_way_is_thinned_later(full: Any) -> None:
    file, _ = full
    room = _room(file)
    before = bytes_of(file)
    lent = [record.id for record in file.oldest(after=0, most=2000)][-1]
    room.make(before * 3 // 4, behind=lent)
    untouched = kept_until(file, lent)
    room.make(before // 3, behind=0)
    assert sum(map(len, kept_until(file, lent))) < sum(map(len, untouched)) / 2


def test_a_spool_that_stays_full_for_days_keeps_every_midnight_as_long_as_anything_lies_between(tmp_path: Path) -> None:
    file, rng = spool_file(tmp_path), random.Random(6)
    room = _room(file)
    serials = [str(n) for n in range(60)]
    most_bytes, given_up = 140_000, Counter[str]()
    instants = [BEGIN + tick * QUARTER for tick in range(14 * 96)]
    for tick, at in enumerate(instants):
        file.append([record(file, measured(at, {s: 1000 * n + tick for n, s in enumerate(serials)}, rng))])
        if bytes_of(file) > most_bytes:
            given_up.update(room.make(most_bytes - 5_000, behind=0))
    assert given_up.keys() == {"between"}
    left = {reading.instant_us for result in results(file) for _, reading in result.readings}
    assert given_up["between"] + file.totals().readings == len(instants) * len(serials)
    for a, b in pairwise(instants):
        if a.date() != b.date():
            assert {to_us(a), to_us(b)} <= left
    assert {to_us(instants[0]), to_us(instants[-1])} <= left


def test_status_words_are_kept_as_long_as_they_say_something(tmp_path: Path) -> None:
    file = spool_file(tmp_path)
    meter = MeterIdentity("Eastron", "1")
    words, records = [0, 0, 1, 1, 1, 0, 0, 0], []
    for tick in range(96):
        result = round_at(BEGIN + tick * QUARTER, {"1": tick, "2": tick})
        word = StatusWord(
            meter=meter,
            register="holding 16",
            word=words[tick % 8],
            bits={0: (EventKind.COVER_OPENED, None)},
            instant_us=result.began_us,
        )
        result.status.append(word)
        records.append(record(file, result))
    file.append(records)
    _room(file).make(bytes_of(file) * 9 // 10, behind=0)
    told = [word.word for result in results(file) for word in result.status]
    changes = [a != b for a, b in pairwise(told)]
    assert sum(changes) == 2 * 12  # each opening and each closing
    assert len(told) < 96


def test_a_spoilt_record_holds_nothing_up_and_stays(tmp_path: Path) -> None:
    file = spool_file(tmp_path)
    rng, records = random.Random(5), []
    for tick in range(96):
        records.append(record(file, measured(BEGIN + tick * QUARTER, {str(n): tick for n in range(40)}, rng)))
        records.append(NewRecord(VERSION, BUS, to_us(BEGIN + tick * QUARTER), 1, 1, b"spoilt %d" % tick))
    file.append(records)
    given_up = _room(file).make(bytes_of(file) // 2, behind=0)
    assert given_up["between"] > 1000
    assert sum(record.packed.startswith(b"spoilt") for record in file.oldest(after=0, most=10**9)) == 96


def test_a_clock_that_was_set_back_ends_it_all_the_same(tmp_path: Path) -> None:
    file = spool_file(tmp_path)
    rng = random.Random(5)
    days = [measured(BEGIN - timedelta(days=n), {str(meter): n for meter in range(40)}, rng) for n in range(300)]
    file.append([record(file, day) for day in days])
    goal = bytes_of(file) // 4
    _room(file).make(goal, behind=0)
    assert bytes_of(file) <= goal


def test_what_was_told_is_forgotten_unless_more_was_given_up_since(full: Any) -> None:
    file, _ = full
    _room(file).make(bytes_of(file) - 8192, behind=0)
    until = file.totals().full_until
    assert until is not None
    file.forgive(until - 1)
    assert file.given_up() != {}
    assert file.totals().full
    file.forgive(until)
    assert file.given_up() == {}
    assert not file.totals().full
