"""Same meter and instant, another value: the first one stored stays, both are kept; what lacked is added."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from drivers.base import MeterIdentity, RegisterReading, Source
from headend.domain.calendar import to_us
from headend.ingest.item import Item, polled
from support.desk import MINUTE, NOW, Desk, item, reading

AREA_METER = MeterIdentity("Acme", "60")


def round_of(said: RegisterReading) -> Item:
    """The area meter's polling round."""
    return polled([(AREA_METER, said)], origin="bus", received_us=to_us(NOW))


def full(import_wh: int | None = 5, **more: Any) -> RegisterReading:
    """Registers with phases."""
    values: dict[str, Any] = {"import_phase_wh": (1, 2, 2), "voltage_v": (230.0, 231.0, 232.0), "power_w": 30.0} | more
    return reading(NOW, import_wh, **values)


@pytest.fixture(params=[False, True], ids=["rows", "packed"])
def packing(request: pytest.FixtureRequest, desk: Desk) -> Any:
    """What was stored may lie in compressed days by now."""
    return desk.pack if request.param else lambda: None


def test_another_value_is_a_revision_and_the_first_stays(desk: Desk, packing: Any) -> None:
    desk.write(item(("1", NOW, 100)))
    packing()
    desk.dirty()
    touched = []
    for _ in range(2):
        result = desk.write(item(("1", NOW, 999), source=Source.CONCENTRATOR))
        assert (result.stored, result.duplicates, result.revised) == (0, 0, 1)
        touched.append(desk.dirty())
    assert desk.stored() == [(1, NOW, 100)]
    assert desk.rows(
        "select meter_id, ts, kept_import_wh, kept_source, other_import_wh, other_source, rule from reading_revision"
    ) == [(1, NOW, 100, 2, 999, 3, "first_stored")]
    assert touched == [["A 20"], []], "the day is flagged; told again, nothing is new"


def test_two_values_in_one_batch(desk: Desk) -> None:
    result = desk.write(item(("1", NOW, 100), ("1", NOW, 101), ("1", NOW, 100)))
    assert (result.stored, result.duplicates, result.revised) == (1, 1, 1)
    assert desk.stored() == [(1, NOW, 100)]
    assert desk.rows("select other_import_wh from reading_revision") == [(101,)]


def test_a_missing_value_is_completed_whatever_the_order(desk: Desk) -> None:
    parts = [reading(NOW, 5), reading(NOW, None, export_wh=6), reading(NOW, 5, voltage_v=(230.0, None, None))]
    for serial, order in enumerate(permutations(parts), start=1):
        identity = MeterIdentity("Acme", str(serial))
        for part in order:
            result = desk.write(polled([(identity, part)], origin="bus", received_us=to_us(NOW)))
            assert result.revised == 0
        assert desk.dirty() == ["A 20"]
    assert set(desk.rows("select import_wh, export_wh, voltage_dv from register_reading")) == {(5, 6, 2300)}
    assert desk.rows("select count(*) from reading_revision") == [(0,)]


def test_a_register_of_zero_is_a_value_that_lacked(desk: Desk, packing: Any) -> None:
    desk.write(round_of(reading(NOW, None, export_wh=6)))
    packing()
    result = desk.write(round_of(reading(NOW, 0, export_wh=6)))
    assert (result.duplicates, result.completed) == (1, 1)
    assert desk.rows("select import_wh, export_wh from register_reading") == [(0, 6)]


def test_a_poll_and_a_profile_that_disagree(desk: Desk, packing: Any) -> None:
    desk.write(round_of(reading(NOW, 100, export_wh=7)))
    packing()
    result = desk.write(item(("60", NOW, 101), source=Source.CONCENTRATOR), item(("60", NOW, 100), source=Source.MQTT))
    assert (result.stored, result.duplicates, result.revised) == (0, 1, 1)
    assert desk.rows("select import_wh, export_wh, source from register_reading") == [(100, 7, 1)]
    assert desk.rows(
        "select kept_import_wh, kept_export_wh, kept_source, other_import_wh, other_export_wh, other_source "
        "from reading_revision"
    ) == [(100, 7, 1, 101, None, 3)]


def test_another_voltage_is_another_value(desk: Desk, packing: Any) -> None:
    desk.write(round_of(reading(NOW, 5, voltage_v=(230.0, None, None))))
    desk.dirty()
    packing()
    result = desk.write(round_of(reading(NOW, 5, voltage_v=(229.0, None, None))))
    assert (result.duplicates, result.revised) == (0, 1)
    assert desk.rows("select voltage_dv from register_reading") == [(2300,)]
    assert desk.rows("select kept_voltage_dv, other_voltage_dv, kept_phases, other_phases from reading_revision") == [
        (2300, 2290, None, None)
    ]
    assert desk.dirty() == []


def test_other_phases_are_a_revision_with_both(desk: Desk, packing: Any) -> None:
    desk.write(round_of(full()))
    before = desk.rows("select * from phase_reading")
    desk.dirty()
    packing()
    for _ in range(2):
        result = desk.write(round_of(full(import_phase_wh=(1, 1, 3))))
        assert (result.stored, result.duplicates, result.revised, result.completed) == (0, 0, 1, 0)
    assert desk.rows("select * from phase_reading") == before
    ((kept, other, rule),) = desk.rows("select kept_phases, other_phases, rule from reading_revision")
    assert (kept["import_l2_wh"], kept["import_l3_wh"], kept["voltage_l1_dv"]) == (2, 2, 2300)
    assert (other["import_l2_wh"], other["import_l3_wh"], other["power_w"]) == (1, 3, 30)
    assert "current_l1_ma" not in kept
    assert rule == "first_stored"
    assert desk.dirty() == []


def test_each_value_of_the_phases_counts(desk: Desk, packing: Any) -> None:
    """One of them changed, to what the next phase has; all three what the first has."""
    names = ("import_phase_wh", "export_phase_wh", "voltage_v", "current_a")
    said: dict[str, Any] = {names[0]: (1, 2, 3), names[1]: (4, 5, 6), names[2]: (230.0, 231.0, 233.0)}
    said |= {names[3]: (1.0, 2.0, 3.0), "power_w": 30.0}
    changes: list[dict[str, Any]] = [{}, {"power_w": 31.0}]
    for name in names:
        v = said[name]
        changes += [
            {name: (v[1], v[1], v[2])},
            {name: (v[0], v[2], v[2])},
            {name: (v[0], v[1], v[0])},
            {name: (v[0],) * 3},
        ]
    instants = [NOW - MINUTE * k for k in range(len(changes))]
    desk.write(*(round_of(reading(at, 5, **said)) for at in instants))
    packing()
    result = desk.write(*(round_of(reading(at, 5, **(said | c))) for at, c in zip(instants, changes, strict=True)))
    assert (result.duplicates, result.revised, result.completed) == (1, 17, 0)
    found = desk.rows("select kept_phases, other_phases from reading_revision order by ts desc")
    assert [sum(kept[key] != other[key] for key in kept) for kept, other in found] == [1, *([1, 1, 1, 2] * 4)]


def test_phases_of_one_quantity_alone(desk: Desk, packing: Any) -> None:
    desk.write(round_of(reading(NOW, 5, import_phase_wh=(1, 2, 3))))
    packing()
    others = [(1, 1, 1), (2, 2, 2), (3, 3, 3), (1, 3, 2), (1, 2, 3), (1, None, 3), (0, 2, 3)]
    revised = [desk.write(round_of(reading(NOW, 5, import_phase_wh=other))).revised for other in others]
    assert revised == [1, 1, 1, 1, 0, 0, 1]


def test_each_rate_counts(desk: Desk, packing: Any) -> None:
    rates = tuple(range(1, 9))
    desk.write(round_of(reading(NOW, 36, import_tariff_wh=rates)))
    packing()
    same = desk.write(round_of(reading(NOW, 36, import_tariff_wh=rates)))
    part = desk.write(round_of(reading(NOW, 36, import_tariff_wh=(1, None, 3))))
    assert [(r.duplicates, r.revised, r.completed) for r in (same, part)] == [(1, 0, 0), (1, 0, 0)]
    for n in range(8):
        other = (*rates[:n], 0, *rates[n + 1 :])
        result = desk.write(round_of(reading(NOW, 36, import_tariff_wh=other)))
        assert (result.duplicates, result.revised) == (0, 1), n
    found = desk.rows("select kept_phases, other_phases from reading_revision order by ctid")
    assert [[key for key in kept if kept[key] != other[key]] for kept, other in found] == [
        [f"import_t{n}_wh"] for n in range(1, 9)
    ]


def test_each_rate_that_lacked_is_added(desk: Desk, packing: Any) -> None:
    desk.write(round_of(reading(NOW, 36, import_phase_wh=(12, 12, 12), import_tariff_wh=(1,))))
    desk.dirty()
    packing()
    for n in range(2, 9):
        result = desk.write(round_of(reading(NOW, 36, import_tariff_wh=(*[None] * (n - 1), n))))
        assert (result.duplicates, result.completed, desk.dirty()) == (1, 1, ["A 20"]), n
    columns = ", ".join(f"import_t{n}_wh" for n in range(1, 9))
    assert desk.rows(f"select import_l1_wh, {columns} from phase_reading") == [(12, *range(1, 9))]
    stood = desk.rows("select phases from reading_completion order by ctid")
    assert [sum(key.startswith("import_t") for key in phases) for (phases,) in stood] == list(range(1, 8))


def test_the_same_phases_again_are_a_duplicate(desk: Desk, packing: Any) -> None:
    desk.write(round_of(full()))
    packing()
    result = desk.write(round_of(full()), round_of(full()))
    assert (result.stored, result.duplicates, result.revised, result.completed) == (0, 2, 0, 0)
    assert desk.rows("select count(*) from reading_revision") == [(0,)]


def test_other_phases_within_one_batch(desk: Desk) -> None:
    result = desk.write(round_of(full()), round_of(full(power_w=31.0)))
    assert (result.stored, result.duplicates, result.revised) == (1, 0, 1)
    assert desk.rows("select power_w from phase_reading") == [(30,)]
    assert desk.rows("select kept_phases ->> 'power_w', other_phases ->> 'power_w' from reading_revision") == [
        ("30", "31")
    ]


def test_phases_that_come_later_are_added_and_mark_the_day(desk: Desk, packing: Any) -> None:
    desk.write(round_of(reading(NOW, 5)))
    desk.dirty()
    packing()
    for phases, completed in ({"power_w": None}, 1), ({}, 1), ({}, 0):
        result = desk.write(round_of(full(**phases)))
        assert (result.stored, result.duplicates, result.revised, result.completed) == (0, 1, 0, completed)
        assert desk.dirty() == (["A 20"] if completed else [])
    assert desk.rows("select import_l3_wh, voltage_l3_dv, power_w from phase_reading") == [(2, 2320, 30)]
    assert desk.rows("select voltage_dv from register_reading") == [(2310,)]


def test_who_contradicts_the_registers_lends_them_no_phases_and_no_values(desk: Desk, packing: Any) -> None:
    desk.write(round_of(reading(NOW, 5)))
    packing()
    result = desk.write(round_of(full(6, export_wh=1)))
    assert (result.revised, result.completed) == (1, 0)
    assert desk.rows("select import_wh, export_wh, voltage_dv from register_reading") == [(5, None, None)]
    assert desk.rows("select count(*) from phase_reading") == [(0,)]
    ((other,),) = desk.rows("select other_phases from reading_revision")
    assert other["import_l3_wh"] == 2


def test_what_lacks_is_added_in_a_packed_day_and_marks_it(desk: Desk, packing: Any) -> None:
    desk.write(item(*((str(m), NOW, 100 + m) for m in range(1, 31))))
    desk.dirty()
    packing()
    result = desk.write(round_of(reading(NOW, 1, export_wh=2)), item(("3", NOW, 103), ("4", NOW, 104)))
    assert (result.stored, result.duplicates) == (1, 2)
    added = polled([(MeterIdentity("Acme", "3"), reading(NOW, 103, export_wh=9))], origin="bus", received_us=to_us(NOW))
    desk.dirty()
    result = desk.write(added)
    assert (result.stored, result.completed, result.revised) == (0, 1, 0)
    assert desk.rows(
        "select import_wh, export_wh from register_reading where meter_id in (3, 4) order by meter_id"
    ) == [
        (103, 9),
        (104, None),
    ]
    assert desk.dirty() == ["A 20"]


def test_revisions_are_counted_by_way_in(desk: Desk, kit: Any) -> None:
    def revised() -> list[float]:
        return [kit.count("headend_readings_revised_total", source=s) for s in ("modbus", "mqtt", "concentrator")]

    desk.write(item(("1", NOW, 1)))
    before = revised()
    desk.write(item(("1", NOW, 2), source=Source.CONCENTRATOR), round_of(reading(NOW, 3)))
    desk.write(round_of(reading(NOW, 4)))
    assert [b - a for a, b in zip(before, revised(), strict=True)] == [1, 0, 1]
