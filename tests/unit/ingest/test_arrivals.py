"""Spans of late readings: each late reading in one, nothing that was stored before in any, and few of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.ingest.arrivals import LATE_AFTER_US, late
from headend.store.history import METERS_A_BLOCK, Arrivals
from headend.store.readings import STORED_DTYPE

NOW_US = 1_772_380_800_000_000
QUARTER_US = 900_000_000
LOWEST = np.iinfo(np.int64).min


def _rows(keys: list[tuple[int, int]]) -> np.ndarray:
    rows = np.zeros(len(keys), dtype=STORED_DTYPE)
    for i, (meter, ts_us) in enumerate(sorted(keys)):
        rows[i]["meter"], rows[i]["ts_us"] = meter, ts_us
    return rows


def _spans(rows: np.ndarray, stored: np.ndarray, now_us: int = NOW_US) -> tuple[Arrivals, np.ndarray]:
    """What is noted when `rows` come and `stored` is all there is; and which of them are late."""
    newest = {int(m): int(stored["ts_us"][stored["meter"] == m].max()) for m in np.unique(stored["meter"])}
    newest_us = np.array([newest.get(int(m), LOWEST) for m in rows["meter"]], dtype=np.int64)
    there = {(int(r["meter"]), int(r["ts_us"])) for r in stored}
    new = np.array([(int(r["meter"]), int(r["ts_us"])) not in there for r in rows], dtype=np.bool_)
    return late(rows, new, newest_us, stored, now_us), new & (rows["ts_us"] < now_us - LATE_AFTER_US)


def _covered(spans: Arrivals, meter: int, ts_us: int) -> int:
    block, bit = divmod(meter, METERS_A_BLOCK)
    return sum(
        bool(spans.meters[i][bit // 8] >> (bit % 8) & 1)
        for i in np.flatnonzero((spans.block == block) & (spans.first_us <= ts_us) & (spans.last_us >= ts_us))
    )


def test_what_comes_in_time_is_not_noted() -> None:
    rows = _rows([(m, NOW_US - age * 60_000_000) for m in range(600) for age in (0, 14)])
    spans, _ = _spans(rows, _rows([]))
    assert spans.block.size == 0
    assert spans.meters == []


def test_a_days_upload_of_many_meters_is_one_row_a_block() -> None:
    start = NOW_US - 25 * 4 * QUARTER_US
    rows = _rows([(m, start + k * QUARTER_US) for m in range(512) for k in range(96)])
    spans, were_late = _spans(rows, _rows([(m, start - QUARTER_US) for m in range(512)]))
    assert were_late.all()
    assert spans.block.tolist() == [0, 1]
    assert all(_covered(spans, int(r["meter"]), int(r["ts_us"])) == 1 for r in rows[::37])
    assert not any(_covered(spans, m, start - QUARTER_US) for m in range(512))


def test_meters_read_a_little_apart_share_a_row() -> None:
    start = (NOW_US - 24 * 4 * QUARTER_US) // QUARTER_US * QUARTER_US
    rows = _rows([(m, start + k * QUARTER_US + m * 1_000_000) for m in range(256) for k in range(50)])
    spans, _ = _spans(rows, _rows([]))
    assert spans.block.size == 1


def test_a_hole_that_is_filled_is_a_span_of_its_own() -> None:
    start = NOW_US - 96 * QUARTER_US
    stored = _rows([(7, start + k * QUARTER_US) for k in range(96) if k not in {3, 4, 5, 9}])
    spans, _ = _spans(_rows([(7, start + k * QUARTER_US) for k in range(2, 11)]), stored)
    assert sorted(zip(spans.first_us.tolist(), spans.last_us.tolist(), strict=True)) == [
        (start + 3 * QUARTER_US, start + 5 * QUARTER_US),
        (start + 9 * QUARTER_US, start + 9 * QUARTER_US),
    ]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    stored=st.sets(st.tuples(st.integers(254, 258), st.integers(0, 40)), max_size=60),
    sent=st.sets(st.tuples(st.integers(254, 258), st.integers(0, 40)), min_size=1, max_size=60),
    jitter=st.integers(0, 899),
)
def test_every_late_reading_and_none_that_was_stored(
    stored: set[tuple[int, int]], sent: set[tuple[int, int]], jitter: int
) -> None:
    def at(k: int) -> int:
        return NOW_US - 38 * QUARTER_US + k * QUARTER_US + jitter * 1_000_000

    there = _rows([(m, at(k)) for m, k in stored])
    rows = _rows([(m, at(k)) for m, k in sent])
    spans, were_late = _spans(rows, there)
    for row, is_late in zip(rows, were_late, strict=True):
        found = _covered(spans, int(row["meter"]), int(row["ts_us"]))
        key = int(row["meter"]), int(row["ts_us"])
        if key in {(int(r["meter"]), int(r["ts_us"])) for r in there}:
            assert found == 0, "it was stored before"
        elif is_late:
            assert found == 1
    assert not any(_covered(spans, int(r["meter"]), int(r["ts_us"])) for r in there)
