"""Which rows of a batch are taken, and which stretches of time they touch."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import PHASE_DTYPE, READING_DTYPE, MeterIdentity, ReadingBatch, empty
from headend.ingest import assemble
from headend.ingest.identity import Directory
from headend.ingest.item import Item

DAY = assemble.DAY_US
LOW, HIGH = np.iinfo(np.int64).min, np.iinfo(np.int64).max


def directory(**meters: int) -> Directory:
    known = Directory()
    known._meters = {MeterIdentity("A", serial): number for serial, number in meters.items()}
    return known


def rows(*pairs: tuple[int, int]) -> np.ndarray:
    made = empty(READING_DTYPE, len(pairs))
    for i, (meter, ts_us) in enumerate(pairs):
        made["meter"][i], made["ts_us"][i], made["import_wh"][i], made["source"][i] = meter, ts_us, i, 2
    return made


def item(serials: str, *pairs: tuple[int, int]) -> Item:
    batch = ReadingBatch(tuple(MeterIdentity("A", s) for s in serials), rows(*pairs))
    return Item(channel="mqtt", origin="t", received_us=0, payload=b"", batch=batch)


def test_unknown_meters_and_instants_out_of_bounds_are_left_out_and_named() -> None:
    items = [item("xy", (0, 10), (1, 10)), item("x", (0, 4), (0, 5), (0, 20), (0, 21)), item("x", (0, 11))]
    columns, problems = assemble.gather(items, directory(x=7), oldest_us=5, newest_us=20)
    assert columns.readings[["meter", "ts_us"]].tolist() == [(7, 5), (7, 10), (7, 11), (7, 20)]
    assert {p: [e.reason for e in entries] for p, entries in problems.items()} == {
        0: ["unknown_meter"],
        1: ["too_old", "in_future"],
    }
    assert "A/y" in problems[0][0].detail
    assert (columns.refused, columns.received) == (3, {2: 7})


def test_equal_keys_keep_their_arrival_order() -> None:
    columns, _ = assemble.gather([item("x", (0, 10), (0, 9), (0, 10))], directory(x=7), oldest_us=0, newest_us=99)
    assert columns.readings["ts_us"].tolist() == [9, 10, 10]
    assert columns.readings["import_wh"].tolist() == [1, 0, 2]
    assert columns.first.tolist() == [True, True, False]


def test_newer_than() -> None:
    made = rows((1, 5), (1, 6), (2, 1), (3, 0))
    assert assemble.newer_than(made, {1: 5, 3: 0}).tolist() == [False, True, True, False]


def test_runs_break_at_holes_longer_than_a_day() -> None:
    made = rows((1, 0), (1, DAY), (1, 2 * DAY + 1), (2, 5), (4, 5), (4, 6))
    runs = assemble.runs(made)
    assert list(zip(runs.meter, runs.first_us, runs.last_us, strict=True)) == [
        (1, 0, DAY),
        (1, 2 * DAY + 1, 2 * DAY + 1),
        (2, 5, 5),
        (4, 5, 6),
    ]
    assert assemble.runs(rows()).meter.size == 0


def test_reach_from_the_reading_before_to_the_one_after() -> None:
    runs = assemble.Stretches(np.array([1, 1, 1, 1]), np.array([DAY] * 4) * 50, np.array([DAY] * 4) * 51)
    before = np.array([49 * DAY, LOW, 9 * DAY, 50 * DAY - 1])
    after = np.array([HIGH, 52 * DAY, 92 * DAY, HIGH])
    reach = assemble.reaching(runs, before, after, 40)
    assert reach.first_us.tolist() == [49 * DAY, 50 * DAY - 1, 10 * DAY, 50 * DAY - 1]
    assert reach.last_us.tolist() == [51 * DAY, 52 * DAY - 1, 51 * DAY, 51 * DAY]


keys = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=20)


@settings(derandomize=True, deadline=None)
@given(keys, keys)
def test_membership_against_sets(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    ordered = sorted(left)
    made = rows(*ordered)
    picked = assemble.rows_at(made, np.array(right, dtype=np.int64).reshape(-1, 2))
    assert picked[["meter", "ts_us"]].tolist() == sorted(set(left) & set(right))
    phases = np.zeros(len(ordered), dtype=PHASE_DTYPE)
    phases["meter"], phases["ts_us"] = made["meter"], made["ts_us"]
    with_reading, others = assemble.pick_phases(phases, rows(*right))
    assert with_reading[["meter", "ts_us"]].tolist() == sorted(set(left) & set(right))
    assert len(with_reading) + len(others) == len(left)


def test_power_and_newest() -> None:
    phases = empty(PHASE_DTYPE, 1)
    phases["meter"], phases["ts_us"], phases["power_w"] = 1, 6, 40
    newest = assemble.newest_of_meter(rows((1, 5), (1, 6), (2, 1)))
    assert newest[["meter", "ts_us"]].tolist() == [(1, 6), (2, 1)]
    assert assemble.power_at(phases, newest).tolist() == [40, LOW]


def test_following_tells_what_is_before_without_asking_the_store() -> None:
    runs = assemble.Stretches(np.array([1, 1, 2, 3]), np.array([50, 90, 5, 7]), np.array([60, 95, 6, 8]))
    later, before = assemble.following(runs, {1: 40, 2: 5})
    assert later.tolist() == [True, True, False, True]
    assert before.tolist() == [40, 60, LOW, LOW]
