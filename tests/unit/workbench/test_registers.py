"""Registers become interval energies as settlement makes them: each Wh between two readings is kept, gaps stay gaps."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.workbench.load import Loaded
from reconciliation import AreaWindow
from support.workbench import long_csv, read, stamp, written

HEADER = "meter,role,timestamp,register_wh"


def _loaded(
    registers: dict[str, list[tuple[float, float]]],
    *,
    header: str = HEADER,
    listed: str | None = None,
    **options: object,
) -> Loaded:
    """`registers`: by meter, (minutes after midnight, Wh); the area's meter rises by 100 a quarter."""
    last = max(minutes for rows in registers.values() for minutes, _ in rows)
    rows = [
        (meter, "", stamp(minutes), f"{wh:g}" if wh < 1e5 else f"{wh:.0f}")
        for meter, series in registers.items()
        for minutes, wh in series
    ]
    rows += [("top", "area", stamp(15 * k), f"{100 * k}") for k in range(int(last // 15) + 1)]
    with tempfile.TemporaryDirectory() as name:
        files = [written(Path(name), long_csv(rows, header))]
        if listed is not None:
            files.append(written(Path(name), listed, "list.csv"))
        return read(*files, **options)


def _window(*given_: object, **more: object) -> AreaWindow:
    (window,) = _loaded(*given_, **more).windows  # type: ignore[arg-type]
    return window


@settings(max_examples=60)
@given(
    steps=st.lists(st.integers(0, 4000), min_size=12, max_size=60),
    lost=st.sets(st.integers(1, 58), max_size=10),
    jitter=st.lists(st.integers(-4, 4), min_size=60, max_size=60),
    multiplier=st.sampled_from([1, 7, 40]),
)
def test_intervals_between_two_readings_sum_to_their_difference(
    steps: list[int], lost: set[int], jitter: list[int], multiplier: int
) -> None:
    level = [1000, *(1000 + int(total) for total in np.cumsum(steps))]
    rows = [(15 * k + jitter[k % 60] / 60, wh) for k, wh in enumerate(level) if k not in lost]
    window = _window(
        {"m1": [*rows]}, listed=f"meter,multiplier,digits,resolution_wh\nm1,{multiplier},9,1\n", interval_s=900
    )
    energy = window.household_import_wh[0]
    assert window.meter_step_wh is not None
    assert window.meter_step_wh[0] == multiplier
    known = [k for k in range(len(level)) if k not in lost]
    runs = 0
    for a in known:
        for b in known:
            between = energy[a:b]
            if a < b <= energy.size and between.size and np.isfinite(between).all():
                runs += 1
                assert between.sum() == multiplier * (level[b] - level[a])
    assert runs or len(known) < 3 or np.isnan(energy).sum() >= energy.size - 1


def test_a_single_lost_reading_is_bridged_and_a_gap_is_not() -> None:
    level = [(15.0 * k, 100.0 * k) for k in range(24) if k not in (3, 10, 11, 12, 13)]
    energy = _window({"m1": level}).household_import_wh[0]
    assert energy[:9].tolist() == [100.0] * 9
    assert np.flatnonzero(np.isnan(energy)).tolist() == [9, 10, 11, 12, 13], "its energy is known, its shape is not"


def test_a_rollover_is_one_where_the_digits_allow_it() -> None:
    level = [(15.0 * k, (99_950.0 + 10 * k) % 100_000) for k in range(12)]
    known = _loaded({"m1": level}, listed="meter,digits,resolution_wh\nm1,5,1\n")
    assert known.windows[0].household_import_wh[0].tolist() == [10.0] * 11
    assert {n.code: n.count for n in known.notes if n.code in ("rollover", "reset")} == {"rollover": 1}
    unknown = _loaded({"m1": level})
    energy = unknown.windows[0].household_import_wh[0]
    assert np.isnan(energy).sum() == 1
    assert np.nanmax(energy) == 10.0, "a fall is never energy"
    assert {n.code: n.count for n in unknown.notes if n.code in ("rollover", "reset")} == {"reset": 1}


def test_a_leap_that_comes_back_is_left_out() -> None:
    level = [(15.0 * k, 100.0 * k if k != 5 else 9_000_000.0) for k in range(12)]
    found = _loaded({"m1": level})
    assert found.windows[0].household_import_wh[0].tolist() == [100.0] * 11
    assert {n.code: n.count for n in found.notes if n.code == "refused"} == {"refused": 1}


def test_an_instant_with_two_registers_has_none() -> None:
    level = [(15.0 * k, 100.0 * k) for k in range(12)]
    found = _loaded({"m1": [(90.0, 640.0), *level, (45.0, 300.0)]})
    assert found.windows[0].household_import_wh[0].tolist() == [100.0] * 11, "the line through its neighbours holds"
    assert {n.code: n.count for n in found.notes if n.code != "not_listed"} == {
        "repeated": 1,
        "contradicting": 1,
        "local_time": 1,
    }


def test_resolution_is_read_off_the_registers() -> None:
    level = [(15.0 * k, 12_340.0 + 10 * (k // 2) + 30 * k) for k in range(20)]
    steps = _window({"m1": level, "m2": [(m, 2 * wh) for m, wh in level]}).meter_step_wh
    assert steps is not None
    assert steps.tolist() == [10.0, 20.0]


def test_voltages_beside_registers_belong_to_the_interval_that_ends_with_them() -> None:
    rows = {"m1": [(15.0 * k, 100.0 * k) for k in range(5)]}
    text = long_csv(
        [(m, r, stamp(t), wh, 230 + k)
         for m, r in (("m1", ""), ("top", "area")) for k, (t, wh) in enumerate(rows["m1"])],
        HEADER + ",voltage_v",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        (window,) = read(written(Path(name), text)).windows
    assert window.household_voltage_v is not None
    assert window.household_voltage_v[0].tolist() == [231.0, 232.0, 233.0, 234.0]
