"""Named SQL: `sql/queries/<noun>.sql` holds sections `-- name --`, a line on why, then the statement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

_SECTION = re.compile(r"^-- (?P<name>[a-z_0-9]+) --[ \t]*$", re.MULTILINE)


@cache
def load(noun: str) -> Mapping[str, bytes]:
    """All statements of one file by name. Raises ValueError when a name stands twice."""
    text = files("headend.store").joinpath("sql", "queries", f"{noun}.sql").read_text(encoding="utf-8")
    parts = _SECTION.split(text)[1:]
    statements: dict[str, bytes] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in statements:
            raise ValueError(f"{noun}.sql: {name} stands twice")
        statements[name] = body.strip().encode()
    return statements
