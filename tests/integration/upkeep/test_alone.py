"""Of several processes with the role upkeep one does a chore at a time, and a dead one holds nothing."""

from __future__ import annotations

from headend.store.locks import alone
from headend.store.pool import Store


def test_one_at_a_time_by_name(store: Store) -> None:
    with alone(store, "sweeping") as first, alone(store, "sweeping") as second, alone(store, "dusting") as other:
        assert (first, second, other) == (True, False, True)
    with alone(store, "sweeping") as again:
        assert again
