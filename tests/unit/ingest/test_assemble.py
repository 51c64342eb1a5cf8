"""Which rows of a batch are taken, and in which order."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import PHASE_DTYPE, READING_DTYPE, MeterIdentity, ReadingBatch, empty
from headend.ingest import assemble
from headend.ingest.identity import Directory
from headend.ingest.item import Item

DAY = assemble.DAY_US


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


def test_messages_in_order_need_no_sort_and_any_other_order_gets_one() -> None:
    one, other = item("x", (0, 10), (0, 20)), item("y", (0, 5), (0, 15))
    columns, _ = assemble.gather([one, other, item("x", (0, 30))], directory(x=7, y=3), oldest_us=0, newest_us=99)
    assert columns.readings[["meter", "ts_us"]].tolist() == [(3, 5), (3, 15), (7, 10), (7, 20), (7, 30)]
    assert (columns.meters.tolist(), columns.of_meter.tolist()) == ([3, 7], [0, 0, 1, 1, 1])
    columns, _ = assemble.gather([one, item("x", (0, 5), (0, 15))], directory(x=7), oldest_us=0, newest_us=99)
    assert columns.readings["ts_us"].tolist() == [5, 10, 15, 20]
    # What came second begins before what came first and ends where that begins.
    columns, _ = assemble.gather(
        [item("x", (0, 10), (0, 20)), item("x", (0, 5), (0, 10))], directory(x=7), oldest_us=0, newest_us=99
    )
    assert columns.readings[["ts_us", "import_wh"]].tolist() == [(5, 0), (10, 0), (10, 1), (20, 1)]


arrivals = st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=4), max_size=8)


@settings(derandomize=True, deadline=None)
@given(arrivals)
def test_rows_come_by_meter_and_instant_and_arrival_whatever_the_messages(
    messages: list[list[tuple[int, int]]],
) -> None:
    items = [item("xyz", *pairs) for pairs in messages]
    arrival = [(meter + 1, ts) for pairs in messages for meter, ts in pairs]
    for nth, row in enumerate(row for i in items if i.batch is not None for row in i.batch.rows):
        row["import_wh"] = nth
    columns, _ = assemble.gather(items, directory(x=1, y=2, z=3), oldest_us=0, newest_us=99)
    expected = sorted((meter, ts, nth) for nth, (meter, ts) in enumerate(arrival))
    assert columns.readings[["meter", "ts_us", "import_wh"]].tolist() == expected
    keys = [key[:2] for key in expected]
    assert columns.first.tolist() == [i == 0 or keys[i - 1] != key for i, key in enumerate(keys)]
    assert columns.meters[columns.of_meter].tolist() == [meter for meter, _ in keys]


@settings(derandomize=True, deadline=None)
@given(arrivals)
def test_every_phase_row_finds_the_reading_that_it_came_with(messages: list[list[tuple[int, int]]]) -> None:
    items = []
    for number, pairs in enumerate(messages):
        made = rows(*pairs)
        made["import_wh"] = 100 * number + np.arange(made.size)
        own = made[::2]
        phases = empty(PHASE_DTYPE, own.size)
        phases["meter"], phases["ts_us"], phases["power_w"] = own["meter"], own["ts_us"], own["import_wh"]
        batch = ReadingBatch(tuple(MeterIdentity("A", s) for s in "xyz"), made, phases)
        items.append(Item(channel="mqtt", origin="t", received_us=0, payload=b"", batch=batch))
    columns, _ = assemble.gather(items, directory(x=1, z=3), oldest_us=1, newest_us=99)
    own = columns.readings[columns.phase_of]
    assert (own["meter"] == columns.phases["meter"]).all()
    assert (own["ts_us"] == columns.phases["ts_us"]).all()
    # One that was said twice in a message with phases only once may stand with the other saying of it.
    assert (own["import_wh"] // 100 == columns.phases["power_w"] // 100).all()
    assert columns.phases.size == sum(
        1 for i in items if i.batch for p in i.batch.phases if p["meter"] != 1 and p["ts_us"] >= 1
    )


def test_utc_days() -> None:
    columns, _ = assemble.gather(
        [item("x", (0, 0), (0, DAY - 1), (0, 3 * DAY), (0, 3 * DAY + 5))],
        directory(x=7), oldest_us=0, newest_us=99 * DAY,
    )  # fmt: skip
    assert [d.isoformat() for d in assemble.utc_days(columns)] == ["1970-01-01", "1970-01-04"]
