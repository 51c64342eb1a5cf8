"""What the proof of `test_reproduced` rests on: where a kept version is lost, the past does not come out as it was."""

from __future__ import annotations

from datetime import timedelta

from headend.settlement.grid import DayRange
from support.chronicle import Chronicle, vectors_of
from support.field import DAY0, QUARTER, T0


def _house(field: Chronicle) -> int:
    """One household below a transformer; returns the area."""
    area = field.area()
    for code, kind in (("SUM", "area"), ("HOME", "customer")):
        field.metered(area, code, kind)
    return area


def test_a_completion_that_is_lost_is_seen(chronicle: Chronicle) -> None:
    """A reading came without its register, which was told later: until then the register was interpolated."""
    area = _house(chronicle)
    for serial, step in (("SUM", 30), ("HOME", 20)):
        chronicle.now = T0 + timedelta(hours=26)
        samples = [(serial, T0 + k * QUARTER, step * k if k != 40 or serial == "SUM" else None) for k in range(97)]
        chronicle.receive(samples)
    chronicle.settle()
    moment, settled = chronicle.now + QUARTER, chronicle.settled()
    chronicle.now += timedelta(hours=5)
    chronicle.receive([("HOME", T0 + 40 * QUARTER, 20 * 40 + 3)])
    chronicle.settle()
    assert chronicle.rows("select part from reading_completion") == [{"part": "registers"}]
    assert chronicle.settled() != settled
    days = DayRange(chronicle.rules.calendar, DAY0, DAY0)

    def recalled() -> bool:
        found = vectors_of(chronicle.recalled(area, moment, DAY0), days)
        return all(found[key] == settled[key] for key in found)

    assert recalled()
    chronicle.run("delete from reading_completion")
    assert not recalled()


def test_a_version_of_a_load_without_a_meter_that_is_lost_is_seen(chronicle: Chronicle) -> None:
    area = _house(chronicle)
    chronicle.now = T0 + timedelta(hours=26)
    for serial, step in (("SUM", 130), ("HOME", 20)):
        chronicle.receive([(serial, T0 + k * QUARTER, step * k) for k in range(97)])
    chronicle.run(
        "insert into unmetered_load (code, area_id, kind, power_w, schedule, valid_from, noted_by) "
        "values ('lamps', %s, 'street_light', 200, '24/7', %s, 'Wang')",
        [area, T0],
    )
    chronicle.settle()
    moment, balanced = chronicle.now + QUARTER, chronicle.balanced()[area, DAY0]
    chronicle.now += timedelta(hours=5)
    chronicle.run("update unmetered_load set power_w = 400")
    chronicle.settle()
    assert chronicle.balanced()[area, DAY0]["delivered_wh"] == balanced["delivered_wh"] + 200 * 24

    def recalled() -> object:
        (row,) = chronicle.recalled(area, moment, DAY0).computed.balances
        return {name: row[name] for name in balanced}

    assert recalled() == balanced
    chronicle.run("delete from unmetered_load_past")
    assert recalled() != balanced
