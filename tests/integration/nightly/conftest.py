"""Stations that are settled up to yesterday, and nobody has explained yet."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.field import Field
from support.station import DAYS, Stations, build_stations, zone_at_noon


@pytest.fixture
def make_stations(make_field: Callable[..., Field]) -> Callable[..., Stations]:
    """build_stations in a database of its own."""

    def make(**wanted: int) -> Stations:
        return build_stations(make_field(zone=zone_at_noon(), window_days=DAYS, quiet_s=0), **wanted)

    return make
