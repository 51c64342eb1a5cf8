"""`headend reconcile`: from files to a report in one command, with an exit status that a script can act on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import Result
from typer.testing import CliRunner

from headend.cli import app
from support.workbench import long_csv, simple_rows, written

SCHEMA = json.loads(files("headend.workbench").joinpath("schema", "report.schema.json").read_text())


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["reconcile", *map(str, words)], env={"COLUMNS": "100"})


def checked(document: Any) -> dict[str, Any]:
    """A report that keeps to its schema."""
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(document)
    found: dict[str, Any] = document
    return found


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """What the example writes and says."""
    directory = tmp_path_factory.mktemp("example")
    return directory, run("--example", "--out", directory, "--price", "0.52")


def test_the_example_finds_what_was_planted(example: tuple[Path, Result]) -> None:
    directory, told = example
    assert told.exit_code == 0, told.output
    document = checked(json.loads((directory / "report.json").read_text(encoding="utf-8")))
    planted = {one["fault"]: one for one in json.loads((directory / "example" / "planted.json").read_text())}
    areas = {area["area"]: area for area in document["areas"]}
    assert list(areas) == ["TA-91", "TA-92", "TA-93"]

    tampered = planted["under_registering"]["meter"].partition("/")[2]
    accused = areas["TA-91"]
    assert accused["report"]["accused"] == [tampered]
    finding = next(f for f in accused["findings"] if f["meter"] == tampered)
    assert finding["onset_at"][:10] == "2026-03-07"
    assert finding["energy_wh"] == pytest.approx(planted["under_registering"]["energy_wh"], rel=0.1)
    assert finding["money"]["amount"] == pytest.approx(finding["energy_wh"] * 0.52 / 1000, abs=0.01)
    assert tampered in accused["verdict"]["en"]
    assert tampered in accused["verdict"]["zh"]

    moved = planted["wrong_area"]["meter"].partition("/")[2]
    assert areas["TA-92"]["report"]["misplaced"] == [[moved, "TA-93"]]
    assert [n["code"] for n in document["notes"]] == ["rollover", "local_time"]


def test_the_balance_is_of_complete_intervals_and_adds_up(example: tuple[Path, Result]) -> None:
    document = json.loads((example[0] / "report.json").read_text(encoding="utf-8"))
    for area in document["areas"]:
        balance, totals = area["balance"], area["totals"]
        assert len(balance["days"]) == 14
        for name in ("supplied_wh", "delivered_wh", "unexplained_wh"):
            assert sum(balance[name]) == pytest.approx(totals[name], abs=0.1)
        loss = totals["supplied_wh"] - totals["delivered_wh"]
        assert loss == pytest.approx(totals["technical_wh"] + totals["unexplained_wh"], abs=0.1)
        assert sum(balance["complete_intervals"]) == round(totals["complete_share"] * area["window"]["intervals"])
        assert len(area["report"]["technical_interval_wh"]) == area["window"]["intervals"]


def test_the_page_needs_nothing_else_and_can_be_mailed(example: tuple[Path, Result]) -> None:
    page = (example[0] / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!\#)|url\(|@import|<script|https?://""", page)
    assert len(page.encode()) < 300_000
    assert page.count("<svg") >= 2 * 5, "a balance for each area and a picture for each finding, on screen and on phone"
    assert "Clamp the current in front of the meter" in page
    assert "18.99 CNY" in page or " CNY" in page
    assert "计量偏少" in page


def test_the_example_is_the_same_every_time(example: tuple[Path, Result], tmp_path: Path) -> None:
    from headend.cli.reconcile_example import write_example

    for path in write_example(tmp_path):
        assert path.read_bytes() == (example[0] / "example" / path.name).read_bytes()


def test_json_goes_to_stdout_alone_and_nothing_is_written(example: tuple[Path, Result], tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "headend.cli",
        "reconcile",
        "--json",
        *sorted(map(str, (example[0] / "example").glob("*.csv"))),
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert (found.returncode, found.stderr) == (0, "")
    document = checked(json.loads(found.stdout))
    assert [f["kind"] for f in document["files"]] == ["readings", "meters", "readings"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name at least one file, or --example"),
        (("nothing.csv",), "nothing.csv: No such file or directory"),
        (("{data}", "--zone", "Mars/Olympus"), "--zone: expected a zone of the IANA database"),
        (("{data}", "--label", "middle"), "--label: expected start or end, found 'middle'"),
        (("{data}", "--decimal", ";"), "--decimal: expected auto, . or ,"),
        (("{data}", "--from", "2026-03-04", "--to", "2026-03-02"), "--to: expected a day not before 2026-03-04"),
        (("{data}", "--area-meter", "nobody"), "--area-meter: expected the name of a meter that has rows"),
        *[(("{data}", "--interval", given), "--interval: expected minutes that divide the day: 1, 5, 10, 15, ")
          for given in ("nan", "inf", "0", "-15", "15.001")],
        (("{data}", "--interval", "long"), "Invalid value for '--interval'"),
        (("{data}", "--price", "inf"), "--price: expected an amount of money, found 'inf'"),
        (("{data}", "--encoding", "utf-16"), "data.csv: expected text in utf-16; another one is named with --encoding"),
        (("{data}", "--encoding", "klingon"), "--encoding: expected an encoding such as utf-8 or gb18030"),
        ((".",), ".: expected a file, found 'a directory'"),
        (("{bad}",), "bad.csv, row 2, column import_kwh: expected a number, found 'x'"),
    ],
)  # fmt: skip
def test_wrong_input_ends_with_2_and_says_where(tmp_path: Path, words: Sequence[str], message: str) -> None:
    data = written(tmp_path, long_csv(simple_rows()))
    bad = written(tmp_path, "meter,timestamp,import_kwh\nm1,2026-03-02,x\n", "bad.csv")
    found = run(*(word.format(data=data, bad=bad) for word in words), "--out", tmp_path / "out")
    assert found.exit_code == 2
    assert message in found.stderr
    assert not (tmp_path / "out").exists()


def test_a_report_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    data, out = written(tmp_path, long_csv(simple_rows())), tmp_path / "out"
    (out / "report.html").mkdir(parents=True)
    for old in (None, "of yesterday"):
        if old is not None:
            (out / "report.json").write_text(old)
        found = run(data, "--out", out)
        assert found.exit_code == 1
        assert found.stderr == f"headend: {out / 'report.html'}: Is a directory\n"
        assert sorted(one.name for one in out.iterdir()) == ["report.html"] + ["report.json"] * (old is not None)
    assert (out / "report.json").read_text() == "of yesterday"


def test_what_the_engine_cannot_do_is_seen_and_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_windows: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("reconciliation.analyse", broken)
    written(tmp_path, "of yesterday", "report.json")
    found = run(written(tmp_path, long_csv(simple_rows())), "--out", tmp_path)
    assert found.exit_code == 1
    assert isinstance(found.exception, ZeroDivisionError)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["data.csv", "report.json"]
    assert (tmp_path / "report.json").read_text() == "of yesterday"


def test_an_example_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    found = run("--example", "--out", written(tmp_path, "a file", "taken"))
    assert (found.exit_code, found.stderr) == (1, f"headend: {tmp_path / 'taken' / 'example'}: Not a directory\n")


def test_a_file_may_have_a_name_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode("表.csv".encode("gb18030"))
    path.write_text(long_csv(simple_rows()), encoding="utf-8")
    found = run(path, "--out", tmp_path / "out")
    assert found.exit_code == 0, found.output
    (one,) = checked(json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8")))["files"]
    assert one["file"].endswith(".csv")


def test_units_off_by_a_thousand_are_told_everywhere(tmp_path: Path) -> None:
    rows = [(m, role, at, "0.1" if role == "area" else "60") for m, role, at, _ in simple_rows(96)]
    found = run(written(tmp_path, long_csv(rows)), "--out", tmp_path / "out")
    assert found.exit_code == 0, found.output
    (note,) = (
        one
        for one in checked(json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8")))["notes"]
        if one["code"] == "units_apart"
    )
    assert note["area"] == "data"
    assert note["numbers"] == {"households_wh": 2 * 96 * 60_000, "area_wh": 96 * 100, "factor": 1200}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert note["en"] in page
    assert note["zh"] in page
    assert "1,000 between Wh and kWh" in found.stdout


def test_too_little_data_is_an_answer_and_not_an_error(tmp_path: Path) -> None:
    found = run(written(tmp_path, long_csv(simple_rows())), "--out", tmp_path / "out")
    assert found.exit_code == 0
    (area,) = checked(json.loads((tmp_path / "out" / "report.json").read_text()))["areas"]
    assert area["report"]["cause"] == "not_computable"
    assert "days of data" in area["verdict"]["en"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Not computable" in page
    assert area["report"]["reason"] in page
    assert "Not computable" in found.stdout


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    rows = [(evil if m == "m1" else m, r, at, wh) for m, r, at, wh in simple_rows(96 * 3)]
    found = run(written(tmp_path, long_csv(rows)), "--out", tmp_path / "out")
    assert found.exit_code == 0
    assert "<script" not in (tmp_path / "out" / "report.html").read_text()


def test_help_shows_the_layouts() -> None:
    told = run("--help").stdout
    for word in ("register_wh", "interval_end", "METER:QUANTITY", "resolution_wh", "NPZ", "wrong input"):
        assert word in told
