"""How phase energies were rounded: told from the energies, and no honest area pays for it, however small or fine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reconciliation import AreaWindow, Cause, LimitCode, analyse
from reconciliation.area_rounding import Rounding, coarse_phases, rounding, silent_phases
from reconciliation.model import build
from reconciliation.prepare import prepare
from support.streets import Street, registers

PHASE = 100.0**2 / 12.0
"""Rounding variance of a step of 100 Wh [Wh²]."""


def from_registers(street: Street, step_wh: float) -> AreaWindow:
    """A street whose area meter tells each phase by a register, as most do."""
    return street.window(area_phase_wh=registers(street.supplied, step_wh, np.random.default_rng(street.seed)))


def told(window: AreaWindow, area_step_wh: float = 100.0) -> Rounding:
    """Of phases in steps of 100 Wh; no street feeds back."""
    return rounding(window, window.area_import_wh, 100.0, area_step_wh)


def test_values_and_registers_are_told_apart() -> None:
    s = Street("A", 40, 14, 3)
    values, read = s.window(), from_registers(s, 100.0)
    assert told(values).value == pytest.approx(PHASE)
    assert told(values).register == 0.0
    assert told(read).register == pytest.approx(PHASE)
    assert told(read).value < 0.01 * PHASE


@pytest.mark.parametrize("per", [2, 4])
def test_long_intervals_sum_several_rounded_values(per: int) -> None:
    s = Street("A", 40, 28, 4)
    for window, value, register in ((s.window(), PHASE * per, 0.0), (from_registers(s, 100.0), 0.0, PHASE)):
        phases, total = window.area_phase_wh, window.area_import_wh
        assert phases is not None
        found = told(
            replace_area(window, phases.reshape(3, -1, per).sum(axis=2), total.reshape(-1, per).sum(axis=1), per)
        )
        assert found.value == pytest.approx(value, abs=0.01 * PHASE)
        assert found.register == pytest.approx(register)


def replace_area(window: AreaWindow, phases: np.ndarray, total: np.ndarray, per: int) -> AreaWindow:
    """With longer intervals; households do not matter here."""
    t = total.size
    return AreaWindow(
        area=window.area,
        start=window.start,
        interval_s=window.interval_s * per,
        meters=window.meters[:1],
        three_phase=window.three_phase[:1],
        household_import_wh=np.ones((1, t)),
        household_export_wh=np.zeros((1, t)),
        household_voltage_v=None,
        area_import_wh=total,
        area_export_wh=np.zeros(t),
        area_phase_wh=phases,
        area_voltage_v=None,
    )


def test_what_cannot_be_told_is_taken_for_both() -> None:
    s = Street("A", 40, 14, 5)
    window = s.window()
    assert window.area_phase_wh is not None
    of_sums = replace(window, area_import_wh=window.area_phase_wh.sum(axis=0))  # the sum of the phases says nothing
    assert (told(of_sums).value, told(of_sums).register) == (PHASE, PHASE)
    coarse_total = told(window, 2_000.0)  # of which nearly all of the difference would be
    assert (coarse_total.value, coarse_total.register) == (PHASE, PHASE)


@pytest.mark.parametrize("step_wh", [200.0, 100.0, 50.0, 10.0])
@pytest.mark.parametrize("n", [6, 12, 24, 40])
def test_an_honest_area_whose_phases_are_registers_is_clean(n: int, step_wh: float) -> None:
    for seed in (7, 8):
        report = analyse([from_registers(Street("A", n, 14, seed), step_wh)])["A"]
        assert (report.cause, report.alarm, report.accused) == (Cause.CLEAN, False, ()), seed


@pytest.mark.parametrize("n", [3, 5, 6, 7, 9, 12, 15])
def test_a_small_honest_area_is_clean(n: int) -> None:
    """A phase of a few steps is rounded as its households please; seeds that had an alarm or an accusation before."""
    for seed in (0, 3, 10, 17):
        report = analyse([Street("A", n, 28, seed).window()])["A"]
        assert (report.cause, report.alarm, report.accused) == (Cause.CLEAN, False, ()), seed


def test_phases_of_a_few_steps_are_told_as_a_limit_and_not_used() -> None:
    window = Street("A", 9, 14, 1).window()
    assert coarse_phases(window, 100.0)
    assert not silent_phases(window, 100.0)
    assert (prepare(window).n_streams, prepare(window, coarse=True).n_streams) == (1, 3)
    assert LimitCode.COARSE_PHASE_ENERGY in {limit.code for limit in analyse([window])["A"].limits}


def test_a_phase_that_is_dead_for_most_of_the_time_is_not_coarse() -> None:
    s = Street("A", 60, 28, 2)
    s.supplied[1, 4 * 96 :] = 0.0
    assert not coarse_phases(s.window(), 100.0)


@pytest.mark.parametrize("n", [3, 5, 6])
@pytest.mark.parametrize("fault", ["dead", "low"])
def test_nobody_is_accused_for_a_phase_of_one_or_two_meters(n: int, fault: str) -> None:
    for seed in range(3):
        s = Street("A", n, 28, seed)
        s.supplied[1, 10 * 96 :] *= 0.0 if fault == "dead" else 0.8
        report = analyse([s.window()])["A"]
        assert report.alarm
        assert report.accused == (), seed


@pytest.mark.parametrize("n", [6, 9])
def test_a_thief_of_a_small_area_is_still_found(n: int) -> None:
    s = Street("A", n, 28, 4)
    s.read[1] *= 0.4
    assert analyse([s.window()])["A"].accused == ("A-1",)


@pytest.mark.parametrize("step_wh", [None, 0.1, 1.0])
@pytest.mark.parametrize("theft", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_energies_without_noise_end_no_run(step_wh: float | None, theft: bool, seed: int) -> None:
    """What a simulator exports: an effect may be known 10⁵ times as well as its prior."""
    s = Street("A", 12, 14, seed)
    read, supplied = s.read * 4.0, s.supplied * 4.0 * 0.8
    if theft:
        read[1] *= 0.5

    def shown(x: np.ndarray) -> np.ndarray:
        return x if step_wh is None else np.round(x / step_wh) * step_wh

    window = s.window(
        household_import_wh=shown(read),
        household_export_wh=np.zeros_like(read),
        area_import_wh=shown(supplied.sum(axis=0)),
        area_phase_wh=shown(supplied),
    )
    assert build(window).fit.honest.fine
    report = analyse([window])["A"]
    assert report.cause in (Cause.AREA_METER, Cause.METER, Cause.UNMETERED)
