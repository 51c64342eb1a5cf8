"""Finds meters listed in the wrong area: −1 in the listed balance and +1 in the true one, by likelihood, never fitted.

For meter i with net energy x = p_i placed on its stream: removing it from its listed area adds x to the balance's
explanation, adding it to area j takes it: with b = xᵀV⁻¹r, h = xᵀV⁻¹x of the area concerned, remove = −(b + h/2), add
= b − h/2 [nat]. In the true area the phase is unknown: the mean likelihood over the phases. Voltage, where there is
any: the likelihood of the meter's voltage changes given the area's busbar voltages and loads, in the listed and in the
other area.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from reconciliation.model import AreaModel, build
from reconciliation.window import AreaWindow, Bools, Floats, Ints

PRIOR_NATS = 12.0
"""Cost of a move [nat]: about one meter in a few thousand is listed wrongly, and it could be any of the other areas."""
EACH_SIDE = 4.0
"""Without support from voltage, both areas must want the move by this much [nat]."""
SHARE_OF_BEST = 0.2
"""A round takes the moves within this share of the best one; the weaker wait for the refit."""
ROUNDS = 6


@dataclass(frozen=True, kw_only=True)
class Move:
    """One meter that hangs on another area than it is listed in."""

    meter: str
    listed: str
    correct: str
    remove: float
    """Log evidence from the listed area's balance [nat]."""
    add: float
    """Log evidence from the correct area's balance [nat]."""
    voltage: float
    """Log evidence from voltage [nat]; 0 where there is none."""

    @property
    def score(self) -> float:
        """Joint log evidence less the prior's cost [nat]."""
        return self.remove + self.add + self.voltage - PRIOR_NATS


def find_moves(models: Mapping[str, AreaModel]) -> tuple[list[Move], dict[str, AreaModel]]:
    """Accept moves in rounds, refitting the areas touched after each. Returns the moves and the corrected models."""
    current = dict(models)
    accepted: dict[str, Move] = {}
    for _ in range(ROUNDS):
        moves = [m for m in candidates(current) if m.meter not in accepted]
        if not moves:
            break
        best = max(m.score for m in moves)
        chosen: dict[str, Move] = {}
        for m in sorted(moves, key=lambda m: (-m.score, m.meter)):
            if m.score >= SHARE_OF_BEST * best and m.meter not in chosen:
                chosen[m.meter] = m
        windows = {a: model.area.window for a, model in current.items()}
        for m in chosen.values():
            windows[m.listed], windows[m.correct] = transfer(windows[m.listed], windows[m.correct], m.meter)
        touched = sorted({m.listed for m in chosen.values()} | {m.correct for m in chosen.values()})
        before = sum(current[a].fit.log_likelihood for a in touched)
        trial = {a: build(windows[a]) for a in touched if windows[a].n_meters}
        if len(trial) < len(touched) or sum(trial[a].fit.log_likelihood for a in touched) <= before:
            if len(chosen) == 1:
                break
            only = max(chosen.values(), key=lambda m: (m.score, m.meter))
            windows = {a: model.area.window for a, model in current.items()}
            windows[only.listed], windows[only.correct] = transfer(
                windows[only.listed], windows[only.correct], only.meter
            )
            chosen = {only.meter: only}
            touched = sorted({only.listed, only.correct})
            if not all(windows[a].n_meters for a in touched):
                break
            before = sum(current[a].fit.log_likelihood for a in touched)
            trial = {a: build(windows[a]) for a in touched}
            if sum(trial[a].fit.log_likelihood for a in touched) <= before:
                break
        current.update(trial)
        accepted.update(chosen)
    return list(accepted.values()), current


def candidates(models: Mapping[str, AreaModel]) -> list[Move]:
    """Moves with a positive joint score."""
    names = sorted(models)
    found: list[Move] = []
    for listed in names:
        model = models[listed]
        if model.area.net.shape[0] < 2:
            continue
        remove = removal(model)
        for i in np.flatnonzero(remove > -PRIOR_NATS):
            if not _informative(model.area.net[i], float(model.area.step[i]), model.area.measured[i]):
                continue
            options = []
            for other in names:
                if other == listed or not _aligned(model.area.window, models[other].area.window):
                    continue
                add = addition(models[other], model.area.net[i], bool(model.area.window.three_phase[i]))
                if remove[i] + add < 0 or min(remove[i], add) < -PRIOR_NATS:
                    continue
                volt = voltage_support(model.area.window, models[other].area.window, int(i))
                if volt <= 0 and min(remove[i], add) < EACH_SIDE:
                    continue
                options.append(
                    Move(
                        meter=model.area.meters[i],
                        listed=listed,
                        correct=other,
                        remove=float(remove[i]),
                        add=add,
                        voltage=volt,
                    )
                )
            options = [o for o in options if o.score > 0]
            if options:
                found.append(max(options, key=lambda o: (o.score, o.correct)))
    return found


def removal(model: AreaModel) -> Floats:
    """(N,) log evidence that a listed meter's energy is not in the area's balance [nat]."""
    area, fit = model.area, model.fit
    n = area.net.shape[0]
    b, h0 = np.zeros(n), np.zeros(n)
    cross = np.zeros((n, fit.effects.size))
    for k in range(area.n_streams):
        on = np.flatnonzero(model.share[:, k] > 0)
        x = fit.whiten(k, area.net[on] * model.share[on, k][:, None])
        b[on] += x @ fit.innovation[k]
        h0[on] += np.sum(x * x, axis=1)
        cross[np.ix_(on, fit.columns[k])] += x @ fit.design[k].T
    h = h0 - np.sum(cross * fit.solve(cross.T).T, axis=1)
    return np.asarray(-(b + h / 2))


def addition(model: AreaModel, net: Floats, three_phase: bool) -> float:
    """Log evidence that a foreign meter's energy (T,) is in the area's balance [nat]."""
    area, fit = model.area, model.fit
    k_streams = area.n_streams
    placements = [np.full(k_streams, 1 / k_streams)] if three_phase else list(np.eye(k_streams))
    white = [fit.whiten(k, net[None])[0] for k in range(k_streams)]
    out = []
    for place in placements:
        b = h = 0.0
        cross = np.zeros(fit.effects.size)
        for k in np.flatnonzero(place):
            x = white[k] * place[k]
            b += float(x @ fit.innovation[k])
            h += float(x @ x)
            cross[fit.columns[k]] += fit.design[k] @ x
        h -= float(cross @ fit.solve(cross[:, None])[:, 0])
        out.append(b - h / 2)
    return float(special.logsumexp(out) - np.log(len(out)))


def voltage_support(listed: AreaWindow, other: AreaWindow, meter: int) -> float:
    """Log evidence from voltage that a meter hangs on ``other`` rather than on ``listed`` [nat], shrunk by 2 SE of its
    day sums; 0 if unknown.

    Both areas' busbar voltages and phase energies predict the meter's voltage changes; day by day the Gaussian
    log-likelihoods are compared.
    """
    v = listed.household_voltage_v
    if v is None or listed.area_voltage_v is None or other.area_voltage_v is None:
        return 0.0
    y = np.diff(v[meter])
    own = np.diff(np.nan_to_num(listed.household_import_wh[meter] - listed.household_export_wh[meter]))
    ok = np.isfinite(y)
    designs = []
    for w in (listed, other):
        assert w.area_voltage_v is not None
        parts = [np.diff(w.area_voltage_v, axis=1), own[None]]
        if w.area_phase_wh is not None:
            parts.append(np.diff(w.area_phase_wh, axis=1))
        else:
            parts.append(np.diff(w.area_import_wh - w.area_export_wh)[None])
        others = w.household_voltage_v
        if others is not None:
            keep = np.arange(others.shape[0]) != meter if w is listed else np.ones(others.shape[0], bool)
            rest = np.diff(others[keep], axis=1)
            parts.append(np.where(np.isfinite(rest), rest, 0.0))
        x = np.concatenate(parts)
        ok &= np.isfinite(x).all(axis=0)
        designs.append(x)
    if ok.sum() < 200:
        return 0.0
    day = listed.day_index()[1:][ok]
    terms = [_held_out_log_likelihood(y[ok], x[:, ok], day) for x in designs]
    daily = np.bincount(day, weights=terms[1] - terms[0])
    kept = daily[np.bincount(day) > 0] / 3.0  # differences overlap: a third of the samples count
    total, se = float(kept.sum()), float(np.std(kept) * np.sqrt(kept.size))
    return float(np.sign(total) * max(abs(total) - 2 * se, 0.0))


def _held_out_log_likelihood(y: Floats, x: Floats, day: Ints) -> Floats:
    """(T,) log density of y under a ridge on x fitted on the other half of the days; the ridge's scale is the half's
    own best of four."""
    scale = np.sqrt(np.mean(np.square(x), axis=1)) + 1e-12
    z = x / scale[:, None]
    out = np.zeros(y.size)
    halves = [day % 2 == 0, day % 2 == 1]
    best = -np.inf
    for ridge in (1.0, 10.0, 100.0, 1000.0):
        trial = np.zeros(y.size)
        for train, test in (halves, halves[::-1]):
            if not train.any() or not test.any():
                return out
            a = z[:, train] @ z[:, train].T + ridge * np.eye(z.shape[0])
            w = np.linalg.solve(a, z[:, train] @ y[train])
            e = y[test] - w @ z[:, test]
            var = (1.4826 * float(np.median(np.abs(e)))) ** 2 + 1e-9
            trial[test] = -0.5 * np.log(var) - 2.5 * np.log1p(np.square(e) / var / 4.0)
        if trial.sum() > best:
            best, out = float(trial.sum()), trial
    return out


def transfer(listed: AreaWindow, other: AreaWindow, meter: str) -> tuple[AreaWindow, AreaWindow]:
    """Both windows with one meter moved from the first to the second."""
    i = listed.meters.index(meter)
    keep = np.arange(listed.n_meters) != i

    def both(name: str) -> tuple[Floats | None, Floats | None]:
        a, b = getattr(listed, name), getattr(other, name)
        fewer = None if a is None else a[keep]
        if b is None:
            return fewer, None
        row = a[i : i + 1] if a is not None else np.full((1, *b.shape[1:]), np.nan)
        return fewer, np.concatenate([b, row])

    imported, exported, volts = both("household_import_wh"), both("household_export_wh"), both("household_voltage_v")
    assert imported[0] is not None
    assert imported[1] is not None
    assert exported[0] is not None
    assert exported[1] is not None
    steps = both("meter_step_wh")
    out = replace(
        listed,
        meters=tuple(m for m in listed.meters if m != meter),
        three_phase=listed.three_phase[keep],
        household_import_wh=imported[0],
        household_export_wh=exported[0],
        household_voltage_v=volts[0],
        meter_step_wh=steps[0],
    )
    into = replace(
        other,
        meters=(*other.meters, meter),
        three_phase=np.append(other.three_phase, listed.three_phase[i]),
        household_import_wh=imported[1],
        household_export_wh=exported[1],
        household_voltage_v=volts[1],
        meter_step_wh=steps[1],
    )
    return out, into


def _informative(net: Floats, step: float, measured: Bools) -> bool:
    return bool(measured.mean() > 0.3) and float(np.abs(net).mean()) > 0.02 * step


def _aligned(a: AreaWindow, b: AreaWindow) -> bool:
    return a.start == b.start and a.interval_s == b.interval_s and a.n_intervals == b.n_intervals
