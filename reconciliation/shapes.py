"""How a wrong reading would look in the balance: for each meter, time courses of the energy it would be hiding.

Every column is built from the meter's own reading (and the area's mean load) alone, never from the balance. A family
is a small set of columns with a Gaussian prior on their coefficients; L is the area's typical household energy per
interval [Wh].

- scaled: θ·reading, θ = true/read − 1 ~ N(0, 1.5²): a share bypasses the meter; one phase or CT missing;
- multiplier: the same with SD 10: the register is multiplied by the wrong factor;
- random: θ₁·reading + θ₂·smoothed reading, SD 1.5: an intermittent bypass hides what is usual then, not what was read;
- floor: constants while above zero and while at zero, SD L: a constant piece is cut off whatever is used;
- plateau: a constant at the plateau, SD 2 L: the reading is capped, something is hidden only where it sits at the cap;
- idle: θ₁·own profile + θ₂ while idle, SD 1 and L: zero for hours in which it otherwise is not;
- stuck: θ₁·own profile + θ₂ + θ₃·area profile while frozen, SD 1, L, L: the register stands still, the load goes on;
- replaced: θ₁·reading + constant + area profile, mean −1, 0, 0, SD 0.1, L, L: the reading says nothing about the load;
- reversed: θ·(own day backwards − reading), mean 1, SD 0.05: intervals stored in the wrong order.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from reconciliation.prepare import Prepared
from reconciliation.window import Floats

READING, SMOOTH, ON, OFF, PLATEAU, IDLE_OWN, IDLE, STUCK_OWN, STUCK, STUCK_AREA, CONSTANT, AREA, REVERSED = range(13)
N_COLUMNS: Final = 13
COMMON: Final = (READING, SMOOTH, CONSTANT, AREA, REVERSED)
"""Columns that every meter has a course of its own for."""
SMOOTH_WIDTH: Final = 9
"""Intervals over which a reading is smoothed: what is usual then."""


@dataclass(frozen=True)
class Family:
    """One way of being wrong."""

    name: str
    columns: tuple[int, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    in_loads: tuple[bool, ...]
    """Whether the coefficient is in units of L."""


FAMILIES: Final = (
    Family("scaled", (READING,), (0.0,), (1.5,), (False,)),
    Family("multiplier", (READING,), (0.0,), (10.0,), (False,)),
    Family("random", (READING, SMOOTH), (0.0, 0.0), (1.5, 1.5), (False, False)),
    Family("floor", (ON, OFF), (0.0, 0.0), (1.0, 1.0), (True, True)),
    Family("plateau", (PLATEAU,), (0.0,), (2.0,), (True,)),
    Family("idle", (IDLE_OWN, IDLE), (0.0, 0.0), (1.0, 1.0), (False, True)),
    Family("stuck", (STUCK_OWN, STUCK, STUCK_AREA), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (False, True, True)),
    Family("replaced", (READING, CONSTANT, AREA), (-1.0, 0.0, 0.0), (0.1, 1.0, 1.0), (False, True, True)),
    Family("reversed", (REVERSED,), (1.0,), (0.05,), (False,)),
)

PLAIN: Final = tuple(f for f in FAMILIES if f.name in ("scaled", "floor", "plateau", "idle", "stuck"))
"""Those that need no course of a meter but its reading, except where it reads zero, sits at a level or stands still: a
third of the work."""

LOAD: Final = Family("load", (CONSTANT, AREA), (0.0, 0.0), (2.0, 2.0), (True, True))
"""What no meter's reading tells: an extra load on the meter's stream. Evidence for it is not evidence against the
meter."""


def typical_load(area: Prepared) -> float:
    """L: median over the meters of the mean energy taken per interval [Wh], at least one register step."""
    mean = area.imported.mean(axis=1)
    alive = mean[mean > 0]
    step = float(np.median(area.step)) if area.step.size else 1.0
    return max(float(np.median(alive)) if alive.size else 0.0, step, 1.0)


def area_profile(area: Prepared) -> Floats:
    """(T,) energy taken by all households, scaled to mean 1."""
    total = area.imported.sum(axis=0)
    mean = float(total.mean())
    return np.asarray(total / mean) if mean > 0 else np.ones_like(total)
