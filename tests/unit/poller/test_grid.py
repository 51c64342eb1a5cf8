"""Ticks of the UTC grid, and the small delay of each area's buses."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.ingest.poll_grid import Grid, offsets_us, stagger_us

S = 1_000_000
PERIODS = st.sampled_from([(1, 1), (60, 60), (300, 60), (900, 300), (900, 900), (3600, 900), (86400, 900)])


@given(st.integers(0, 4_000_000_000 * S), PERIODS, st.integers(0, 45 * S))
def test_the_next_round_is_the_first_one_after_now(now_us: int, periods: tuple[int, int], offset_us: int) -> None:
    grid = Grid(period_s=periods[0], area_period_s=periods[1], offset_us=offset_us)
    tick = grid.next_tick(now_us)
    assert now_us < grid.due_us(tick) <= now_us + periods[1] * S
    assert (grid.due_us(tick) - offset_us) % (periods[1] * S) == 0
    assert grid.is_for_all(tick) == ((grid.due_us(tick) - offset_us) % (periods[0] * S) == 0)


@given(PERIODS, st.integers(1, 10_000), st.integers(0, 300), st.booleans())
def test_rounds_are_counted_as_they_would_have_been_made(
    periods: tuple[int, int], first: int, ticks: int, area_meters: bool
) -> None:
    grid = Grid(period_s=periods[0], area_period_s=periods[1])
    one_by_one = sum(area_meters or grid.is_for_all(tick) for tick in range(first, first + ticks))
    assert grid.rounds(first, first + ticks, area_meters=area_meters) == one_by_one
    assert grid.rounds(first + 1, first, area_meters=area_meters) == 0  # a clock that was set back misses nothing


@pytest.mark.parametrize("area_period_s", [0, 7, 1000])
def test_the_grids_must_fit(area_period_s: int) -> None:
    with pytest.raises(ValueError, match="wanted a divisor of period_s, 900"):
        Grid(period_s=900, area_period_s=area_period_s)


@given(st.text(min_size=1), st.floats(0, 3600))
def test_an_area_starts_a_little_late_and_always_by_as_much(area: str, spread_s: float) -> None:
    assert 0 <= stagger_us(area, spread_s=spread_s) <= spread_s * S
    assert stagger_us(area, spread_s=spread_s) == stagger_us(area, spread_s=spread_s)


def test_many_areas_are_spread() -> None:
    fleet = {f"modbus+tcp://10.0.{i // 256}.{i % 256}:502": {f"A{i:04d}"} for i in range(1000)}
    offsets = sorted(offsets_us(fleet, spread_s=20.0).values())
    assert offsets[0] < 0.5 * S
    assert offsets[-1] > 19.5 * S
    assert max(b - a for a, b in itertools.pairwise(offsets)) < 0.5 * S


def test_all_buses_of_an_area_start_together() -> None:
    found = offsets_us(
        {"bus1": {"A"}, "bus2": {"A"}, "bus3": {"B"}, "bus4": {"C", "D"}, "bus5": {"D", "E"}, "bus6": {"E"}},
        spread_s=20.0,
    )
    assert found["bus1"] == found["bus2"] == stagger_us("A", spread_s=20.0)
    assert found["bus3"] == stagger_us("B", spread_s=20.0)
    assert found["bus4"] == found["bus5"] == found["bus6"] == stagger_us("C", spread_s=20.0)
    assert len(set(found.values())) == 3


def test_a_bus_without_an_area_goes_by_itself() -> None:
    assert offsets_us({"bus1": set()}, spread_s=20.0) == {"bus1": stagger_us("bus1", spread_s=20.0)}


@given(
    st.dictionaries(st.sampled_from([f"bus{i}" for i in range(12)]), st.sets(st.sampled_from("ABCDEFGH"), max_size=3))
)
def test_whatever_shares_an_area_shares_the_start(areas: dict[str, set[str]]) -> None:
    found = offsets_us(areas, spread_s=20.0)
    assert found.keys() == areas.keys()
    for (bus, own), (other, others) in itertools.combinations(areas.items(), 2):
        if own & others:
            assert found[bus] == found[other]
    for bus, own in areas.items():
        if len(own) == 1 and not any(own & others for other, others in areas.items() if other != bus):
            assert found[bus] == stagger_us(*own, spread_s=20.0)
