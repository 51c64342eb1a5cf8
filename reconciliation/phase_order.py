"""Are the area meter's currents and voltages of the same phase? Which busbar voltage belongs to which phase energy.

Single-phase meter i: its energy is part of one phase's energy (phases.energy_log_likelihood), its voltage changes
follow one busbar voltage, log-likelihood −(T/6)·ln(1 − ρ²_ik) from the correlation of the changes (differences
overlap: a third of the samples count). Properly wired the two are the same phase for everybody; with two phases
swapped, or all three turned, they differ alike for everybody: Σ_i ln Σ_k exp(energy_ik + voltage_i,π(k)) is compared
over the six orders π.
"""

from itertools import permutations

import numpy as np
from scipy import special

from reconciliation.model import AreaModel
from reconciliation.phases import energy_log_likelihood
from reconciliation.window import Floats, Ints

MIN_EVIDENCE = 30.0
"""Log evidence over the order as wired [nat]: a clear case, as for a wrong ratio."""
MIN_METERS = 6
"""Single-phase meters with voltages below which nothing is said."""
SOME = 4
"""Each fourth change of the voltages is looked at before all of them."""
AGREE = 0.8
"""Share of meters whose voltage follows the phase they were put on, from which the order is not questioned."""


def phase_order(model: AreaModel) -> tuple[tuple[int, int, int], float] | None:
    """Index of the busbar voltage that belongs to each phase energy, and its log evidence; None if as wired."""
    area, window = model.area, model.area.window
    v, av = window.household_voltage_v, window.area_voltage_v
    if area.n_streams != 3 or v is None or av is None:
        return None
    one = np.flatnonzero(~window.three_phase)
    if one.size < MIN_METERS:
        return None
    if np.any(np.diff(area.supplied, axis=1) @ np.diff(area.net.sum(axis=0)) < 0):
        return None  # a reversed current, which the test of the ratio tells
    on = model.share[one].argmax(axis=1)
    calm = float(model.fit.ratio.max()) < 1.0 / AGREE
    if calm:  # some changes of all of the window are enough to see that all is well
        told, agree = _agreement(_voltage(v[one], av, every=SOME), on)
        if told >= MIN_METERS and agree >= AGREE:
            return None
    voltage = _voltage(v[one], av)
    if calm and _agreement(voltage, on)[1] >= AGREE:
        return None
    energy = energy_log_likelihood(area)[one]
    scores = {
        order: float(special.logsumexp(energy + voltage[:, list(order)], axis=1).sum())
        for order in permutations(range(3))
    }
    best = max(sorted(scores), key=lambda o: scores[o])
    evidence = scores[best] - scores[0, 1, 2]
    return ((best[0], best[1], best[2]), evidence) if evidence >= MIN_EVIDENCE else None


def _agreement(voltage: Floats, on: Ints) -> tuple[int, float]:
    """Of how many meters (n, 3) voltages tell anything, and the share of those that follow the phase they are ``on``; 1
    where there are none."""
    told = voltage.any(axis=1)
    return int(told.sum()), float(np.mean((voltage.argmax(axis=1) == on)[told])) if told.any() else 1.0


def _voltage(v: Floats, av: Floats, every: int = 1) -> Floats:
    """(n, 3) log-likelihood of each busbar voltage [nat], from each ``every``-th change; 0 where too little is
    known."""
    dv, dav = v[:, 1::every] - v[:, :-1:every], av[:, 1::every] - av[:, :-1:every]
    ok = np.isfinite(dv) & np.isfinite(dav).all(axis=0)
    x, y, use = np.nan_to_num(dav), np.where(ok, dv, 0.0), ok.astype(np.float64)
    n = use.sum(axis=1)[:, None]
    several = np.maximum(n, 1.0)
    sum_x, sum_y = use @ x.T, y.sum(axis=1)[:, None]
    of_x = use @ np.square(x).T - np.square(sum_x) / several
    of_y = np.einsum("it,it->i", y, y)[:, None] - np.square(sum_y) / several
    both = y @ x.T - sum_x * sum_y / several
    moving = (of_x > 0) & (of_y > 0)
    rho = np.where(moving, both / np.sqrt(np.where(moving, of_x * of_y, 1.0)), 0.0)
    rho = np.clip(rho, 0.0, 0.9999)
    return np.asarray(np.where(n >= 100, -(n / 6.0) * np.log(1.0 - np.square(rho)), 0.0))
