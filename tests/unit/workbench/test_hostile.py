"""Ways of being wrong: each is refused with file, row, column and what was expected; none is guessed at."""

from __future__ import annotations

import gzip
import sys
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from headend.workbench.errors import WrongInput
from headend.workbench.npz import write_npz
from support.workbench import long_csv, random_window, read, simple_rows, written

HEAD = "meter,role,timestamp,import_kwh"
GOOD = long_csv(simple_rows())
ROW = "m1,,2026-03-02 05:00,0.1\n"


def _refused(*paths: Path, **options: object) -> str:
    with pytest.raises(WrongInput) as refused:
        read(*paths, **options)
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "data.csv, row 1: expected a header line that names the columns, found 'nothing'"),
        (HEAD + "\n", "data.csv: expected rows below the header, found 'none'"),
        (HEAD.replace("import", "import_") + "\n" + ROW, "unknown: import__kwh"),
        (HEAD.replace("import_kwh", "energy") + "\n" + ROW, "row 1: expected columns of the layout"),
        (HEAD.replace("import_kwh", "import") + "\n" + ROW, "column import: expected a unit in the name (import_wh or"),
        (HEAD.replace("import_kwh", "import_kw") + "\n" + ROW, "column import_kw: expected a unit in the name"),
        (HEAD.replace("timestamp", "timestmp") + "\n" + ROW, "timestamp, interval_start, interval_end (timestamp?)"),
        (HEAD + ",interval_end\n" + ROW, "one of timestamp, interval_start, interval_end, found 'timestamp and"),
        (HEAD + ",import_kwh\n" + ROW, "column import_kwh: expected every column once"),
        (HEAD + ",import_wh\n", "row 1: expected import in one unit, found 'import_kwh and import_wh'"),
        (HEAD + ",\n,,,,\n", "expected rows below the header"),
        (GOOD + "m1,,2026-03-02 05:00,abc\n", "data.csv, row 26, column import_kwh: expected a number, found 'abc'"),
        (GOOD + 'm1,,2026-03-02 05:00,"0,1"\n', "(decimal commas are read with --decimal ,), found '0,1'"),
        (GOOD + "m1,,2026-03-02 05:00,1_000\n", "row 26, column import_kwh: expected a number, found '1_000'"),
        (GOOD + "m1,,2026-03-02 05:00,1e999\n", "row 26, column import_kwh: expected a finite number"),
        (GOOD + "m1,,2026-03-02 05:00,1e13\n", "row 26, column import_kwh: expected nothing above 1,000,000,000,000"),
        (GOOD + "m1,,2026-03-02 05:00,1e306\n", "row 26, column import_kwh: expected nothing above"),
        (GOOD + "m1,,2026-03-02 05:00,-0.1\n", "row 26, column import_kwh: expected nothing below zero"),
        (GOOD + "m1,,03/02/2026 05:00,0.1\n", "row 26, column timestamp: expected an instant such as"),
        (GOOD + "m1,,2026-02-30 05:00,0.1\n", "row 26, column timestamp: expected an instant such as"),
        (GOOD + "m1,,2026-03-02 25:00,0.1\n", "row 26, column timestamp: expected an instant such as"),
        (GOOD + "m1,,,0.1\n", "row 26, column timestamp: expected an instant such as"),
        (GOOD + "m1,,1026-03-02 05:00,0.1\n", "row 26, column timestamp: expected a year from 1970"),
        (GOOD + "m1,,2062-03-02 05:00,0.1\n", "at most 800 days (a year is mistyped, or --from and --to choose)"),
        (GOOD + "m1,,2026-03-02 00:07,0.1\n", "row 26, column timestamp: expected energies on the grid of 15 min"),
        (GOOD + ",,2026-03-02 05:00,0.1\n", "row 26, column meter: expected a meter's name"),
        (GOOD + "m1,chief,2026-03-02 05:00,0.1\n", "column role: expected one of household, area, found 'chief'"),
        (GOOD + "m1,,2026-03-02 05:00\n", "row 26: expected 4 cells as in the header, found 3"),
        (GOOD + "m1,,2026-03-02 05:00,0.1,7\n", "row 26: expected 4 cells as in the header, found 5"),
        (GOOD + 'm1,,"2026-03-02 05:00,0.1\n' + ROW * 600, "row 26: expected cells of at most 10,000 characters"),
        (GOOD + "m1,,2026-03-02 05:00,\0\n", "row 26: expected text, found 'a NUL character'"),
        (GOOD.replace("area\n", "\n").replace(",area,", ",,"), "an area meter: rows or a listed meter of role `area`"),
        (HEAD + "\n" + ROW, "an area meter"),
        (HEAD + "\ntop,area,2026-03-02 05:00,1\n" + ROW, "expected at least two instants of a meter"),
        ("timestamp,m1,m2\n2026-03-02 00:00,1,2\n", "METER:QUANTITY, such as m1:import_kwh, or --wide QUANTITY"),
        ("timestamp,m1:power_kw\n2026-03-02 00:00,1\n", "expected a quantity after the colon, such as m1:import_kwh"),
        ("timestamp,m1:import_wh,M1:import_wh\n", "every column once"),
        ("meter;timestamp;import_kwh\nm1;2026-03-02 00:00;1.234,5\n", "a number without thousands separators"),
        (GOOD.replace("meter,", "device,"), "data.csv, row 1: expected a column `meter`, which lacks (is it device?)"),
        ("area,device,timestamp,import_kwh\n", "a column `meter`, which lacks (is it device?)"),
        ("area,metre,timestamp,import_kwh,remark\n", "a column `meter`, which lacks (is it metre?)"),
        ("area,serial,timestamp,import_kwh,remark\n", "`meter`, which lacks, unless all rows are the area meter’s"),
        ("timestamp,import_kwh,note\n", "left out with --ignore, found 'unknown: note'"),
        ("timestamp,import_kwh,m1:import_kwh\n", "column import_kwh: expected METER:QUANTITY in every column"),
        ("device,phases\nm1,1\n", "expected a column `meter`, which lacks (is it device?), in a list of meters"),
    ],
)  # fmt: skip
def test_a_table_is_refused_where_it_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    assert message in _refused(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("meter,role,phase\nm1,,1\n", "list.csv, row 1: expected columns meter, area, role, phases"),
        ("meter,phases\nm1,2\n", "list.csv, row 2, column phases: expected 1 or 3, found '2'"),
        ("meter,multiplier\nm1,0\n", "list.csv, row 2, column multiplier: expected a factor above 0"),
        ("meter,multiplier\nm1,-40\n", "column multiplier: expected a factor above 0"),
        ("meter,digits\nm1,7\n", "column resolution_wh: expected the register's step, which its digits count"),
        ("meter,digits,resolution_wh\nm1,7.5,1\n", "column digits: expected 4 to 12, a whole number"),
        ("meter,resolution_wh\nm1,ten\n", "row 2, column resolution_wh: expected a number, found 'ten'"),
        (
            "meter,phases\nm1,1\nm1,3\n",
            "row 3, column meter: expected a meter once in an area (it stands in row 2 too)",
        ),
        ("meter,phases\n,1\n", "row 2, column meter: expected a meter's name"),
        ("meter,role\nm1,boss\n", "row 2, column role: expected one of household, area, found 'boss'"),
        ("meter,phases\n", "list.csv: expected rows below the header"),
    ],
)
def test_so_is_the_list_of_meters(tmp_path: Path, text: str, message: str) -> None:
    assert message in _refused(written(tmp_path, GOOD), written(tmp_path, text, "list.csv"))


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    for directory in (tmp_path, Path(), Path("/")):
        assert f"{directory}: expected a file, found 'a directory'" in _refused(directory)
    assert "a name that ends in .csv" in _refused(written(tmp_path, GOOD, "data.xlsx"))
    assert "a ZIP or Parquet file" in _refused(written(tmp_path, "PK\x03\x04" + GOOD))
    assert "--encoding, such as gb18030" in _refused(written(tmp_path, GOOD.replace("m1", "表"), encoding="gb18030"))
    late = written(tmp_path, GOOD + ROW * 60_000 + "表,,2026-03-02 05:00,0.1\n", "late.csv", "gb18030")
    assert "--encoding, such as gb18030" in _refused(late), "found far below the header"
    assert "--encoding: expected an encoding such as utf-8" in _refused(written(tmp_path, GOOD), encoding="klingon")
    for wider in ("utf-16", "utf-32"):
        assert f"data.csv: expected text in {wider}; another" in _refused(written(tmp_path, GOOD), encoding=wider)
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress(GOOD.encode())[:-20])
    assert "a whole gzip file" in _refused(path)
    assert "a file of readings beside the meters’ file" in _refused(written(tmp_path, "meter,phases\nm1,1\n"))
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing.csv")


def test_arrays_that_are_no_window(tmp_path: Path) -> None:
    window = random_window("A", 1)
    good = {name: getattr(window, name) for name in window.__dataclass_fields__} | {"start": window.start.isoformat()}
    path = tmp_path / "x.npz"

    def refused(**changed: object) -> str:
        np.savez(path, **{k: np.asarray(v) for k, v in (good | changed).items() if v is not None})
        return _refused(path)

    assert "column area_import_wh: expected an array of that name" in refused(area_import_wh=None)
    assert "must have shape" in refused(household_import_wh=window.household_import_wh.T)
    assert "infinite" in refused(area_import_wh=np.full(window.n_intervals, np.inf))
    assert "column start: expected an instant such as" in refused(start="yesterday")
    assert "column area_import_kwh: expected arrays named area, start" in refused(area_import_kwh=1)
    assert "expected arrays of numbers and text" in refused(meters=np.array([{"a": 1}], dtype=object))
    assert "area_step_wh must not be negative or NaN" in refused(area_step_wh=-5.0)
    assert "area_step_wh must not be negative or NaN" in refused(area_step_wh=np.nan)
    for step in (-5.0, np.nan, np.inf, "ten"):
        assert "x.npz, column area_step_wh: expected a register’s step" in refused(area_step_wh=step)
    assert "column area_step_wh: expected a single value" in refused(area_step_wh=[10.0, 10.0])
    for wrong in (900.7, np.nan, np.inf, 0, -900, 1e18, "900 s", True):
        told = refused(interval_s=wrong)
        assert "x.npz, column interval_s: expected a whole number of seconds from 1 to 86,400, found" in told
    long = "A" * 70
    assert "meter_step_wh must not be negative" in refused(area=long, meter_step_wh=-np.ones(len(window.meters)))
    assert "meter_step_wh must not be negative" in refused(meter_step_wh=np.full(len(window.meters), -1.0))
    assert "column start: expected an instant such as" in refused(start=np.datetime64("NaT"))
    assert "column start: expected an instant such as" in refused(start=np.datetime64("20000-03-02"))
    assert "column start: expected a year from 1970 to 3000" in refused(start="9999-12-31T00:00+00:00")
    np.savez_compressed(path, a=np.zeros(1000))
    packed = path.read_bytes()
    path.write_bytes(packed[:60] + b"\xff\xff\xff" + packed[63:])
    assert "expected an NPZ file" in _refused(path), "broken inside"
    path.write_bytes(b"PK\x03\x04 no")
    assert "expected an NPZ file" in _refused(path)
    np.savez(path, nothing=1)
    assert "column nothing" in _refused(path)


def test_whole_seconds_may_be_written_as_floats(tmp_path: Path) -> None:
    window = random_window("A", 1)
    held = {name: getattr(window, name) for name in window.__dataclass_fields__} | {"start": window.start.isoformat()}
    held |= {"interval_s": 900.0, "area_step_wh": 0}
    np.savez(tmp_path / "x.npz", **{k: np.asarray(v) for k, v in held.items() if v is not None})
    (found,) = read(tmp_path / "x.npz").windows
    assert (found.interval_s, found.area_step_wh) == (900, 0.0)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    (window,) = read(written(tmp_path, GOOD, encoding="utf-8-sig"), encoding="UTF8").windows
    assert window.meters == ("m1", "m2")


def test_what_does_not_fit_together(tmp_path: Path) -> None:
    both = "meter,role,timestamp,import_wh,register_wh\n" + "".join(
        f"{m},{r},2026-03-02 0{k}:00,5,{100 + 5 * k}\n" for m, r in (("m1", ""), ("top", "area")) for k in range(9)
    )
    assert "expected either registers or energies of a meter, not both, found 'm1'" in _refused(written(tmp_path, both))
    two = "meter,role,area,timestamp,import_wh\n" + "".join(
        f"{m},{r},{a},2026-03-02 0{k}:00,5\n"
        for m, r, a in (("m1", "", "A"), ("m2", "", "B"), ("m3", "", ""), ("t", "area", "A")) for k in range(9)
    )  # fmt: skip
    assert "column meter: expected an area for every meter" in _refused(written(tmp_path, two))
    good = written(tmp_path, GOOD)
    assert "expected the name of a meter that has rows, found 'nobody'" in _refused(
        good, area_meters=frozenset({"nobody"})
    )
    for seconds in (1000, 0, -900):
        assert "--interval: expected minutes that divide the day" in _refused(good, interval_s=seconds)
    assert "in the days asked for, found 'rows from 2026-03-02 00:00" in _refused(good, first=date(2026, 4, 1))
    assert "--wide: expected a quantity" in _refused(good, wide="power_kw")
    npz = tmp_path / "data.npz"
    write_npz(npz, [random_window("data", 1)])
    assert "expected each area once, found 'data in two of them'" in _refused(good, npz)
    assert "clocks are put forward there" in _refused(
        written(tmp_path, GOOD.replace("2026-03-02 00:", "2026-03-29 02:")), zone=ZoneInfo("Europe/Berlin")
    )


def test_parquet_without_its_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1")
    assert "x.parquet: expected pyarrow, which reads and writes Parquet: pip install 'headend[parquet]'" in _refused(
        path
    )


def test_a_parquet_file_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pip install 'headend[parquet]'")
    assert "x.parquet: expected a Parquet file" in _refused(written(tmp_path, "PAR1 no", "x.parquet"))


def test_a_name_that_stands_in_two_areas_is_told(tmp_path: Path) -> None:
    rows = GOOD.splitlines()
    both = [f"area,{rows[0]}", *(f"{area},{row}" for area in ("A", "B") for row in rows[1:])]
    found = read(written(tmp_path, "\n".join(both) + "\n"))
    (note,) = (note for note in found.notes if note.code == "in_several_areas")
    assert (note.count, note.meters[0]) == (len(found.windows[0].meters), found.windows[0].meters[0])
    alone = read(written(tmp_path, GOOD, "one.csv"))
    assert "in_several_areas" not in [note.code for note in alone.notes]


def test_what_no_connection_carries_is_no_energy(tmp_path: Path) -> None:
    rows = [*simple_rows(96), ("m1", "", "2026-03-03 00:00", "100000"), ("m2", "", "2026-03-03 00:00", "1000")]
    found = read(written(tmp_path, long_csv(rows)))
    (window,) = found.windows
    assert np.isnan(window.household_import_wh[0, 96])
    assert window.household_import_wh[1, 96] == 1_000_000, "4 MW are unlikely, but may be"
    assert [(note.code, note.count) for note in found.notes if note.code == "impossible"] == [("impossible", 1)]


def test_no_volts_are_no_voltage(tmp_path: Path) -> None:
    """Single-phase meters are often exported with 0 in the columns of the phases that they do not have."""
    rows = [(*row, *volts) for row in simple_rows(96) for volts in [("0", "231.5", "0")]]
    found = read(written(tmp_path, long_csv(rows, HEAD + ",voltage_l1_v,voltage_l2_v,voltage_l3_v")))
    (window,) = found.windows
    assert window.household_voltage_v is not None
    assert np.all(window.household_voltage_v == 231.5)
    assert not window.three_phase.any()
    assert [(note.code, note.count) for note in found.notes if note.code == "no_voltage"] == [("no_voltage", 6 * 96)]


def test_whole_numbers_name_meters_and_nanoseconds_are_cut_off(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pip install 'headend[parquet]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    instants = np.datetime64("2026-03-02T00:00:00.000000007", "ns") + np.arange(8) * np.timedelta64(15, "m")
    columns = {
        "meter": pyarrow.array(np.repeat([120034005678, 120034005679], 8)),
        "role": ["household"] * 8 + ["area"] * 8,
        "timestamp": pyarrow.array(np.tile(instants, 2)),
        "import_wh": pyarrow.array([None, *range(1, 16)], pyarrow.int64()),
    }
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.table(columns), path)
    (window,) = read(path).windows
    assert window.meters == ("120034005678",)
    assert np.isnan(window.household_import_wh[0, 0])
    assert window.household_import_wh[0, 1:].tolist() == list(range(1, 8))
    assert window.area_import_wh.tolist() == list(range(8, 16))
