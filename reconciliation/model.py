"""One area under one hypothesis: prepared readings, phases, technical loss, noise fit; the unit the tests work on."""

from dataclasses import dataclass, replace

import numpy as np

from reconciliation.design import GAIN, Faults
from reconciliation.noise import NoiseFit, fit_from, fit_noise
from reconciliation.phases import shares
from reconciliation.prepare import Prepared, prepare
from reconciliation.technical_loss import TechnicalLoss, technical_loss
from reconciliation.window import AreaWindow, Bools, Floats

MOVE_PHASE = 6.0
"""[nat] evidence from which a meter is put on another phase than the changes of voltage and load suggest."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AreaModel:
    """An area with everything the tests need. N meters, K streams, T intervals."""

    area: Prepared
    share: Floats
    """(N, K) share of each meter's energy per stream."""
    loss: TechnicalLoss
    fit: NoiseFit
    rows: Bools
    """(K, T) rows in use; a stream's rows drop out where its area meter phase is dead."""

    def refit(self, faults: Faults | None, *, coloured: bool = False) -> NoiseFit:
        """The noise fit with faults as further effects; ``coloured``: with the excess's own autocovariance."""
        return fit_from(self.fit.honest, faults, coloured=coloured)

    def corrected(self, supplied: Floats, rows: Bools) -> "AreaModel":
        """The same area with a corrected area meter (K, T)."""
        area = replace(self.area, supplied=supplied, total=supplied.sum(axis=0))
        loss = technical_loss(area, self.share)
        fit = fit_noise(area, share=self.share, loss=loss.stream_wh, loss_sd=loss.relative_sd, rows=rows)
        return AreaModel(area=area, share=self.share, loss=loss, fit=fit, rows=rows)


def gain(before: AreaModel, after: AreaModel) -> float:
    """By how much an area is likelier with other meters [nat]; −∞ where its balances are not of the same rows, because
    its area meter is put right, or its phases are used, in one of them only."""
    if not np.array_equal(before.rows, after.rows):
        return -np.inf
    return after.fit.log_likelihood - before.fit.log_likelihood


def build(window: AreaWindow, *, coarse: bool = False) -> AreaModel:
    """Prepare and fit one area; needs at least one meter and enough intervals (see ``decide.computable``). ``coarse``:
    see ``prepare``."""
    area = prepare(window, coarse=coarse)
    share, posterior = shares(area)
    loss = technical_loss(area, share)
    rows = np.ones(area.supplied.shape, bool)
    fit = fit_noise(area, share=share, loss=loss.stream_wh, loss_sd=loss.relative_sd, rows=rows)
    better = moved_phases(area, share, posterior, fit)
    if better is not None:
        share = better
        loss = technical_loss(area, share)
        fit = fit_noise(area, share=share, loss=loss.stream_wh, loss_sd=loss.relative_sd, rows=rows)
    return AreaModel(area=area, share=share, loss=loss, fit=fit, rows=rows)


def moved_phases(area: Prepared, share: Floats, posterior: Floats, fit: NoiseFit) -> Floats | None:
    """Shares with the meters on other phases whose energy is missed there, or None if all stand.

    Moving meter i to phase l changes its share by d = δ_l − w_i; with x_k = p_i on stream k, the gain is Σ_k d_k
    x_kᵀV⁻¹r − ½ Σ_k d_k² x_kᵀV⁻¹x_k plus the log posterior odds that voltage and load changes gave. This sees what
    changes cannot: steady loads.
    """
    if area.n_streams != 3:
        return None
    one = np.flatnonzero(~area.window.three_phase)
    if one.size == 0:
        return None
    prior = np.log(np.maximum(posterior[one], 1e-30))
    odds = np.minimum(prior - np.sum(share[one] * prior, axis=1, keepdims=True), 0.0)
    b = np.stack([fit.against_innovation(k, area.net) for k in range(3)], axis=1)[one]
    d = np.eye(3)[None] - share[one][:, None, :]
    gain = np.einsum("ilk,ik->il", d, b) + odds
    maybe = np.flatnonzero(gain.max(axis=1) > MOVE_PHASE)  # −½ d²h only lowers it
    sure = share[one[maybe]].max(axis=1) == 1.0  # then h of the phase a meter is on is known already
    gains = np.flatnonzero(fit.group == GAIN)
    least = np.zeros(maybe.size)
    least[sure] = fit.informed(gains[one[maybe[sure]]]) / 2
    maybe = maybe[(gain[maybe] - least[:, None] * (d[maybe].min(axis=2) < 0)).max(axis=1) > MOVE_PHASE]
    if maybe.size == 0:
        return None
    one, d, b, odds = one[maybe], d[maybe], b[maybe], odds[maybe]
    h = np.zeros((one.size, 3))
    for k in range(3):
        x = fit.whiten_many(k, area.net[one])
        half = fit.half_solve(fit.cross(k, x).T)
        h[:, k] = np.einsum("it,it->i", x, x) - np.einsum("mi,mi->i", half, half)
    gain = np.einsum("ilk,ik->il", d, b) - 0.5 * np.einsum("ilk,ik->il", np.square(d), h) + odds
    target = gain.argmax(axis=1)
    move = gain.max(axis=1) > MOVE_PHASE
    if not move.any():
        return None
    out = share.copy()
    out[one[move]] = np.eye(3)[target[move]]
    return out
