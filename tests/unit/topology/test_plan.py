# ruff: noqa: E501 a case a line: what is written and what is said stand side by side
"""What an import may change: references, duplicates, overlaps, and history that stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from headend.domain.topology import Topology
from headend.ingest.topology_csv import Table
from headend.ingest.topology_plan import Plan, plan

Files = dict[str, str]
Read = Callable[[Mapping[str, str]], dict[str, Table]]
MODELS = {"eastron-sdm630", "eastron-sdm120"}


@pytest.fixture
def again(tables: Read) -> Callable[[Mapping[str, str], Mapping[str, str]], Plan]:
    """Import one set of files into nothing, then plan another on top of it."""

    def run(first: Mapping[str, str], second: Mapping[str, str]) -> Plan:
        stored = Topology()
        before = plan(tables(first), stored)
        assert before.problems == ()
        return plan(tables(second), stored)

    return run


def _told(made: Plan) -> list[str]:
    return [str(problem) for problem in made.problems]


def _replaced(files: Files, file: str, old: str, new: str) -> Files:
    assert files[file].count(old) == 1, f"{old!r} in {file}"
    return files | {file: files[file].replace(old, new)}


def test_the_template_is_good(files: Files, tables: Read) -> None:
    made = plan(tables(files), Topology(), models=MODELS)
    assert made.problems == ()
    assert {noun: len(rows) for noun, rows in made.changes.added.items()} == {
        "station": 1,
        "area": 2,
        "usage_point": 7,
        "membership": 7,
        "meter": 6,
        "installation": 5,
        "concentrator": 2,
        "endpoint": 6,
        "premises": 2,
        "feeder": 1,
        "area_feeder": 2,
        "unmetered_load": 3,
    }


def test_the_same_files_again_change_nothing(files: Files, again: Any) -> None:
    made = again(files, files)
    assert not made.changes
    assert made.problems == ()
    assert sum(made.unchanged.values()) == 37


@pytest.mark.parametrize(
    ("file", "row", "says"),
    [
        ("stations.csv", "ST01,Other", "stations.csv:3: station = 'ST01': duplicate code: the same station stands on line 2"),
        ("areas.csv", "A01,ST01,x,,,", "areas.csv:4: area = 'A01': duplicate code"),
        ("areas.csv", "A09,ST09,x,,,", "areas.csv:4: station = 'ST09': unknown station: ST09 is neither in stations.csv nor"),
        ("meters.csv", "Eastron,630001,m,3,8,10", "meters.csv:8: serial = '630001': duplicate serial"),
        ("feeders.csv", "F-102,ST09,x", "feeders.csv:3: station = 'ST09': unknown station"),
        ("feeders.csv", "F-101,ST01,x", "feeders.csv:3: feeder = 'F-101': duplicate code"),
        ("area_feeders.csv", "A01,F-9,2027-01-01T00:00:00Z,", "feeder = 'F-9': unknown feeder"),
        ("area_feeders.csv", "A01,F-101,2027-01-01T00:00:00Z,", "overlaps what is known from 2025-12-31T16:00:00+00:00, still"),
        ("unmetered_loads.csv", "X,A09,other,,5,,24/7,,,2026-01-01T00:00:00Z,", "area = 'A09': unknown area"),
        ("unmetered_loads.csv", "X,A01,other,,5,,24/7,,,2026-01-01T00:00:00Z,2025-01-01T00:00:00Z", "valid_to = '2025-01-01T00:00:00Z': is not after valid_from"),
        ("unmetered_loads.csv", "X,A01,other,,5,,sunset-sunrise,,,2026-01-01T00:00:00Z,", "latitude_deg = '': is required: the schedule goes by the sun"),
        ("unmetered_loads.csv", "X,A01,other,,5,,24/7,31,,2026-01-01T00:00:00Z,", "longitude_deg = '': is required: latitude and longitude come together"),
        ("unmetered_loads.csv", "SL-A01-1,A01,other,,5,,24/7,,,2027-01-01T00:00:00Z,", "valid_from = '2027-01-01T00:00:00Z': overlaps"),
        ("usage_points.csv", "U9,customer,residential,A09,,2026-01-01T00:00:00Z,,,", "area = 'A09': unknown area"),
        ("usage_points.csv", "U9,customer,none,A01,,2026-01-01T00:00:00Z,,,", "category = 'none': kind area has"),
        ("usage_points.csv", "U9,area,none,A01,,2026-01-01T00:00:00Z,,,", "has a usage point of kind area already: A01-T"),
        ("usage_points.csv", "U9,customer,residential,A01,A02-S1,2026-01-01T00:00:00Z,,,", "A02-S1 does not hang on area A01"),
        ("usage_points.csv", "U9,customer,residential,A02,A02-001,2026-01-01T00:00:00Z,,,", "no usage point of kind shared"),
        ("usage_points.csv", "U9,shared,residential,A02,A02-S1,2026-01-01T00:00:00Z,,,", "only a customer"),
        ("usage_points.csv", "U9,customer,residential,A02,A02-S9,2026-01-01T00:00:00Z,,,", "unknown usage point: A02-S9"),
        ("installations.csv", "U9,Eastron,120002,2026-01-01T00:00:00Z,,1,1,,,", "unknown usage point: U9"),
        ("installations.csv", "A02-001,Eastron,9,2026-01-01T00:00:00Z,,1,1,,,", "unknown meter: Eastron/9"),
        ("installations.csv", "A01-001,Eastron,120002,2026-06-01T00:00:00Z,,1,1,,,", "overlaps another installation of this usage point: Eastron/120001 at A01-001"),
        ("installations.csv", "A02-001,Eastron,120001,2026-06-01T00:00:00Z,,1,1,,,", "overlaps another installation of this meter"),
        ("installations.csv", "A02-001,Eastron,120002,2026-06-01T00:00:00Z,2026-06-01T00:00:00Z,1,1,,,", "is not after valid_from"),
        ("installations.csv", "A02-001,Eastron,120002,2026-06-01T00:00:00Z,,1,1,1000000000,,", "rolls over at 1000000000 Wh"),
        ("concentrators.csv", "C9,A09", "unknown area: A09"),
        ("endpoints.csv", "Eastron,9,mqtt,,,,", "unknown meter: Eastron/9"),
        ("endpoints.csv", "Chint,21060012,modbus,,502,1,", "host = '': is required"),
        ("endpoints.csv", "Chint,21060012,modbus,10.0.0.1,502,,", "unit = '': is required"),
        ("endpoints.csv", "Eastron,120002,mqtt,10.0.0.1,,,", "host = '10.0.0.1': has no meaning"),
        ("endpoints.csv", "Eastron,120002,mqtt,,,,C9", "unknown concentrator: C9"),
        ("endpoints.csv", "Eastron,630001,modbus,10.0.0.1,502,1,", "duplicate: this meter's endpoint stands on line 2"),
        ("endpoints.csv", "Chint,21060012,modbus,10.20.0.11,502,9,", "has no register map; known are eastron-sdm120"),
        ("premises.csv", "P9,A02,A02-S1,A02-001,x,", "belongs to premises P-A02-001 already"),
        ("premises.csv", "P9,A02,A02-T,A02-001,x,", "no usage point of kind shared"),
        ("premises.csv", "P9,A01,A02-S1,A01-001,x,", "A02-S1 does not hang on area A01"),
    ],
)  # fmt: skip
def test_a_row_that_contradicts_is_refused_alone(files: Files, tables: Read, file: str, row: str, says: str) -> None:
    made = plan(tables(files | {file: files[file] + row + "\n"}), Topology(), models=MODELS)
    line = files[file].count("\n") + 1
    assert len(made.problems) == 1, _told(made)
    assert (made.problems[0].file, made.problems[0].line) == (file, line)
    assert says in str(made.problems[0])
    assert made.skipped == {file: 1}


def test_an_overlap_ends_where_the_other_begins(files: Files, tables: Read) -> None:
    closed = _replaced(
        files, "installations.csv", "120001,2026-01-01T00:00:00+08:00,,", "120001,2026-01-01T00:00:00+08:00,2026-06-01T00:00:00+08:00,"
    )  # fmt: skip
    swapped = closed["installations.csv"] + "A01-001,Eastron,120002,2026-05-31T16:00:00Z,,1,1,,,\n"
    assert plan(tables(closed | {"installations.csv": swapped}), Topology()).problems == ()


def test_what_depends_on_a_refused_row_is_refused_and_says_so(files: Files, tables: Read) -> None:
    made = plan(tables(_replaced(files, "areas.csv", "A02,ST01,Old Yard,315", "A02,ST01,Old Yard,minus")), Topology())
    told = _told(made)
    assert told[0] == (
        "areas.csv:3: transformer_kva = 'minus': wanted a number above 0 and below 10000000 with at most 1 decimals"
    )
    assert "usage_points.csv:5: area = 'A02': depends on area A02, which is refused (areas.csv:3)" in told
    assert (
        "installations.csv:3: usage_point = 'A02-T': depends on usage point A02-T, which is refused (usage_points.csv:5)"
        in told
    )
    assert made.skipped == {
        "areas.csv": 1,
        "usage_points.csv": 4,
        "installations.csv": 2,
        "concentrators.csv": 1,
        "premises.csv": 2,
        "area_feeders.csv": 1,
        "unmetered_loads.csv": 1,
    }
    assert len(made.changes.added["endpoint"]) == 6  # meters without an area stay in stock
    assert {u.usage_point for u in made.changes.added["usage_point"]} == {"A01-T", "A01-001", "A01-002"}


def test_two_serving_meters_cannot_share_an_address(files: Files, tables: Read, again: Any) -> None:
    clash = _replaced(files, "endpoints.csv", "10.20.0.12,502,2,", "10.20.0.12,502,1,")
    made = plan(tables(clash), Topology())
    assert _told(made) == [
        "endpoints.csv:4: unit = '1': meter Eastron/630002 has the same bus and unit and is installed too"
    ]
    assert len(made.changes.added["endpoint"]) == 5
    assert _told(again(files, clash))[0].startswith("endpoints.csv:4: unit = '1'")


BUS = "manufacturer,serial,protocol,host,port,unit,concentrator,bus\n"


def _endpoint_rows(files: Files, *rows: str) -> Files:
    """The template's endpoints, in a file with the newer column, and these."""
    _, *old = files["endpoints.csv"].splitlines()
    return files | {"endpoints.csv": BUS + "".join(f"{row}\n" for row in (*(f"{row}," for row in old), *rows))}


def test_a_bus_stands_for_host_and_port(files: Files, tables: Read, again: Any) -> None:
    by_uri = _replaced(_endpoint_rows(files), "endpoints.csv", "10.20.0.11,502,1,,", ",,1,,modbus+tcp://10.20.0.11")
    made = again(files, by_uri)
    assert (made.problems, bool(made.changes)) == ((), False)  # the same bus, written the other way
    made = plan(tables(_replaced(by_uri, "endpoints.csv", "modbus+tcp://10.20.0.11", "modbus+dialin://D1")), Topology())
    assert made.problems == ()
    assert {(e.bus, e.unit) for e in made.changes.added["endpoint"] if e.serial == "630001"} == {
        ("modbus+dialin://D1", 1)
    }


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("Chint,21060012,modbus,10.0.0.1,,1,,modbus+dialin://D", "bus = 'modbus+dialin://D': is given beside host and"),
        ("Chint,21060012,modbus,,,1,,", "host = '': is required: a Modbus endpoint has host and port, or bus"),
        ("Chint,21060012,modbus,10.0.0.1,,1,,", "port = '': is required: a Modbus endpoint has host and port, or bus"),
        ("Chint,21060012,modbus,,,,,modbus+dialin://D", "unit = '': is required: a Modbus endpoint has a unit"),
        ("Eastron,120002,mqtt,,,,,modbus+dialin://D", "bus = 'modbus+dialin://D': has no meaning: a meter on MQTT"),
        (
            "Chint,21060012,modbus,,,9,,modbus+rtu+tcp://10.20.0.11:502",
            "bus = 'modbus+rtu+tcp://10.20.0.11:502': meter Eastron/630001 is reached on the same line by "
            "modbus+tcp://10.20.0.11:502 and is installed too",
        ),
    ],
)
def test_a_bus_is_named_in_one_of_two_ways(files: Files, tables: Read, row: str, says: str) -> None:
    made = plan(tables(_endpoint_rows(files, row)), Topology())
    [told] = _told(made)
    assert told.startswith("endpoints.csv:8: ")
    assert says in told


def test_the_same_modem_cannot_be_spoken_to_in_two_ways(files: Files, tables: Read, again: Any) -> None:
    changed = _replaced(_endpoint_rows(files), "endpoints.csv", "10.20.0.12,502,2,,", ",,2,,modbus+dialin+tcp://D2")
    good = _replaced(changed, "endpoints.csv", "10.20.0.12,502,1,,", ",,1,,modbus+dialin+tcp://D2")
    assert again(files, good).problems == ()
    bad = _replaced(changed, "endpoints.csv", "10.20.0.12,502,1,,", ",,1,,modbus+dialin://D2")
    assert len(_told(again(files, bad))) == 1


def test_a_meter_in_stock_may_wait_at_the_address_it_will_take_over(files: Files, tables: Read) -> None:
    assert (
        plan(tables(_replaced(files, "endpoints.csv", "10.20.0.12,502,3,", "10.20.0.12,502,2,")), Topology()).problems
        == ()
    )


def test_what_has_no_history_is_updated(files: Files, again: Any) -> None:
    changed = _replaced(files, "endpoints.csv", "10.20.0.11,502,1,", "10.20.0.99,503,7,")
    changed = _replaced(changed, "stations.csv", "Riverside", "Hillside")
    changed = _replaced(changed, "areas.csv", "A02,ST01,Old Yard,315,,", "A02,ST01,Old Yard,315,0.05,")
    changed = _replaced(changed, "usage_points.csv", "Mill Lane 1,L1,60", "Mill Lane 1a,L2,60")
    changed = _replaced(changed, "premises.csv", "Old Yard 1,false", "Old Yard 1,true")
    made = again(files, changed)
    assert made.problems == ()
    assert {noun: len(rows) for noun, rows in made.changes.changed.items()} == {
        "station": 1,
        "area": 1,
        "usage_point": 1,
        "endpoint": 1,
        "premises": 1,
    }
    assert not made.changes.added


def test_an_empty_cell_does_not_undo_what_a_crew_filled_in(files: Files, again: Any) -> None:
    surveyed = _replaced(files, "usage_points.csv", "Old Yard 1,,", "Old Yard 1,L3,40")
    made = again(surveyed, files)
    assert not made.changes
    assert made.problems == ()


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("installations.csv", "630001,2026-01-01T00:00:00+08:00,,40", "630001,2026-01-01T00:00:00+08:00,,60", "multiplier = '60': is stored as 40"),
        ("installations.csv", "630001,2026-01-01", "630001,2026-02-01", "overlaps another installation of this usage point"),
        ("installations.csv", ",1,1,1250000,0,", ",1,1,1250001,0,", "start_import_wh = '1250001': is stored as 1250000"),
        ("installations.csv", ",1,1,1250000,0,", ",1,-1,1250000,0,", "sign = '-1': is stored as 1"),
        ("installations.csv", "S-1003", "S-9", "seal = 'S-9': is stored as S-1003"),
        ("usage_points.csv", "A01-001,customer,residential,A01,", "A01-001,customer,residential,A02,", "area = 'A02': is stored as A01"),
        ("usage_points.csv", "A02-001,customer,residential,A02,A02-S1", "A02-001,customer,residential,A02,", "behind = '': is stored as A02-S1"),
        ("usage_points.csv", "A01-001,customer,residential,A01,,2026-01-01", "A01-001,customer,residential,A01,,2026-01-02", "its history begins at 2025-12-31T16:00:00+00:00"),
        ("usage_points.csv", "A01-001,customer,residential", "A01-001,customer,production", "category = 'production': is stored as 'residential'"),
        ("usage_points.csv", "A01-001,customer,", "A01-001,shared,", "kind = 'shared': is stored as 'customer'"),
        ("premises.csv", "P-A02-001,A02,A02-S1,A02-001", "P-A02-001,A02,A02-S1,A02-009", "unknown usage point: A02-009"),
    ],
)  # fmt: skip
def test_history_is_not_rewritten(files: Files, again: Any, file: str, old: str, new: str, says: str) -> None:
    made = again(files, _replaced(files, file, old, new))
    assert not made.changes
    assert says in str(made.problems[0])


def test_a_load_without_a_meter_may_be_closed_and_followed_by_another(files: Files, again: Any) -> None:
    was = files["unmetered_loads.csv"]
    row = next(line for line in was.splitlines() if line.startswith("SL-A01-1"))
    closed = row + "2026-07-01T00:00:00+08:00"
    lamps = row.replace(",1200,", ",700,").replace("2026-01-01", "2026-07-01")
    made = again(files, files | {"unmetered_loads.csv": was.replace(row, f"{closed}\n{lamps}")})
    assert made.problems == ()
    assert [(u.power_w, u.valid_to is None) for u in made.changes.changed["unmetered_load"]] == [(1200, False)]
    assert [(u.power_w, u.valid_to is None) for u in made.changes.added["unmetered_load"]] == [(700, True)]
    rewritten = again(files, files | {"unmetered_loads.csv": was.replace(",1200,", ",700,")})
    assert _told(rewritten) == [
        "unmetered_loads.csv:2: power_w = '700': is stored as 1200; history is not rewritten by an import"
    ]


def test_a_meter_keeps_its_class_where_a_file_has_none(files: Files, again: Any) -> None:
    with_class = "\n".join(
        f"{line},{'accuracy_class' if i == 0 else '0.5'}" for i, line in enumerate(files["meters.csv"].splitlines())
    )
    assert not again(files | {"meters.csv": with_class}, files).changes
    changed = again(files, files | {"meters.csv": with_class}).changes.changed["meter"]
    assert {str(m.accuracy_class) for m in changed} == {"0.5"}


def test_an_open_installation_may_be_closed_once(files: Files, again: Any) -> None:
    def ends(day: str) -> Files:
        return _replaced(
            files,
            "installations.csv",
            "120001,2026-01-01T00:00:00+08:00,,",
            f"120001,2026-01-01T00:00:00+08:00,{day}T00:00:00Z,",
        )

    made = again(files, ends("2026-03-01"))
    assert made.problems == ()
    assert [i.valid_to.isoformat() for i in made.changes.changed["installation"]] == ["2026-03-01T00:00:00+00:00"]
    assert _told(again(ends("2026-03-01"), ends("2026-04-01"))) == [
        "installations.csv:5: valid_to = '2026-04-01T00:00:00Z': this installation ended at 2026-03-01T00:00:00+00:00 already"
    ]
    assert not again(ends("2026-03-01"), files).changes  # closed meanwhile: an older file does not open it again


def test_closing_and_the_next_meter_come_in_one_file_in_any_order(files: Files, again: Any) -> None:
    closed = _replaced(
        files, "installations.csv", "120001,2026-01-01T00:00:00+08:00,,", "120001,2026-01-01T00:00:00+08:00,2026-03-01T00:00:00Z,"
    )["installations.csv"].splitlines()  # fmt: skip
    next_one = "A01-001,Eastron,120002,2026-03-01T00:00:00Z,,1,1,0,0,S-7"
    made = again(files, files | {"installations.csv": "\n".join([closed[0], next_one, *closed[1:]]) + "\n"})
    assert made.problems == ()
    assert (len(made.changes.changed["installation"]), len(made.changes.added["installation"])) == (1, 1)
