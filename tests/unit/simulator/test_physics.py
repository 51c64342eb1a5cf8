"""Voltages and losses against cases worked by hand, and energy conserved in any network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.simulator.network import Network, street, transformer_ohm
from drivers.simulator.physics import Flow, PhysicsError, solve


def line(phase_ohm: float, neutral_ohm: float) -> Network:
    """One line from the busbar to one node."""
    return Network(np.array([-1, 0]), np.array([0, phase_ohm + 0j]), np.array([0, neutral_ohm + 0j]))


def flow_of(network: Network, nodes: list[int], phases: list[int], watts: list[complex], volts: float = 230.0) -> Flow:
    """One interval."""
    phase = np.array(phases)
    return solve(
        line_ohm=network.impedance(np.array(nodes), phase),
        transformer_ohm=0j,
        phase=phase,
        upstream_v=np.full((3, 1), volts),
        load_va=np.array(watts, dtype=complex)[:, None],
    )


def test_two_nodes_by_hand() -> None:
    # 230 V, 0.2 Ω there and 0.3 Ω back, 4,400 W: V² − 230 V + 0.5·4400 = 0
    # V = (230 + √(52900 − 8800)) / 2 = (230 + 210) / 2 = 220 V; I = 20 A; loss = 20²·0.5 = 200 W.
    flow = flow_of(line(0.2, 0.3), [1], [0], [4400])
    assert flow.voltage_v[0, 0] == pytest.approx(220.0, abs=1e-6)
    assert flow.line_loss_w[0] == pytest.approx(200.0, abs=1e-5)
    assert flow.supplied_w[:, 0] == pytest.approx([4600.0, 0.0, 0.0], abs=1e-5)


def test_balanced_phases_leave_the_neutral_without_current() -> None:
    # The same 20 A in each phase: the neutral carries nothing, so only 0.5 Ω of the phase conductor drops 10 V.
    flow = flow_of(line(0.5, 99.0), [1, 1, 1], [0, 1, 2], [4400, 4400, 4400])
    assert flow.voltage_v[:, 0] == pytest.approx([220.0] * 3, abs=1e-5)
    assert flow.line_loss_w[0] == pytest.approx(600.0, abs=1e-4)


def test_neutral_shift_raises_the_unloaded_phases() -> None:
    # 20 A of L1 through a neutral of 0.3 Ω moves the star point by 6 V towards L1; seen from it L2 has
    # |230∠−120° − 6| = √(230² + 6² + 230·6) = 233.058 V.
    flow = flow_of(line(0.2, 0.3), [1, 1], [0, 1], [4400, 0])
    assert flow.voltage_v[0, 0] == pytest.approx(220.0, abs=1e-6)
    assert flow.voltage_v[1, 0] == pytest.approx(np.sqrt(230**2 + 6**2 + 230 * 6), abs=1e-5)


def test_feeding_in_raises_the_voltage_and_still_loses() -> None:
    flow = flow_of(line(0.2, 0.3), [1], [0], [-4000])
    assert flow.voltage_v[0, 0] > 230
    assert flow.supplied_w[0, 0] == pytest.approx(-4000 + flow.line_loss_w[0], abs=1e-5)


def test_a_load_that_no_line_can_carry() -> None:
    with pytest.raises(PhysicsError, match="400 kW"):
        flow_of(line(0.2, 0.3), [1], [0], [400_000])


def test_a_parent_that_comes_later_is_refused() -> None:
    with pytest.raises(ValueError, match="parent"):
        Network(np.array([-1, 2, 0]), np.zeros(3, complex), np.zeros(3, complex))


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 5))
def test_what_is_supplied_is_used_or_lost(seed: int, places: int, feeders: int) -> None:
    rng = np.random.default_rng(seed)
    network, nodes = street(rng, places=places, feeders=feeders, span_m=40.0)
    phase = rng.integers(0, 3, places)
    watts = rng.normal(300, 900, (places, 7)) + 1j * rng.normal(100, 100, (places, 7))
    flow = solve(
        line_ohm=network.impedance(nodes, phase),
        transformer_ohm=transformer_ohm(160, 230),
        phase=phase,
        upstream_v=rng.uniform(222, 238, (3, 7)),
        load_va=watts,
    )
    used = watts.real.sum(axis=0) + flow.line_loss_w
    assert flow.supplied_w.sum(axis=0) == pytest.approx(used, abs=1e-5)
    assert np.all(flow.line_loss_w >= 0)
    # Each line's loss is the square of its own current: summed branch by branch it is the same.
    on = network.paths()[nodes]
    by_phase = np.stack([on[phase == k].T @ flow.current_a[phase == k] for k in range(3)])
    branch = (np.abs(by_phase) ** 2).sum(axis=0) * network.phase_ohm.real[:, None]
    branch += np.abs(by_phase.sum(axis=0)) ** 2 * network.neutral_ohm.real[:, None]
    assert flow.line_loss_w == pytest.approx(branch.sum(axis=0), rel=1e-9, abs=1e-9)
