"""What every part of the seed uses: the instant, the days, and one way to insert a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
from psycopg.types.json import Jsonb

from headend.domain.calendar import LocalCalendar
from headend.store.pool import Connection

Floats = npt.NDArray[np.float64]
SEED = 20261123
ZONE = ZoneInfo("Asia/Shanghai")
CALENDAR = LocalCalendar(ZONE, 900)
NOW = datetime(2026, 11, 23, 6, 40, tzinfo=UTC)
TODAY = date(2026, 11, 23)
DAYS = [TODAY - timedelta(days=k) for k in range(28, 0, -1)]
SINCE = datetime(2026, 10, 1, tzinfo=UTC)


@dataclass
class Seeded:
    """Ids by code, for tests to ask with."""

    areas: dict[str, int] = field(default_factory=dict)
    usage_points: dict[str, int] = field(default_factory=dict)
    meters: dict[str, int] = field(default_factory=dict)
    findings: dict[str, int] = field(default_factory=dict)


def insert(c: Connection, table: str, returning: str = "1", **columns: Any) -> int:
    """One row; a dictionary is stored as jsonb. Returns the value of `returning`."""
    names = ", ".join(columns)
    marks = ", ".join(["%s"] * len(columns))
    values = [Jsonb(value) if isinstance(value, dict) else value for value in columns.values()]
    row = c.execute(f"insert into {table} ({names}) values ({marks}) returning {returning}".encode(), values).fetchone()
    assert row is not None
    return int(row[0])
