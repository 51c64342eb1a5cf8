"""When a clock is set: for all offsets and instants no interval boundary is touched; what the policy decides; drift."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.domain.calendar import LocalCalendar, from_us, to_us
from headend.ingest.clock_policy import (
    ClockRules,
    IntervalGrid,
    decide,
    drift_of,
    good_ends,
    good_moment,
    grid_at,
    has_drifted,
    next_good_ends,
    next_good_moment,
)
from headend.store.clocks import ClockReading

S = 1_000_000
INSTANTS = st.integers(to_us(datetime(2020, 1, 1, tzinfo=UTC)), to_us(datetime(2040, 1, 1, tzinfo=UTC)))
INTERVALS = st.sampled_from([300, 900, 1800, 3600])
GUARDS = st.integers(1 * S, 90 * S)
PHASES = st.sampled_from([0, 900 * S, 1800 * S, 2700 * S])


def grid_instants(first_us: int, last_us: int, grid: IntervalGrid) -> list[int]:
    """By counting, not by the code under test."""
    k = -(-(first_us - grid.phase_us) // grid.interval_us)
    found = []
    while (instant := k * grid.interval_us + grid.phase_us) <= last_us:
        found.append(instant)
        k += 1
    return found


@given(now=INSTANTS, offset=st.integers(-3 * 3600 * S, 3 * 3600 * S), guard=GUARDS, interval=INTERVALS, phase=PHASES)
def test_no_boundary_is_crossed(now: int, offset: int, guard: int, interval: int, phase: int) -> None:
    grid = IntervalGrid(interval * S, phase % (interval * S))
    moment = next_good_moment(now, offset, guard, grid)
    if moment is None:
        assert abs(offset) + 2 * guard >= interval * S - 1
        return
    assert now <= moment <= now + 2 * interval * S
    old, new = moment + offset, moment
    assert not grid_instants(min(old, new) - guard, max(old, new) + guard, grid)


@given(
    tick=st.integers(1_700_000, 1_800_000),
    beside=st.integers(-100 * S, 100 * S),
    offset=st.integers(-120 * S, 120 * S),
    guard=st.integers(1 * S, 80 * S),
)
def test_the_next_good_moment_is_the_first(tick: int, beside: int, offset: int, guard: int) -> None:
    grid = IntervalGrid(900 * S)
    now = tick * 900 * S + beside  # close to a boundary, where it has to wait
    moment = next_good_moment(now, offset, guard, grid)
    assert moment is not None
    if moment > now:
        for earlier in (now, (now + moment) // 2, moment - 1):
            assert not good_moment(earlier, offset, guard, grid)


@given(
    now=INSTANTS,
    offset=st.one_of(st.none(), st.integers(-(10**9) * S, 10**9 * S)),
    guard=st.integers(1 * S, 70 * S),
    interval=INTERVALS,
)
def test_even_a_step_over_boundaries_keeps_its_ends_away(
    now: int, offset: int | None, guard: int, interval: int
) -> None:
    grid = IntervalGrid(interval * S)
    moment = next_good_ends(now, offset, guard, grid)
    assert moment is not None  # two windows of twice the guard never fill an interval of five minutes
    assert now <= moment < now + interval * S
    for end in (moment, *([] if offset is None else [moment + offset])):
        assert not grid_instants(end - guard, end + guard, grid)
    assert good_ends(moment, offset, guard, grid)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Berlin"])
@pytest.mark.parametrize("interval_s", [300, 900, 1800, 3600])
def test_the_grid_is_that_of_the_settlement(zone: str, interval_s: int) -> None:
    calendar = LocalCalendar(ZoneInfo(zone), interval_s)
    noon = datetime(2026, 11, 25, 4, 7, 9, tzinfo=UTC)
    grid = grid_at(calendar, noon)
    instants = set(calendar.grid_us(calendar.day_of(noon)).tolist())
    assert grid.before(to_us(noon)) in instants
    assert grid.before(to_us(noon)) + grid.interval_us in instants


def reading(offset_ms: int | None, *, drifted: bool = True, **more: Any) -> ClockReading:
    at = datetime(2026, 11, 25, 12, tzinfo=UTC)
    return ClockReading(**{"at": at, "offset_ms": offset_ms, "uncertainty_ms": 600, "drifted": drifted} | more)


RULES = ClockRules(threshold_s=5, set="beyond_threshold", max_set_s=60, min_interval_s=86400, guard_s=10, may_set=True)


def ask(rules: ClockRules = RULES, offset_ms: int | None = 12_000, **more: Any) -> str | None:
    """Why not; None: it is set."""
    drifted = more.pop("drifted", True)
    known = {"model_sets": True, "set_last": None, "under_way": False} | more
    decision = decide(rules, reading(offset_ms, drifted=drifted), **known)
    return None if decision.set else decision.why


def test_what_the_policy_decides() -> None:
    at = datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert ask() is None
    assert ask(offset_ms=-12_000) is None
    assert ask(set_last=at - timedelta(days=1)) is None
    assert "within the threshold" in str(ask(drifted=False))
    assert "clock.set" in str(ask(replace(RULES, set="never")))
    assert "commands.clock" in str(ask(replace(RULES, may_set=False)))
    assert "no way to set" in str(ask(model_sets=False))
    assert "name no instant" in str(ask(offset_ms=None))
    assert "a person decides" in str(ask(offset_ms=60_001))
    assert ask(offset_ms=-60_000) is None
    assert "under way" in str(ask(under_way=True))
    assert "clock.min_interval_s" in str(ask(set_last=at - timedelta(hours=23, minutes=59)))


def test_an_episode_begins_and_ends_for_certain() -> None:
    assert not has_drifted(5_500, 600, 5, before=False)  # it may be 4.9 s
    assert has_drifted(5_601, 600, 5, before=False)
    assert has_drifted(-5_601, 600, 5, before=False)
    assert has_drifted(4_500, 600, 5, before=True)  # it may still be 5.1 s
    assert not has_drifted(4_400, 600, 5, before=True)
    assert has_drifted(None, 600, 5, before=False)


START = datetime(2026, 11, 1, tzinfo=UTC)


def course(
    *offsets_ms: int | None, every: timedelta = timedelta(days=1), set_at: int | None = None
) -> list[ClockReading]:
    """Readings newest first, of offsets oldest first; `set_at`: the reading that a setting was confirmed by."""
    made = [
        ClockReading(
            at=START + i * every,
            offset_ms=offset,
            uncertainty_ms=500,
            drifted=False,
            command_id=uuid4() if i == set_at else None,
        )
        for i, offset in enumerate(offsets_ms)
    ]
    return made[::-1]


def test_drift_from_successive_readings() -> None:
    found = drift_of(course(0, 1000, 2000, 3000))
    assert found is not None
    assert found.ppm == pytest.approx(1000 / 86.4)
    assert found.s_per_day == pytest.approx(1.0)
    assert found.uncertainty_ppm == pytest.approx(1000 / (3 * 86_400_000) * 1e6)
    assert (found.since, found.until) == (START, START + timedelta(days=3))
    assert drift_of(course(5)) is None
    assert drift_of([]) is None
    assert drift_of(course(None, None)) is None


def test_drift_does_not_look_over_a_setting() -> None:
    found = drift_of(course(0, 40_000, 80_000, 100, 1100, set_at=3))
    assert found is not None
    assert (found.s_per_day, found.since) == (pytest.approx(1.0), START + timedelta(days=3))
    somebody = drift_of(course(0, 900_000, 901_000))  # set at the meter itself
    assert somebody is not None
    assert (somebody.s_per_day, somebody.since) == (pytest.approx(1.0), START + timedelta(days=1))


def test_a_gap_in_the_readings_is_no_zero() -> None:
    found = drift_of(course(0, None, 2000))
    assert found is not None
    assert found.s_per_day == pytest.approx(1.0)


def test_grid_at_is_the_day_of_the_instant() -> None:
    shanghai = LocalCalendar(ZoneInfo("Asia/Shanghai"), 900)
    grid = grid_at(shanghai, from_us(to_us(START)))
    assert (grid.interval_us, grid.phase_us) == (900 * S, 0)
