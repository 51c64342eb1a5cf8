"""Which rows are believed new, which add nothing, which go the careful way: against a plain reading of the rule."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import ABSENT, ABSENT_DV, PHASE_DTYPE, READING_DTYPE, MeterIdentity, ReadingBatch, empty
from headend.ingest import assemble, known
from headend.ingest.assemble import Columns
from headend.ingest.identity import Directory
from headend.ingest.item import Item
from headend.store.readings import STORED_DTYPE, STORED_PHASE_DTYPE

HOUR = 3_600_000_000
Value = int | None
Sample = tuple[int, int, Value, Value, Value]
"""Meter, instant, import, voltage, and power where it comes with phases."""


def columns_of(samples: list[Sample]) -> Columns:
    directory = Directory()
    directory._meters = {MeterIdentity("A", str(m)): m for m in range(1, 4)}
    items = []
    for meter, ts, import_wh, voltage_dv, power_w in samples:
        made = empty(READING_DTYPE, 1)
        made["ts_us"] = ts
        made["import_wh"] = ABSENT if import_wh is None else import_wh
        made["voltage_dv"] = ABSENT_DV if voltage_dv is None else voltage_dv
        phases = empty(PHASE_DTYPE, int(power_w is not None))
        phases["ts_us"], phases["power_w"] = ts, power_w or 0
        phases["current_ma"][:, 1] = 10 * (power_w or 0)
        batch = ReadingBatch((MeterIdentity("A", str(meter)),), made, phases)
        items.append(Item(channel="mqtt", origin="t", received_us=0, payload=b"", batch=batch))
    return assemble.gather(items, directory, oldest_us=0, newest_us=99)[0]


def stored_of(stored: dict[tuple[int, int], tuple[Value, Value]]) -> np.ndarray:
    made = np.zeros(len(stored), dtype=STORED_DTYPE)
    for i, ((meter, ts), (import_wh, voltage_dv)) in enumerate(sorted(stored.items())):
        made[i] = (meter, ts, ABSENT if import_wh is None else import_wh, ABSENT, voltage_dv or ABSENT_DV)
    return made


def phases_of(stored: dict[tuple[int, int], Any], powers: list[int]) -> np.ndarray:
    """Some of what is stored has phases, some of these a power, some of these the same as a sample."""
    own = [(key, powers[i]) for i, key in enumerate(sorted(stored)) if powers[i]]
    made = np.zeros(len(own), dtype=STORED_PHASE_DTYPE)
    for name in ("import_wh", "export_wh", "current_ma"):
        made[name] = ABSENT
    made["voltage_dv"] = ABSENT_DV
    for i, ((meter, ts), power_w) in enumerate(own):
        made["meter"][i], made["ts_us"][i], made["power_w"][i] = meter, ts, power_w
        made["current_ma"][i, 1] = 10 * power_w
    return made


value = st.none() | st.integers(1, 2)
samples = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4), value, value, value), max_size=12)
contents = st.dictionaries(st.tuples(st.integers(1, 3), st.integers(1, 4)), st.tuples(value, value))


def says_more(said: tuple[Value, ...], other: tuple[Value, ...]) -> bool:
    return any(a is not None and a != b for a, b in zip(said, other, strict=True))


@settings(derandomize=True, deadline=None)
@given(samples, contents, st.lists(st.integers(0, 2), min_size=12, max_size=12))
def test_against_the_rule(
    given_samples: list[Sample], stored: dict[tuple[int, int], tuple[Value, Value]], powers: list[int]
) -> None:
    columns = columns_of(given_samples)
    rows = columns.readings
    newest = {m: max((t for n, t in stored if n == m), default=0) for m in range(1, 4)}
    newer = np.array(
        [ts > newest[m] for m, ts in zip(rows["meter"].tolist(), rows["ts_us"].tolist(), strict=True)], bool
    )
    judged = known.judge(columns, newer, stored_of(stored), phases_of(stored, powers))
    first_of: dict[tuple[int, int], Sample] = {}
    for place, sample in enumerate(sorted(given_samples, key=lambda s: s[:2])):
        key, said = sample[:2], sample[2:4]
        absent = key not in stored and key not in first_of
        other = first_of[key][2:4] if key in first_of else stored.get(key, (None, None))
        assert judged.absent[place] == absent
        stands = None if key in first_of or key not in stored else powers[sorted(stored).index(key)]
        phases_say_more = sample[4] is not None and sample[4] != stands
        assert judged.careful[place] == (not absent and (says_more(said, other) or phases_say_more))
        first_of.setdefault(key, sample)


def test_what_lies_far_apart_is_not_fetched_in_one() -> None:
    made = empty(READING_DTYPE, 5)
    made["meter"] = (1, 1, 1, 2, 2)
    made["ts_us"] = (0, 2 * HOUR, 4 * HOUR + 1, 0, 9 * HOUR)
    found = known.stretches(made)
    assert list(zip(found.meter, found.first_us, found.last_us, strict=True)) == [
        (1, 0, 2 * HOUR),
        (1, 4 * HOUR + 1, 4 * HOUR + 1),
        (2, 0, 0),
        (2, 9 * HOUR, 9 * HOUR),
    ]
