"""Finds listed meters that hang on no area known here: their energy is not in the balance, their voltage goes its way.

Energy: removal with −1. Alone that is not enough: a meter whose reading says nothing of its load wants to be removed as
well. But such a one leaves its load behind; so either the balance without it shows no unmetered load, or its voltage
falls with its reading, which therefore is real. Voltage: what the area's
network and the meter's own energy leave of its voltage is measurement noise, which the next hour does not repeat; of a
meter from elsewhere it is the other network's loads, which stay on. The mean autocorrelation over two hours is
compared with that of the area's other meters, whose networks and instruments are as good or as bad. Without voltages,
or with too few meters to compare with, nobody is moved; but nobody is accused of such a balance either.
"""

from dataclasses import dataclass

import numpy as np

from reconciliation.attribution import evidence_table, statistics, unmetered_evidence
from reconciliation.columns import meter_columns
from reconciliation.mapping import EACH_SIDE, WRONG_AREA_RATE, Build, Move, informative, prior_nats
from reconciliation.mapping_energy import removal
from reconciliation.mapping_voltage import MIN_ROWS, area_voltages, follows
from reconciliation.model import AreaModel, gain
from reconciliation.rehang import without
from reconciliation.shapes import FAMILIES, area_profile
from reconciliation.window import Bools, Floats

MEMORY_S = 7200
"""How long what is left of a voltage is followed [s]: appliances stay on that long."""
CLIP = 4.0
"""Robust SD at which what is left is cut off: a single wrong voltage is no memory."""
TOP_SHARE = 0.1
"""A stranger's voltage must have more memory than all but this share of the area's meters."""
ALONE_NATS = 30.0
"""Log evidence needed [nat]: one balance has to carry what two do where both areas are known, and nothing checks it."""
PULL = -3.0
"""Slope of a voltage on the own reading, in standard errors, from which the reading is a real load."""
REVERSED = next(family for family in FAMILIES if family.name == "reversed")
MOST = 5
"""Strangers looked for in one area; more say that the area's records are wrong altogether."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Strangers:
    """What was found in one area."""

    moves: list[Move]
    """Meters that hang elsewhere; ``correct`` is None."""
    unclear: frozenset[str]
    """Meters whose energy says so and whose voltage does not: not to be moved, and not to be accused either."""
    model: AreaModel
    """The area without the meters that hang elsewhere."""


def strangers(
    model: AreaModel, rebuild: Build, rate: float = WRONG_AREA_RATE, kept: frozenset[str] = frozenset()
) -> Strangers:
    """Meters that do not belong to an area; ``kept``: meters not to ask about."""
    moves: list[Move] = []
    unclear: set[str] = set()
    cost = prior_nats(rate, 1)
    least = max(ALONE_NATS, cost)
    while len(moves) < MOST and model.area.net.shape[0] > 1:
        evidence = removal(model, least)
        asked = kept | unclear
        able = [
            int(i)
            for i in np.argsort(-evidence, kind="stable")[:MOST]
            if evidence[i] > least and informative(model, int(i)) and model.area.meters[i] not in asked
        ]
        able = [i for i, turned in zip(able, _turned(model, able), strict=True) if evidence[i] > turned]
        if not able:
            break
        memories, real = _voltage(model)
        for i in able:
            name = model.area.meters[i]
            apart = stands_apart(memories, i)
            less = leaves_nothing_behind(model, i, rebuild, real=apart and bool(real[i]))
            if less is not None and apart:
                odds = -float(np.log(rank(memories, i)))
                moves.append(
                    Move(
                        meter=name,
                        listed=model.area.window.area,
                        correct=None,
                        remove=float(evidence[i]),
                        add=0.0,
                        voltage=odds,
                        cost=cost,
                    )
                )
                model = less
                break
            if less is not None:
                unclear.add(name)
            kept |= {name}
        else:
            break
    return Strangers(moves=moves, unclear=frozenset(unclear), model=model)


def _turned(model: AreaModel, meters: list[int]) -> Floats:
    """(len(meters),) evidence [nat] that a meter's days are stored in reverse: they, too, are likelier taken out."""
    if not meters:
        return np.zeros(0)
    columns = meter_columns(model.area, (REVERSED,))
    stats = statistics(model.area, model.share, model.fit, columns, np.array(meters))
    return evidence_table(model.area, stats, (REVERSED,))[:, 0]


def _voltage(model: AreaModel) -> tuple[Floats, Bools]:
    """(N,) memory of each meter's voltage, NaN where unknown, and (N,) whether it falls with the meter's reading."""
    volts = model.area.window.household_voltage_v
    network = area_voltages(model)
    if network is None or volts is None:
        n = model.area.net.shape[0]
        return np.full(n, np.nan), np.zeros(n, bool)
    followed = follows(network, volts, model.area.net, network.own)
    return memory(followed.left, model.area.window.interval_s), np.asarray(followed.pull < PULL)


def memory(left: Floats, interval_s: int) -> Floats:
    """(n,) mean autocorrelation over MEMORY_S of what is left (n, T) of voltages; NaN where too little is known."""
    lags = max(MEMORY_S // interval_s, 1)
    out = np.full(left.shape[0], np.nan)
    for i, x in enumerate(left):
        known = np.isfinite(x)
        if known.sum() < MIN_ROWS:
            continue
        y = np.where(known, x - np.median(x[known]), 0.0)
        limit = CLIP * 1.4826 * float(np.median(np.abs(y[known]))) + 1e-6
        y = np.clip(y, -limit, limit)
        power = float(np.sum(y * y)) / int(known.sum())
        each = []
        for lag in range(1, lags + 1):
            both = int((known[lag:] & known[:-lag]).sum())
            each.append(float(y[lag:] @ y[:-lag]) / max(both, 1) / max(power, 1e-12))
        out[i] = float(np.mean(each))
    return out


def rank(memories: Floats, i: int) -> float:
    """Share of the area's meters, and of this one, whose voltages have at least this one's memory, 0..1."""
    others = np.delete(memories, i)
    others = others[np.isfinite(others)]
    return float((1 + np.sum(others >= memories[i])) / (1 + others.size))


def stands_apart(memories: Floats, i: int) -> bool:
    """Whether a meter's voltage has more memory than those of its area."""
    return bool(np.isfinite(memories[i]) and memories[i] > 0 and rank(memories, i) <= TOP_SHARE)


def leaves_nothing_behind(model: AreaModel, i: int, rebuild: Build, *, real: bool) -> AreaModel | None:
    """The area without a meter, or None if that is no likelier or leaves a load behind; ``real``: whether its reading
    is known to be a load."""
    trial = rebuild(without(model.area.window, model.area.meters[i]))
    if gain(model, trial) < EACH_SIDE:
        return None
    if real:
        return trial
    left_behind, _ = unmetered_evidence(trial.area, trial.fit, area_profile(trial.area))
    if float(left_behind[model.share[i] > 0].max()) > 0:
        return None
    return trial
