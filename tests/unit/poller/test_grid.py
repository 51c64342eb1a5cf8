"""Ticks of the UTC grid and the small delay of each bus."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from headend.ingest.poll_grid import due_us, next_tick, stagger_us

S = 1_000_000


@given(st.integers(0, 4_000_000_000 * S), st.sampled_from([1, 60, 300, 900, 3600, 86400]), st.text(min_size=1))
def test_the_next_round_is_the_first_one_after_now(now_us: int, period_s: int, bus: str) -> None:
    offset = stagger_us(bus, period_s)
    due = due_us(next_tick(now_us, period_s, offset), period_s, offset)
    assert now_us < due <= now_us + period_s * S
    assert (due - offset) % (period_s * S) == 0


@given(st.text(min_size=1), st.integers(1, 86400))
def test_a_bus_starts_a_little_late_and_always_by_as_much(bus: str, period_s: int) -> None:
    assert 0 <= stagger_us(bus, period_s) <= min(0.05 * period_s, 2.0) * S
    assert stagger_us(bus, period_s) == stagger_us(bus, period_s)


def test_many_buses_are_spread() -> None:
    offsets = sorted(stagger_us(f"10.0.{i // 256}.{i % 256}:502", 900) for i in range(1000))
    assert offsets[0] < 0.05 * S
    assert offsets[-1] > 1.95 * S
    assert max(b - a for a, b in itertools.pairwise(offsets)) < 0.05 * S
