"""Vectors go into PostgreSQL and come out as they were, absent elements, empty vectors and extremes included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from headend.store.pool import Store
from headend.store.vectors import ABSENT, Column, copy_rows, vector_rows

ROWS = st.integers(1, 5).flatmap(
    lambda n: st.tuples(
        arrays(np.int64, (n, 7), elements=st.one_of(st.just(ABSENT), st.integers(-(2**63) + 1, 2**63 - 1))),
        arrays(np.int64, (n, 7), elements=st.one_of(st.just(ABSENT), st.integers(-(2**15), 2**15 - 1))),
        arrays(np.int64, (n,), elements=st.integers(0, 7)),
    )
)


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_round_trip(store: Store, made: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    wide, narrow, sizes = made
    with store.transaction() as c:
        c.execute("create temporary table v (id bigint, wide bigint[], narrow smallint[]) on commit drop")
        columns = [Column("int8", np.arange(len(sizes))), Column("int8", wide, sizes), Column("int2", narrow, sizes)]
        assert copy_rows(c, b"copy v from stdin (format binary)", columns) == len(sizes)
        found = vector_rows(c, b"select * from v order by id")
        for i, row in enumerate(found):
            assert row["wide"].tolist() == wide[i, : sizes[i]].tolist()
            assert row["narrow"].tolist() == narrow[i, : sizes[i]].tolist()
        plain = c.execute("select wide from v where id = 0").fetchone()
        assert plain is not None
        assert plain[0] == [None if v == ABSENT else v for v in wide[0, : sizes[0]].tolist()]


def test_a_value_that_does_not_fit_is_refused_before_anything_is_written(store: Store) -> None:
    def write() -> None:
        with store.transaction() as connection:
            connection.execute("create temporary table if not exists v (narrow smallint)")
            copy_rows(connection, b"copy v from stdin (format binary)", [Column("int2", np.array([1, 40_000]))])

    with pytest.raises(ValueError, match="does not fit 16 bits"):
        write()
