"""Season, temperature, sun and the grid's upstream voltage of one local day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from drivers.simulator.streams import Floats, smooth_noise


@dataclass(frozen=True, slots=True)
class Weather:
    """One local day, the same for all areas. n intervals."""

    temperature_c: Floats
    """(n,) outdoors."""
    darkness: Floats
    """(n,) 0 by day … 1 at night."""
    sun: Floats
    """(n,) irradiance on a panel, as a share of 1,000 W/m²."""


def weather(seed: int, day: date, hours: Floats, latitude_deg: float) -> Weather:
    """Temperate monsoon climate as in eastern China: 17 °C ± 12 °C over the year, ± 4 °C over the day.

    Sun: declination by Cooper's formula (1969), clear-sky irradiance 1.1·sin(elevation)^1.15, clouds as slow noise.
    """
    ordinal, of_year = day.toordinal(), day.timetuple().tm_yday
    spell = smooth_noise(seed, "spell", ordinal // 4, np.full(1, (ordinal % 4) * 6.0), knots=4, rows=1)[0, 0]
    north = 1.0 if latitude_deg >= 0 else -1.0
    season = -north * np.cos(2 * np.pi * (of_year - 22) / 365.25)
    temperature = 17.0 + 12.0 * season + 3.0 * spell + 4.0 * np.cos(2 * np.pi * (hours - 15.0) / 24.0)
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + of_year) / 365.25)
    latitude = np.radians(latitude_deg)
    height = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(
        2 * np.pi * (hours - 12.0) / 24.0
    )
    noise = smooth_noise(seed, "cloud", ordinal, hours, knots=24, rows=1)[0]
    cover = 1.0 / (1.0 + np.exp(-1.4 * (noise + 0.8 * spell)))
    sun = 1.1 * np.clip(height, 0.0, None) ** 1.15 * (0.2 + 0.8 * cover)
    return Weather(
        temperature_c=np.asarray(temperature, dtype=np.float64),
        darkness=np.asarray(1.0 / (1.0 + np.exp(25.0 * (height - 0.06)))),
        sun=np.asarray(np.clip(sun, 0.0, 1.1)),
    )


def upstream_v(seed: int, day: date, hours: Floats, *, areas: int, busbar_v: float) -> Floats:
    """(areas, 3, n) magnitude of the upstream voltage by phase [V, referred to low voltage].

    One medium-voltage feeder for all (± 1 % over hours, lower in the evening), a little of each area's and phase's own.
    """
    ordinal = day.toordinal()
    common = smooth_noise(seed, "mv", ordinal, hours, knots=12, rows=1)
    own = smooth_noise(seed, "mv-area", ordinal, hours, knots=8, rows=areas * 3).reshape(areas, 3, hours.size)
    evening = np.exp(-(((hours - 19.5) / 2.5) ** 2))
    return np.asarray(busbar_v * (1.006 + 0.006 * common[None] - 0.008 * evening + 0.0012 * own))
