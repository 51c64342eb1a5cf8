"""Metering points with readings every interval, settled and judged: what a rule says of one day, told in slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import numpy as np

from headend.domain.topology import CATEGORIES
from headend.settings import Settlement, Validation
from headend.settlement.grid import DayRange
from headend.settlement.inputs import Inputs
from headend.settlement.intervals import PointIntervals, point_intervals
from headend.settlement.observations import Observations
from headend.settlement.rules import Rules
from headend.settlement.topology import FOREVER_US, Membership, Point
from headend.store.intervals import MeterReadings
from headend.store.vectors import ABSENT
from reconciliation.validation import Flag
from support.installed import installed

DAY0 = date(2026, 3, 2)
SLOTS = 96


def uneven(slots: int = SLOTS, base_wh: int = 100) -> np.ndarray:
    """Energy of a day that no rule finds fault with [Wh]: no two neighbours equal, nothing far above the others."""
    return base_wh + 7 * (np.arange(slots) % 5)


@dataclass(frozen=True, kw_only=True)
class House:
    """One point with one meter, read at every grid instant from the first midnight on."""

    energy_wh: np.ndarray
    """Import of each interval from the first midnight on."""
    export_wh: np.ndarray | None = None
    first_register_wh: int = 0
    first_export_wh: int = 0
    voltage_dv: np.ndarray | int = ABSENT
    """Of the reading that ends each interval."""
    flags: Mapping[int, int] = field(default_factory=dict)
    """Reading flags of the readings that end these intervals."""
    reset_after: int | None = None
    """The register begins at zero again after so many intervals."""
    lacking: Sequence[int] = ()
    """Intervals whose closing reading is missing."""
    before: Sequence[timedelta] = ()
    """Readings so long before the first midnight."""
    category: str | Sequence[str] = "residential"
    """Of all days, or of each."""
    kind: str = "customer"
    rated_current_a: int | None = 60
    installed: Mapping[str, Any] = field(default_factory=dict)
    """What is special about the installation."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Settles houses over days from DAY0 on by the rules of some settings."""

    validation: Mapping[str, Any] = field(default_factory=dict)
    zone: str = "Asia/Shanghai"
    interval_s: int = 900
    first: date = DAY0
    days: int = 1
    observed: Mapping[str, Any] = field(default_factory=dict)
    """Fields of Observations besides the category."""
    past: Callable[..., Any] = lambda *_: []

    @property
    def rules(self) -> Rules:
        """As the service would make them."""
        return Rules.of(
            Settlement.model_validate({"zone": self.zone, "interval_s": self.interval_s}),
            Validation.model_validate(self.validation),
        )

    @property
    def span(self) -> DayRange:
        """The days that are settled."""
        return DayRange(self.rules.calendar, self.first, self.first + timedelta(days=self.days - 1))

    def settle(self, *houses: House) -> PointIntervals:
        """Settle them together."""
        return point_intervals(self.inputs(*houses), self.span, self.rules, self.past)

    def inputs(self, *houses: House) -> Inputs:
        """What settlement is given."""
        grid = self.span.grid_us
        category = [[h.category] * self.days if isinstance(h.category, str) else list(h.category) for h in houses]
        number = np.array([[CATEGORIES.index(c) for c in of_house] for of_house in category], dtype=np.int64)
        return Inputs(
            [_point(i, house, int(grid[0])) for i, house in enumerate(houses)],
            {i: _readings(house, grid) for i, house in enumerate(houses)},
            observed=replace(Observations(**self.observed), category=number),
        )

    def flags(self, house: House) -> np.ndarray:
        """(T,) flags of one house."""
        return np.asarray(self.settle(house).flags[0])

    def slots(self, house: House, flag: Flag) -> list[int]:
        """The intervals that carry a flag."""
        return np.flatnonzero(self.flags(house) & flag).tolist()


def _point(i: int, house: House, since_us: int) -> Point:
    served = installed(i, since_us, **house.installed)
    member = Membership(served.from_us, FOREVER_US, None)
    return Point(i, f"P{i}", house.kind, house.rated_current_a, (member,), (served,))


def _readings(house: House, grid: np.ndarray) -> MeterReadings:
    n = house.energy_wh.size
    imported = house.first_register_wh + np.concatenate([[0], np.cumsum(house.energy_wh)])
    if house.reset_after is not None:
        imported[house.reset_after + 1 :] -= imported[house.reset_after]
    imported %= 10**8
    exported = np.zeros(n + 1, dtype=np.int64) if house.export_wh is None else np.cumsum([0, *house.export_wh])
    volts = np.broadcast_to(np.asarray(house.voltage_dv), (n,))
    flags = np.zeros(n + 1, dtype=np.int64)
    for slot, bits in house.flags.items():
        flags[slot + 1] = bits
    keep = ~np.isin(np.arange(n + 1), [slot + 1 for slot in house.lacking])
    early = np.array([round(ago.total_seconds() * 1e6) for ago in house.before], dtype=np.int64)
    none = np.zeros(early.size, dtype=np.int64)
    columns = (
        (grid[0] - early, grid[: n + 1]),
        (none + house.first_register_wh, imported),
        (none + house.first_export_wh, house.first_export_wh + exported),
        (none + ABSENT, np.concatenate([[ABSENT], volts])),
        (none, flags),
        (none, np.zeros(n + 1, dtype=np.int64)),
    )
    return MeterReadings(*(np.concatenate([a, b[keep]]).astype(np.int64) for a, b in columns))
