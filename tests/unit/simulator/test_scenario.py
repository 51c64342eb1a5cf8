"""A scenario is understood whole, or refused with the key that is wrong."""

from __future__ import annotations

import pytest

from drivers.simulator.faults import WrongArea
from drivers.simulator.scenario import (
    ModemGateway,
    RtuGateway,
    ScenarioError,
    TcpGateway,
    demo_scenario,
    load_scenario,
    parse_scenario,
)

GOOD = """
title = "t"
seed = 1
zone = "Asia/Shanghai"
[station]
code = "S"
name = "S"
[[areas]]
code = "A"
name = "A"
households = 5
[[areas]]
code = "B"
name = "B"
households = 5
"""
MODEM = 'gateway = { kind = "dialin", imei = "861234050012348" }'
FAULT = '[[faults]]\nkind = "{kind}"\narea = "A"\n'


def test_the_demonstration_is_what_it_promises() -> None:
    demo = load_scenario(demo_scenario())
    assert len(demo.areas) == 3
    assert 140 <= sum(a.households for a in demo.areas) <= 160
    assert sum(f.counted for f in demo.faults) == 5
    assert [f.area for f in demo.faults if isinstance(f, WrongArea)] == ["TA-02"]
    assert [type(a.gateway) for a in demo.areas] == [ModemGateway, RtuGateway, TcpGateway]
    shared = [a.shared for a in demo.areas if a.shared]
    assert len(shared) == 1
    assert shared[0].premises >= 6
    assert shared[0].with_production == 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (GOOD + "colour = 3\n", "colour"),
        (GOOD.replace('name = "S"', 'name = "S"\nmayor = "x"'), "mayor"),
        (GOOD + "[areas.links]\nmodbus = 0.7\nmqtt = 0.5\n", "links"),
        (GOOD + "[areas.links]\nradio = 0.7\n", "radio"),
        (GOOD.replace("households = 5", "households = 0", 1), "households"),
        (GOOD.replace("households = 5", "households = 5\nworkshops = 9", 1), "workshops"),
        (GOOD.replace('"Asia/Shanghai"', '"Asia/Nowhere"'), "Asia/Nowhere"),
        (GOOD.replace('code = "B"', 'code = "A"'), "areas: a code is given twice"),
        (GOOD.replace("seed = 1", 'seed = "one"'), "seed"),
        (GOOD.replace("seed = 1", ""), "seed"),
        (GOOD + "[areas.shared]\npremises = 2\nwith_production = 3\n", "with_production"),
        (GOOD + FAULT.format(kind="sabotage"), "sabotage"),
        (GOOD + FAULT.format(kind="stuck"), "household"),
        (GOOD + FAULT.format(kind="stuck") + "household = 6\n", "1..5"),
        (GOOD + FAULT.format(kind="stuck") + "household = 1\nonset_day = 28\n", "onset_day"),
        (GOOD + FAULT.format(kind="stuck") + "household = 1\nfactor = 0.5\n", "factor"),
        (GOOD + FAULT.format(kind="stuck").replace('"A"', '"C"') + "household = 1\n", "'C'"),
        (GOOD + FAULT.format(kind="wrong_area") + 'household = 1\ntrue_area = "A"\n', "true_area"),
        (GOOD + FAULT.format(kind="under_registering") + "household = 1\nfactor = 1.5\n", "factor"),
        (GOOD + "[modbus]\ndelay_ms = [30, 5]\n", "delay_ms"),
        (GOOD + "[live]\nwindow = 0\n", "window"),
        (GOOD + '[areas.gateway]\nkind = "pigeon"\n', "pigeon"),
        (GOOD + '[areas.gateway]\nkind = "tcp"\nimei = "861234050012348"\n', "imei"),
        (GOOD + '[areas.gateway]\nkind = "dialin"\nimei = "1234"\n', "imei"),
        (GOOD.replace("households = 5", f"households = 5\n{MODEM}"), "areas: an imei is given twice"),
        (GOOD + FAULT.format(kind="silent_meter") + "household = 6\n", "1..5"),
        (GOOD + FAULT.format(kind="power_failure") + "at_s = 5\nlasts_s = 900\n", "lasts_s"),
        (GOOD + FAULT.format(kind="over_voltage") + "phase = 4\nrise_v = 9\nlasts_s = 9\n", "phase"),
        (GOOD + FAULT.format(kind="stranger") + 'device = "a/b"\n', "device"),
        ("title = [", "not TOML"),
    ],
)
def test_what_is_wrong_is_named(text: str, named: str) -> None:
    with pytest.raises(ScenarioError, match=r"^file\.toml: ") as error:
        parse_scenario(text, file="file.toml")
    assert named in str(error.value)


def test_every_kind_of_fault_can_be_written() -> None:
    rest = {
        "under_registering": "household = 1\nfactor = 0.5",
        "stuck": "household = 1",
        "wrong_multiplier": "household = 1\ntrue_multiplier = 2",
        "wrong_area": 'household = 1\ntrue_area = "B"',
        "direct_tap": "base_w = 100\nevening_w = 500",
        "area_meter_ratio": "factor = 0.8",
        "packet_loss": "household = 1\nrate = 0.1",
        "clock_drift": "household = 1\nlead_s = 100",
        "dead_concentrator": "onset_day = 3",
        "meter_clock": 'model = "schneider-iem3155"\ndrift_ppm = 50',
        "cover_opened": "onset_day = 1.5",
        "power_failure": "at_s = 5\nlasts_s = 10",
        "over_voltage": "phase = 1\nrise_v = 30\nlasts_s = 600",
        "silent_meter": "household = 1",
        "stranger": 'device = "shellypro3em-1"',
    }
    text = GOOD + "".join(FAULT.format(kind=k) + v + "\n" for k, v in rest.items())
    faults = parse_scenario(text, file="t").faults
    assert [f.__struct_config__.tag for f in faults] == list(rest)
    assert [f.counted for f in faults] == [True] * 6 + [False] * 9


def test_a_file_that_is_not_there(tmp_path: object) -> None:
    with pytest.raises(ScenarioError, match=r"nowhere\.toml: cannot be read"):
        load_scenario(demo_scenario().with_name("nowhere.toml"))
