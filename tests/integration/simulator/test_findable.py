"""The demonstration's faults can be found by whoever sees only what the meters report."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from drivers.simulator.days import to_us
from drivers.simulator.export import truth
from drivers.simulator.scenario import demo_scenario, load_scenario
from drivers.simulator.world import World
from reconciliation import analyse
from support.reported import reported


@pytest.fixture(scope="module")
def demo() -> World:
    """The demonstration at a fixed instant."""
    return World(load_scenario(demo_scenario()), to_us(datetime(2026, 11, 23, 5, 41, tzinfo=UTC)))


def test_planted_faults_sit_on_ordinary_households(demo: World) -> None:
    told = truth(demo)
    for fault in told["planted"]:
        if fault["counted"] and fault["meter"]:
            assert 6_000 < told["true_wh"][fault["meter"]] / 28 < 16_000
    for area, supplied in told["supplied_wh"].items():
        assert 0.004 < told["technical_loss_wh"][area] / supplied < 0.05


def test_the_engine_finds_them_and_accuses_no_honest_meter(demo: World) -> None:
    reports, told = analyse(reported(demo)), truth(demo)
    planted = {f["fault"]: f for f in told["planted"] if f["counted"]}
    faulty = {f["meter"] for f in told["planted"] if f["meter"] and not f["events"] and not f["sign"]}
    accused = {m for r in reports.values() for m in r.accused}
    assert accused <= faulty
    assert [(planted["wrong_area"]["meter"], "TA-03")] == list(reports["TA-02"].misplaced)
    assert not reports["TA-01"].misplaced
    assert not reports["TA-03"].misplaced
    assert all(r.alarm for r in reports.values())
    # Ranked first among its area's meters, whether or not the engine ventures to accuse.
    for area, kinds in {"TA-01": ("stuck", "under_registering"), "TA-02": ("wrong_multiplier",)}.items():
        ranking = sorted(reports[area].suspicion, key=lambda m, a=area: -reports[a].suspicion[m])
        assert {planted[k]["meter"] for k in kinds} == set(ranking[: len(kinds)])
    assert "direct_tap" in {f.kind for f in reports["TA-03"].findings}
