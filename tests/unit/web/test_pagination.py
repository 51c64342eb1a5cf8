"""Cursors come back as they were made; anything else is a 422 that says so."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.api import pagination
from headend.api.errors import Problem


@given(number=st.none() | st.floats(allow_nan=False, allow_infinity=False), code=st.text(), key=st.integers(0, 2**62))
def test_round_trip(number: float | None, code: str, key: int) -> None:
    cursor = pagination.encode([number, code, key])
    kinds = (pagination.optional_number, pagination.text, pagination.whole)
    assert pagination.decode(cursor, *kinds) == (number, code, key)


@pytest.mark.parametrize(
    "cursor",
    [
        "!!!",
        "a",
        base64.urlsafe_b64encode(b"{}").decode(),
        pagination.encode(["x"]),
        pagination.encode([1, 2]),
        "é",
        "",
    ],
)
def test_a_foreign_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Problem) as refused:
        pagination.decode(cursor, pagination.whole)
    assert refused.value.status == 422
    assert refused.value.errors[0]["parameter"] == "cursor"


def test_a_full_page_has_a_next_and_the_last_has_none() -> None:
    rows = [{"k": k} for k in range(3)]
    kept, following = pagination.cut(rows, 2, lambda row: (row["k"],))
    assert [row["k"] for row in kept] == [0, 1]
    assert pagination.decode(following, pagination.whole) == (1,)
    assert pagination.cut(rows, 3, lambda row: (row["k"],))[1] is None


@pytest.mark.parametrize("value", [7, None, ["a"], "no uuid"])
def test_a_cursor_with_something_else_than_a_uuid_is_refused(value: object) -> None:
    cursor = pagination.encode(["2026-03-01T00:00:00+00:00", value])
    with pytest.raises(Problem):
        pagination.decode(cursor, pagination.instant, pagination.uuid)
