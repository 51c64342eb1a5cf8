"""What reactive power does to a technical loss that is reckoned from active energy and voltage drops.

Loads draw reactive power q = t·ℓ beside their active ℓ; inverters feed in without. A drop is R·p + X·q, so Σ p·drop/V
measures pᵀR(p + x·t·ℓ)/V², while the conductors are heated by (pᵀRp + t²·ℓᵀRℓ)/V². Their ratio needs no conductor
data: R is common to two meters only where they share a path, so ratio = (A + t²·C)/(A + x·t·B) with A = ⟨p, p⟩,
B = ⟨p, ℓ⟩, C = ⟨ℓ, ℓ⟩ and ⟨y, z⟩ = ρ·Σy·Σz + (1 − ρ)·Σ y·z. Where energy is consumed the ratio is a little below 1,
where it is fed in above: there p and q pull the voltage apart.
"""

import numpy as np

from reconciliation.window import Floats, Ints

TAN_PHI = 0.33
"""q/p of a low-voltage load: power factor 0.95 (households 0.93–0.98)."""
X_OVER_R = 0.45
"""Of low-voltage conductors: 0.39 for a 150 mm² aluminium cable, 0.5–0.65 for overhead bundles of 50–70 mm²."""
COMMON_PATH = 0.15
"""ρ: two households share half of their path if on the same feeder; a transformer has three to five feeders."""
LOWEST, HIGHEST = 0.7, 1.5
"""Limits of the ratio: beyond, p and q cancel and the quotient means nothing."""


def loss_ratio(net: Floats, share: Floats, exported: Floats, slot: Ints) -> Floats:
    """(K, T) conductors' heat over Σ p·drop/V on each stream; net (N, T) and exported (N, T) energies [Wh], ``share``
    (N, K)."""
    feeding = np.flatnonzero((exported > 0).any(axis=1))  # all others consume what they read
    y, part = net[feeding], share[feeding]
    z = loads(y, exported[feeding], slot)
    sum_y, own = share.T @ net, np.square(share).T @ np.square(net)
    sum_z, apart = sum_y + part.T @ (z - y), np.square(part).T

    def product(together: Floats, more: Floats) -> Floats:
        return np.asarray(COMMON_PATH * together + (1.0 - COMMON_PATH) * (own + apart @ more))

    a = product(np.square(sum_y), np.zeros_like(y))
    b = product(sum_y * sum_z, y * z - np.square(y))
    c = product(np.square(sum_z), np.square(z) - np.square(y))
    ratio = (a + TAN_PHI**2 * c) / np.maximum(a + X_OVER_R * TAN_PHI * b, 1e-3 * a + 1e-9)
    return np.asarray(np.where(a + c > 0, np.clip(ratio, LOWEST, HIGHEST), 1.0))


def loads(net: Floats, exported: Floats, slot: Ints) -> Floats:
    """(N, T) what each household consumes [Wh]: its net energy; behind a meter that feeds in, at least its mean at the
    times of day when it never does."""
    load = net.copy()
    for i in np.flatnonzero((exported > 0).any(axis=1)):  # not NaN
        dark = np.bincount(slot, weights=np.nan_to_num(exported[i]))[slot] <= 0
        usual = float(net[i, dark].mean()) if dark.any() else float(np.maximum(net[i], 0.0).mean())
        load[i] = np.maximum(net[i], usual)
    return load
