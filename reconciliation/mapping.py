"""Finds meters listed in the wrong area: −1 in the listed balance and +1 in the true one, by likelihood, never fitted.

Cheap tests first: removal from the listed balance for every meter (mapping_energy.py), addition to the other balances
only for those whose removal is not refused, voltage (mapping_voltage.py) only for the pairs that energy leaves. The
joint log evidence must pay for the prior: one meter in so many is listed wrongly, and it could hang on any of the
other areas. Moves are accepted in rounds, strongest first, with the areas fitted again in between; at the end each is
tried the other way round in the areas as they then are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from reconciliation.mapping_energy import Overlap, addition, overlap, placed, removal
from reconciliation.mapping_voltage import AreaVoltages, area_voltages, follows, support
from reconciliation.model import AreaModel, gain
from reconciliation.rehang import transfer
from reconciliation.window import AreaWindow, Floats, Ints

WRONG_AREA_RATE = 0.002
"""Default share of meters that are listed in the wrong area: records that were checked once. While a rollout is being
written down several per cent are usual; the caller knows."""
ACCEPT_NATS = float(np.log(0.98 / 0.02))
"""Posterior odds [nat] from which a record is called wrong: at most one visit in fifty for nothing."""
EACH_SIDE = 4.0
"""Without support from voltage, both areas must want the move by this much [nat]."""
SHARE_OF_BEST = 0.2
"""A round takes the moves within this share of the best one; the weaker wait for the refit."""
MOST_ROUNDS = 40
"""Bounds the work in areas whose records are a mess; each round settles at least one meter."""
MOST_TRIED = 3
"""Doubtful moves that are tried in one round by fitting the areas with them."""
MIN_SHARED = 0.25
"""Share of the listed area's intervals that another area's window must hold for its meters to be looked for there."""

Build = Callable[[AreaWindow], AreaModel]


def prior_nats(rate: float, others: int) -> float:
    """Joint evidence [nat] that one particular move must bring: the prior's odds against it, and ACCEPT_NATS.

    ``rate``: share of meters listed wrongly; ``others``: areas it could hang on instead, each as probable.
    """
    return float(np.log((1.0 - rate) / rate) + np.log(max(others, 1)) + ACCEPT_NATS)


@dataclass(frozen=True, kw_only=True)
class Move:
    """One meter that hangs on another area than it is listed in."""

    meter: str
    listed: str
    correct: str | None
    """None: not on the listed one, and on none that is known here."""
    remove: float
    """Log evidence from the listed area's balance [nat]."""
    add: float
    """Log evidence from the correct area's balance [nat]."""
    voltage: float
    """Log evidence from voltage [nat]; 0 where there is none."""
    cost: float
    """What the prior and the odds wanted cost [nat], see ``prior_nats``."""

    @property
    def score(self) -> float:
        """Joint log evidence less its cost [nat]."""
        return self.remove + self.add + self.voltage - self.cost


def find_moves(
    models: Mapping[str, AreaModel], rebuild: Build, rate: float = WRONG_AREA_RATE
) -> tuple[list[Move], dict[str, AreaModel]]:
    """Accept moves in rounds, refitting the areas touched after each. Returns the moves and the corrected models."""
    current = dict(models)
    accepted: dict[str, Move] = {}
    search = Search(rate)
    for _ in range(MOST_ROUNDS):
        moves, doubtful = search.candidates(current)
        step = _accept(current, [m for m in moves if m.meter not in accepted], rebuild)
        if step is None:
            step = _try_doubtful(current, [m for m in doubtful if m.meter not in accepted], rebuild)
        if step is None:
            break
        current.update(step[1])
        accepted.update({m.meter: m for m in step[0]})
    return _both_ways(accepted, current, rebuild)


def _accept(
    current: Mapping[str, AreaModel], moves: list[Move], rebuild: Build
) -> tuple[list[Move], dict[str, AreaModel]] | None:
    """One round's moves with the areas after them, if those are likelier."""
    if not moves:
        return None
    moves = sorted(moves, key=lambda m: (-m.score, m.meter))
    chosen: list[Move] = []
    busy: set[str | None] = set()
    for m in moves:
        # a meter like the best one shows up beside it: it waits for the refit unless voltage tells it from the best
        if m.score >= SHARE_OF_BEST * moves[0].score and (m.voltage > 0 or not {m.listed, m.correct} & busy):
            chosen.append(m)
            busy |= {m.listed, m.correct}
    trial = _if_better(current, chosen, rebuild)
    if trial is None and len(chosen) > 1:
        chosen = moves[:1]
        trial = _if_better(current, chosen, rebuild)
    return None if trial is None else (chosen, trial)


def _try_doubtful(
    current: Mapping[str, AreaModel], moves: list[Move], rebuild: Build
) -> tuple[list[Move], dict[str, AreaModel]] | None:
    """The first doubtful move that holds when the areas are fitted with it.

    A balance that lacks much tunes its variances to that: a test inside that fit may then refuse what the fit with the
    meter in its place explains at once. What the other area's likelihood gains stands for ``add``.
    """
    for m in sorted(moves, key=lambda m: (-m.remove - m.voltage, m.meter))[:MOST_TRIED]:
        trial = _if_better(current, [m], rebuild)
        if trial is None or m.correct is None:
            continue
        gains = {a: gain(current[a], trial[a]) for a in trial}
        refitted = replace(m, add=gains[m.correct])
        # where readings have holes the area that a meter joins also takes over its uncertainty
        least = -SHARE_OF_BEST * gains[m.listed] if m.voltage > m.cost else EACH_SIDE
        if gains[m.listed] >= EACH_SIDE and gains[m.correct] >= least and refitted.score > 0:
            return [refitted], trial
    return None


def _if_better(current: Mapping[str, AreaModel], moves: list[Move], rebuild: Build) -> dict[str, AreaModel] | None:
    """The areas touched after the moves, or None if that makes them less likely."""
    windows = {a: model.area.window for a, model in current.items()}
    touched: set[str] = set()
    for m in moves:
        assert m.correct is not None
        windows[m.listed], windows[m.correct] = transfer(windows[m.listed], windows[m.correct], m.meter)
        touched |= {m.listed, m.correct}
    if not all(windows[a].n_meters for a in touched):
        return None
    trial = {a: rebuild(windows[a]) for a in sorted(touched)}
    return trial if sum(gain(current[a], trial[a]) for a in trial) > 0 else None


def _both_ways(
    accepted: Mapping[str, Move], current: dict[str, AreaModel], rebuild: Build
) -> tuple[list[Move], dict[str, AreaModel]]:
    """The moves that still hold in the areas as they have become; one that does not is undone."""
    kept = []
    for m in sorted(accepted.values(), key=lambda m: (-m.score, m.meter)):
        assert m.correct is not None
        now, old = current[m.correct], current[m.listed]
        i = now.area.meters.index(m.meter)
        shared = overlap(now.area.window, old.area.window)
        assert shared is not None
        net, var = (placed(x[i : i + 1], shared, old.area.n_intervals, 0.0) for x in (now.area.net, now.area.fill_var))
        back = addition(old, net, var, now.area.window.three_phase[i : i + 1], shared.second)[0]
        undone = None
        if removal(now, -np.inf)[i] + back - m.voltage > 0:
            reverse = replace(m, listed=m.correct, correct=m.listed)
            undone = _if_better(current, [reverse], rebuild)
        if undone is None:
            kept.append(m)
        else:
            current.update(undone)
    return kept, current


class Search:
    """Looks for moves; keeps what it knows of areas and pairs of areas until they change."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._networks: dict[str, tuple[AreaModel, AreaVoltages | None]] = {}
        self._pairs: dict[tuple[str, str], tuple[AreaModel, AreaModel, list[Move]]] = {}

    def network(self, model: AreaModel) -> AreaVoltages | None:
        """One area's voltage model."""
        name = model.area.window.area
        if name not in self._networks or self._networks[name][0] is not model:
            self._networks[name] = (model, area_voltages(model))
        return self._networks[name][1]

    def candidates(self, models: Mapping[str, AreaModel]) -> tuple[list[Move], list[Move]]:
        """The best move of every meter that has one with a positive score; and, of the others whose energy is clearly
        not in their listed balance, the move to the likeliest area."""
        found: list[Move] = []
        doubtful: list[Move] = []
        cost = prior_nats(self._rate, len(models) - 1)
        for listed in sorted(models):
            model = models[listed]
            if model.area.net.shape[0] < 2:
                continue
            remove: Floats | None = None
            options: dict[str, list[Move]] = {}
            for other in sorted(models):
                if other == listed:
                    continue
                known = self._pairs.get((listed, other))
                if known is None or known[0] is not model or known[1] is not models[other]:
                    if remove is None:
                        remove = removal(model, -cost)
                    known = (model, models[other], self._pair(model, models[other], remove, cost))
                    self._pairs[listed, other] = known
                for m in known[2]:
                    options.setdefault(m.meter, []).append(m)
            for its in options.values():
                good = [m for m in its if _holds(m)]
                if good:
                    found.append(max(good, key=lambda m: (m.score, m.correct)))
                elif its[0].remove > cost:
                    doubtful.append(max(its, key=lambda m: (m.voltage, m.add, m.correct)))
        return found, doubtful

    def _pair(self, model: AreaModel, other: AreaModel, remove: Floats, cost: float) -> list[Move]:
        """What speaks for moving each meter of one area to the other, for those that energy does not refuse."""
        shared = overlap(model.area.window, other.area.window)
        if shared is None or shared.length < MIN_SHARED * model.area.n_intervals:
            return []
        there = frozenset(other.area.meters)  # a meter listed in both areas cannot be moved from one to the other
        able = np.array([name not in there and informative(model, i) for i, name in enumerate(model.area.meters)])
        these: Ints = np.flatnonzero(able & (remove > -cost))
        if not these.size:
            return []
        t = other.area.n_intervals
        net, var = (placed(x[these], shared, t, 0.0) for x in (model.area.net, model.area.fill_var))
        add = addition(other, net, var, model.area.window.three_phase[these], shared.second)
        wanted = (remove[these] + add >= 0) & (np.minimum(remove[these], add) >= -cost)
        left = np.flatnonzero(wanted | (remove[these] > cost))
        if not left.size:
            return []
        volt = self._voltage(model, other, these[left], shared)
        return [
            Move(
                meter=model.area.meters[i],
                listed=model.area.window.area,
                correct=other.area.window.area,
                remove=float(remove[i]),
                add=float(a),
                voltage=float(v),
                cost=cost,
            )
            for i, a, v in zip(these[left], add[left], volt, strict=True)
        ]

    def _voltage(self, model: AreaModel, other: AreaModel, these: Ints, shared: Overlap) -> Floats:
        """(n,) log evidence from voltage for the other area [nat]; 0 where there is none."""
        volts = model.area.window.household_voltage_v
        if volts is None:
            return np.zeros(these.size)
        here, there = self.network(model), self.network(other)
        if here is None or there is None:
            return np.zeros(these.size)
        t = other.area.n_intervals
        at_home = follows(here, volts[these], model.area.net[these], here.own[these]).left
        abroad = follows(
            there,
            placed(volts[these], shared, t, np.nan),
            placed(model.area.net[these], shared, t, 0.0),
            np.full(these.size, -1, dtype=np.int64),
        ).left
        back = np.full(at_home.shape, np.nan)
        back[:, shared.first] = abroad[:, shared.second]
        return np.array([support(a, b, model.area.day) for a, b in zip(at_home, back, strict=True)])


def _holds(m: Move) -> bool:
    """Whether neither balance refuses a move, and together with voltage they pay for it."""
    if m.remove + m.add < 0 or min(m.remove, m.add) < -m.cost:
        return False
    return m.score > 0 and (m.voltage > 0 or min(m.remove, m.add) >= EACH_SIDE)


def informative(model: AreaModel, i: int) -> bool:
    """Whether a meter was read and moved at all."""
    area = model.area
    return bool(area.measured[i].mean() > 0.3) and float(np.abs(area.net[i]).mean()) > 0.02 * float(area.step[i])
