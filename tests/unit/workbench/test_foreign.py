"""Files as other programs write them: delimiters, decimal commas, marks, encodings, clocks, labels, meters read at
different intervals.
"""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from headend.domain.calendar import to_us
from headend.workbench.cells import Instants
from support.workbench import T0, differences, long_csv, read, simple_rows, stamp, written

PLAIN = long_csv(simple_rows(kwh="1.25"))
NAMED = PLAIN.replace("timestamp", "用户,timestamp").replace(",2026", ",张三,2026")


@pytest.mark.parametrize(
    ("text", "encoding", "options"),
    [
        (PLAIN.replace(",", ";").replace("1.25", "1,25").replace("0.25", "0,25"), "utf-8-sig", {}),
        (PLAIN.replace(",", "\t"), "utf-16", {}),
        (PLAIN.replace(",", "|"), "utf-8", {}),
        (PLAIN.replace("\n", "\r\n") + "\r\n\r\n", "utf-8", {}),
        (PLAIN.replace("\n", ",,\n"), "utf-8", {}),
        (PLAIN.replace("1.25", '"1,25"').replace("0.25", '"0,25"'), "utf-8", {"decimal": ","}),
        (PLAIN.replace("import_kwh", "Import_kWh").replace("meter", "Meter"), "utf-8", {}),
        (NAMED, "gb18030", {"encoding": "gb18030", "ignored": frozenset({"用户"})}),
    ],
    ids=["semicolons", "utf-16 tabs", "bars", "crlf", "trailing commas", "quoted commas", "capitals", "gb18030"],
)  # fmt: skip
def test_the_same_rows_in_other_clothes(tmp_path: Path, text: str, encoding: str, options: dict[str, object]) -> None:
    plain = read(written(tmp_path, PLAIN)).windows[0]
    other = read(written(tmp_path, text, "data.csv", encoding), **options).windows[0]
    assert plain.household_import_wh[0, 0] == 1250.0
    assert differences(plain, other) == []


def test_gzip_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "data.csv.gz"
    path.write_bytes(gzip.compress(PLAIN.encode()))
    assert differences(read(path).windows[0], read(written(tmp_path, PLAIN)).windows[0]) == []


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-02T00:15:00+08:00", "2026-03-01T16:15Z", "2026-03-02 00:15", "2026/3/2 0:15", "02.03.2026 00:15:00",
        "2026-03-02 00:15:00.000", "2026-03-01 16:15 UTC", "2026-03-02T03:15+1100", "2026-03-02 00:15:00,5",
    ],
)  # fmt: skip
def test_instants_are_read_as_they_are_written(text: str) -> None:
    found = Instants(ZoneInfo("Asia/Shanghai")).read([text], file="f", column="timestamp", rows=np.array([2]))
    assert found.tolist() == [to_us(T0 + timedelta(minutes=15))]


def test_24_00_is_the_next_midnight_and_a_date_is_its_beginning() -> None:
    found = Instants(ZoneInfo("Asia/Shanghai")).read(
        ["2026-03-01 24:00", "2026-03-02", "2026-03-02 00:00"], file="f", column="timestamp", rows=np.arange(3)
    )
    assert set(found.tolist()) == {to_us(T0)}


def test_the_hour_that_comes_twice_is_told_apart_by_order(tmp_path: Path) -> None:
    """Berlin, 25 October 2026: 02:00 to 02:45 stand twice; the day has 100 quarters."""
    start = datetime(2026, 10, 24, 22, tzinfo=UTC)
    berlin = ZoneInfo("Europe/Berlin")
    stamps = [(start + k * timedelta(minutes=15)).astimezone(berlin).strftime("%Y-%m-%d %H:%M") for k in range(100)]
    rows = [(m, r, at, k / 1000) for m, r in (("m1", ""), ("top", "area")) for k, at in enumerate(stamps)]
    (window,) = read(written(tmp_path, long_csv(rows)), zone=berlin).windows
    assert window.n_intervals == 100
    assert window.household_import_wh[0].tolist() == list(range(100))
    assert window.day_start is not None
    assert window.day_start.tolist() == [0]


def test_labels_of_ends_shift_energies_and_not_registers(tmp_path: Path) -> None:
    rows = simple_rows()
    for text, options in (
        (long_csv(rows), {"label": "end"}),
        (long_csv(rows, "meter,role,interval_end,import_kwh"), {}),
    ):
        (window,) = read(written(tmp_path, text), **options).windows
        assert window.start == T0 - timedelta(minutes=15)
        assert window.household_import_wh[0].tolist() == [100.0] * 8
        assert window.day_start is not None
        assert window.day_start.tolist() == [0, 1]
    registers = [(m, r, at, 5 + k / 10) for k, (m, r, at, _) in enumerate(rows)]
    text = long_csv(registers, "meter,role,timestamp,register_kwh")
    assert read(written(tmp_path, text), label="end").windows[0].start == T0


def test_finer_meters_are_summed_and_one_coarse_meter_does_not_coarsen_the_rest(tmp_path: Path) -> None:
    rows: list[tuple[str, str, str, str]] = []
    for meter, role, minutes, wh in (
        *((f"m{k}", "", 15, 25) for k in range(8)),
        ("fine", "", 5, 10),
        ("daily", "", 1440, 900),
        ("top", "area", 15, 300),
    ):  # fmt: skip
        each = [(meter, role, stamp(minutes * k), str(wh)) for k in range(2 * 1440 // minutes)]
        rows += each if meter != "fine" else [*each[:4], *each[5:]]
    found = read(written(tmp_path, long_csv(rows, "meter,role,timestamp,import_wh")))
    (window,) = found.windows
    assert (window.interval_s, window.n_intervals) == (900, 192)
    fine = window.household_import_wh[window.meters.index("fine")]
    assert np.isnan(fine[1]), "a quarter that lacks a third of itself is not measured"
    assert fine[0] == fine[2] == 30.0
    assert np.isnan(window.household_import_wh[window.meters.index("daily")]).all()
    assert {n.code: n.meters for n in found.notes if n.meters} == {"summed": ("fine",), "too_coarse": ("daily",)}
    (hourly,) = read(written(tmp_path, long_csv(rows, "meter,role,timestamp,import_wh")), interval_s=3600).windows
    assert hourly.area_import_wh.tolist() == [1200.0] * 48


def test_what_stands_twice_counts_once_and_what_contradicts_itself_not_at_all(tmp_path: Path) -> None:
    rows = simple_rows()
    again = [*rows, rows[0], ("m2", "", rows[3][2], "0.9")]
    found = read(written(tmp_path, long_csv(again)))
    (window,) = found.windows
    assert window.household_import_wh[0].tolist() == [100.0] * 8
    assert np.flatnonzero(np.isnan(window.household_import_wh[1])).tolist() == [3]
    assert {n.code: n.count for n in found.notes} == {"repeated": 1, "contradicting": 1, "local_time": 1}


def test_an_empty_cell_is_missing_and_a_zero_is_zero(tmp_path: Path) -> None:
    rows = simple_rows()
    rows[1] = (*rows[1][:3], "")
    rows[2] = (*rows[2][:3], "0")
    rows[3] = (*rows[3][:3], "n/a")
    (window,) = read(written(tmp_path, long_csv(rows))).windows
    assert np.isnan(window.household_import_wh[0]).tolist() == [False, True, False, True, *[False] * 4]
    assert window.household_import_wh[0, 2] == 0.0
    assert np.isnan(window.household_export_wh[0]).tolist() == [False, True, False, True, *[False] * 4]


def test_days_of_a_zone_with_summer_time_begin_at_its_midnights(tmp_path: Path) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 3, 27, 23, tzinfo=UTC)
    rows = [
        (m, r, (start + k * timedelta(hours=1)).isoformat(), 1)
        for m, r in (("m1", ""), ("top", "area")) for k in range(24 + 23 + 24)
    ]  # fmt: skip
    (window,) = read(written(tmp_path, long_csv(rows)), zone=berlin).windows
    assert window.day_start is not None
    assert window.day_start.tolist() == [0, 24, 47]


def test_daily_energies_of_local_days_of_any_length(tmp_path: Path) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    rows = [(m, r, f"2026-03-{d}", d) for m, r in (("m1", ""), ("top", "area")) for d in range(26, 32)]
    (window,) = read(written(tmp_path, long_csv(rows)), zone=berlin).windows
    assert (window.interval_s, window.household_import_wh[0].tolist()) == (86400, [d * 1000.0 for d in range(26, 32)])


def test_phases_that_do_not_add_up_are_not_balanced_by_phase(tmp_path: Path) -> None:
    """Without export registers by phase, a phase that feeds in is overstated: somebody would be accused for it."""
    at = [stamp(15 * k) for k in range(8)]
    houses = [("m1", "", t, 900, "", "", "", "") for t in at]
    top = [("top", "area", t, 900, 500, 300, 300 if k < 5 else 100, 0) for k, t in enumerate(at)]
    header = "meter,role,timestamp,import_wh,import_l1_wh,import_l2_wh,import_l3_wh,export_wh"
    found = read(written(tmp_path, long_csv([*houses, *top], header)))
    phases = found.windows[0].area_phase_wh
    assert phases is not None
    assert np.isnan(phases).any(axis=0).tolist() == [True] * 5 + [False] * 3
    assert [(n.code, n.count) for n in found.notes if n.code == "phases_apart"] == [("phases_apart", 5)]


def test_a_phase_whose_export_was_not_read_is_not_known(tmp_path: Path) -> None:
    columns = "import_wh,import_l1_wh,export_l1_wh,import_l2_wh,import_l3_wh"
    top = [("top", "area", stamp(15 * k), 900, 500, "" if k == 2 else 20, 300, 100) for k in range(5)]
    houses = [("m1", "", stamp(15 * k), 900, "", "", "", "") for k in range(5)]
    (window,) = read(written(tmp_path, long_csv([*houses, *top], f"meter,role,timestamp,{columns}"))).windows
    assert window.area_phase_wh is not None
    assert np.isnan(window.area_phase_wh[0]).tolist() == [False, False, True, False, False]
    assert window.area_phase_wh[:, 0].tolist() == [480.0, 300.0, 100.0]
