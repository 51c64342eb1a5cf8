"""Which stored profiles a concentrator has, by number, and the bytes of each: a pure function of the world.

Numbers rise for ever: the days of history (in groups of meters), today's hours up to the first start, then one upload
for each freeze.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from drivers.events import EventKind
from drivers.simulator.days import STEP_US, US, iso
from drivers.simulator.faults import DeadConcentrator
from drivers.simulator.fleet import AREA, STOCK
from drivers.simulator.incidents import Incident
from drivers.simulator.streams import Ints
from drivers.simulator.world import World

FORMAT: Final = "headend.profile/1"


@dataclass(frozen=True, slots=True)
class Freezes:
    """Readings that meters froze. g meters, k instants."""

    meters: Ints
    """(g,)"""
    ts_us: Ints
    """(k,) as stamped by the meters' own clocks."""
    import_wh: npt.NDArray[np.int64]
    """(g, k) as the registers show."""
    export_wh: npt.NDArray[np.int64]
    voltage_v: npt.NDArray[np.float64]
    """(g, k) mean over the interval that ends at ts; NaN = not measured."""
    present: npt.NDArray[np.bool_]
    """(g, k) False: lost for ever."""


def freezes(world: World, meters: Ints, ts_us: Ints) -> Freezes:
    """What `meters` (g,) froze at the instants `ts_us` (k,) of their own clocks."""
    instruments = world.instruments
    at = ts_us[None] - instruments.clock_lead_us(meters, ts_us)
    imported, exported = world.true_cumulative(meters, at)
    volts = np.full((meters.size, ts_us.size), np.nan)
    present = np.ones((meters.size, ts_us.size), dtype=np.bool_)
    for k, ts in enumerate(ts_us):
        if ts > world.start_us:
            day = world.day(world.days.of(int(ts) - 1))
            interval = (int(ts) - int(day.grid_us[0])) // STEP_US - 1
            volts[:, k] = day.metered.voltage_v[meters, interval]
            present[:, k] = ~day.metered.gap[meters, interval]
    for row, meter in enumerate(meters.tolist()):
        for incident in world.incidents.of.get(meter, ()):
            _happened(incident, at[row], volts[row], present[row], phases=world.fleet.meters[meter].phases)
    return Freezes(
        meters=meters,
        ts_us=ts_us,
        import_wh=world.shown(meters, imported),
        export_wh=world.shown(meters, exported),
        voltage_v=np.round(volts, 1),
        present=present,
    )


def _happened(
    incident: Incident, at_us: Ints, volts: npt.NDArray[np.float64], present: npt.NDArray[np.bool_], *, phases: int
) -> None:
    """Put what an incident does into the freezes of its meter at true instants (k,): in place."""
    for k, instant_us in enumerate(at_us.tolist()):
        volts[k] += incident.rise_v / phases * incident.overlap_us(instant_us - STEP_US, instant_us) / STEP_US
        if incident.kind is EventKind.POWER_FAILED and incident.holds(instant_us):
            present[k] = False


@dataclass(frozen=True, slots=True)
class Upload:
    """One numbered upload."""

    seq: int
    ts_us: Ints
    meters: Ints


class Profiles:
    """The uploads of one area's concentrator, numbered from 1."""

    def __init__(self, world: World, area: int) -> None:
        self.world, self.area = world, area
        scenario = world.scenario
        self.code = f"C-{area + 1:02d}"
        self.meters = np.array(
            [i for i, m in enumerate(world.fleet.meters) if m.area == area and m.role != STOCK], dtype=np.int64
        )
        groups = -(-self.meters.size // scenario.live.upload_meters)
        self._groups = np.array_split(self.meters, groups)
        self._days = scenario.history_days + (world.until_us > world.days.start_us(world.today))
        self.history = self._days * groups
        """Number of the last upload of history."""
        own = [f for f in scenario.faults if f.area == scenario.areas[area].code]
        dead = [f.onset_day for f in own if isinstance(f, DeadConcentrator)]
        self.last_day = min(dead) if dead else None
        """Days after the start of history from which nothing is sent any more."""

    def last_due(self, now_us: int) -> int:
        """Number of the latest upload whose freezes have been collected."""
        if self.last_day is not None:
            return self.last_day * len(self._groups)
        since = now_us - self.world.scenario.live.collect_s * US - self.world.until_us
        return self.history + max(0, since // STEP_US)

    def upload(self, seq: int) -> Upload:
        """What belongs to a number (1…)."""
        world = self.world
        if seq > self.history:
            return Upload(seq, np.array([world.until_us + (seq - self.history) * STEP_US]), self.meters)
        day, group = divmod(seq - 1, len(self._groups))
        grid = world.days.grid_us(world.first_day + timedelta(days=day))
        ts = grid if day == 0 else grid[1:]
        return Upload(seq, ts[ts <= world.until_us], self._groups[group])

    def payload(self, seq: int, backlog: int) -> bytes:
        """The message of an upload; the same arguments give the same bytes."""
        upload = self.upload(seq)
        world, names = self.world, [m.name for m in self.world.fleet.meters]
        frozen = freezes(world, upload.meters, upload.ts_us)
        body: dict[str, Any] = {
            "format": FORMAT,
            "seq": seq,
            "backlog": backlog,
            "meters": [names[i] for i in upload.meters],
            "ts": [iso(int(t)) for t in upload.ts_us],
            "import_wh": _nullable(frozen.import_wh, frozen.present),
            "export_wh": _nullable(frozen.export_wh, frozen.present),
            "voltage_v": _nullable(frozen.voltage_v, frozen.present & np.isfinite(frozen.voltage_v)),
        }
        observers = [(row, int(i)) for row, i in enumerate(upload.meters) if world.fleet.meters[i].role == AREA]
        if observers:
            body["phases"] = {names[i]: self._phases(i, upload.ts_us, frozen.present[row]) for row, i in observers}
        return msgspec.json.encode(body)

    def _phases(self, meter: int, ts_us: Ints, present: npt.NDArray[np.bool_]) -> dict[str, Any]:
        """By phase: [[l1, l2, l3] per instant]; null where not measured."""
        world, place = self.world, int(self.world.instruments.place3[meter])
        imported, exported = world.true_phase_cumulative(meter, ts_us)
        same = np.full(3, meter)
        volts = np.full((3, ts_us.size), np.nan)
        for k, ts in enumerate(ts_us):
            if ts > world.start_us:
                day = world.day(world.days.of(int(ts) - 1))
                volts[:, k] = day.metered.phase_voltage_v[place, :, (int(ts) - int(day.grid_us[0])) // STEP_US - 1]
        there = np.broadcast_to(present, (3, ts_us.size))
        return {
            "import_wh": _nullable(world.shown(same, imported).T, there.T),
            "export_wh": _nullable(world.shown(same, exported).T, there.T),
            "voltage_v": _nullable(np.round(volts, 1).T, (there & np.isfinite(volts)).T),
        }


def _nullable(values: npt.NDArray[Any], present: npt.NDArray[np.bool_]) -> list[Any]:
    boxed = values.astype(object)
    boxed[~present] = None
    listed: list[Any] = boxed.tolist()
    return listed
