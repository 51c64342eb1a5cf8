"""Voltages tell where on the feeders a load is missing: small feeders whose resistances the test knows."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest

from reconciliation import AreaWindow, analyse
from reconciliation.levels import still_registers
from reconciliation.model import build
from reconciliation.prepare import prepare
from reconciliation.voltage_evidence import follows, location_evidence, voltage_field

N, DAYS, PER_DAY = 18, 21, 96
PHASE = np.arange(N) % 3
JOINT = np.arange(N) // 3
"""Six joints along the main, one meter of each phase at every joint."""
MAIN_OHM, SERVICE_OHM = 0.06, 0.08
RESISTANCE = (PHASE[:, None] == PHASE[None, :]) * (
    MAIN_OHM * (1 + np.minimum(JOINT[:, None], JOINT[None, :])) + SERVICE_OHM * np.eye(N)
)
"""(N, N) [Ω] shared path of two meters."""


@dataclass
class Feeder:
    """True loads, what more is drawn at the joints, and what is read [Wh per 15 min]."""

    seed: int = 3

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        t = DAYS * PER_DAY
        hour = np.arange(t) % PER_DAY / 4
        evening = 0.5 + 1.5 * np.exp(-np.square((hour - 19) / 3))
        self.load = rng.uniform(40, 120, (N, 1)) * evening * rng.gamma(2.0, 0.5, (N, t))
        self.tap = np.zeros((N, t))
        """Drawn beside a meter, unread."""
        self.read = self.load.copy()

    def window(self, **changes: object) -> AreaWindow:
        """Rounded registers and noisy voltages; the same noise on every call."""
        rng = np.random.default_rng(self.seed + 1)
        t = self.load.shape[1]
        drawn = self.load + self.tap
        busbar = 232 + rng.normal(0, 0.5, t) + rng.normal(0, 0.1, (3, t))
        volt = busbar[PHASE] - RESISTANCE @ (drawn * 4 / 230) + rng.normal(0, 0.3, (N, t)) + rng.normal(0, 0.4, (N, 1))
        amps = np.stack([drawn[k == PHASE] for k in range(3)]) * 4 / 230
        own = RESISTANCE[np.ix_(PHASE == 0, PHASE == 0)]
        heat = np.einsum("kit,ij,kjt->kt", amps, own, amps) / 4
        phases = np.stack([drawn[k == PHASE].sum(axis=0) for k in range(3)]) + heat
        total = np.rint(phases.sum(axis=0) / 10) * 10
        fields: dict[str, object] = {
            "area": "A",
            "start": datetime(2026, 3, 2, tzinfo=UTC),
            "interval_s": 900,
            "meters": tuple(f"M{i}" for i in range(N)),
            "three_phase": np.zeros(N, bool),
            "household_import_wh": np.diff(np.floor(np.cumsum(self.read, axis=1) / 10) * 10, axis=1, prepend=0.0),
            "household_export_wh": np.zeros((N, t)),
            "household_voltage_v": np.round(volt, 1),
            "area_import_wh": total,
            "area_export_wh": np.zeros(t),
            "area_phase_wh": np.rint(phases / 10) * 10,
            "area_voltage_v": np.round(busbar, 1),
        }
        return AreaWindow(**(fields | changes))  # type: ignore[arg-type]


def located(feeder: Feeder) -> np.ndarray:
    model = build(feeder.window())
    field = voltage_field(model)
    assert field is not None
    return location_evidence(field, model.fit.residual)


@pytest.mark.parametrize("thief", [4, 11, 15])
@pytest.mark.parametrize("constant", [0.0, 60.0])
def test_a_register_that_stands_still_is_found_by_where_the_load_is(thief, constant):
    feeder = Feeder()
    feeder.read[thief] = constant
    evidence = located(feeder)
    same = np.flatnonzero(PHASE[thief] == PHASE)
    assert int(same[np.argmax(evidence[same])]) == thief
    assert evidence[thief] > 1
    nearer = same[JOINT[same] < JOINT[thief] - 2]  # whoever is well before the place is out of the question
    assert (evidence[nearer] < evidence[thief] - 8).all()


def test_a_reading_that_is_not_the_load_is_found_and_does_not_move_the_own_voltage():
    feeder = Feeder()
    rng = np.random.default_rng(11)
    feeder.read[7] = feeder.load[7].mean() * rng.uniform(0.2, 0.8, feeder.load.shape[1])
    evidence = located(feeder)
    same = np.flatnonzero(PHASE[7] == PHASE)
    assert int(same[np.argmax(evidence[same])]) == 7
    field = voltage_field(build(feeder.window()))
    assert field is not None
    assert not follows(field)[7]
    assert follows(field)[np.arange(N) != 7].mean() > 0.9


def test_a_tap_elsewhere_exonerates_the_meter_whose_habits_it_has():
    feeder = Feeder()
    smooth = np.convolve(feeder.load[1], np.ones(9) / 9, mode="same")  # meter 1, joint 0
    feeder.tap[16] = smooth  # joint 5, same phase
    evidence = located(feeder)
    assert evidence[16] - evidence[1] > 8
    assert evidence[16] > 1
    assert "M1" not in analyse([feeder.window()])["A"].accused


def test_the_same_load_at_the_meter_itself_speaks_against_it():
    feeder = Feeder()
    feeder.tap[1] = np.convolve(feeder.load[1], np.ones(9) / 9, mode="same")
    evidence = located(feeder)
    assert evidence[1] - evidence[16] > 8
    assert analyse([feeder.window()])["A"].accused == ("M1",)


def test_a_multiple_of_the_own_reading_cannot_be_placed():
    feeder = Feeder()
    feeder.read[10] *= 0.5
    assert np.abs(located(feeder)).max() < 8


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_nobody_is_singled_out_where_nothing_is_missing(seed):
    assert located(Feeder(seed=seed)).max() < 8


def test_order_of_meters_does_not_matter():
    feeder = Feeder()
    feeder.read[4] = 0.0
    evidence = located(feeder)
    order = np.random.default_rng(5).permutation(N)
    w = feeder.window()
    names = ("household_import_wh", "household_export_wh", "household_voltage_v")
    mixed = feeder.window(meters=tuple(w.meters[i] for i in order), **{name: getattr(w, name)[order] for name in names})
    model = build(mixed)
    field = voltage_field(model)
    assert field is not None
    assert location_evidence(field, model.fit.residual) == pytest.approx(evidence[order], abs=1e-3, rel=1e-4)


def test_without_voltages_there_is_no_field():
    feeder = Feeder()
    assert voltage_field(build(feeder.window(household_voltage_v=None))) is None
    assert voltage_field(build(feeder.window(area_voltage_v=None))) is None


def test_a_meter_without_voltage_gets_no_evidence_and_spoils_nobodys():
    feeder = Feeder()
    feeder.read[4] = 0.0
    volt = feeder.window().household_voltage_v.copy()
    volt[13] = np.nan
    model = build(feeder.window(household_voltage_v=volt))
    field = voltage_field(model)
    assert field is not None
    evidence = location_evidence(field, model.fit.residual)
    assert evidence[13] == 0
    assert int(np.argmax(np.where(PHASE[4] == PHASE, evidence, -np.inf))) == 4


def test_what_one_hides_is_placed_although_others_hide_more():
    feeder = Feeder()
    rng = np.random.default_rng(13)
    own, other = 90 * rng.gamma(2.0, 0.5, feeder.load.shape[1]), 150 * rng.gamma(2.0, 0.5, feeder.load.shape[1])
    feeder.tap[4], feeder.tap[16] = own, other  # joints 1 and 5 of one phase
    model = build(feeder.window())
    field = voltage_field(model)
    assert field is not None
    hidden = np.outer(model.share[4], own)
    together = location_evidence(field, model.fit.residual)
    alone = location_evidence(field, hidden, beside=model.fit.residual - hidden)
    assert together[16] - together[4] > 8
    assert alone[4] - alone[16] > 8


def test_a_register_that_stands_at_a_value_is_accused_where_the_load_is():
    feeder = Feeder()
    feeder.read[10] = 65.0  # sixes and sevens of the register's step
    assert analyse([feeder.window()])["A"].accused == ("M10",)


def test_one_that_stands_at_a_value_where_the_load_is_not_is_let_be():
    feeder = Feeder()
    feeder.load[10] = feeder.read[10] = 65.0
    feeder.tap[1] = 90 * np.random.default_rng(13).gamma(2.0, 0.5, feeder.load.shape[1])  # joint 0, same phase
    assert "M10" not in analyse([feeder.window()])["A"].accused


def test_a_register_that_halts_stands_still_over_short_gaps():
    feeder = Feeder()
    feeder.read[10, PER_DAY * 9 :] = 65.0  # sixes and sevens of the register's step
    rng = np.random.default_rng(17)
    window = feeder.window()
    read = np.where(rng.random(window.household_import_wh.shape) < 0.02, np.nan, window.household_import_wh)
    still = still_registers(prepare(feeder.window(household_import_wh=read)))
    assert still[10, PER_DAY * 9 + 1 :].all()
    assert not still[10, : PER_DAY * 9 - 1].any()
    assert not np.delete(still, 10, axis=0).any()
