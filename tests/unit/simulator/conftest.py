"""Small neighbourhoods made of text, started at a fixed instant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from drivers.simulator.days import to_us
from drivers.simulator.scenario import parse_scenario
from drivers.simulator.world import World

EPOCH = datetime(2026, 11, 23, 5, 41, tzinfo=UTC)
HEAD = """
title = "test"
seed = 11
zone = "{zone}"
history_days = {days}
[station]
code = "S"
name = "S"
[[areas]]
code = "A"
name = "A"
households = 12
workshops = 1
pv_share = 0.3
[[areas]]
code = "B"
name = "B"
households = 9
three_phase_share = 0.3
[areas.shared]
premises = 3
with_production = 1
"""


@pytest.fixture
def make_world() -> Callable[..., World]:
    """Makes a world of two small areas; `faults` is TOML."""

    def make(faults: str = "", *, days: int = 3, zone: str = "Asia/Shanghai", epoch: datetime = EPOCH) -> World:
        scenario = parse_scenario(HEAD.format(days=days, zone=zone) + faults, file="test.toml")
        return World(scenario, to_us(epoch))

    return make
