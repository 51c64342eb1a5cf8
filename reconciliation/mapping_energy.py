"""Is a meter's energy in an area's balance? Removing it with −1 and adding it with +1, by likelihood, never fitted.

For meter i with net energy x = p_i placed on its streams, b = xᵀV⁻¹r and h = xᵀV⁻¹x of the area concerned: remove =
−(b + h/2), add = b − h/2 [nat]. In another area the phase is unknown: the mean likelihood over the phases. Where the
meter was not read x is a filled value with an error of its own variance s² that the area's noise does not know of: the
row's weight becomes 1/(v + s²), with s² passed through the same filter. Windows may begin and end at different
instants: only the intervals they share are looked at.
"""

from dataclasses import dataclass

import numpy as np
from scipy import signal, special

from reconciliation.design import GAIN
from reconciliation.model import AreaModel
from reconciliation.window import AreaWindow, Bools, Floats, Ints

AT_ONCE = 64
"""Meters whitened together; bounds memory."""


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """The intervals that two windows share."""

    first: slice
    """In the first window."""
    second: slice
    """In the second one."""

    @property
    def length(self) -> int:
        """Number of shared intervals."""
        return int(self.first.stop - self.first.start)


def overlap(a: AreaWindow, b: AreaWindow) -> Overlap | None:
    """The intervals two windows share, or None where there are none or their grids differ."""
    late, rest = divmod((b.start - a.start).total_seconds(), a.interval_s)
    if a.interval_s != b.interval_s or rest:
        return None
    start, stop = max(int(late), 0), min(a.n_intervals, b.n_intervals + int(late))
    if stop <= start:
        return None
    return Overlap(first=slice(start, stop), second=slice(start - int(late), stop - int(late)))


def placed(values: Floats, shared: Overlap, n_intervals: int, outside: float) -> Floats:
    """(n, T₂) values of (n, T₁) series of the first window at the second one's intervals."""
    out = np.full((values.shape[0], n_intervals), outside)
    out[:, shared.second] = values[:, shared.first]
    return out


def removal(model: AreaModel, least: float) -> Floats:
    """(N,) log evidence that a listed meter's energy is not in the area's balance [nat]; −∞ where it is below
    ``least``.

    A listed meter's energy is the column of its gain effect η_i ~ N(0, τ²), so the fit has its statistics already: b =
    η̂_i/τ² and h = (1 − C_ii/τ²)/τ² with C = A⁻¹. A meter on the wrong phase of the right area also wants to be removed
    from where it is: what its best other phase would gain is not evidence against the area.
    """
    area, fit = model.area, model.fit
    gains = np.flatnonzero(fit.group == GAIN)
    var = float(fit.tau[GAIN]) ** 2
    out = np.full(gains.size, -np.inf)
    b = fit.effects[gains] / var
    some: Ints = np.flatnonzero(-b > least)  # h is never negative
    if not some.size:
        return out
    value = -(b[some] + fit.informed(gains[some]) / 2)
    some, value = some[value > least], value[value > least]
    if area.n_streams > 1 and some.size:
        value = value - _on_another_phase(model, some)
    out[some] = np.where(value > least, value, -np.inf)
    return out


def _on_another_phase(model: AreaModel, meters: Ints) -> Floats:
    """(n,) what the balances of a meter's other phases would gain by its energy, at least 0 [nat]."""
    gain = np.zeros(meters.size)
    for k in range(model.area.n_streams):
        off = np.flatnonzero(model.share[meters, k] <= 0)
        if off.size:
            x = model.fit.whiten(k, model.area.net[meters[off]])
            gain[off] = np.maximum(gain[off], x @ model.fit.innovation[k] - np.sum(x * x, axis=1) / 2)
    return gain


def addition(model: AreaModel, net: Floats, fill_var: Floats, three_phase: Bools, shared: slice) -> Floats:
    """(n,) log evidence that foreign meters' energy is in the area's balance [nat].

    ``net`` and ``fill_var`` (n, T) on the area's intervals [Wh], [Wh²]; ``three_phase`` (n,); ``shared``: the intervals
    they are known in.
    """
    out = np.full(net.shape[0], -np.inf)
    for lo in range(0, net.shape[0], AT_ONCE):
        part = slice(lo, lo + AT_ONCE)
        out[part] = _addition(model, net[part], fill_var[part], three_phase[part], shared)
    return out


def _addition(model: AreaModel, net: Floats, fill_var: Floats, three_phase: Bools, shared: slice) -> Floats:
    fit, k_streams = model.fit, model.area.n_streams
    n, t = net.shape
    order = fit.filters.shape[1] - 1
    known = np.zeros(t, bool)
    known[shared.start + (order if shared.start else 0) : shared.stop] = True  # the filter has seen all it needs
    b, h0 = np.zeros((k_streams, n)), np.zeros((k_streams, n))
    cross = np.zeros((k_streams, n, fit.effects.size))
    filled = fill_var.any()
    for k in range(k_streams):
        x = fit.whiten(k, net) * known
        w = x
        if filled:
            error = signal.lfilter(np.square(fit.filters[k]), [1.0], fill_var, axis=-1)
            w = x / (1.0 + error * np.square(fit.root_weight[k]))
        b[k], h0[k] = w @ fit.innovation[k], np.sum(w * x, axis=1)
        cross[k] = fit.cross(k, w)
    score = np.zeros(n)
    one: Ints = np.flatnonzero(~three_phase)
    if one.size:
        alone = np.stack([h0[k, one] - _absorbed(model, cross[k, one]) for k in range(k_streams)])
        score[one] = special.logsumexp(b[:, one] - alone / 2, axis=0) - np.log(k_streams)
    three = np.flatnonzero(three_phase)
    if three.size:
        each = 1.0 / k_streams
        h = h0[:, three].sum(axis=0) * each**2 - _absorbed(model, cross[:, three].sum(axis=0) * each)
        score[three] = b[:, three].sum(axis=0) * each - h / 2
    return score


def _absorbed(model: AreaModel, cross: Floats) -> Floats:
    """(n,) what the random effects take of each column's information."""
    return np.asarray(np.sum(cross * model.fit.solve(cross.T).T, axis=1))
