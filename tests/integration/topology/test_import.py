# ruff: noqa: E501 scenes read better on one line
"""`headend import` into a real PostgreSQL: all or nothing, the same again changes nothing, history is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headend.ingest.topology_import import ImportReport, import_directory
from headend.store.errors import StoreUnavailable
from headend.store.pool import Store

Import = Callable[..., ImportReport]
Look = Callable[[], dict[str, str]]


def _count(store: Store, table: str) -> int:
    return int(store.rows(f"select count(*) as n from {table}".encode())[0]["n"])


def _replace(directory: Path, file: str, old: str, new: str) -> None:
    text = (directory / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (directory / file).write_text(text.replace(old, new), encoding="utf-8")


def test_everything_of_the_template_is_stored(store: Store, directory: Path, run_import: Import) -> None:
    report = run_import(directory)
    assert (report.applied, report.problems, report.changes) == (True, (), 37)
    found = store.rows(
        b"""select u.code, u.kind, a.code as area, b.code as behind, m.manufacturer || '/' || m.serial as meter, i.multiplier::int,
                   i.sign, i.start_import_wh, i.seal
            from usage_point u join area_membership s using (usage_point_id) join area a using (area_id)
            left join usage_point b on b.usage_point_id = s.behind_usage_point_id
            left join installation i on i.usage_point_id = u.usage_point_id left join meter m using (meter_id) order by 1"""
    )
    assert [tuple(row.values()) for row in found] == [
        ("A01-001", "customer", "A01", None, "Eastron/120001", 1, 1, 0, "S-1004"),
        ("A01-002", "customer", "A01", None, "Chint/21060012", 1, 1, 730, "S-1005"),
        ("A01-T", "area", "A01", None, "Eastron/630001", 40, 1, 0, "S-1001"),
        ("A02-001", "customer", "A02", "A02-S1", None, None, None, None, None),
        ("A02-002", "customer", "A02", "A02-S1", None, None, None, None, None),
        ("A02-S1", "shared", "A02", None, "Eastron/630003", 1, 1, 1250000, "S-1003"),
        ("A02-T", "area", "A02", None, "Eastron/630002", 40, 1, 0, "S-1002"),
    ]
    endpoints = store.rows(
        b"select m.serial, e.protocol, e.bus, e.unit, c.code from endpoint e join meter m using (meter_id) "
        b"left join concentrator c using (concentrator_id) order by 1"
    )
    assert tuple(endpoints[0].values()) == ("120001", "mqtt", None, None, "C-A01")
    assert tuple(endpoints[1].values()) == ("120002", "modbus", "modbus+tcp://10.20.0.12:502", 3, None)
    assert _count(store, "premises") == 2
    hanging = store.rows(
        b"select a.code, f.code as feeder from area_feeder join area a using (area_id) join feeder f using (feeder_id) order by 1"
    )
    assert [tuple(row.values()) for row in hanging] == [("A01", "F-101"), ("A02", "F-101")]
    loads = store.rows(b"select code, kind, power_w, schedule, latitude_deg, noted_by from unmetered_load order by 1")
    assert tuple(loads[1].values()) == ("SL-A02-1", "street_light", 600, "sunset-sunrise", 31.2304, "import")


def test_the_same_files_again_change_not_a_byte(directory: Path, run_import: Import, fingerprint: Look) -> None:
    run_import(directory)
    before = fingerprint()
    report = run_import(directory)
    assert (report.applied, report.changes) == (True, 0)
    assert fingerprint() == before


def test_one_bad_row_and_nothing_is_changed(directory: Path, run_import: Import, fingerprint: Look) -> None:
    before = fingerprint()
    _replace(directory, "meters.csv", "Eastron,120002,", "Eastron,120001,")
    report = run_import(directory)
    assert not report.applied
    assert report.changes == 0
    assert [str(p) for p in report.problems] == [
        "meters.csv:7: serial = '120001': duplicate serial: the same manufacturer and serial stands on line 5 already",
        "endpoints.csv:5: serial = '120002': unknown meter: Eastron/120002 is neither in meters.csv nor stored",
    ]
    assert fingerprint() == before


def test_the_good_rows_alone_when_asked_for(store: Store, directory: Path, run_import: Import) -> None:
    _replace(directory, "areas.csv", "A02,ST01", "A02,ST99")
    report = run_import(directory, skip_bad=True)
    assert report.applied
    assert _count(store, "area") == 1
    assert _count(store, "usage_point") == 3
    assert _count(store, "installation") == 3
    assert report.files["usage_points.csv"].refused == 4
    mended = run_import(directory)
    assert not mended.applied
    _replace(directory, "areas.csv", "A02,ST99", "A02,ST01")
    assert run_import(directory).applied
    assert _count(store, "usage_point") == 7


def test_files_that_are_missing_unknown_or_unreadable(directory: Path, run_import: Import, tmp_path: Path) -> None:
    (directory / "meters.csv").unlink()
    (directory / "premises.csv").unlink()
    (directory / "endpoint.csv").write_text("x\n")
    (directory / "concentrators.csv").unlink()
    (directory / "concentrators.csv").mkdir()
    told = [str(p) for p in run_import(directory).problems]
    assert f"meters.csv: is missing in {directory}" in told
    assert "concentrators.csv: cannot be read: Is a directory" in told
    assert any(t.startswith("endpoint.csv: unknown file; known are stations.csv, areas.csv") for t in told)
    assert not any(t.startswith("premises.csv") and "missing" in t for t in told)
    assert [str(p) for p in run_import(tmp_path / "nowhere").problems] == [f"{tmp_path / 'nowhere'}: is no directory"]


def test_later_files_may_refer_to_what_is_stored(directory: Path, run_import: Import) -> None:
    run_import(directory)
    for file in ("stations", "areas", "usage_points", "meters"):
        path = directory / f"{file}.csv"
        path.write_text(path.read_text().splitlines()[0] + "\n")
    (directory / "installations.csv").write_text(
        (directory / "installations.csv").read_text().splitlines()[0]
        + "\nA02-001,Eastron,120002,2026-11-19T08:00:00+08:00,,,,,,\n"
    )
    report = run_import(directory)
    assert report.problems == ()
    assert report.changes == 1


def test_what_is_changed_is_updated_and_history_is_not(store: Store, directory: Path, run_import: Import) -> None:
    run_import(directory)
    _replace(directory, "endpoints.csv", "10.20.0.11,502,1,", "10.20.0.99,503,7,")
    _replace(directory, "stations.csv", "Riverside", "Hillside")
    _replace(directory, "areas.csv", "Old Yard,315,,", "Old Yard,250,0.05,")
    _replace(directory, "concentrators.csv", "C-A02,A02", "C-A02,A01")
    _replace(directory, "usage_points.csv", "Mill Lane 1,L1,60", "Mill Lane 1a,L2,60")
    _replace(directory, "premises.csv", "Old Yard 1,false", "Old Yard 1,true")
    _replace(directory, "meters.csv", "630001,eastron-sdm630,3,8", "630001,chint-dtsu666,3,8")
    report = run_import(directory)
    assert (report.problems, report.changes) == ((), 7)
    found = store.rows(b"select bus, unit from endpoint join meter using (meter_id) where serial = '630001'")
    assert found == [{"bus": "modbus+tcp://10.20.0.99:503", "unit": 7}]
    assert store.rows(b"select name, phase from usage_point where code = 'A01-001'") == [
        {"name": "Mill Lane 1a", "phase": "L2"}
    ]
    assert store.rows(b"select high_loss_rate as r from area where code = 'A02'") == [{"r": 0.05}]
    assert run_import(directory).changes == 0
    _replace(directory, "installations.csv", ",40,1,0,0,S-1001", ",60,1,0,0,S-1001")
    refused = run_import(directory)
    assert not refused.applied
    assert str(refused.problems[0]) == (
        "installations.csv:2: multiplier = '60': is stored as 40.0000; "
        "an installation's history is not rewritten by an import"
    )


def test_a_swap_comes_as_a_closing_and_a_new_installation(store: Store, directory: Path, run_import: Import) -> None:
    run_import(directory)
    _replace(
        directory,
        "installations.csv",
        "120001,2026-01-01T00:00:00+08:00,,",
        "120001,2026-01-01T00:00:00+08:00,2026-11-18T00:00:00+08:00,",
    )
    with (directory / "installations.csv").open("a") as file:
        file.write("A01-001,Eastron,120002,2026-11-18T00:00:00+08:00,,1,1,5,,S-2\n")
    report = run_import(directory)
    assert (report.problems, report.changes) == ((), 2)
    found = store.rows(
        b"select m.serial, i.valid_to is null as open from installation i join meter m using (meter_id) "
        b"join usage_point u using (usage_point_id) where u.code = 'A01-001' order by i.valid_from"
    )
    assert [tuple(row.values()) for row in found] == [("120001", False), ("120002", True)]
    assert run_import(directory).changes == 0


@pytest.mark.usefixtures("now")
def test_only_days_that_somebody_has_seen_are_settled_again(store: Store, directory: Path, run_import: Import) -> None:
    run_import(directory)
    assert _count(store, "dirty_day") == 0  # nothing was read yet: nothing to settle
    with store.transaction() as connection:
        connection.execute(
            b"insert into dirty_day select area_id, date '2026-11-15', now() from area where code = 'A01'"
        )
    with (directory / "usage_points.csv").open("a") as file:
        file.write("A01-003,customer,residential,A01,,2026-11-10T00:00:00+08:00,,,\n")
        file.write("A02-003,customer,residential,A02,,2026-11-10T00:00:00+08:00,,,\n")
    run_import(directory)
    found = store.rows(
        b"select a.code, min(day)::text, max(day)::text, count(*) as n from dirty_day join area a using (area_id) group by 1"
    )
    assert [tuple(row.values()) for row in found] == [("A01", "2026-11-15", "2026-11-20", 6)]


def test_ten_thousand_meters_in_seconds(store: Store, tmp_path: Path, run_import: Import) -> None:
    n = 10_000
    _write(tmp_path / "stations.csv", "station,name", ["S1,One"])
    _write(
        tmp_path / "areas.csv",
        "area,station,name,transformer_kva,high_loss_rate,negative_loss_rate",
        [f"A{i},S1,Area {i},400,," for i in range(n // 100)],
    )
    _write(
        tmp_path / "usage_points.csv",
        "usage_point,kind,category,area,behind,valid_from,name,phase,rated_current_a",
        [f"U{i},customer,residential,A{i % (n // 100)},,2026-01-01T00:00:00Z,,L1,60" for i in range(n)],
    )
    _write(
        tmp_path / "meters.csv",
        "manufacturer,serial,model,phases,digits,resolution_wh",
        [f"E,{i},eastron-sdm120,1,8,10" for i in range(n)],
    )
    _write(
        tmp_path / "installations.csv",
        "usage_point,manufacturer,serial,valid_from,valid_to,multiplier,sign,start_import_wh,start_export_wh,seal",
        [f"U{i},E,{i},2026-01-01T00:00:00Z,,1,1,0,0," for i in range(n)],
    )
    _write(
        tmp_path / "endpoints.csv",
        "manufacturer,serial,protocol,host,port,unit,concentrator",
        [f"E,{i},modbus,10.0.{i // 200}.1,502,{i % 200}," for i in range(n)],
    )
    began = time.perf_counter()
    report = run_import(tmp_path)
    first_s = time.perf_counter() - began
    again = run_import(tmp_path)
    again_s = time.perf_counter() - began - first_s
    print(f"{n} meters: first import {first_s:.2f} s, the same again {again_s:.2f} s")
    assert report.changes == 4 * n + n // 100 + 1
    assert again.changes == 0
    assert first_s < 20  # row by row it would be 40,000 round trips


def _write(path: Path, header: str, rows: list[str]) -> None:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def test_a_database_that_is_away_says_so(directory: Path, tmp_path: Path, now: object) -> None:
    with Store(f"host={tmp_path} dbname=nowhere", timeout_s=0.3) as away, pytest.raises(StoreUnavailable):
        import_directory(away, directory, skip_bad=False, clock=lambda: now)  # type: ignore[arg-type, return-value]
