"""A factor of a thousand between Wh and kWh is told, whichever side has it; usual networks are not suspected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headend.workbench.magnitudes import of_window
from headend.workbench.notes import Note
from headend.workbench.npz import write_npz
from reconciliation import AreaWindow
from support.workbench import T0, long_csv, read, simple_rows, written

KW = 250.0
"""Wh of a quarter-hour."""


def window(*, households: float = 1.0, area: float = 1.0, count: int = 20, power_kw: float = 0.4) -> AreaWindow:
    """A neighbourhood with 5 % of losses; readings multiplied."""
    rng = np.random.default_rng(7)
    into = rng.gamma(2.0, power_kw * KW / 2, (count, 96 * 3))
    nothing = np.zeros_like(into)
    return AreaWindow(
        area="A", start=T0, interval_s=900, meters=tuple(f"m{k}" for k in range(count)),
        three_phase=np.zeros(count, dtype=np.bool_), household_import_wh=into * households,
        household_export_wh=nothing, household_voltage_v=None, area_import_wh=into.sum(axis=0) * 1.05 * area,
        area_export_wh=nothing[0], area_phase_wh=None, area_voltage_v=None,
    )  # fmt: skip


def codes(notes: list[Note]) -> list[str]:
    return [note.code for note in notes]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (window(), []),
        (window(households=0.001), ["units_apart"]),
        (window(area=1000), ["units_apart"]),
        (window(area=0.001), ["units_apart"]),
        (window(households=1000), ["units_apart", "households_too_large"]),
        (window(households=1000, area=1000), ["households_too_large"]),
        (window(households=1 / 40), []),  # a ratio of current transformers
        (window(households=0), []),
        (window(area=0), []),
        (window(count=3, power_kw=25), []),  # workshops
        (window(count=1, households=0.001), ["units_apart"]),
    ],
)
def test_only_what_is_around_a_thousand_or_far_too_much_is_told(given: AreaWindow, expected: list[str]) -> None:
    assert codes(of_window(given)) == expected


@pytest.mark.parametrize(("factor", "told"), [(250, False), (320, True), (2900, True), (3200, False)])
def test_the_band_is_from_300_to_3000_either_way(factor: float, told: bool) -> None:
    for above in (factor, 1 / factor):
        assert codes(of_window(window(area=above / 1.05, power_kw=0.01))) == ["units_apart"] * told


def test_the_numbers_are_of_the_intervals_that_both_have() -> None:
    given = window(households=0.001)
    into, top = given.household_import_wh.copy(), given.area_import_wh.copy()
    top[:100] = np.nan
    into[:11, 100:150] = np.nan  # less than half is left
    into[3] = np.nan  # never read
    (note,) = of_window(replace(given, household_import_wh=into, area_import_wh=top))
    assert note.count == 3 * 96 - 150
    assert note.numbers["households_wh"] == pytest.approx(np.nansum(into[:, 150:]))
    assert note.numbers["area_wh"] == pytest.approx(top[150:].sum())
    assert note.numbers["factor"] == pytest.approx(note.numbers["area_wh"] / note.numbers["households_wh"])
    assert f"factor {note.numbers['factor']:,.0f})" in note.english
    assert f"台区 {note.numbers['area_wh'] / 1000:,.0f} kWh" in note.chinese


def test_who_feeds_in_as_much_as_is_taken_is_not_suspected() -> None:
    """The area's net energy is next to nothing there, but what goes through its meter is not."""
    given = window()
    top = given.area_import_wh
    assert of_window(replace(given, area_import_wh=top / 2, area_export_wh=top / 2 - 0.001 * top)) == []


def test_a_single_leap_is_not_a_unit() -> None:
    given = window()
    for name in ("area_import_wh", "household_import_wh"):
        values = getattr(given, name).copy()
        values.reshape(-1)[50] = 1e9
        assert of_window(replace(given, **{name: values})) == []


def test_arrays_are_looked_at_as_they_came(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", [window(households=0.001)])
    (note,) = read(tmp_path / "a.npz").notes
    assert (note.code, note.area) == ("units_apart", "A")
    found = read(tmp_path / "a.npz", written(tmp_path, long_csv(simple_rows(kwh="100"))))
    told = [(note.code, note.area) for note in found.notes if note.area]
    assert told == [("units_apart", "A"), ("units_apart", "data"), ("households_too_large", "data")]


@pytest.mark.parametrize(
    ("households", "area", "expected"),
    [
        ("0.1", "0.25", []),
        ("100", "0.25", ["units_apart", "households_too_large"]),
        ("0.1", "250", ["units_apart"]),
        ("100", "250", ["households_too_large"]),
        ("0.1", "2500", []),  # 10 MW, impossible, and too far apart for a unit
        ("2", "2500", ["units_apart"]),  # 10 MW: left out, and told nevertheless
    ],
)
def test_wh_under_the_name_of_kwh(tmp_path: Path, households: str, area: str, expected: list[str]) -> None:
    rows = [(m, role, at, area if role == "area" else households) for m, role, at, _ in simple_rows(96)]
    found = read(written(tmp_path, long_csv(rows)))
    assert [code for code in codes(found.notes) if code not in ("local_time", "impossible")] == expected
    assert [note.count for note in found.notes if note.code == "impossible"] == [96] * (area == "2500")
