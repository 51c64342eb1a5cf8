"""Power flow of one area for all intervals at once: voltages and technical losses follow from the currents.

A backward–forward sweep in matrix form, after Teng, "A direct approach for distribution system load flow solutions",
IEEE Trans. Power Delivery 18 (2003): I = (S/V)*, V = V₀ − Z·I, until V stands still.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from drivers.simulator.streams import Complexes, Floats, Ints

ROTATION: Final = np.exp(-2j * np.pi * np.arange(3) / 3)
"""Unit phasors of L1, L2, L3."""
_TOLERANCE_V: Final = 1e-9
_ABSURD_V: Final = 1e4
_ROUNDS: Final = 100


class PhysicsError(Exception):
    """No operating point was found: the lines cannot carry this load."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The operating point of one area. L loads, n intervals."""

    voltage_v: Floats
    """(L, n) magnitude between phase and neutral at each load."""
    busbar_v: Floats
    """(3, n) magnitude at the busbar."""
    supplied_w: Floats
    """(3, n) power through the area meter by phase; negative: out of the area."""
    current_a: Complexes
    """(L, n) phasor of each load's current."""
    supplied_a: Complexes
    """(3, n) phasor of the current through the area meter."""
    line_loss_w: Floats
    """(n,) heat in lines and service lines behind the area meter, neutral included."""


def solve(
    *, line_ohm: Complexes, transformer_ohm: complex, phase: Ints, upstream_v: Floats, load_va: Complexes
) -> Flow:
    """The operating point for constant-power loads.

    line_ohm (L, L) from `Network.impedance`; phase (L,) 0..2; upstream_v (3, n) magnitudes; load_va (L, n), generation
    negative. Raises `PhysicsError` when the voltage collapses.
    """
    same = phase[:, None] == phase[None, :]
    ohm = line_ohm + transformer_ohm * same
    source = upstream_v * ROTATION[:, None]
    no_load = source[phase]
    v, change = no_load, np.inf
    for _ in range(_ROUNDS):
        current = np.conj(load_va / v)
        after = no_load - ohm @ current
        change = float(np.max(np.abs(after - v), initial=0.0))
        v = after
        if change < _TOLERANCE_V or not change < _ABSURD_V:
            break
    if not change < _TOLERANCE_V:
        load_kw = np.max(load_va.real.sum(axis=0)) / 1000
        raise PhysicsError(f"no operating point: these lines cannot carry a load of {load_kw:.0f} kW")
    current = np.conj(load_va / v)
    by_phase = np.stack([current[phase == k].sum(axis=0) for k in range(3)])
    busbar = source - transformer_ohm * by_phase
    loss = np.real(np.sum(np.conj(current) * (line_ohm @ current), axis=0))
    return Flow(
        voltage_v=np.abs(v),
        busbar_v=np.abs(busbar),
        supplied_w=np.real(busbar * np.conj(by_phase)),
        current_a=current,
        supplied_a=by_phase,
        line_loss_w=loss,
    )
