"""A simulated neighbourhood whose true energies are known, its readings stored as if they had been read: with noise,
clocks that are off, lost readings, silence over hours, and meters that are exchanged. The judge's side of settlement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from drivers.base import PHASE_DTYPE, READING_DTYPE, Source, empty
from drivers.simulator.days import from_us, to_us
from drivers.simulator.export import write_import_files
from drivers.simulator.faults import Fault, PacketLoss
from drivers.simulator.fleet import AREA, INSTALLED, STOCK
from drivers.simulator.profile import freezes
from drivers.simulator.scenario import Accuracy, Area, Scenario, Shared, Station
from drivers.simulator.world import World
from headend.domain.calendar import LocalCalendar
from headend.ingest.topology_import import import_directory
from headend.settings import Settings
from headend.settlement.rules import Rules
from headend.settlement.settler import settle_area
from headend.store import readings, topology
from headend.store.partitions import Partitions
from headend.store.pool import Store

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BY_CLASS = Accuracy(
    household_gain_sd=0.01 / 2.576, household_gain_most=0.01,
    area_gain_sd=2**0.5 * 0.005 / 2.576, area_gain_most=0.01,
)  # fmt: skip
"""Meters as acceptance lets them through: class 1, and class 0.5S behind current transformers of class 0.5S."""
PERFECT = Accuracy(
    household_gain_sd=0.0, household_gain_most=0.0, area_gain_sd=0.0, area_gain_most=0.0, phase_gain_sd=0.0
)


def scenario(
    areas: int,
    days: int,
    *,
    seed: int,
    zone: str = "Asia/Shanghai",
    households: int = 8,
    accuracy: Accuracy = BY_CLASS,
    lossy: bool = True,
) -> Scenario:
    """Small areas; every fifth has a shared meter; where `lossy`, one household of each loses a third of its reads."""
    made = tuple(
        Area(
            code=f"A{i:03d}", name=f"Area {i}", households=households, workshops=i % 3 == 0, pv_share=0.15,
            shared=Shared(premises=2) if i % 5 == 0 else None,
        )
        for i in range(areas)
    )  # fmt: skip
    faults: tuple[Fault, ...] = tuple(PacketLoss(area=a.code, household=1, rate=0.33) for a in made if lossy)
    return Scenario(
        title="truth", seed=seed, zone=zone, station=Station(code="ST1", name="Station"), areas=made, faults=faults,
        history_days=days, accuracy=accuracy,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Swap:
    """A household's meter is exchanged for one with another gain."""

    meter: int
    at_us: int
    serial: str
    ratio: float
    """Gain of the new one against the old one's."""


@dataclass(slots=True)
class Neighbourhood:
    """The world, and what of it was stored."""

    store: Store
    settings: Settings
    world: World
    swaps: Sequence[Swap]
    stored: dict[str, Ints] = field(default_factory=dict)
    """By serial: (n, 3) int64 of what arrived: instant [µs], import, export as the meter shows them."""
    noted: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Import and export of a meter as it was taken out, by serial."""

    @property
    def days(self) -> list[date]:
        return [self.world.first_day + timedelta(days=i) for i in range(self.world.scenario.history_days)]

    @property
    def calendar(self) -> LocalCalendar:
        return LocalCalendar(ZoneInfo(self.world.scenario.zone))

    def now(self) -> datetime:
        return from_us(self.world.epoch_us) + timedelta(hours=8)

    def true_loss_wh(self, area: int, day: date) -> Floats:
        """(n,) what really went in and did not come out at any user, per interval [Wh]."""
        truth = self.world.day(day).truth
        here = self.world.fleet.user_area == area
        return np.asarray(truth.supplied_wh[area].sum(axis=0) - truth.user_wh[here].sum(axis=0))

    def frozen(self, silent: dict[int, tuple[int, int]] | None = None) -> dict[str, Ints]:
        """By serial: what the meters froze and what of it arrives; what falls into a meter's silence does not."""
        world, quiet = self.world, silent or {}
        meters = np.array([i for i, m in enumerate(world.fleet.meters) if m.role != STOCK], dtype=np.int64)
        grid = np.unique(np.concatenate([world.days.grid_us(day) for day in self.days]))
        found = freezes(world, meters, grid)
        swapped = {swap.meter: swap for swap in self.swaps}
        parts: dict[str, Ints] = {}
        for row, meter in enumerate(meters.tolist()):
            device = world.fleet.meters[meter]
            there = found.present[row].copy()
            if meter in quiet:
                there &= (grid < quiet[meter][0]) | (grid > quiet[meter][1])
            table = np.stack([grid, found.import_wh[row], found.export_wh[row]], axis=1)
            if (swap := swapped.get(meter)) is not None:
                at = grid - world.instruments.clock_lead_us(meters[row : row + 1], grid)[0]
                after, before = (np.minimum(grid, at) > swap.at_us), (np.maximum(grid, at) <= swap.at_us)
                parts[swap.serial] = self._of_the_new_one(swap, grid[after])[there[after]]
                table, there = table[before], there[before]
            parts[device.serial] = table[there]
        return parts

    def _of_the_new_one(self, swap: Swap, grid_us: Ints) -> Ints:
        """(k, 3) of the new meter, whose registers begin at 0 and whose clock is as far off as the old one's."""
        world, one = self.world, np.array([swap.meter])
        at = grid_us[None] - world.instruments.clock_lead_us(one, grid_us)
        began = world.true_cumulative(one, np.array([[swap.at_us]]))
        shown = [
            world.shown(one, np.maximum(total - first, 0.0) * swap.ratio)[0]
            for total, first in zip(world.true_cumulative(one, at), began, strict=True)
        ]
        return np.stack([grid_us, *shown], axis=1)

    def put(self, parts: dict[str, Ints]) -> None:
        """Store readings; those that are stored already must not be among them."""
        numbers = {r["serial"]: r["meter_id"] for r in self.store.rows(b"select serial, meter_id from meter")}
        rows = empty(READING_DTYPE, sum(len(table) for table in parts.values()))
        rows["meter"] = np.repeat([numbers[s] for s in parts], [len(t) for t in parts.values()])
        every = np.concatenate(list(parts.values()))
        rows["ts_us"], rows["import_wh"], rows["export_wh"] = every[:, 0], every[:, 1], every[:, 2]
        rows["source"] = Source.CONCENTRATOR
        Partitions().ensure(self.store, {from_us(int(t)).date() for t in np.unique(every[:, 0])})
        with self.store.transaction() as connection:
            readings.append(connection, np.sort(rows, order=["meter", "ts_us"]), empty(PHASE_DTYPE, 0))
        for serial, table in parts.items():
            known = self.stored.get(serial, np.empty((0, 3), dtype=np.int64))
            self.stored[serial] = np.sort(np.concatenate([known, table]), axis=0)

    def settle(self) -> None:
        """Every day of every area."""
        rules = Rules.of(self.settings.settlement)
        for row in self.store.rows(b"select area_id from area order by area_id"):
            with self.store.transaction() as connection:
                settle_area(connection, row["area_id"], self.days, rules, self.now())

    def balances(self) -> list[dict[str, Any]]:
        """All settled days, with the area's code."""
        return self.store.rows(
            b"select a.code as area, b.* from balance_day b join area a using (area_id)"
            b" where b.day between %s and %s order by a.code, b.day",
            [self.days[0], self.days[-1]],
        )

    def register_difference_wh(self, usage_point: str) -> int | None:
        """What a point's import registers say of all days together [Wh], primary side; None: an end was not read."""
        world = self.world
        meter = next(i for i, m in enumerate(world.fleet.meters) if m.usage_point == usage_point)
        device = world.fleet.meters[meter]
        span = 10**device.digits * device.resolution_wh
        first, last = world.start_us, int(world.days.grid_us(self.days[-1])[-1])
        swap = next((s for s in self.swaps if s.meter == meter), None)
        begin = _at(self.stored[device.serial], first)
        end = _at(self.stored[device.serial if swap is None else swap.serial], last)
        if begin is None or end is None:
            return None
        if swap is None:
            return (end - begin) % span * device.multiplier
        return ((self.noted[device.serial][0] - begin) % span + end) * device.multiplier


def _at(table: Ints, instant_us: int) -> int | None:
    found = np.flatnonzero(table[:, 0] == instant_us)
    return int(table[found[0], 1]) if found.size else None


def build(store: Store, directory: Path, made: Scenario, *, epoch: datetime, settings: Settings) -> Neighbourhood:
    """Import the neighbourhood by its files, and exchange a meter in every other area at an instant off the grid."""
    world = World(made, to_us(epoch))
    write_import_files(world, directory, host="127.0.0.1", ports=range(1000, 1000 + len(made.areas)))
    report = import_directory(
        store, directory, skip_bad=False, clock=lambda: datetime(2020, 1, 1, tzinfo=UTC),
        calendar=LocalCalendar(ZoneInfo(made.zone)),
    )  # fmt: skip
    assert report.applied, report.problems[:3]
    rng = np.random.default_rng(made.seed)
    swaps = []
    for number in range(len(made.areas)):
        if number % 2:
            meter = world.fleet.household(number, 2)
            at = world.start_us + int(rng.integers(3600, 86_400 * made.history_days - 3600)) * 1_000_000
            gain = rng.normal(0, made.accuracy.household_gain_sd)
            own = float(world.instruments.gain[meter].mean())
            swaps.append(Swap(meter, at, f"N{meter}", (1 + gain) / own))
    found = Neighbourhood(store, settings, world, swaps)
    for swap in swaps:
        _exchange(found, swap)
    return found


def _exchange(made: Neighbourhood, swap: Swap) -> None:
    world, old = made.world, made.world.fleet.meters[swap.meter]
    one = np.array([swap.meter])
    totals = world.true_cumulative(one, np.array([[swap.at_us]]))
    ends = [int(world.shown(one, total)[0, 0]) for total in totals]
    made.noted[old.serial] = (ends[0], ends[1])
    at = from_us(swap.at_us)
    keys = {"calendar": made.calendar, "now": made.now()}
    with made.store.transaction() as connection:
        (new,) = connection.execute(
            b"insert into meter (manufacturer, serial, model, phases, digits, resolution_wh)"
            b" values ('New', %s, %s, %s, %s, %s) returning meter_id",
            [swap.serial, old.model, old.phases, old.digits, old.resolution_wh],
        ).fetchone() or (0,)
        point = topology.usage_point_id(connection, old.usage_point)
        assert point is not None
        topology.remove_meter(
            connection, usage_point_id=point, at=at, end_import_wh=ends[0], end_export_wh=ends[1], **keys
        )
        topology.install_meter(
            connection, usage_point_id=point, meter_id=new, at=at, start_import_wh=0, start_export_wh=0, **keys
        )


def evening_silence(made: Neighbourhood) -> dict[int, tuple[int, int]]:
    """Every third area is not heard for six hours around a midnight, or in the middle of a day; by meter."""
    found: dict[int, tuple[int, int]] = {}
    for area in range(0, len(made.world.scenario.areas), 3):
        begins = made.world.start_us + round((1.875 if area % 2 else 1.4) * 86_400e6)
        found |= dict.fromkeys(area_meters(made.world, area), (begins, begins + 6 * 3600 * 1_000_000))
    return found


def area_meters(world: World, area: int) -> list[int]:
    """Indices of all meters of an area that are read."""
    return [i for i, m in enumerate(world.fleet.meters) if m.area == area and m.role in (AREA, INSTALLED)]


def errors_in_sigma(made: Neighbourhood, rows: Sequence[dict[str, Any]]) -> Floats:
    """(n,) error of each settled loss over its complete intervals, in units of its stated uncertainty."""
    number = {a.code: i for i, a in enumerate(made.world.scenario.areas)}
    found = []
    for row in rows:
        complete = np.array([wh is not None for wh in row["supplied_interval_wh"]])
        truth = made.true_loss_wh(number[row["area"]], row["day"])
        found.append((row["loss_wh"] - truth[complete].sum()) / row["uncertainty_wh"])
    return np.array(found)
