"""Faults that tell something find their meter, and change nothing of what flows or of what others report."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from drivers.simulator.days import STEP_US, US
from drivers.simulator.fleet import INSTALLED
from drivers.simulator.live import PHASED, LiveMeters
from drivers.simulator.profile import freezes
from drivers.simulator.scenario import ScenarioError
from drivers.simulator.world import World

Make = Callable[..., World]


def fault(kind: str, area: str = "B", **keys: object) -> str:
    """One fault as TOML."""
    values = {k: f'"{v}"' if isinstance(v, str) else v for k, v in keys.items()}
    return f'[[faults]]\nkind = "{kind}"\narea = "{area}"\n' + "".join(f"{k} = {v}\n" for k, v in values.items())


ALL = (
    fault("silent_meter")
    + fault("cover_opened", onset_day=1)
    + fault("power_failure", at_s=5, lasts_s=60)
    + fault("over_voltage", phase=2, rise_v=40, at_s=-2000, lasts_s=3000)
    + fault("meter_clock", "A", model="schneider-iem3155", drift_ppm=80)
    + fault("stranger", "A", device="shellypro3em-1")
)


def test_each_finds_a_meter_of_its_own_that_suits_it(make_world: Make) -> None:
    world = make_world(ALL)
    on = [world.fleet.meters[world.fleet.planted[k]] for k in range(5)]
    silent, cover, failing, over, clock = on
    assert len({m.serial for m in on}) == 5
    assert all(m.role == INSTALLED for m in on)
    assert silent.unit is not None
    assert cover.single_mqtt
    assert failing.single_mqtt
    assert over.unit is not None
    assert over.phases == 3
    assert (clock.model, clock.manufacturer) == ("schneider-iem3155", "Schneider Electric")
    assert 5 not in world.fleet.planted


def test_nothing_else_moves(make_world: Make) -> None:
    plain, world = make_world(), make_world(ALL)
    changed = {world.fleet.planted[4]}
    for i, (before, after) in enumerate(zip(plain.fleet.meters, world.fleet.meters, strict=True)):
        assert (before == after) == (i not in changed)
        assert (before.serial, before.unit, before.usage_point) == (after.serial, after.unit, after.usage_point)
    day = plain.first_day
    for name in ("import_wh", "export_wh", "voltage_v", "current_a", "gap"):
        assert np.array_equal(getattr(plain.day(day).metered, name), getattr(world.day(day).metered, name))
    assert np.array_equal(plain.day(day).truth.user_wh, world.day(day).truth.user_wh)
    assert np.array_equal(plain.day(day).truth.supplied_wh, world.day(day).truth.supplied_wh)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            fault("meter_clock", model="eastron-sdm120"),
            r"faults\[0\]\.model: 'eastron-sdm120' is no model with a clock",
        ),
        (fault("meter_clock", model="nobody"), "schneider-iem3155"),
        (fault("silent_meter") * 8, r"faults\[\d\]\.household: no household of B is one on Modbus and free"),
        (fault("over_voltage", "A", household=99, phase=1, rise_v=9, lasts_s=1), r"household: 99; A has 1\.\.12"),
    ],
)
def test_what_does_not_fit_is_said(make_world: Make, text: str, named: str) -> None:
    with pytest.raises(ScenarioError, match=named):
        make_world(text)


def with_makes(world: World, area: int, *models: str) -> World:
    """The same neighbourhood with other makes in one area."""
    areas = list(world.scenario.areas)
    areas[area] = msgspec.structs.replace(areas[area], makes=models)
    return World(msgspec.structs.replace(world.scenario, areas=tuple(areas)), world.epoch_us)


def test_other_makes_hang_where_nothing_is_planted(make_world: Make) -> None:
    plain = make_world(fault("silent_meter", "A"))
    world = with_makes(plain, 0, "hiking-dds238", "finder-7m24")
    places = [i for i, m in enumerate(world.fleet.meters) if m != plain.fleet.meters[i]]
    assert [world.fleet.meters[i].model for i in places] == ["hiking-dds238", "finder-7m24"]
    for place in places:
        meter, before = world.fleet.meters[place], plain.fleet.meters[place]
        assert place not in world.fleet.planted.values()
        assert (meter.area, meter.role, meter.phases) == (0, INSTALLED, 1)
        assert (meter.serial, meter.unit, meter.user) == (before.serial, before.unit, before.user)


@pytest.mark.parametrize(
    ("models", "named"),
    [
        (("nobody",), r"areas\[1\]\.makes: 'nobody' is no model; known: "),
        (
            ("finder-7m24",) * 9,
            r"areas\[1\]\.makes: finder-7m24: no household of B is a 1-phase one on Modbus and free",
        ),
    ],
)
def test_makes_that_do_not_fit_are_said(make_world: Make, models: tuple[str, ...], named: str) -> None:
    with pytest.raises(ScenarioError, match=named):
        with_makes(make_world(), 1, *models)


def test_a_household_that_is_named_must_be_reached_so(make_world: Make) -> None:
    fleet = make_world().fleet
    numbers = {
        m.single_mqtt: int(m.usage_point.rpartition("-")[2])
        for m in fleet.meters
        if m.role == INSTALLED and m.area == 0
    }
    make_world(fault("cover_opened", "A", household=numbers[True]))
    with pytest.raises(ScenarioError, match="is not one that publishes for itself"):
        make_world(fault("cover_opened", "A", household=numbers[False]))


def test_an_over_voltage_shows_on_its_phase_and_leaves_the_power(make_world: Make) -> None:
    plain, world = make_world(), make_world(ALL)
    meter, wanted = world.fleet.planted[3], world.epoch_us
    before = LiveMeters(plain).values(meter, wanted, frozenset())
    during = LiveMeters(world).values(meter, wanted, frozenset())
    raised = [float(during[q]) - float(before[q]) for q in PHASED["voltage"]]
    assert raised == pytest.approx([0, 40, 0])
    for q in PHASED["power"]:
        assert during[q] == before[q]
    for v, a in zip(PHASED["voltage"], PHASED["current"], strict=True):
        apparent = float(during[v]) * float(during[a])
        assert apparent == pytest.approx(float(before[v]) * float(before[a]), rel=1e-3)
    after = wanted + 1001 * US
    assert LiveMeters(world).values(meter, after, frozenset()) == LiveMeters(plain).values(meter, after, frozenset())


def test_it_is_in_the_means_that_are_frozen_meanwhile(make_world: Make) -> None:
    plain, world = make_world(), make_world(ALL)
    meter = np.array([world.fleet.planted[3]])
    ts = np.array([world.until_us - k * STEP_US for k in range(4)])
    rise = freezes(world, meter, ts).voltage_v - freezes(plain, meter, ts).voltage_v
    since = world.epoch_us - 2000 * US
    share = [min(1.0, max(0.0, (int(t) - since) / STEP_US)) for t in ts]
    assert rise[0] == pytest.approx([40 / 3 * s for s in share], abs=0.11)
    assert np.array_equal(freezes(world, meter, ts).import_wh, freezes(plain, meter, ts).import_wh)


def test_without_power_nothing_is_frozen(make_world: Make) -> None:
    end = make_world().until_us + STEP_US
    at_s = (end - make_world().epoch_us) // US - 5
    world = make_world(fault("power_failure", at_s=at_s, lasts_s=130))
    meter = np.array([world.fleet.planted[0]])
    assert not world.incidents.powered(int(meter[0]), end)
    assert not freezes(world, meter, np.array([end + 60 * US])).present[0, 0], "its clock is off by a minute at most"
    assert world.incidents.powered(int(meter[0]), end + 130 * US)
