"""Sunrise and sunset by the equations of NOAA's solar calculator (after J. Meeus, Astronomical Algorithms): to about a
minute between 72° south and north.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import acos, asin, cos, degrees, radians, sin, tan
from typing import Final

_HORIZON_DEG: Final = 90.833
"""Zenith of the sun's centre at rising and setting: its radius and the air's refraction."""
_J2000: Final = datetime(2000, 1, 1, 12, tzinfo=UTC)


def sun_times(noon: datetime, latitude_deg: float, longitude_deg: float) -> tuple[datetime, datetime] | None:
    """Sunrise and sunset [UTC] around a local noon; None where the sun does not cross the horizon that day."""
    declination, equation_min = _position(noon)
    latitude = radians(latitude_deg)
    if abs(latitude_deg) >= 90:
        return None
    angle = cos(radians(_HORIZON_DEG)) / (cos(latitude) * cos(declination)) - tan(latitude) * tan(declination)
    if not -1 < angle < 1:
        return None
    half = timedelta(seconds=round(240 * degrees(acos(angle))))
    # The sun passes the meridian when its own clock says twelve; UTC's twelve nearest to the noon that was asked for.
    clock = noon.replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(
        minutes=4 * longitude_deg + equation_min
    )
    transit = clock + timedelta(days=round((noon - clock) / timedelta(days=1)))
    transit -= timedelta(microseconds=transit.microsecond)
    return transit - half, transit + half


def polar_night(noon: datetime, latitude_deg: float) -> bool:
    """Whether a day without sunrise and sunset is dark: the sun stands over the other hemisphere."""
    return _position(noon)[0] * latitude_deg < 0


def _position(instant: datetime) -> tuple[float, float]:
    """Declination [rad] and equation of time [min]."""
    century = (instant - _J2000) / timedelta(days=36_525)
    longitude = radians((280.46646 + century * (36_000.76983 + century * 0.0003032)) % 360)
    anomaly = radians(357.52911 + century * (35_999.05029 - 0.0001537 * century))
    eccentricity = 0.016708634 - century * (0.000042037 + 0.0000001267 * century)
    centre = (
        sin(anomaly) * (1.914602 - century * (0.004817 + 0.000014 * century))
        + sin(2 * anomaly) * (0.019993 - 0.000101 * century)
        + sin(3 * anomaly) * 0.000289
    )
    node = radians(125.04 - 1934.136 * century)
    apparent = longitude + radians(centre - 0.00569 - 0.00478 * sin(node))
    mean_obliquity = 23 + (26 + (21.448 - century * (46.815 + century * (0.00059 - century * 0.001813))) / 60) / 60
    obliquity = radians(mean_obliquity + 0.00256 * cos(node))
    declination = asin(sin(obliquity) * sin(apparent))
    y = tan(obliquity / 2) ** 2
    equation = degrees(
        y * sin(2 * longitude)
        - 2 * eccentricity * sin(anomaly)
        + 4 * eccentricity * y * sin(anomaly) * cos(2 * longitude)
        - 0.5 * y * y * sin(4 * longitude)
        - 1.25 * eccentricity * eccentricity * sin(2 * anomaly)
    )
    return declination, 4 * equation
