"""What reactive power does to the technical loss, against circuits computed with complex currents."""

import numpy as np
import pytest

from reconciliation.reactive import HIGHEST, LOWEST, TAN_PHI, X_OVER_R, loads, loss_ratio

R_OHM, V_REF = 0.2, 230.0
SLOT = np.arange(8)


def circuit(p_w, q_var, ohm):
    """(heat [W], Σ p·drop/V [W]) of one load behind a line: V² fixed point of V̲ = V_ref − Z·conj(S/V̲)."""
    v = np.full(p_w.shape, V_REF, dtype=complex)
    for _ in range(60):
        current = np.conj((p_w + 1j * q_var) / v)
        v = V_REF - ohm * current
    return np.square(np.abs(current)) * ohm.real, p_w * (V_REF - np.abs(v)) / np.abs(v)


@pytest.mark.parametrize("level", [500.0, 3000.0, 6000.0])
def test_the_ratio_turns_drops_into_heat_for_loads(level):
    p = np.full((1, 8), level)
    heat, drops = circuit(p, TAN_PHI * p, complex(R_OHM, X_OVER_R * R_OHM))
    ratio = loss_ratio(p, np.ones((1, 1)), np.zeros((1, 8)), SLOT)
    assert (ratio < 1.0).all()
    assert (ratio * drops).sum() == pytest.approx(heat.sum(), rel=0.01)
    assert abs(drops.sum() - heat.sum()) > 0.02 * heat.sum()


def test_the_ratio_turns_drops_into_heat_where_energy_is_fed_in():
    load, sun = np.full(8, 600.0), np.array([0, 0, 0, 2500, 4000, 2500, 0, 0.0])
    p = (load - sun)[None]
    heat, drops = circuit(p, TAN_PHI * load[None], complex(R_OHM, X_OVER_R * R_OHM))
    ratio = loss_ratio(p, np.ones((1, 1)), np.maximum(-p, 0.0), SLOT)
    out = p[0] < 0
    assert (ratio[0, out] > 1.0).all()
    assert (ratio * drops)[0, out].sum() == pytest.approx(heat[0, out].sum(), rel=0.01)
    assert drops[0, out].sum() < 0.98 * heat[0, out].sum()


def test_a_ratio_is_bounded_and_one_where_nothing_flows():
    p = np.random.default_rng(1).normal(0, 500, (6, 8))
    p[:, 3] = 0.0
    ratio = loss_ratio(p, np.ones((6, 1)), np.maximum(-p, 0.0), SLOT)
    assert ((ratio >= LOWEST) & (ratio <= HIGHEST)).all()
    quiet = loss_ratio(np.zeros((2, 8)), np.ones((2, 1)), np.zeros((2, 8)), SLOT)
    assert (quiet == 1.0).all()


def test_a_household_behind_panels_uses_what_it_uses_in_the_dark():
    p = np.array([[400.0, 400, 400, -900, -2000, -900, 400, 400], [100.0, 90, 80, 70, 60, 50, 40, 30]])
    load = loads(p, np.maximum(-p, 0.0), SLOT)
    assert np.array_equal(load[0], np.full(8, 400.0))
    assert np.array_equal(load[1], p[1])
