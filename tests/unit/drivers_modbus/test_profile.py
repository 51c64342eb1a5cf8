"""Gaps are read back from stored profiles: every record once, oldest first, whatever the meter does meanwhile."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.base import Quantity
from drivers.modbus.features import DAY_S, WriteTarget
from drivers.modbus.profile import Gap, kept_since_us, may_be_read, walk_of
from drivers.modbus.profile_records import Bounds, Doubtful, Frozen, instants_of, midnight_us, to_us
from support.profiles import BERLIN, DATE, LOCAL, SHANGHAI, UNIX, StoringMeter, spec_of, us, utc

NOW = utc(2026, 11, 20, 4, 7)
H, MIN = timedelta(hours=1), timedelta(minutes=1)
IMPORT = Quantity.IMPORT_WH


def _read(
    meter: StoringMeter,
    begin: datetime,
    end: datetime,
    now: datetime,
    *,
    most: int = 5,
    bounds: Bounds | None = None,
    question_s: float = 0.0,
    asks: list[Any] | None = None,
) -> tuple[list[Frozen], list[Doubtful]]:
    """Read a gap back; each question takes a while, in which the meter may freeze another record."""
    walk = walk_of(meter.spec, Gap(us(begin), us(end)), bounds or Bounds(), zone=meter.zone, most=most)
    frozen: list[Frozen] = []
    doubtful: list[Doubtful] = []
    for _ in range(10_000):
        ask = walk.ask(us(now))
        if ask is None:
            assert walk.done_to_us == us(end) or not meter.frozen
            return frozen, doubtful
        if asks is not None:
            asks.append(ask)
        then = now + timedelta(seconds=question_s)
        if question_s:
            meter.run(now, then)
        found = walk.take(meter.answer(ask), us(then))
        now = then
        assert all(f.instant_us <= walk.done_to_us for f in found.frozen)
        frozen += found.frozen
        doubtful += found.doubtful
    raise AssertionError("it never comes to an end")


def _expected(meter: StoringMeter, begin: datetime, end: datetime) -> list[int]:
    kept = meter.frozen[-meter.spec.records :]
    return [us(at) for at in kept if begin < at < end]


@given(
    order=st.sampled_from(["newest_first", "ring"]),
    stamp=st.sampled_from([LOCAL, UNIX]),
    period_s=st.sampled_from([300, 900, 3600]),
    records=st.integers(1, 60),
    most=st.integers(1, 12),
    selected=st.booleans(),
    age=st.integers(0, 80),
    length=st.integers(1, 80),
    dark=st.lists(st.tuples(st.integers(0, 120), st.integers(1, 20)), max_size=3),
    question_s=st.sampled_from([0.0, 0.4, 70.0]),
)
@example(  # a record is missing, and another one is frozen while that is found out
    order="newest_first",
    stamp=UNIX,
    period_s=300,
    records=19,
    most=1,
    selected=False,
    age=0,
    length=16,
    dark=[(14, 1)],
    question_s=70.0,
)
def test_every_record_of_the_gap_once_in_order(
    order: Any,
    stamp: Any,
    period_s: int,
    records: int,
    most: int,
    selected: bool,
    age: int,
    length: int,
    dark: list[tuple[int, int]],
    question_s: float,
) -> None:
    selector = WriteTarget(function=6, address=0x1000) if selected else None
    spec = spec_of(records=records, period_s=period_s, order=order, stamp=stamp, selector=selector)
    meter = StoringMeter(spec, SHANGHAI)
    period = timedelta(seconds=period_s)
    outages = [(NOW - since * period, NOW - (since - long) * period) for since, long in dark]
    meter.run(NOW - 150 * period, NOW, outages)
    end = NOW - age * period
    begin = end - length * period
    before = list(meter.frozen)
    found, doubtful = _read(meter, begin, end, NOW, most=most, question_s=question_s)
    assert doubtful == []
    told = [f.instant_us for f in found]
    assert told == sorted(set(told))
    everything = [us(at) for at in before if begin < at < end]
    assert set(told) <= set(everything)
    if not question_s:
        assert told == _expected(meter, begin, end)
        assert [f.values[IMPORT] for f in found] == [meter.register_wh(at) for at in before if us(at) in set(told)]
    else:  # what is still kept when it is over must have been told
        assert set(_expected(meter, begin, end)) <= set(told)


@pytest.mark.parametrize("most", [1, 4])
@pytest.mark.parametrize("delay", range(12))
def test_a_record_frozen_while_we_read_moves_the_others_on_and_loses_none(most: int, delay: int) -> None:
    selector = WriteTarget(function=6, address=0x1000) if most == 1 else None
    meter = StoringMeter(spec_of(records=96, period_s=900, selector=selector), SHANGHAI)
    now = utc(2026, 11, 20, 4, 29, 60 - 1) - timedelta(seconds=delay)
    meter.run(now - 30 * H, now)
    begin, end = now - 9 * H, now - 2 * H
    before = _expected(meter, begin, end)
    found, _ = _read(meter, begin, end, now, most=most, question_s=1.0)
    assert [f.instant_us for f in found] == before
    assert len(before) == 28


def test_few_questions() -> None:
    meter = StoringMeter(spec_of(records=5_760, period_s=900), SHANGHAI)
    meter.run(NOW - timedelta(days=70), NOW)
    recent: list[Any] = []
    _read(meter, NOW - 6 * H, NOW - MIN, NOW, most=14, asks=recent)
    assert len(recent) <= 4  # 24 records, 14 to a question, and one look for the beginning
    assert all(ask.first + ask.count <= 40 for ask in recent)
    old: list[Any] = []
    _read(meter, NOW - timedelta(days=50), NOW - timedelta(days=50) + 6 * H, NOW, most=14, asks=old)
    assert len(old) <= 5
    meter.frozen = meter.frozen[:3000] + meter.frozen[5000:]  # three weeks without power
    dark: list[Any] = []
    found, _ = _read(meter, NOW - timedelta(days=50), NOW - timedelta(days=50) + 6 * H, NOW, most=14, asks=dark)
    assert len(dark) <= 16  # found by halving
    assert len(found) == 24


@pytest.mark.parametrize("order", ["newest_first", "ring"])
@pytest.mark.parametrize("most", [1, 3, 50])
@pytest.mark.parametrize("begin_h", [-5, -0.6, 0.2, 0.8, 1.2])
def test_the_hour_that_the_clocks_show_twice(order: Any, most: int, begin_h: float) -> None:
    back = utc(2026, 10, 25, 1)  # 03:00 CEST becomes 02:00 CET
    meter = StoringMeter(spec_of(records=96, period_s=900, order=order), BERLIN)
    now = back + 6 * H
    meter.run(back - 12 * H, now)
    begin, end = back + timedelta(hours=begin_h, minutes=2), back + 3 * H
    found, doubtful = _read(meter, begin, end, now, most=most)
    assert [f.instant_us for f in found] == _expected(meter, begin, end)
    assert doubtful == []
    assert [f.values[IMPORT] for f in found] == sorted(f.values[IMPORT] for f in found)


@pytest.mark.parametrize("most", [1, 2, 4, 9])
@pytest.mark.parametrize("dark_from_min", range(-75, 60, 15))
def test_power_that_fails_in_that_hour_makes_nothing_told_twice(most: int, dark_from_min: int) -> None:
    back = utc(2026, 10, 25, 1)
    meter = StoringMeter(spec_of(records=96, period_s=900), BERLIN)
    now = back + 6 * H
    dark = back + dark_from_min * MIN
    meter.run(back - 12 * H, now, [(dark, dark + 15 * MIN)])
    found, doubtful = _read(meter, back - 3 * H, back + 3 * H, now, most=most)
    assert [f.instant_us for f in found] == _expected(meter, back - 3 * H, back + 3 * H)
    assert doubtful == []


def test_the_hour_that_the_clocks_skip_names_no_instant() -> None:
    spring = utc(2026, 3, 29, 1)  # 02:00 CET becomes 03:00 CEST
    meter = StoringMeter(spec_of(records=96, period_s=900), BERLIN)
    meter.run(spring - 12 * H, spring + 6 * H)
    found, doubtful = _read(meter, spring - 2 * H, spring + 2 * H, spring + 6 * H)
    assert [f.instant_us for f in found] == _expected(meter, spring - 2 * H, spring + 2 * H)
    assert doubtful == []
    skipped = (26 << 8 | 3, 29 << 8 | 2, 30 << 8)  # 02:30, which a meter that knows of no summer time would show
    assert instants_of(LOCAL, skipped, BERLIN) == ()
    assert len(instants_of(LOCAL, (26 << 8 | 10, 25 << 8 | 2, 30 << 8), BERLIN)) == 2
    assert instants_of(LOCAL, (26 << 8 | 13, 25 << 8 | 2, 30 << 8), BERLIN) == ()


@pytest.mark.parametrize("zone", [SHANGHAI, BERLIN])
@pytest.mark.parametrize("stamp", [DATE, LOCAL, None])
@pytest.mark.parametrize("month", [3, 7, 10])
def test_registers_frozen_at_midnight(zone: Any, stamp: Any, month: int) -> None:
    meter = StoringMeter(spec_of(records=62, period_s=DAY_S, stamp=stamp), zone)
    now = utc(2026, month, 31, 12, 30)
    meter.run(now - timedelta(days=100), now)
    begin, end = now - timedelta(days=20, hours=3), now - timedelta(days=2, hours=13)
    found, doubtful = _read(meter, begin, end, now, most=4)
    assert [f.instant_us for f in found] == _expected(meter, begin, end)
    assert doubtful == []
    assert {datetime.fromtimestamp(f.instant_us / 1e6, zone).strftime("%H:%M") for f in found} == {"00:00"}
    assert len(found) == 18
    none, _ = _read(meter, now - 4 * H, now - 2 * H, now)
    assert none == []  # no midnight lies in it


def test_records_without_stamps_are_not_told_apart_about_midnight() -> None:
    spec = spec_of(records=62, period_s=DAY_S, stamp=None)
    midnight = utc(2026, 11, 19, 16)  # in Shanghai
    assert not may_be_read(spec, us(midnight), SHANGHAI)
    assert not may_be_read(spec, us(midnight - 9 * MIN), SHANGHAI)
    assert not may_be_read(spec, us(midnight + 9 * MIN), SHANGHAI)
    assert may_be_read(spec, us(midnight + 11 * MIN), SHANGHAI)
    assert may_be_read(spec_of(records=62, period_s=DAY_S, stamp=DATE), us(midnight), SHANGHAI)
    meter = StoringMeter(spec, SHANGHAI)
    meter.run(midnight - timedelta(days=9), midnight)
    walk = walk_of(spec, Gap(us(midnight - timedelta(days=5)), us(midnight - 2 * H)), Bounds(), zone=SHANGHAI, most=9)
    ask = walk.ask(us(midnight - 11 * MIN))
    assert ask is not None
    assert walk.take(meter.answer(ask), us(midnight + 11 * MIN)).frozen == ()  # midnight came in between
    again = walk.ask(us(midnight + 11 * MIN))
    assert again == replace(ask, first=ask.first + 1)
    assert len(walk.take(meter.answer(again), us(midnight + 12 * MIN)).frozen) == 4


def test_a_meter_that_has_nothing_of_it() -> None:
    meter = StoringMeter(spec_of(records=96, period_s=900), SHANGHAI)
    assert _read(meter, NOW - 3 * H, NOW - H, NOW) == ([], [])  # never filled
    meter.run(NOW - 300 * H, NOW - 200 * H)
    assert _read(meter, NOW - 3 * H, NOW - H, NOW) == ([], [])  # it stopped long ago
    meter.run(NOW - 30 * MIN, NOW)
    assert _read(meter, NOW - 3 * H, NOW - H, NOW) == ([], [])  # and began again behind it
    assert kept_since_us(meter.spec, us(NOW)) == us(NOW - 97 * 15 * MIN)


class _Spoilt(StoringMeter):
    """Some of its records say nonsense."""

    spoil: Any = None

    def words(self, number: int) -> tuple[int, ...]:
        return tuple(self.spoil(number, list(super().words(number))))


@pytest.mark.parametrize("order", ["newest_first", "ring"])
def test_nonsense_is_told_and_not_believed(order: Any) -> None:
    meter = _Spoilt(spec_of(records=40, period_s=900, order=order), SHANGHAI)
    meter.run(NOW - 40 * 15 * MIN, NOW)
    begin, end = NOW - 6 * H, NOW - H
    sound = _expected(meter, begin, end)
    newest = order == "newest_first"

    def spoil(number: int, words: list[int]) -> list[int]:
        place = number if newest else 39 - number
        if place == 8:
            words[0] = 26 << 8 | 19  # the 19th month
        if place == 12:
            words[4:6] = [0, 5]  # far less than before
        if place == 16:
            words[4:6] = [0x7FFF, 0xFFFF]  # far more than after
        return words

    meter.spoil = spoil
    bounds = Bounds(before={IMPORT: meter.register_wh(begin)}, after={IMPORT: meter.register_wh(end)})
    found, doubtful = _read(meter, begin, end, NOW, bounds=bounds)
    assert len(found) == len(sound) - 3
    assert {f.instant_us for f in found} < set(sound)
    told = {(d.doubt, d.detail.split(":")[-1].strip().split()[0]) for d in doubtful}
    assert told == {("stamp", "its"), ("registers", "less"), ("registers", "more")}
    assert all(len(d.words) == meter.spec.stride for d in doubtful)


def test_a_register_may_roll_over_and_a_coarse_one_may_stand_a_step_back() -> None:
    meter = StoringMeter(spec_of(records=40, period_s=900), SHANGHAI)
    meter.run(NOW - 10 * H, NOW)
    begin, end = NOW - 6 * H, NOW - H
    middle = meter.register_wh(NOW - 3 * H)
    meter_wh = meter.register_wh
    meter.register_wh = lambda at: (meter_wh(at) - middle) % 10**8  # type: ignore[method-assign]
    bounds = Bounds(before={IMPORT: meter.register_wh(begin)}, after={IMPORT: meter.register_wh(end)})
    assert len(_read(meter, begin, end, NOW, bounds=bounds)[1]) > 0
    known = replace(bounds, rollover_wh=10**8)
    assert _read(meter, begin, end, NOW, bounds=known)[1] == []
    meter.register_wh = meter_wh  # type: ignore[method-assign]
    first = _expected(meter, begin, end)[0]
    exact = Bounds(before={IMPORT: meter.register_wh(begin + 2 * MIN) + 9}, after={IMPORT: meter.register_wh(end)})
    assert _read(meter, begin, end, NOW, bounds=exact)[0][0].instant_us == first
    coarse = Bounds(before={IMPORT: meter.register_wh(begin + 2 * MIN) + 900}, step_wh=1000.0)
    assert _read(meter, begin, end, NOW, bounds=coarse)[1] == []
    assert len(_read(meter, begin, end, NOW, bounds=replace(coarse, step_wh=100.0))[1]) > 0
    beyond = Bounds(before={IMPORT: meter.register_wh(NOW) + 500})
    assert _read(meter, begin, end, NOW, bounds=beyond)[0] == []


def test_readings_of_a_record_hold_what_it_measures_and_its_step() -> None:
    meter = StoringMeter(spec_of(records=4, period_s=900), SHANGHAI)
    meter.run(NOW - 2 * H, NOW)
    found, _ = _read(meter, NOW - H, NOW - MIN, NOW)
    assert {(f.resolution_wh, f.values[Quantity.EXPORT_WH]) for f in found} == {(10.0, 0)}


def test_another_number_of_registers_is_an_error() -> None:
    walk = walk_of(spec_of(records=4, period_s=900), Gap(us(NOW - H), us(NOW)), Bounds(), zone=SHANGHAI, most=3)
    ask = walk.ask(us(NOW))
    assert ask is not None
    with pytest.raises(ValueError, match="wanted"):
        walk.take((0,) * 5, us(NOW))


@given(st.binary(max_size=800), st.integers(1, 5), st.randoms(use_true_random=False))
def test_no_registers_raise_or_go_on_for_ever(noise: bytes, most: int, luck: random.Random) -> None:
    for order, stamp, period_s in (("newest_first", LOCAL, 900), ("ring", LOCAL, 900), ("newest_first", None, DAY_S)):
        spec = spec_of(records=30, period_s=period_s, order=order, stamp=stamp)  # type: ignore[arg-type]
        walk = walk_of(spec, Gap(us(NOW - 50 * H), us(NOW - H)), Bounds(), zone=BERLIN, most=most)
        words = [int.from_bytes(noise[i : i + 2], "big") for i in range(0, len(noise), 2)] or [0]
        for _ in range(300):
            ask = walk.ask(us(NOW))
            if ask is None:
                break
            found = walk.take([luck.choice(words) for _ in range(ask.count * spec.stride)], us(NOW))
            assert all(us(NOW - 50 * H) < f.instant_us < us(NOW - H) for f in found.frozen)
        else:
            raise AssertionError("it never comes to an end")


def test_midnights() -> None:
    assert midnight_us(utc(2026, 3, 29, 12).astimezone(BERLIN), 0) == to_us(utc(2026, 3, 28, 23))
    assert midnight_us(utc(2026, 3, 30, 12).astimezone(BERLIN), 0) == to_us(utc(2026, 3, 29, 22))
    assert midnight_us(utc(2026, 3, 30, 12).astimezone(BERLIN), 1) == to_us(utc(2026, 3, 28, 23))
