"""The effects an honest area may show, as columns of Z: r = Z·η + e, η ~ N(0, τ²_group).

r_k(t) = supplied_k − Σ_i w_ik p_i − L_k [Wh] for each stream k (a phase, or the total). Groups, columns, prior τ, why:

- gain: w_ik p_i; 0.005: class 1 meters, calibrated to ± 0.5 % (1 SD);
- skew: w_ik (p_i(t+1) − p_i(t−1))/2; 0.04 of an interval: clocks kept within ± 60 s of 15 min;
- area gain: D_k = Σ_i w_ik p_i + L_k; 0.003: class 0.5 S meter with class 0.5 S CTs. What was delivered, not what was
  supplied: the supplied energy's rounding is part of the balance and would correlate with it;
- area skew: (D_k(t+1) − D_k(t−1))/2; 0.02 of an interval: one clock, kept within ± 30 s;
- loss: L_k; 0.1 from voltage, 0.8 from a load model: how well the technical loss is known;
- curve: w_ik (p_i(t+1) − 2 p_i(t) + p_i(t−1))/2; 0.02 of an interval: a shifted clock also smooths or sharpens a ramp;
- drift: one column per stream and day, the stream's mean energy; 0.002: slow drift of instruments and loss;
- own use: one constant per stream, 1 W per meter on it; 1: the meters feed themselves, mostly before they measure (IEC
  62053-21 allows 2 W per voltage circuit), and so do concentrators;
- split: for each three-phase meter (p, −p, 0)/√2 and (p, p, −2p)/√6 on the phases; 0.29: one-phase appliances behind a
  three-phase meter load its phases unequally; shares uniform over (w ≥ 0, Σ w = 1) have this SD along each contrast;
- rounding: of each register that is coarse beside the others (Prepared.coarse), its course with the rounding averaged
  away, and with each reading spread over the zeros before it, less the reading; 1: a reading of few steps predicts
  its own rounding, which therefore is no noise.

Hypothesised faults come as further columns with priors of their own. A stream's effects are multiples of fewer time
courses (streams.py): only those are filtered and multiplied.
"""

from dataclasses import dataclass, replace

import numpy as np

from reconciliation.prepare import Prepared, central_difference, dequantised, spread
from reconciliation.streams import Stream
from reconciliation.window import Floats, Ints

GAIN_SD, SKEW_SD, AREA_GAIN_SD, AREA_SKEW_SD, CURVE_SD, DRIFT_SD = 0.005, 0.04, 0.003, 0.02, 0.02, 0.002
OWN_USE_W, SPLIT_SD = 1.0, 0.29
GAIN, SKEW, AREA_GAIN, AREA_SKEW, LOSS, CURVE, DRIFT, OWN_USE, SPLIT, ROUNDING, FAULT = range(11)
CONTRASTS = np.array([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]) / np.sqrt([[2.0], [6.0]])
"""(2, 3) unbalance of three phases."""
FROM_VOLTAGE = 0.2
"""Relative SD of the technical loss up to which it came from voltages."""
PLACE_SD = 0.02
"""Added to the gain's SD where losses come from a load model: a load far down the feeder costs a few per cent more
than one at the busbar."""
MAX_DRIFTS = 31
"""Drift is told by day, or by coarser blocks in windows longer than a month."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Faults:
    """Hypothesised faults as effects with their own Gaussian priors: e coefficients."""

    columns: Floats
    """(e, K, T) hidden energy per unit coefficient [Wh]."""
    mean: Floats
    """(e,) prior mean."""
    sd: Floats
    """(e,) prior SD."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """Z by stream, with the balance it is to explain. K streams, T intervals, m effects."""

    streams: tuple[Stream, ...]
    """(K,) the effects on each stream."""
    group: Ints
    """(m,) GAIN … FAULT."""
    tau: Floats
    """(10,) prior SD of each group."""
    fault_sd: Floats
    """Prior SD of each fault."""
    balance: Floats
    """(K, T) r, less the faults' prior means [Wh]."""

    def sd(self, tau: Floats) -> Floats:
        """(m,) SD of each effect for group SDs ``tau``."""
        out = tau[np.minimum(self.group, FAULT - 1)]
        out[self.group == FAULT] = self.fault_sd
        return np.asarray(out)

    def with_faults(self, faults: Faults) -> "Design":
        """The same effects with hypothesised faults after them."""
        if not faults.columns.size:
            return self
        m = self.group.size
        streams = []
        for k, stream in enumerate(self.streams):
            here = np.flatnonzero(np.abs(faults.columns[:, k]).max(axis=1) > 0)
            streams.append(stream.extended(m + here, faults.columns[here, k]))
        return replace(
            self,
            streams=tuple(streams),
            group=np.concatenate([self.group, np.full(faults.sd.size, FAULT)]),
            fault_sd=np.concatenate([self.fault_sd, faults.sd]),
            balance=self.balance - np.tensordot(faults.mean, faults.columns, axes=1),
        )


def build_design(area: Prepared, share: Floats, loss: Floats, loss_sd: float) -> Design:
    """Columns of all effects; ``share`` (N, K), ``loss`` (K, T) [Wh], ``loss_sd`` the loss's relative SD."""
    n, k_streams = share.shape
    used = share.T @ area.net
    delivered = used + loss  # not the supplied energy: its rounding is part of the balance
    area_slope = central_difference(delivered)
    blocks = min(area.n_days, MAX_DRIFTS)
    block = area.day * blocks // max(area.n_days, 1)
    drift = (block[None, :] == np.arange(blocks)[:, None]).astype(np.float64)
    own_use = share.sum(axis=0) * OWN_USE_W * area.window.interval_s / 3600.0
    three = np.flatnonzero(area.window.three_phase) if k_streams == 3 else np.zeros(0, np.int64)
    coarse, rounding = _rounding(area)
    sizes = [n, n, k_streams, 1, 1, n, blocks * k_streams, k_streams, 2 * three.size, 2 * coarse.size]
    first = np.concatenate([[0], np.cumsum(sizes)])
    streams: list[Stream] = []
    for k in range(k_streams):
        on = np.flatnonzero(share[:, k] > 0)
        s, count = share[on, k], on.size
        level = float(np.abs(area.supplied[k]).mean())
        levels = np.empty((count, area.n_intervals + 2))
        levels[:, 1:-1] = area.net[on]
        levels[:, 0], levels[:, -1] = levels[:, 1], levels[:, -2]
        here = np.flatnonzero(share[coarse, k] > 0)
        others = np.empty((4 + blocks + 2 * here.size, area.n_intervals))
        others[0], others[1], others[2], others[3] = delivered[k], area_slope[k], loss[k], own_use[k]
        others[4 : 4 + blocks] = level * drift
        others[4 + blocks :] = rounding[:, here].reshape(-1, area.n_intervals)
        # where each effect is, its time course (levels, slopes, curves, others) and its factor
        whole = [first[2] + k, first[3], first[4], first[7] + k, *(first[6] + k * blocks + np.arange(blocks))]
        at, split = np.arange(count), first[8] + np.arange(2 * three.size).reshape(2, -1)
        parts = [
            (on, at, s),
            (first[1] + on, count + at, s),
            (first[5] + on, 2 * count + at, s),
            (np.array(whole), 3 * count + np.arange(4 + blocks), np.ones(4 + blocks)),
            (
                (first[9] + coarse.size * np.arange(2)[:, None] + here).ravel(),
                3 * count + 4 + blocks + np.arange(2 * here.size),
                np.tile(share[coarse[here], k], 2),
            ),
            *(
                (e, np.searchsorted(on, three), np.full(e.size, c))
                for e, c in zip(split, CONTRASTS[:, k % 3], strict=True)
            ),
        ]
        effects, source, scale = (np.concatenate([p[j] for p in parts]) for j in range(3))
        streams.append(
            Stream(
                effects=effects.astype(np.int64),
                source=source.astype(np.int64),
                scale=scale.astype(np.float64),
                levels=levels,
                others=others,
            )
        )
    gain_sd = GAIN_SD if loss_sd <= FROM_VOLTAGE else float(np.hypot(GAIN_SD, PLACE_SD))
    return Design(
        streams=tuple(streams),
        group=np.repeat(np.arange(FAULT), sizes),
        tau=np.array([gain_sd, SKEW_SD, AREA_GAIN_SD, AREA_SKEW_SD, loss_sd, CURVE_SD, DRIFT_SD, 1.0, SPLIT_SD, 1.0]),
        fault_sd=np.zeros(0),
        balance=area.supplied - used - loss,
    )


def _rounding(area: Prepared) -> tuple[Ints, Floats]:
    """Meters whose register is coarse, and (2, c, T) by how much their energy may differ from their readings [Wh]."""
    some = np.flatnonzero(area.coarse)
    raw, step = area.imported[some], area.step[some]
    return some, np.stack([dequantised(raw, step) - raw, dequantised(spread(raw), step) - raw])
