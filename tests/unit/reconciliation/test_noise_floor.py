"""The filter that a balance is whitened with: made for the rows as they are, some filled, some read."""

from __future__ import annotations

import numpy as np

from reconciliation.colour import ar_filter
from reconciliation.noise_floor import Floor, floor_innovation, white_share

T, ORDER, REGISTER = 2688, 10, 300.0


def floor(rows: np.ndarray) -> Floor:
    """A balance between registers, of which (T,) ``rows`` have errors of their own [Wh²]."""
    return Floor(white=np.array([0.3]), register=np.array([REGISTER]), rows=rows[None], three_phase=np.zeros(T))


def size(filters: np.ndarray, of: Floor) -> float:
    """Mean ln variance of the innovations [ln Wh²]."""
    return float(np.log(floor_innovation(filters, of, 0.0)[0, ORDER:]).mean())


def test_a_filter_for_registers_is_kept_where_all_rows_are_read() -> None:
    still = floor(np.full(T, 0.1))
    white, filters = white_share(still, ORDER, np.ones((1, T), bool))
    assert white[0] == 0.4
    np.testing.assert_allclose(filters[0], ar_filter(0.4, REGISTER, ORDER, np.zeros(ORDER + 1)))


def test_some_filled_rows_do_not_spoil_those_after_them() -> None:
    """A third of the rows is filled with an error of 50 Wh: the median row has none, and a filter made for it would
    carry each filled reading's error over the next ten rows."""
    rows = np.where(np.random.default_rng(1).random(T) < 1 / 3, 2500.0, 0.0)
    some = floor(rows)
    _, filters = white_share(some, ORDER, np.ones((1, T), bool))
    for_most = ar_filter(0.3, REGISTER, ORDER, np.zeros(ORDER + 1))[None]
    for_worst = ar_filter(2500.3, REGISTER, ORDER, np.zeros(ORDER + 1))[None]
    assert size(filters, some) < size(for_most, some) - 0.3
    assert size(filters, some) < size(for_worst, some) - 0.02


def test_rows_that_are_not_used_have_no_say() -> None:
    rows = np.where(np.arange(T) % 3 == 0, 2500.0, 0.0)
    used = np.arange(T)[None] >= T // 2
    some = floor(np.where(used[0], 0.0, rows))
    assert white_share(some, ORDER, used)[0][0] < 1.0
    assert white_share(some, ORDER, ~used)[0][0] > REGISTER
