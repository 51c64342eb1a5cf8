"""Wilson's interval: published values, never outside 0 and 1, and no share of nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.domain.proportion import Proportion, wilson


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_values(hits: int, trials: int, low: float, high: float) -> None:
    found = wilson(hits, trials)
    assert found == Proportion(hits / trials, pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_of_nothing_there_is_no_share() -> None:
    assert wilson(0, 0) is None


@pytest.mark.parametrize(("hits", "trials"), [(-1, 3), (4, 3)])
def test_counts_that_make_no_sense_are_refused(hits: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"{hits} of {trials}"):
        wilson(hits, trials)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_share_lies_in_its_interval_and_that_within_0_and_1(counts: tuple[int, int]) -> None:
    hits, trials = counts
    found = wilson(hits, trials)
    assert found is not None
    assert 0.0 <= found.low <= found.share <= found.high <= 1.0
    other = wilson(trials - hits, trials)
    assert other is not None
    assert other.low == pytest.approx(1 - found.high, abs=1e-12)
