"""Radial three-phase four-wire low-voltage networks: poles, service lines and the impedances between loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from drivers.simulator.streams import Complexes, Floats, Ints

TRUNK_OHM_PER_M: Final = complex(0.868e-3, 0.09e-3)
"""Aerial bundle 4 × 35 mm² aluminium (IEC 60228: 0.868 Ω/km); the neutral is of the same section."""
SERVICE_OHM_PER_M: Final = complex(1.91e-3, 0.09e-3)
"""Service line of 16 mm² aluminium (IEC 60228: 1.91 Ω/km)."""


@dataclass(frozen=True, slots=True)
class Network:
    """A tree; node 0 is the busbar, a node's parent has a smaller number. N nodes."""

    parent: Ints
    """(N,) −1 for the busbar."""
    phase_ohm: Complexes
    """(N,) of one phase conductor from the parent."""
    neutral_ohm: Complexes
    """(N,) of the neutral conductor from the parent."""

    def __post_init__(self) -> None:
        if (
            self.parent[0] != -1
            or np.any(self.parent[1:] >= np.arange(1, self.parent.size))
            or np.any(self.parent[1:] < 0)
        ):
            raise ValueError("parent: node 0 must be the busbar (−1) and every other node's parent a smaller number")

    def paths(self) -> Floats:
        """(N, N) whether branch j (into node j) lies on the way from the busbar to node i."""
        on = np.zeros((self.parent.size, self.parent.size))
        for node in range(1, self.parent.size):
            on[node] = on[self.parent[node]]
            on[node, node] = 1.0
        return on

    def impedance(self, node: Ints, phase: Ints) -> Complexes:
        """(L, L) voltage drop between busbar and load i for 1 A of load j, out by its phase and back by the neutral.

        With it one matrix product does the backward sweep (sum the currents) and the forward one (sum the drops).
        """
        on = self.paths()[node]
        same = phase[:, None] == phase[None, :]
        return np.asarray((on * self.phase_ohm) @ on.T * same + (on * self.neutral_ohm) @ on.T)


def transformer_ohm(kva: float, busbar_v: float) -> complex:
    """Series impedance by phase of an oil distribution transformer: short-circuit voltage 4 %, copper loss 1.3 %."""
    base = (busbar_v * np.sqrt(3)) ** 2 / (kva * 1000.0)
    return complex(base * 0.013, base * np.sqrt(0.04**2 - 0.013**2))


def street(rng: np.random.Generator, *, places: int, feeders: int, span_m: float) -> tuple[Network, Ints]:
    """A network with `places` service lines along `feeders` lines, about three at a pole, laterals off the trunk.

    Returns it and the node of each place, (places,).
    """
    parent, phase_ohm = [-1], [0j]
    per_feeder = [len(part) for part in np.array_split(np.arange(places), feeders)]
    nodes: list[int] = []
    for count in per_feeder:
        poles: list[int] = []
        for _ in range(max(1, -(-count // 3))):
            at = 0 if not poles else poles[-1]
            if len(poles) > 2 and rng.random() < 0.2:
                at = poles[int(rng.integers(1, len(poles) - 1))]  # a lateral
            parent.append(at)
            phase_ohm.append(TRUNK_OHM_PER_M * span_m * rng.uniform(0.7, 1.4))
            poles.append(len(parent) - 1)
        for i in range(count):
            parent.append(poles[i // 3])
            phase_ohm.append(SERVICE_OHM_PER_M * rng.uniform(8.0, 25.0))
            nodes.append(len(parent) - 1)
    ohm = np.array(phase_ohm, dtype=np.complex128)
    shuffled = rng.permutation(len(nodes))
    return Network(np.array(parent, dtype=np.int64), ohm, ohm.copy()), np.array(nodes, dtype=np.int64)[shuffled]
