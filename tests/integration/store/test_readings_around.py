"""What settlement reads of a stretch: all readings in it and the few around it, with all they say."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from drivers.base import READING_DTYPE, Source, empty
from headend.domain.calendar import from_us, to_us
from headend.store import intervals
from headend.store.intervals import FEW
from headend.store.vectors import ABSENT

MINUTE = 60_000_000
DAY = 1_440 * MINUTE
COLUMNS = ("import_wh", "export_wh", "voltage_dv", "flags", "resolution_wh")


def _meter(choose: random.Random, book: Any, meter: int, stamps: set[int]) -> Any:
    rows = empty(READING_DTYPE, len(stamps))
    rows["meter"], rows["ts_us"], rows["source"] = meter, sorted(stamps), Source.CONCENTRATOR
    rows["import_wh"] = 1_000 * meter + np.arange(len(stamps))
    rows["export_wh"] = [choose.choice((0, 0, 7)) for _ in stamps]
    rows["voltage_dv"] = [choose.choice((2300, 2310)) for _ in stamps]
    said = choose.choice((0, 0.1, 1))
    rows["resolution_wh"] = [
        64 if choose.random() < said else np.iinfo(rows["resolution_wh"].dtype).min for _ in stamps
    ]
    rows["flags"] = [choose.random() < said / 3 for _ in stamps]
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_all_in_the_stretch_and_a_few_on_either_side(book: Any, seed: int) -> None:
    choose = random.Random(seed)
    start, end = to_us(book.start) + 10 * DAY, to_us(book.start) + 12 * DAY
    parts = []
    for meter in range(1, 13):
        step = choose.choice((1, 15, 60, 700)) * MINUTE
        first = start - choose.choice((0, 3, 6, 100, 5_000, 14_000)) * MINUTE
        last = end + choose.choice((-2_000, 0, 3, 80, 14_000)) * MINUTE
        stamps = {*range(first, last, step)} if meter != 7 else set()
        if choose.random() < 0.5:
            stamps = {t for t in stamps if not start - 80 * MINUTE <= t < start or choose.random() < 0.3}
        if step == MINUTE:
            stamps = {t for t in stamps if abs(t - start) < 300 * MINUTE or abs(t - end) < 300 * MINUTE}
        parts.append(_meter(choose, book, meter, stamps))
    rows = np.concatenate(parts)
    book.append(rows)
    with book.store.transaction() as connection:
        found = intervals.readings(connection, list(range(12, 0, -1)), from_us(start), from_us(end))
        alone = intervals.readings(connection, [3], from_us(start), from_us(end))
        nothing = intervals.readings(connection, [7, 99], from_us(start), from_us(end))
    assert not nothing
    assert 7 not in found
    for meter, own in found.items():
        mine = rows[rows["meter"] == meter]
        low, high = np.searchsorted(mine["ts_us"], (start, end))
        wanted = mine[max(low - FEW, 0) : high + FEW]
        assert own.ts_us.tolist() == wanted["ts_us"].tolist(), meter
        for name in COLUMNS:
            absent = {"resolution_wh": 0}.get(name, ABSENT)
            smallest = np.iinfo(wanted[name].dtype).min
            plain = [absent if v == smallest else int(v) for v in wanted[name].tolist()]
            assert getattr(own, name).tolist() == plain, (meter, name)
    assert set(found) == set(np.unique(rows["meter"]).tolist())
    assert alone[3].ts_us.tolist() == found[3].ts_us.tolist()


def test_readings_long_ago_are_found_too(book: Any) -> None:
    choose = random.Random(1)
    start = to_us(book.start)
    book.append(_meter(choose, book, 1, {start - 60 * DAY, start + 70 * DAY}))
    with book.store.transaction() as connection:
        found = intervals.readings(connection, [1], from_us(start), from_us(start + DAY))
        empty_stretch = intervals.readings(connection, [1], from_us(start), from_us(start))
    assert found[1].ts_us.tolist() == empty_stretch[1].ts_us.tolist() == [start - 60 * DAY, start + 70 * DAY]
    assert timedelta(days=60) > timedelta(days=intervals.GAP_DAYS), "further than the first look"
