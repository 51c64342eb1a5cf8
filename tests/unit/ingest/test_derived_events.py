"""Events that readings show by themselves: one when an episode begins, one when it ends; only what the data show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import ABSENT, PHASE_DTYPE, READING_DTYPE, empty
from drivers.events import EventKind
from headend.ingest.derived_events import Bands, Derived, derive, speaking

S = 1_000_000
BANDS = Bands(
    over_voltage_v=253.0,
    under_voltage_v=195.5,
    hysteresis_v=3.0,
    phase_lost_v=138.0,
    reversed_a=0.2,
    reversed_w=50.0,
    feeds_in_wh=10_000,
)


def rows_of(*samples: tuple[int, int, float | None], export_wh: int | None = None) -> Any:
    """Rows of (meter, second, volts)."""
    rows = empty(READING_DTYPE, len(samples))
    for i, (meter, second, volts) in enumerate(samples):
        rows["meter"][i], rows["ts_us"][i], rows["uncertainty_ms"][i] = meter, second * S, 500
        if volts is not None:
            rows["voltage_dv"][i] = round(10 * volts)
        rows["export_wh"][i] = ABSENT if export_wh is None else export_wh
    return rows


def phases_of(
    rows: Any,
    volts: Sequence[tuple[float | None, ...]] = (),
    amperes: Sequence[tuple[float | None, ...]] = (),
    watts: Sequence[float | None] = (),
) -> Any:
    """Phase rows of the same readings."""
    phases = empty(PHASE_DTYPE, rows.size)
    phases["meter"], phases["ts_us"] = rows["meter"], rows["ts_us"]
    for name, values, scale in (("voltage_dv", volts, 10), ("current_ma", amperes, 1000)):
        for i, triple in enumerate(values):
            for phase, value in enumerate(triple):
                if value is not None:
                    phases[name][i, phase] = round(scale * value)
    for i, value in enumerate(watts):
        if value is not None:
            phases["power_w"][i] = round(value)
    return phases


def found(
    rows: Any, phases: Any = None, latest: Mapping[int, int] | None = None, open_: Mapping[int, int] | None = None
) -> tuple[list[tuple[int, str, int, int | None]], Derived]:
    made = derive(rows, empty(PHASE_DTYPE, 0) if phases is None else phases, latest or {}, open_ or {}, BANDS)
    return [(m, e.kind.value, e.instant_us // S, e.phase) for m, e in made.events], made


def test_one_event_when_an_over_voltage_begins_and_one_when_it_ends() -> None:
    volts = [230.0, 254.0, 260.0, 251.0, 254.0, 249.9, 230.0]
    events, made = found(rows_of(*((1, 10 * i, v) for i, v in enumerate(volts))))
    assert events == [(1, "over_voltage", 10, None), (1, "over_voltage_ended", 50, None)]
    assert [event.value for _, event in made.events] == [254.0, 249.9]
    assert [event.uncertainty_ms for _, event in made.events] == [10_500, 10_500], "since the reading before"
    assert made.open == {}, "nothing was open, nothing is"


def test_between_the_limits_nothing_begins_and_nothing_ends() -> None:
    assert found(rows_of((1, 0, 251.0), (1, 1, 252.9)))[0] == []
    open_ = found(rows_of((1, 0, 254.0)))[1].open
    events, made = found(rows_of((1, 1, 251.0), (1, 2, 252.0)), open_=open_)
    assert (events, made.open) == ([], {})


def test_an_episode_spans_batches_and_is_told_once() -> None:
    events, made = found(rows_of((7, 100, 190.0)), latest={7: 40 * S})
    assert events == [(7, "under_voltage", 100, None)]
    assert made.events[0][1].uncertainty_ms == 60_500
    open_ = dict(made.open)
    events, made = found(rows_of((7, 110, 180.0), (7, 120, 196.0)), latest={7: 100 * S}, open_=open_)
    assert (events, made.open) == ([], {})
    events, made = found(rows_of((7, 130, 199.0)), latest={7: 120 * S}, open_=open_)
    assert events == [(7, "under_voltage_ended", 130, None)]
    assert made.open == {7: 0}


def test_meters_do_not_mix() -> None:
    rows = rows_of((1, 0, 254.0), (1, 1, None), (2, 0, None), (2, 1, 230.0), (3, 0, 230.0), (3, 1, 254.0))
    events, made = found(rows)
    assert events == [(1, "over_voltage", 0, None), (3, "over_voltage", 1, None)]
    assert made.open == {1: 1, 3: 1}
    assert made.events[0][1].detail == "seen in the meter's first reading"


def test_what_was_not_measured_says_nothing() -> None:
    open_ = {1: 1}
    events, made = found(rows_of((1, 5, None), (1, 6, None)), open_=open_)
    assert (events, made.open) == ([], {})


def test_each_phase_has_its_own_band() -> None:
    rows = rows_of((1, 0, 230.0), (1, 1, 230.0), (1, 2, 230.0))
    phases = phases_of(rows, [(230, 231, 229), (254, 180, 229), (230, 230, None)])
    events, made = found(rows, phases)
    assert events == [
        (1, "over_voltage", 1, 1), (1, "under_voltage", 1, 2),
        (1, "over_voltage_ended", 2, 1), (1, "under_voltage_ended", 2, 2),
    ]  # fmt: skip
    assert made.open == {}


def test_a_phase_is_lost_while_another_one_is_live() -> None:
    rows = rows_of((1, 0, 150.0), (1, 1, 150.0), (1, 2, 230.0))
    events, _ = found(rows, phases_of(rows, [(231, 0, 229), (231, 0, 229), (231, 225, 229)]))
    assert events == [(1, "phase_lost", 0, 2), (1, "phase_restored", 2, 2)], "no under-voltage of what is not there"


def test_all_phases_gone_is_no_lost_phase_and_half_a_voltage_is_no_live_one() -> None:
    rows = rows_of((1, 0, 0.0), (1, 1, 57.7), (1, 2, 100.0))
    assert found(rows, phases_of(rows, [(0, 0, 0), (57.7, 57.7, 57.7), (150, 0, 150)]))[0] == [
        (1, "under_voltage", 2, 1),
        (1, "under_voltage", 2, 3),
    ]


def test_a_meter_of_one_phase_has_no_phase_number_whatever_else_it_measures() -> None:
    rows = rows_of((1, 0, 254.0))
    events, _ = found(rows, phases_of(rows, [(254, None, None)], watts=[500]))
    assert events == [(1, "over_voltage", 0, None)]


def test_one_phase_in_reverse_while_the_others_are_not() -> None:
    rows = rows_of(*((1, i, 230.0) for i in range(4)), export_wh=5)
    amperes = [(5, -4, 6), (5, -0.1, 6), (0, -4, 0), (5, 4, 6)]
    events, _ = found(rows, phases_of(rows, amperes=amperes))
    assert events == [(1, "reversed_current", 0, 2), (1, "reversed_current_ended", 3, 2)]


def test_a_current_in_reverse_needs_another_one_forward() -> None:
    rows = rows_of((1, 0, 230.0))
    assert found(rows, phases_of(rows, amperes=[(-5, -4, -6)]))[0] == []
    assert found(rows, phases_of(rows, amperes=[(0, -4, 0)]))[0] == []


def test_who_feeds_in_as_a_matter_of_course_is_not_reversed() -> None:
    rows = rows_of((1, 0, 230.0), export_wh=50_000)
    assert found(rows, phases_of(rows, amperes=[(5, -4, 6)], watts=[-900]))[0] == []
    rows = rows_of((1, 0, 230.0), export_wh=0)
    assert found(rows, phases_of(rows, watts=[-900]))[0] == [(1, "reversed_current", 0, None)]
    rows = rows_of((1, 0, 230.0))
    assert found(rows, phases_of(rows, watts=[-900]))[0] == [(1, "reversed_current", 0, None)], "it measures no export"


def test_phases_of_some_readings_only_find_theirs() -> None:
    rows = rows_of((1, 0, 230.0), (1, 1, 230.0), (2, 0, 230.0), (2, 1, 230.0))
    phases = phases_of(rows, [(1, 1, 1), (254, 230, 230), (254, 230, 230), (1, 1, 1)])[[1, 2]]
    assert found(rows, phases)[0] == [(1, "over_voltage", 1, 1), (2, "over_voltage", 0, 1)]


VOLTS = st.one_of(st.none(), st.sampled_from([0.0, 100.0, 180.0, 196.0, 230.0, 251.0, 254.0]))


@given(st.lists(VOLTS, min_size=1, max_size=30), st.integers(0, 29))
def test_cutting_a_stream_into_batches_changes_nothing(volts: list[float | None], cut: int) -> None:
    rows = rows_of(*((1, i, v) for i, v in enumerate(volts)))
    whole, made = found(rows)
    cut = min(cut, rows.size)
    first, before = found(rows[:cut])
    second, after = found(
        rows[cut:], latest={1: (cut - 1) * S} if cut else {}, open_={m: b for m, b in before.open.items() if b}
    )
    assert first + second == whole
    end = before.open | after.open
    assert {m: b for m, b in end.items() if b} == {m: b for m, b in made.open.items() if b}


@given(st.lists(VOLTS, min_size=1, max_size=30))
def test_episodes_begin_and_end_in_turn(volts: list[float | None]) -> None:
    rows = rows_of(*((1, i, v) for i, v in enumerate(volts)))
    _, made = found(rows)
    for begins, ends in (
        (EventKind.OVER_VOLTAGE, EventKind.OVER_VOLTAGE_ENDED),
        (EventKind.UNDER_VOLTAGE, EventKind.UNDER_VOLTAGE_ENDED),
    ):
        kinds = [e.kind for _, e in made.events if e.kind in (begins, ends)]
        assert kinds == [(begins, ends)[i % 2] for i in range(len(kinds))]
    assert np.all(np.diff([e.instant_us for _, e in made.events]) >= 0)


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), VOLTS, st.none() | st.sampled_from([1.0, 230.0, 254.0])), max_size=20),
    st.dictionaries(st.integers(1, 4), st.sampled_from([1, 1 << 4, (1 << 4) | (1 << 9)])),
)
def test_who_is_left_out_has_nothing_to_tell(
    said: list[tuple[int, float | None, float | None]], open_: dict[int, int]
) -> None:
    """`speaking` leaves out whole meters, and none that `derive` would tell anything of."""
    said = sorted(said, key=lambda s: s[0])
    rows = rows_of(*((meter, i, volts) for i, (meter, volts, _) in enumerate(said)))
    phase_of = np.array([i for i, (_, _, phase) in enumerate(said) if phase is not None], dtype=np.int64)
    phases = phases_of(rows, [(phase, 230.0, 231.0) for _, _, phase in said])[phase_of]
    some = speaking(rows, phase_of, open_, BANDS)
    assert not set(rows["meter"][some]) & set(rows["meter"][~some])
    whole, part = found(rows, phases, open_=open_), found(rows[some], phases[some[phase_of]], open_=open_)
    assert part[0] == whole[0]
    assert part[1].open == whole[1].open
