"""Whatever the layout, the same data give the same window, number by number."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.workbench.npz import write_npz
from headend.workbench.write import write
from reconciliation import AreaWindow
from support.workbench import SHANGHAI, differences, long_csv, random_window, read, simple_rows, wide_csv, written


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), areas=st.integers(1, 3))
def test_long_parquet_and_npz_give_the_window_they_were_made_of(seed: int, areas: int) -> None:
    pytest.importorskip("pyarrow", reason="pip install 'headend[parquet]'")
    windows = [random_window(f"A{k}", seed + k) for k in range(areas)]
    with tempfile.TemporaryDirectory() as name:
        for suffix in (".csv", ".parquet", ".npz"):
            path = Path(name) / f"x{suffix}"
            write(path, windows, SHANGHAI)
            found = read(path)
            assert [differences(a, b) for a, b in zip(windows, found.windows, strict=True)] == [[]] * areas, suffix
            assert found.notes == []


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_wide_gives_it_too(seed: int) -> None:
    window = random_window("A1", seed)
    with tempfile.TemporaryDirectory() as name:
        meters = written(Path(name), _meters(window), "list.csv")
        found = read(written(Path(name), wide_csv(window), "wide.csv"), meters)
    assert differences(window, found.windows[0]) == []
    assert [note.code for note in found.notes] == ["local_time"]


def _meters(window: AreaWindow) -> str:
    rows = [(m, window.area, 3 if window.three_phase[k] else 1, 10) for k, m in enumerate(window.meters)]
    return long_csv([*rows, ("area meter", window.area, 3, 40)], "meter,area,phases,resolution_wh")


def test_order_of_rows_and_kwh_change_nothing(tmp_path: Path) -> None:
    rows = simple_rows(kwh="1.001")
    forth = read(written(tmp_path, long_csv(rows))).windows[0]
    shuffled = [rows[k] for k in np.random.default_rng(3).permutation(len(rows))]
    shuffled.sort(key=lambda row: row[0])  # the order of meters is that of the files
    back = read(written(tmp_path, long_csv(shuffled))).windows[0]
    assert differences(forth, back) == []
    assert forth.household_import_wh[0].tolist() == [1001.0] * 8
    assert forth.area_import_wh.tolist() == [250.0] * 8
    assert forth.household_export_wh.tolist() == [[0.0] * 8] * 2, (
        "no export column: nothing is fed in where it was read"
    )


def test_three_files_of_one_area(tmp_path: Path) -> None:
    """Households, the area's meter without a column `meter`, and what holds for them; a multiplier is applied once."""
    rows = [row for row in simple_rows() if row[0] != "top"]
    houses = written(tmp_path, long_csv(rows), "houses.csv")
    stamps = [row[2] for row in rows[:8]]
    top = written(
        tmp_path,
        long_csv(
            [(at, 0.02, 0.01, 0.004, 0.006, 231.5, 232.5, 233.5) for at in stamps],
            "timestamp,import_kwh,import_l1_kwh,import_l2_kwh,import_l3_kwh,voltage_l1_v,voltage_l2_v,voltage_l3_v",
        ),
        "top.csv",
    )
    listed = written(
        tmp_path, "meter,area,phases,multiplier,resolution_wh\nm1,TA-7,3,,10\nm2,TA-7,1,2,10\narea meter,TA-7,3,30,1\n",
        "list.csv",
    )  # fmt: skip
    (window,) = read(houses, top, listed).windows
    assert (window.area, window.meters) == ("TA-7", ("m1", "m2"))
    assert window.three_phase.tolist() == [True, False]
    assert window.household_import_wh[:, 0].tolist() == [100.0, 200.0]
    assert window.area_import_wh[0] == 600.0
    assert window.area_phase_wh is not None
    assert window.area_phase_wh[:, 0].tolist() == [300.0, 120.0, 180.0]
    assert window.area_voltage_v is not None
    assert window.area_voltage_v[:, 0].tolist() == [231.5, 232.5, 233.5]
    assert window.meter_step_wh is not None
    assert window.meter_step_wh.tolist() == [10.0, 20.0]
    assert window.area_step_wh == 30.0


def test_the_meters_file_beside_a_file_is_read_by_itself(tmp_path: Path) -> None:
    path = written(
        tmp_path, long_csv([(m, at, wh) for m, _, at, wh in simple_rows()], "meter,timestamp,import_kwh"), "june.csv"
    )
    written(tmp_path, "meter,role,phases\ntop,area,3\nm1,,3\nm2,,1\nghost,,1\n", "june.meters.csv")
    found = read(path)
    (window,) = found.windows
    assert (window.area, window.meters, window.three_phase.tolist()) == (
        "june",
        ("m1", "m2", "ghost"),
        [True, False, False],
    )
    assert np.isnan(window.household_import_wh[2]).all(), "listed and never read: missing, not zero"
    assert [(n.code, n.meters) for n in found.notes if n.code == "no_rows"] == [("no_rows", ("ghost",))]


def test_a_meter_that_moved_is_in_two_areas(tmp_path: Path) -> None:
    windows = [random_window("A", 1), random_window("B", 2)]
    moved = [windows[0], AreaWindow(**{**_fields(windows[1]), "meters": ("A-0", "B-1", "B-2", "B-3")})]
    write(tmp_path / "x.csv", moved, SHANGHAI)
    assert [differences(a, b) for a, b in zip(moved, read(tmp_path / "x.csv").windows, strict=True)] == [[], []]


def _fields(window: AreaWindow) -> dict[str, object]:
    return {name: getattr(window, name) for name in AreaWindow.__dataclass_fields__}


def test_days_asked_for_cut_every_layout_alike(tmp_path: Path) -> None:
    window = random_window("A", 5)
    write(tmp_path / "x.csv", [window], SHANGHAI)
    write_npz(tmp_path / "y.npz", [window])
    day = {"first": date(2026, 3, 3), "last": date(2026, 3, 3)}
    (by_rows,) = read(tmp_path / "x.csv", **day).windows
    (by_arrays,) = read(tmp_path / "y.npz", **day).windows
    assert by_rows.n_intervals == 96
    assert differences(by_rows, by_arrays) == []
    assert np.array_equal(by_rows.household_import_wh, window.household_import_wh[:, 96:192], equal_nan=True)


def test_an_npz_of_one_area_needs_no_prefix_and_may_lack_what_is_optional(tmp_path: Path) -> None:
    window = random_window("A", 5)
    np.savez(
        tmp_path / "TA-5.npz", start="2026-03-02T00:00", interval_s=900, meters=np.array(window.meters),
        three_phase=window.three_phase, household_import_wh=window.household_import_wh,
        household_export_wh=window.household_export_wh, area_import_wh=window.area_import_wh,
        area_export_wh=window.area_export_wh,
    )  # fmt: skip
    (found,) = read(tmp_path / "TA-5.npz").windows
    assert set(differences(window, found)) == {
        "area", "household_voltage_v", "area_phase_wh", "area_voltage_v", "meter_step_wh", "area_step_wh", "day_start",
    }  # fmt: skip
    assert (found.area, found.household_voltage_v) == ("TA-5", None)
