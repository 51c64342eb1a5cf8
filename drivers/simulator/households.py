"""Who lives and works here: persistent habits and appliances of every user, drawn once from the seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from drivers.simulator.streams import Bools, Floats, Ints, stream

HOUSEHOLD, WORKSHOP = 0, 1
PHASE_SPLITS: Final = {HOUSEHOLD: (0.42, 0.33, 0.25), WORKSHOP: (0.36, 0.33, 0.31)}
"""How the load of a three-phase user divides over its phases, before they are shuffled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Columns of U users."""

    kind: Ints
    """(U,) HOUSEHOLD or WORKSHOP."""
    people: Ints
    away: Bools
    """(U,) nobody home in working hours on working days."""
    standby_w: Floats
    fridge_w: Floats
    fridge_period_s: Floats
    fridge_duty: Floats
    """(U,) share of the period in which the compressor runs, at 20 °C."""
    light_w: Floats
    screen_w: Floats
    cook_w: Floats
    """(U,) electric hob; 0 = gas."""
    kettle_w: Floats
    washes_per_week: Floats
    boiler_w: Floats
    """(U,) storage water heater; 0 = none."""
    bike: Bools
    """(U,) an electric bicycle is charged."""
    hvac_w: Floats
    """(U,) electric limit of heat pump and air conditioner; 0 = none."""
    heat_w_per_k: Floats
    """(U,) heat loss of the heated rooms."""
    wake_h: Floats
    sleep_h: Floats
    pv_wp: Floats
    production_w: Floats
    """(U,) machines on working days; 0 = none."""
    reactive: Floats
    """(U,) reactive power as a share of active power drawn."""

    @property
    def size(self) -> int:
        """How many users."""
        return int(self.kind.size)


def draw_users(seed: int, area: str, kinds: Sequence[int], *, pv: Bools, production: Bools) -> Users:
    """Users of one area. `kinds` (U,) HOUSEHOLD or WORKSHOP; `pv`, `production` (U,): who has panels or a workroom."""
    rng = stream(seed, "users", area)
    kind = np.asarray(kinds, dtype=np.int64)
    n = kind.size
    home = kind == HOUSEHOLD
    people = rng.choice([1, 2, 3, 4, 5], n, p=[0.14, 0.3, 0.27, 0.19, 0.1])
    machines = np.where(home, rng.uniform(600, 1500, n), rng.uniform(2500, 7000, n))

    def some(share: float, low: float, high: float) -> Floats:
        has = rng.random(n) < share
        return np.asarray(np.where(has & home, rng.uniform(low, high, n), 0.0))

    return Users(
        kind=kind,
        people=people.astype(np.int64),
        away=rng.random(n) < 0.55,
        standby_w=np.where(home, rng.gamma(4.0, 10.0, n) + 8.0, rng.uniform(60, 180, n)),
        fridge_w=np.where(home, rng.uniform(70, 130, n), 0.0),
        fridge_period_s=rng.uniform(2400, 5200, n),
        fridge_duty=rng.uniform(0.28, 0.45, n),
        light_w=rng.uniform(40, 160, n) * np.where(home, 1.0, 3.0),
        screen_w=rng.uniform(50, 220, n),
        cook_w=some(0.6, 1400, 2100),
        kettle_w=np.where(home, rng.uniform(1000, 1900, n), 1500.0),
        washes_per_week=np.where(home, 1.2 + 0.9 * people, 0.0),
        boiler_w=some(0.45, 1400, 2000),
        bike=(rng.random(n) < 0.35) & home,
        hvac_w=some(0.7, 900, 2400),
        heat_w_per_k=rng.uniform(60, 160, n),
        wake_h=rng.normal(6.6, 0.7, n),
        sleep_h=rng.normal(22.6, 0.7, n),
        pv_wp=np.where(pv, rng.uniform(3000, 6500, n), 0.0),
        production_w=np.where(production, machines, 0.0),
        reactive=rng.uniform(0.15, 0.35, n),
    )


def join(parts: Sequence[Users]) -> Users:
    """The columns of several areas, one after the other."""
    columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in Users.__dataclass_fields__}
    return Users(**columns)
