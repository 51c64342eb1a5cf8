"""The neighbourhood in time: any local day computed alone, and every register at any instant.

The rule it keeps: all is a pure function of (scenario, epoch, instant), so a restart goes on with the same values.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from drivers.simulator.appliances import day_load, tap_load
from drivers.simulator.days import STEP_US, US, Days
from drivers.simulator.faults import DirectTap
from drivers.simulator.fleet import Fleet, build_fleet
from drivers.simulator.incidents import Incidents
from drivers.simulator.meters import HOURS, Instruments, Metered
from drivers.simulator.physics import solve
from drivers.simulator.planted import plant
from drivers.simulator.scenario import Scenario
from drivers.simulator.streams import Floats, Ints
from drivers.simulator.weather import upstream_v, weather

_CACHE_BYTES: Final = 400_000_000


@dataclass(frozen=True, slots=True)
class Truth:
    """What really flowed in one day [Wh]. A areas, U users, n intervals."""

    supplied_wh: Floats
    """(A, 3, n) through each area's transformer by phase; negative: out."""
    user_wh: Floats
    """(U, n) net energy of every user."""
    line_loss_wh: Floats
    """(A, n)."""
    own_use_wh: Floats
    """(A,) of the meters, per interval."""
    tap_wh: dict[int, Floats]
    """By number of the fault: (n,)."""


@dataclass(frozen=True, slots=True)
class Day:
    """One local day."""

    day: date
    grid_us: Ints
    """(n + 1,)"""
    metered: Metered
    truth: Truth


@dataclass(frozen=True, slots=True)
class Registers:
    """Cumulative registers before rounding and rollover [Wh]."""

    import_wh: Floats
    """(M,)"""
    export_wh: Floats
    phase_import_wh: Floats
    """(M3, 3)"""
    phase_export_wh: Floats


class World:
    """A scenario from its start of history on. Safe to use from several threads."""

    def __init__(self, scenario: Scenario, epoch_us: int, prefix: dict[date, Registers] | None = None) -> None:
        """`epoch_us`: the first start; history ends there. `prefix`: registers at days' starts computed before."""
        self.scenario, self.epoch_us = scenario, epoch_us
        self.days = Days(scenario.tz)
        self.today = self.days.of(epoch_us)
        self.first_day = self.today - timedelta(days=scenario.history_days)
        self.start_us = self.days.start_us(self.first_day)
        self.until_us = self.start_us + (epoch_us - self.start_us) // STEP_US * STEP_US
        """The last freeze that belongs to history."""
        self.fleet: Fleet = plant(scenario, build_fleet(scenario))
        self.instruments = Instruments(scenario, self.fleet, self.start_us)
        self.incidents = Incidents(scenario, self.fleet, start_us=self.start_us, epoch_us=epoch_us)
        self.resolution_wh = np.array([m.resolution_wh for m in self.fleet.meters], dtype=np.int64)
        self.modulus_wh = np.array([10**m.digits * m.resolution_wh for m in self.fleet.meters], dtype=np.int64)
        self._prefix: dict[date, Registers] = dict(prefix or {})
        self._prefix.setdefault(self.first_day, Registers(*self.instruments.start_registers()))
        self._cache: OrderedDict[date, tuple[Day, tuple[Floats, ...]]] = OrderedDict()
        self._lock = threading.Lock()

    def compute(self, day: date) -> Day:
        """One local day from nothing but scenario, epoch and date."""
        scenario, fleet, seed = self.scenario, self.fleet, self.scenario.seed
        grid, hours = self.days.grid_us(day), self.days.hours(day)
        sky = weather(seed, day, hours, scenario.latitude_deg)
        load = day_load(fleet.users, seed, day, hours=hours, weather=sky, since_epoch_s=grid // US)
        taps: dict[int, Floats] = {}
        for k, fault in enumerate(scenario.faults):
            if isinstance(fault, DirectTap):
                shape = {"base_w": fault.base_w, "evening_w": fault.evening_w}
                watts = tap_load(seed, day.toordinal(), hours, key=f"tap-{k}", **shape)
                taps[k] = np.where(grid[:-1] >= self.start_us + round(fault.onset_day * 86_400 * US), watts, 0.0)
        upstream = upstream_v(seed, day, hours, areas=len(scenario.areas), busbar_v=scenario.busbar_v)
        net, reactive = load.drawn_w - load.fed_w, load.drawn_w * fleet.users.reactive[:, None]
        flows = []
        for number, wiring in enumerate(fleet.wiring):
            own = wiring.user >= 0
            va = np.empty((wiring.user.size, hours.size), dtype=np.complex128)
            at = wiring.user[own]
            va[own] = wiring.share[own, None] * (net[at] + 1j * reactive[at])
            for row in np.flatnonzero(~own):
                va[row] = taps[int(-1 - wiring.user[row])] * (1 + 0.2j)
            flows.append(
                solve(
                    line_ohm=wiring.line_ohm,
                    transformer_ohm=wiring.transformer_ohm,
                    phase=wiring.phase,
                    upstream_v=upstream[number],
                    load_va=va + wiring.own_use_w[:, None],
                )
            )
        channels = self.instruments.channels(load.drawn_w, load.fed_w, taps, flows)
        truth = Truth(
            supplied_wh=np.stack([f.supplied_w for f in flows]) * HOURS,
            user_wh=net * HOURS,
            line_loss_wh=np.stack([f.line_loss_w for f in flows]) * HOURS,
            own_use_wh=np.array([w.own_use_w.sum() for w in fleet.wiring]) * HOURS,
            tap_wh={k: w * HOURS for k, w in taps.items()},
        )
        return Day(day, grid, self.instruments.read(day, grid, channels), truth)

    def day(self, day: date) -> Day:
        """The same, remembered while it is likely to be asked for again."""
        return self._cumulative(day)[0]

    def registers_at_start(self, day: date) -> Registers:
        """Cumulative registers at a local midnight, summed day after day from the start of history."""
        if day < self.first_day:
            raise ValueError(f"{day} is before the start of history, {self.first_day}")
        known = day
        while known not in self._prefix:
            known -= timedelta(days=1)
        while known < day:
            self._load(known)
            known += timedelta(days=1)
        return self._prefix[day]

    def known_prefix(self) -> tuple[date, Registers]:
        """The latest day whose registers are known, and these: what a restart wants to have kept."""
        last = max(list(self._prefix))
        return last, self._prefix[last]

    def _cumulative(self, day: date) -> tuple[Day, tuple[Floats, ...]]:
        """The day and its cumulative registers: import, export (M, n + 1), by phase (M3, 3, n + 1)."""
        self.registers_at_start(day)
        return self._load(day)

    def _load(self, day: date) -> tuple[Day, tuple[Floats, ...]]:
        with self._lock:
            if (found := self._cache.get(day)) is not None:
                self._cache.move_to_end(day)
                return found
        # Not under the lock: who reads another day goes on meanwhile, and a day computed twice is the same.
        computed, start = self.compute(day), self._prefix[day]
        m = computed.metered
        sums = tuple(
            np.concatenate([first[..., None], first[..., None] + np.cumsum(energy, axis=-1)], axis=-1)
            for first, energy in (
                (start.import_wh, m.import_wh),
                (start.export_wh, m.export_wh),
                (start.phase_import_wh, m.phase_import_wh),
                (start.phase_export_wh, m.phase_export_wh),
            )
        )
        self._prefix.setdefault(day + timedelta(days=1), Registers(*(s[..., -1].copy() for s in sums)))
        size = sum(s.nbytes for s in sums) + sum(getattr(m, f.name).nbytes for f in fields(Metered))
        with self._lock:
            self._cache[day] = computed, sums
            while len(self._cache) > max(3, min(self.scenario.history_days + 3, _CACHE_BYTES // size)):
                self._cache.popitem(last=False)
        return computed, sums

    def true_cumulative(self, meters: Ints, instant_us: Ints) -> tuple[Floats, Floats]:
        """Import and export (g, k) [Wh, unrounded] of `meters` (g,) at true instants (g, k), straight between freezes.

        Before the start of history registers stand still.
        """
        at = np.maximum(instant_us, self.start_us)
        out = np.empty(at.shape), np.empty(at.shape)
        for day in self._days_of(at):
            entry, sums = self._cumulative(day)
            grid = entry.grid_us
            here = (at >= grid[0]) & (at < grid[-1])
            row = np.nonzero(here)[0]
            left, part = np.divmod(at[here] - grid[0], STEP_US)
            w = part / STEP_US
            for target, total in zip(out, sums[:2], strict=True):
                rows = meters[row]
                before = total[rows, left]
                target[here] = before + (total[rows, left + 1] - before) * w
        return out

    def true_phase_cumulative(self, meter: int, instant_us: Ints) -> tuple[Floats, Floats]:
        """By-phase import and export (3, k) [Wh, unrounded] of one three-phase meter at true instants (k,)."""
        at, place = np.maximum(instant_us, self.start_us), int(self.instruments.place3[meter])
        out = np.empty((3, at.size)), np.empty((3, at.size))
        for day in self._days_of(at):
            entry, sums = self._cumulative(day)
            here = (at >= entry.grid_us[0]) & (at < entry.grid_us[-1])
            left, part = np.divmod(at[here] - entry.grid_us[0], STEP_US)
            w = part / STEP_US
            for target, total in zip(out, sums[2:], strict=True):
                before = total[place][:, left]
                target[:, here] = before + (total[place][:, left + 1] - before) * w
        return out

    def _days_of(self, at: Ints) -> list[date]:
        if not at.size:
            return []
        first, last = self.days.of(int(at.min())), self.days.of(int(at.max()))
        return [first + timedelta(days=i) for i in range((last - first).days + 1)]

    def shown(self, meters: Ints, cumulative_wh: Floats) -> npt.NDArray[np.int64]:
        """What `meters` (g,) show for cumulative energies (g, …) [Wh]: whole steps, rolled over at the digits' end."""
        shape = (-1,) + (1,) * (cumulative_wh.ndim - 1)
        step = self.resolution_wh[meters].reshape(shape)
        counted = np.floor(cumulative_wh / step + 1e-9).astype(np.int64) * step
        return np.asarray(counted % self.modulus_wh[meters].reshape(shape))
