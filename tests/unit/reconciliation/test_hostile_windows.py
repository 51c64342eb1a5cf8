"""What nobody measured, few coarse registers, twins, and a meter listed twice: no run ends, and nobody honest pays."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from reconciliation import analyse
from reconciliation.attribution import plausible
from reconciliation.believable import believable
from reconciliation.decide import counts_too_much, days_of
from reconciliation.levels import still_registers
from reconciliation.model import build
from reconciliation.shapes import FAMILIES
from reconciliation.silence import missing_beside, silence
from support.streets import Street, registers

STREET = Street("A", 30, 14, 3)


@pytest.mark.parametrize("value", [1e7, 1e12, 1e300])
def test_one_reading_that_cannot_be_does_not_end_the_run(value: float) -> None:
    window = STREET.window()
    imported = window.household_import_wh.copy()
    imported[3, 100] = value
    report = analyse([replace(window, household_import_wh=imported)])["A"]
    assert report.cause == "clean"


@pytest.mark.parametrize("value", [1e5, 1e6])
def test_one_reading_that_cannot_be_accuses_nobody(value: float) -> None:
    window = STREET.window()
    imported = window.household_import_wh.copy()
    imported[3, 100] = value
    assert analyse([replace(window, household_import_wh=imported)])["A"].accused == ()


def test_one_leap_of_the_area_meter_moves_nobody_away() -> None:
    window = STREET.window()
    total, phases = window.area_import_wh.copy(), window.area_phase_wh.copy()
    total[100] = phases[0, 100] = 1e7
    report = analyse([replace(window, area_import_wh=total, area_phase_wh=phases)])["A"]
    assert not report.misplaced
    assert not report.accused


@pytest.mark.parametrize("which", ["both", "households", "busbar"])
def test_no_volts_are_no_voltage(which: str) -> None:
    window = STREET.window()
    changed = {}
    if which != "busbar":
        changed["household_voltage_v"] = np.zeros_like(window.household_voltage_v)
    if which != "households":
        changed["area_voltage_v"] = np.zeros_like(window.area_voltage_v)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = analyse([replace(window, **changed)])["A"]
    assert report.reason is not None, "said: the loss is a load model's"


def test_a_meter_listed_in_two_areas_ends_no_run() -> None:
    one, other = Street("A", 30, 21, 0).window(), Street("B", 20, 21, 100).window()

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(other, name), getattr(one, name)[:1]])

    names = ("three_phase", "household_import_wh", "household_export_wh", "household_voltage_v")
    twice = replace(other, meters=(*other.meters, "A-0"), **{name: joined(name) for name in names})
    reports = analyse([one, twice])
    assert not reports["A"].misplaced
    assert [meter for meter, _ in reports["B"].misplaced] == ["A-0"]


@pytest.mark.parametrize(("step_wh", "steps"), [(50.0, 2.0), (200.0, 2.0), (400.0, 0.1), (400.0, 0.5)])
def test_a_coarse_register_among_fine_ones_accuses_nobody(step_wh: float, steps: float) -> None:
    """Two meters behind current transformers whose load is a few register steps."""
    accused = []
    for seed in range(8):
        accused += _coarse(seed, step_wh, steps)
    assert accused == []


def _coarse(seed: int, step_wh: float, steps: float) -> list[str]:
    street = Street("A", 30, 21, seed)
    who = np.random.default_rng(seed + 5).choice(30, 2, replace=False)
    for i in who:
        street.true[i] *= steps * step_wh / street.true[i].mean()
    position = np.random.default_rng(seed + 77).integers(0, 6, 30)
    path, amps = (np.arange(6)[None, :] <= position[:, None]).astype(float), street.true * 4 / 230.0
    for k in range(3):
        mine = street.phase == k
        current = path[mine].T @ amps[mine]
        street.volt[mine] = street.busbar[k] - path[mine] @ (current * 0.02)
        street.supplied[k] = street.true[mine].sum(axis=0) + np.square(current).sum(axis=0) * 0.02 / 4
    street.read = street.true.copy()
    window, rng = street.window(), np.random.default_rng(seed + 7)
    energy = registers(street.read * (1 + rng.normal(0, 0.003, (30, 1))), step_wh, rng)
    energy[:, 0] = 0.0
    imported = window.household_import_wh.copy()
    imported[who] = np.where(np.isnan(imported[who]), np.nan, energy[who])
    return list(analyse([replace(window, household_import_wh=imported)])["A"].accused)


@pytest.mark.parametrize("meters", [1, 2, 3, 5])
def test_few_meters_and_equal_steps_are_clean(meters: int) -> None:
    """All readings are multiples of one step: so are the residuals."""
    for seed in range(10):
        street, rng = Street("A", meters, 21, seed), np.random.default_rng(seed)
        imported = registers(street.read, 10.0, rng)
        total = registers(street.supplied.sum(axis=0)[None], 10.0, rng)[0]
        imported[:, 0] = total[0] = 0.0
        window = street.window(
            household_import_wh=imported, household_export_wh=np.zeros_like(imported), area_import_wh=total,
            area_phase_wh=np.round(street.supplied / 10.0) * 10.0,
        )  # fmt: skip
        report = analyse([window])["A"]
        assert (report.alarm, report.accused) == (False, ()), f"seed {seed}"


def test_twins_are_not_told_apart() -> None:
    for seed in range(4):
        street = Street("A", 30, 21, seed)
        street.true[7] = street.true[4]
        street.phase[7] = street.phase[4]
        street.supplied = np.stack([street.true[street.phase == k].sum(axis=0) for k in range(3)])
        street.read = street.true.copy()
        street.read[4] *= 0.4
        accused = analyse([street.window(household_voltage_v=None)])["A"].accused
        assert "A-7" not in accused, f"seed {seed}: {accused}"


def test_days_of_one_interval_are_told_in_their_own_words() -> None:
    window = STREET.window()
    days = {}
    for name in ("household_import_wh", "household_export_wh", "area_import_wh", "area_export_wh"):
        x = np.nan_to_num(getattr(window, name))
        days[name] = x.reshape(*x.shape[:-1], -1, 96).sum(axis=-1)
    report = analyse(
        [replace(window, interval_s=86400, household_voltage_v=None, area_voltage_v=None, area_phase_wh=None, **days)]
    )["A"]
    assert report.cause == "not_computable"
    assert "40 are needed" in report.reason, "all were read; they are too few"


def test_what_stands_for_hours_is_a_load_however_large() -> None:
    """A pump of 300 kW that runs on one day: the area had it, and it lasts."""
    street = Street("A", 30, 28, 3)
    run = slice(2000, 2012)
    street.read[6, run] = 75_000.0
    street.supplied[street.phase[6], run] += 75_000.0
    window = street.window()
    assert believable(window) is window


def test_what_the_area_had_is_believed() -> None:
    window = STREET.window()
    imported, total = window.household_import_wh.copy(), window.area_import_wh.copy()
    imported[3, 100] = 90_000.0
    assert np.isnan(believable(replace(window, household_import_wh=imported)).household_import_wh[3, 100])
    total[100] += 90_000.0
    there = believable(replace(window, household_import_wh=imported, area_import_wh=total))
    assert there.household_import_wh[3, 100] == 90_000.0


def test_families_that_are_away_are_not_dead_registers() -> None:
    """A tap begins a few days before some of them stop: without phases or voltages that looks alike."""
    for seed in range(4):
        street = Street("A", 30, 28, seed)
        gone = slice(21 * 96, None)
        for i in range(3, 30, 6):
            street.supplied[street.phase[i], gone] -= street.true[i, gone]
            street.true[i, gone] = street.read[i, gone] = 0.0
        tap = Street("B", 1, 28, seed + 50).true[0] * 3.0
        tap[: int(18.7 * 96)] = 0.0
        street.supplied[0] += tap
        window = street.window(household_voltage_v=None, area_phase_wh=None)
        assert analyse([window])["A"].accused == (), f"seed {seed}"


@pytest.mark.parametrize(("first", "found"), [(17, True), (21, False)])
def test_what_is_missing_beside_a_silence_is_not_its_doing(first: int, found: bool) -> None:
    street = Street("A", 30, 28, 4)
    quiet = slice(21 * 96, 25 * 96)
    street.supplied[street.phase[9], quiet] -= street.true[9, quiet]
    street.read[9, quiet] = street.true[9, quiet] = 0.0
    street.supplied[street.phase[9], first * 96 : 25 * 96] += 150.0
    model = build(street.window())
    silent = silence(model, 9, still_registers(model.area))
    assert abs(int(silent.sum()) - 4 * 96) <= 2
    assert missing_beside(model, 9, silent) is found


def test_energy_of_two_days_is_no_fault_of_ten() -> None:
    day = np.repeat(np.arange(10), 4)
    assert days_of(np.ones(40), day) == pytest.approx(10.0)
    assert days_of(np.where(day < 2, 5.0, 0.0), day) == pytest.approx(2.0)
    assert days_of(np.zeros(40), day) == 0.0


def test_what_a_late_clock_leaves_hides_nothing() -> None:
    """A reading less the smoothed reading: no energy, however large the two coefficients."""
    random = next(family for family in FAMILIES if family.name == "random")
    theta = np.array([[-0.6, 0.65], [-0.6, 0.75], [0.3, 0.2], [0.05, 0.02]])
    assert plausible(random, theta).tolist() == [False, True, True, False]


@pytest.mark.parametrize("step_wh", [500.0, 1000.0])
def test_registers_that_hardly_tick_accuse_nobody(step_wh: float) -> None:
    """Five or fifteen of thirty meters whose register moves every few hours; seeds that had an accusation before."""
    for seed, some in ((1, 5), (3, 5), (3, 15)):
        street = Street("A", 30, 28, seed)
        window, rng = street.window(), np.random.default_rng(seed + 7)
        fine, coarse = (
            registers(street.read * (1 + rng.normal(0, 0.003, (30, 1))), step, rng) for step in (1.0, step_wh)
        )
        who = rng.permutation(30)[:some]
        fine[who] = coarse[who]
        fine[:, 0] = 0.0
        imported = np.where(np.isnan(window.household_import_wh), np.nan, fine)
        report = analyse([replace(window, household_import_wh=imported)])["A"]
        assert report.accused == (), f"seed {seed}"


def test_a_day_stored_backwards_moves_energy_and_counts_neither_too_much_nor_too_little() -> None:
    rng = np.random.default_rng(3)
    used = rng.gamma(2.0, 100.0, (10, 96))
    backwards = (used - used[:, ::-1]).ravel()
    hidden = np.stack([backwards, backwards - 60.0, np.full(960, 50.0)])
    assert counts_too_much(hidden).tolist() == [False, True, False]
    assert days_of(backwards, np.arange(960) // 96) > 9.0
