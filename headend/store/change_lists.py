"""Short lists for forms to choose from: areas, shared usage points, meters in stock."""

from __future__ import annotations

from headend.store.pool import Connection, Row, rows
from headend.store.queries import load

_MOST = 500
"""A list for a person, not for a machine."""


def areas(connection: Connection) -> list[Row]:
    """Areas by code."""
    return rows(connection, load("changes")["areas"], {"most": _MOST})


def shared_points(connection: Connection, usage_point: str) -> list[Row]:
    """Shared usage points, those on the areas of a usage point first."""
    return rows(connection, load("changes")["shared_points"], {"usage_point": usage_point, "most": _MOST})


def stock(connection: Connection) -> list[Row]:
    """Meters that serve nowhere, newest first."""
    return rows(connection, load("changes")["stock"], {"most": _MOST})
