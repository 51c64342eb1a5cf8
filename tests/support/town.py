"""Several areas with readings that have gaps, big enough to share among workers; the same for the same seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from support.field import DAY0, QUARTER, T0, Field


@dataclass(frozen=True)
class Town:
    """What was stored, by area."""

    areas: dict[str, int]
    """Code → area_id."""
    last: date
    """The last whole day; the first is DAY0."""


def build_town(field: Field, *, areas: int, houses: int, days: int, seed: int = 5, moved: int = 0) -> Town:
    """Every quarter-hour a register of each house and of the area's meter; every fifth house has a gap of two days,
    and single readings are lacking everywhere. The first `moved` houses of each area move to the next one in the
    middle of the time.
    """
    choose = random.Random(seed)
    codes = [f"A{n + 1:02d}" for n in range(areas)]
    ids = {code: field.area(code) for code in codes}
    half = T0 + timedelta(days=days // 2)
    values: list[tuple[int, Any, int]] = []
    for n, code in enumerate(codes):
        _, total = field.metered(ids[code], f"{code}-sum", "area", phases=3, multiplier="40")
        sums = [0] * (days * 96 + 1)
        for h in range(houses):
            meter = field.meter(f"{code}-h{h}")
            point = field.point(ids[code], f"{code}-h{h}", until=half if h < moved else None)
            if h < moved:
                field.run(
                    "insert into area_membership (usage_point_id, area_id, valid_from) values (%s, %s, %s)",
                    [point, ids[codes[(n + 1) % areas]], half],
                )
            field.install(point, meter, start=0)
            gap = range((days - 4) * 96 + 30, (days - 2) * 96 + 30) if h % 5 == 4 and days > 5 else range(0)
            register = 0
            for k in range(days * 96 + 1):
                register += choose.randint(0, 60) if k else 0
                sums[k] += register
                if k not in gap and choose.random() > 0.03:
                    values.append((meter, T0 + k * QUARTER, register))
        values += [(total, T0 + k * QUARTER, wh * 103 // 100 // 40) for k, wh in enumerate(sums)]
    field.store_readings(values)
    return Town(ids, DAY0 + timedelta(days=days - 1))


def forget_settled(field: Field) -> None:
    """As if nothing had ever been settled."""
    field.run("truncate interval_day, balance_day, dirty_day, shaped_day")
