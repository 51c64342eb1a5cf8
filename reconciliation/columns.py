"""The time courses that the families of wrong readings (shapes.py) are made of, meter by meter.

What was not read hides nothing: every course is zero there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d

from reconciliation.by_slot import sums_by_slot
from reconciliation.levels import long_runs, plateaus, still_registers
from reconciliation.prepare import Prepared, dequantised, moving_mean
from reconciliation.shapes import (
    AREA,
    COMMON,
    CONSTANT,
    FAMILIES,
    IDLE,
    IDLE_OWN,
    N_COLUMNS,
    OFF,
    ON,
    PLATEAU,
    READING,
    REVERSED,
    SMOOTH,
    SMOOTH_WIDTH,
    STUCK,
    STUCK_AREA,
    STUCK_OWN,
    Family,
    area_profile,
)
from reconciliation.window import Bools, Floats, Ints, Numbers, Singles

NEAR = 4
"""Intervals on either side within which a slow register's next tick is looked for: as far as its rounding is averaged
away."""
SLOW = 1.5
"""Register steps: a register whose readings above zero are no larger on average moves a step at a time."""
RESOLVED = 10
"""Register steps from which a level of a coarse register is one: three steps around it are no large part of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MeterColumns:
    """The columns of N meters, each time course kept once; reads like an (N, S, T) array."""

    courses: Singles
    """(R, T) time courses [Wh for readings, 1 for indicators]: readings have fewer digits than float32."""
    where: Ints
    """(N, S) course of each column; −1 where it is zero throughout."""

    @classmethod
    def all_of(cls, columns: Floats) -> "MeterColumns":
        """Of an (N, S, T) array."""
        n, s, t = columns.shape
        return cls(courses=columns.reshape(n * s, t).astype(np.float32), where=np.arange(n * s).reshape(n, s))

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, S, T."""
        return (*self.where.shape, self.courses.shape[1])

    def held(self, column: int) -> bool:
        """Whether any meter has something in this column."""
        return bool((self.where[:, column] >= 0).any())

    def __getitem__(self, key: tuple[int, Sequence[int]]) -> Floats:
        """(q, T) columns of one meter."""
        meter, columns = key
        at = self.where[meter, list(columns)]
        return np.asarray(self.courses[at].astype(np.float64) * (at >= 0)[:, None])


def meter_columns(area: Prepared, families: Sequence[Family] = FAMILIES) -> MeterColumns:
    """(N, N_COLUMNS, T) columns [Wh for readings, 1 for indicators]; zero where none of the ``families`` needs them."""
    wanted = {column for family in families for column in family.columns}
    shared = [column for column in COMMON if column in wanted or (column == CONSTANT and wanted & {ON, OFF})]
    n, t = area.imported.shape
    seen = _Seen.of(area)
    on_read, always_on = _often(seen.on, area.measured)
    off_read, always_off = _often(seen.off, area.measured)
    where = np.full((n, N_COLUMNS), -1)
    where[:, shared] = np.arange(n * len(shared)).reshape(n, -1)
    where[always_on, ON] = where[always_on, CONSTANT]
    where[always_off, OFF] = where[always_off, CONSTANT]
    if CONSTANT not in wanted:
        where[:, CONSTANT] = -1
    special = np.zeros((n, N_COLUMNS), bool)
    special[:, PLATEAU] = seen.level >= 0
    special[:, ON] = on_read & ~always_on
    special[:, OFF] = off_read & ~always_off
    special[np.ix_(np.asarray(seen.idle.any(axis=1) & ~seen.idle.all(axis=1)), np.array([IDLE_OWN, IDLE]))] = True
    special[np.ix_(np.asarray(seen.still.any(axis=1)), np.array([STUCK_OWN, STUCK, STUCK_AREA]))] = True
    special[:, [column for column in range(N_COLUMNS) if column not in wanted]] = False
    where[special] = n * len(shared) + np.arange(int(special.sum()))
    courses = np.empty((n * len(shared) + int(special.sum()), t), np.float32)
    read = area.measured.astype(np.float32)  # what was not read hides nothing
    of_all = courses[: n * len(shared)].reshape(n, len(shared), t)
    for at, column in enumerate(shared):
        np.multiply(seen.common(column), read, out=of_all[:, at])
    for column in (ON, OFF, PLATEAU, IDLE_OWN, IDLE, STUCK_OWN, STUCK, STUCK_AREA):
        some = np.flatnonzero(special[:, column])
        if some.size:
            courses[where[some, column]] = seen.special(column, some) * read[some]
    return MeterColumns(courses=courses, where=where)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Seen:
    """What the columns of N meters are made of; (N, T) where nothing else is said."""

    area: Prepared
    raw: Floats
    """Energy taken [Wh]."""
    y: Singles
    """The same with the register's rounding averaged away [Wh]."""
    profile: Floats
    """(T,) of the area, mean 1."""
    on: Bools
    """Energy is taken; see ``_ticks``."""
    off: Bools
    """None is taken, nor given: who exports may use what the own roof makes."""
    idle: Bools
    """Nothing taken for two hours or more."""
    still: Bools
    level: Ints
    """(N,) plateau [register steps]; −1 = none."""

    @classmethod
    def of(cls, area: Prepared) -> "_Seen":
        raw = area.imported
        taken: Bools = np.asarray(raw > 0)
        own: Bools = np.asarray(area.imported <= area.net)
        zero = ~taken & own
        on = taken | (own & _ticks(raw, taken, area.step, area.coarse))
        off = zero & ~on
        return cls(
            area=area,
            raw=raw,
            y=dequantised(raw, area.step),
            profile=area_profile(area),
            on=on,
            off=off,
            idle=np.asarray(zero & long_runs(zero, _two_hours(area))),
            still=still_registers(area),
            level=_told(plateaus(raw, area.step), area.coarse),
        )

    def common(self, column: int) -> Numbers | float:
        """A course that every meter has; for all meters."""
        if column == SMOOTH:
            return moving_mean(self.y, SMOOTH_WIDTH)
        if column == REVERSED:
            return np.asarray(np.take(self.y, _backwards(self.area.day, self.area.slot), axis=1) - self.y)
        return self.y if column == READING else self.profile if column == AREA else 1.0

    def special(self, column: int, meters: Ints) -> Floats | Bools:
        """(n, T) courses of the meters that have this one."""
        if column in (ON, OFF):
            return np.asarray((self.off if column == OFF else self.on)[meters])
        if column in (IDLE, STUCK):
            return np.asarray((self.idle if column == IDLE else self.still)[meters])
        if column == STUCK_AREA:
            return np.asarray(self.profile * self.still[meters])
        if column == PLATEAU:
            step = np.maximum(self.area.step[meters], 1e-9)[:, None]
            return np.asarray(np.abs(np.rint(self.raw[meters] / step) - self.level[meters, None]) <= 1)
        acts = (self.idle if column == IDLE_OWN else self.still)[meters]
        least = 1 if column == IDLE_OWN else max(round(86400 / self.area.window.interval_s), 1)
        own = self._own_profile(meters, ~acts, least)
        if column == STUCK_OWN:
            own = moving_mean(own, _two_hours(self.area) // 2 * 2 + 1)
        return np.asarray(own * acts)

    def _own_profile(self, meters: Ints, use: Bools, least: int) -> Floats:
        """(n, T) meters' means by time of day over the intervals in use; zero where those are fewer than ``least``, the
        mean of all of them at times of day without any."""
        slot = self.area.slot
        n_slots = int(slot.max()) + 1
        total, count = sums_by_slot(np.where(use, self.y[meters], 0.0), slot, n_slots), sums_by_slot(use, slot, n_slots)
        number = count.sum(axis=1, keepdims=True)
        of_all = total.sum(axis=1, keepdims=True) / np.maximum(number, 1)
        mean = np.where(count > 0, total / np.maximum(count, 1), of_all)
        return np.asarray(np.where(number >= least, mean, 0.0)[:, slot])


def _told(level: Ints, coarse: Bools) -> Ints:
    """(N,) levels, without those that a coarse register's rounding makes."""
    return np.where(coarse & (level < RESOLVED), -1, level)


def _ticks(raw: Floats, taken: Bools, step: Floats, coarse: Bools) -> Bools:
    """(N, T) where zero is not off: within NEAR intervals of a tick of a register that moves a step at a time. A steady
    load of half a step reads 0, 1, 0, 1."""
    out = np.zeros(raw.shape, bool)
    slow = np.flatnonzero((raw.sum(axis=1) < SLOW * step * taken.sum(axis=1)) | coarse)
    out[slow] = maximum_filter1d(taken[slow], 2 * NEAR + 1, axis=1, mode="constant", cval=0)
    return out


def _often(x: Bools, measured: Bools) -> tuple[Bools, Bools]:
    """(N,) where (N, T) ``x`` holds in some measured interval, and in every one of at least one."""
    some = np.asarray((x & measured).any(axis=1))
    return some, np.asarray(some & (x | ~measured).all(axis=1))


def _two_hours(area: Prepared) -> int:
    """Two hours, at least two intervals."""
    return max(round(7200 / area.window.interval_s), 2)


def _backwards(day: Ints, slot: Ints) -> Ints:
    """(T,) index of the interval as far from its day's end as this one is from its start."""
    last = np.zeros(int(day[-1]) + 1, np.int64)
    np.maximum.at(last, day, slot)
    first = np.arange(day.size) - slot
    return np.asarray(first + last[day] - slot, dtype=np.int64)
