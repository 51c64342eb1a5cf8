"""`headend export`: what an engineer elsewhere is given says the same as what the service says."""

from __future__ import annotations

import csv
import json
import stat
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from headend.cli import app
from headend.settlement.grid import DayRange
from headend.settlement.rules import Rules
from headend.settlement.service import SettlementService
from headend.settlement.windows import load_window
from reconciliation import AreaWindow
from support.field import DAY0, T0, Field
from support.town import Town, build_town
from support.workbench import differences, read

DAYS = 9
FIRST, LAST = DAY0, DAY0 + timedelta(days=DAYS - 1)


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture
def town(make_field: Callable[..., Field]) -> tuple[Field, Town]:
    """Two areas, settled and reported by the service; a house moves between them, others have gaps."""
    field = make_field(window_days=DAYS)
    made = build_town(field, areas=2, houses=6, days=DAYS, moved=1)
    for area_id in made.areas.values():
        field.mark(area_id, [FIRST + timedelta(days=k) for k in range(DAYS)])
    service = SettlementService(field.store, field.settings, lambda: T0 + timedelta(days=DAYS, minutes=5))
    steps = 0
    while service.step():
        steps += 1
        assert steps < 100
    return field, made


@pytest.fixture
def config(tmp_path: Path, dsn: str) -> Path:
    path = tmp_path / "headend.toml"
    path.write_text(f"[database]\ndsn = {json.dumps(dsn)}\n")
    return path


def windows_of(field: Field, made: Town) -> list[AreaWindow]:
    days = DayRange(Rules.of(field.settings.settlement).calendar, FIRST, LAST)
    with field.store.transaction() as connection:
        return [
            load_window(connection, area_id, code, days, Rules.of(field.settings.settlement)).window
            for code, area_id in made.areas.items()
        ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
def test_exported_and_read_again_it_is_the_services_window_and_report(
    town: tuple[Field, Town], config: Path, tmp_path: Path, suffix: str
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="pip install 'headend[parquet]'")
    field, made = town
    out = tmp_path / f"march{suffix}"
    told = run("export", *made.areas, "--from", FIRST, "--to", LAST, "--out", out, "--names", "--config", config)
    assert told.exit_code == 0, told.output
    files = [out, *tmp_path.glob("march.meters.csv")]
    assert [differences(a, b) for a, b in zip(windows_of(field, made), read(*files).windows, strict=True)] == [[], []]

    said = run("reconcile", out, "--json")
    assert said.exit_code == 0, said.output
    stored = {row["area_id"]: row for row in field.rows("select * from area_report")}
    assert len(stored) == 2
    for area in json.loads(said.stdout)["areas"]:
        report, row = area["report"], stored[made.areas[area["area"]]]
        assert (report["cause"], report["alarm"]) == (row["cause"], row["alarm"])
        assert report["anomaly_score"] == pytest.approx(row["anomaly_score"], rel=1e-9)
        assert report["technical_loss_wh"] == pytest.approx(row["technical_loss_wh"], rel=1e-9)


def test_invented_names_hide_the_real_ones_and_change_nothing_else(
    town: tuple[Field, Town], config: Path, tmp_path: Path
) -> None:
    field, made = town
    words = ("export", *made.areas, "--from", FIRST, "--to", LAST, "--config", config, "--out")
    assert run(*words, tmp_path / "real.csv", "--names").exit_code == 0
    told = run(*words, tmp_path / "other.csv")
    assert told.exit_code == 0, told.output
    sent = (tmp_path / "other.csv").read_text() + (tmp_path / "other.meters.csv").read_text()
    real = [name for window in windows_of(field, made) for name in window.meters]
    assert not [name for name in real if name in sent or name.partition("/")[2] in sent]
    assert not (tmp_path / "real.names.csv").exists()

    key = tmp_path / "other.names.csv"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    names = {row["invented"]: row["real"] for row in csv.DictReader(key.open())}
    assert set(names.values()) == {*real, *made.areas}
    by_real, invented = (_said(tmp_path / f"{stem}.csv") for stem in ("real", "other"))
    assert _renamed(invented, names) == by_real


def _said(path: Path) -> Any:
    found = json.loads(run("reconcile", path, "--json").stdout)
    return [
        {"area": a["area"], "report": a["report"], "findings": a["findings"], "totals": a["totals"]}
        for a in found["areas"]
    ]


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {_key(key, names): _renamed(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    return names.get(value, value) if isinstance(value, str) else value


def _key(key: str, names: dict[str, str]) -> str:
    """A meter's name, or what another explanation is called: of which kind, and whose (``meter:NAME``)."""
    kind, colon, name = key.partition(":")
    return f"{kind}:{names[name]}" if colon and name in names else names.get(key, key)


def test_wrong_requests_are_refused(town: tuple[Field, Town], config: Path, tmp_path: Path) -> None:
    def told(*words: object) -> tuple[int, str]:
        found = run("export", *words, "--config", config)
        return found.exit_code, found.stderr

    days = ("--from", FIRST, "--to", LAST)
    assert told("A99", *days, "--out", tmp_path / "x.csv") == (2, "headend: A99: there is no such area\n")
    assert told("A01", "A01", *days, "--out", tmp_path / "x.csv")[0] == 2
    assert told("A01", *days, "--out", tmp_path / "x.xlsx")[1].startswith(
        "headend: x.xlsx: expected a name that ends in"
    )
    assert told("A01", "--from", LAST, "--to", FIRST, "--out", tmp_path / "x.csv")[0] == 2
    assert told("A01", "--from", "2020-01-01", "--to", "2020-01-05", "--out", tmp_path / "x.csv")[1] == (
        "headend: A01: no meter hung on it from 2020-01-01 to 2020-01-05\n"
    )
    assert not list(tmp_path.glob("x.*"))
