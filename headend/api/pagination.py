"""Pages of lists by an opaque cursor: where the page before ended, so that nothing is seen twice."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from headend.api.errors import Problem

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=500, description="rows of one page")]
Cursor = Annotated[str | None, Query(description="`next` of the page before", max_length=1000)]


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next: str | None = Field(description="cursor of the page after this one; null: this is the last")


def cut(rows: Sequence[Item], limit: int, key: Callable[[Item], Sequence[Any]]) -> tuple[list[Item], str | None]:
    """The first `limit` of `rows` (fetched with limit + 1) and the cursor after them."""
    if len(rows) <= limit:
        return list(rows), None
    kept = list(rows[:limit])
    return kept, encode(key(kept[-1]))


def encode(values: Sequence[Any]) -> str:
    """An opaque cursor from JSON-able values."""
    text = json.dumps(list(values), separators=(",", ":"), ensure_ascii=False, default=str)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str | None, *kinds: Callable[[Any], Any]) -> tuple[Any, ...] | None:
    """The values of a cursor, each through its converter; None without one. Raises Problem 422 when it is not ours."""
    if cursor is None:
        return None
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(values, list):
            raise ValueError("not a list")
        return tuple(kind(value) for kind, value in zip(kinds, values, strict=True))
    except (ValueError, TypeError, binascii.Error, RecursionError, OverflowError) as error:
        fault = {"parameter": "cursor", "detail": "not a cursor of this list; leave it out to start at the beginning"}
        raise Problem(
            status=422, code="invalid-request", detail="cursor: " + fault["detail"], errors=[fault]
        ) from error


def number(value: Any) -> float:
    """A float of a cursor."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    return float(value)


def optional_number(value: Any) -> float | None:
    """A float of a cursor, or None."""
    return None if value is None else number(value)


def text(value: Any) -> str:
    """A text of a cursor."""
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def whole(value: Any) -> int:
    """An integer of a cursor, within what the database holds."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise ValueError("not an integer")
    return value


def instant(value: Any) -> datetime:
    """An aware instant of a cursor."""
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError("no offset")
    return found


def uuid(value: Any) -> UUID:
    """A UUID, else ValueError."""
    return UUID(text(value))


def day(value: Any) -> date:
    """A date of a cursor."""
    return date.fromisoformat(value)
