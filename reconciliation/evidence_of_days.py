"""Log evidence of a few Gaussian coefficients that act always, from an onset day, or on some days, from day-level
statistics.

For columns X_d (rows of day d) and prior θ ~ N(μ, S): b_d = X_dᵀR⁻¹(r − Zη̂), H_d = X_dᵀR⁻¹X_d. For a set of days with
b = Σ b_d, H = Σ H_d (less what the random effects absorb, see ``absorbed``), the log Bayes factor against θ = 0 is ½
(b + S⁻¹μ)ᵀ(H + S⁻¹)⁻¹(b + S⁻¹μ) − ½ μᵀS⁻¹μ − ½ log|I + SH|. The three activity models have probability ⅓ each; onset
is uniform over days; "some days" has each day on with probability ½, its coefficient at the maximum found by a few EM
steps. Activities whose coefficients are impossible have no part in it: a load that began two days ago looks, beside
effects that took up its mean, like a negative one on all days before.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from reconciliation.small_systems import solve_and_log_det
from reconciliation.window import Bools, Floats, Ints

Sound = Callable[[Floats], Bools]
"""Of n meters' (n, …, q) coefficients: (n, …) whether they are possible."""
IMPOSSIBLE = -1e3
"""Log evidence of what cannot be [nat]."""
ALWAYS, ONSET, SOME_DAYS = 0, 1, 2


@dataclass(frozen=True, eq=False)
class DayEvidence:
    """For n meters: evidence and what it is made of. D days, q coefficients."""

    log_evidence: Floats
    """(n,) against no fault [nat]."""
    mode: Ints
    """(n,) ALWAYS, ONSET or SOME_DAYS."""
    active: Floats
    """(n, D) probability that the fault acts on a day."""
    theta: Floats
    """(n, q) coefficients under the best activity."""


def log_sum_exp(x: Floats, axis: int) -> Floats:
    """log Σ exp x along an axis; not all of it may be −∞."""
    top = x.max(axis=axis, keepdims=True)
    return np.asarray(np.log(np.exp(x - top).sum(axis=axis)) + np.squeeze(top, axis))


def bayes_factor(b: Floats, h: Floats, mean: Floats, var: Floats) -> tuple[Floats, Floats]:
    """(…,) log Bayes factor and (…, q) posterior mean for (…, q) b, (…, q, q) h and diagonal prior mean, var (…, q)."""
    precision = h + np.eye(mean.shape[-1]) / var[..., None, :]
    rhs = b + mean / var
    theta, logdet = solve_and_log_det(precision, rhs)
    log_bf = 0.5 * (np.sum(rhs * theta, axis=-1) - logdet - np.sum(np.square(mean) / var + np.log(var), axis=-1))
    return np.asarray(log_bf), np.asarray(theta)


def absorbed(h: Floats, blur: Floats) -> Floats:
    """(…, q, q) information left on a subset of days: h − h·blur·h, ``blur`` = H⁻¹BH⁻¹ of all days.

    What the random effects absorb of a subset is small where the other days pin the effects down: with Z's share of
    each day proportional to the column's own, C_subset = h·H⁻¹·C, hence C_subset A⁻¹ C_subsetᵀ = h·H⁻¹BH⁻¹·h.
    """
    out = h - h @ blur @ h
    return np.asarray((out + np.swapaxes(out, -1, -2)) / 2)


def anything(theta: Floats) -> Bools:
    """All coefficients are possible."""
    return np.ones(theta.shape[:-1], bool)


def evaluate(
    b_day: Floats, h_day: Floats, corr: Floats, prior: tuple[Floats, Floats], sound: Sound = anything
) -> DayEvidence:
    """b_day (n, D, q), h_day (n, D, q, q), corr (n, q, q): H⁻¹BH⁻¹, see ``absorbed``; mean and variance (n, q) of the
    prior. Evidence is IMPOSSIBLE or little above where no activity's coefficients are ``sound``."""
    mean, var = prior
    n, days, _ = b_day.shape
    b_suffix = np.cumsum(b_day[:, ::-1], axis=1)[:, ::-1]
    h_suffix = absorbed(np.cumsum(h_day[:, ::-1], axis=1)[:, ::-1], corr[:, None])
    bf, theta = bayes_factor(b_suffix, h_suffix, mean[:, None], var[:, None])
    bf = np.where(sound(theta), bf, IMPOSSIBLE)
    always = bf[:, 0]
    onset = log_sum_exp(bf[:, 1:], axis=1) - np.log(max(days - 1, 1)) if days > 1 else np.full(n, -np.inf)
    some, active, theta_some = _some_days(b_day, h_day, corr, prior, sound)
    stack = np.stack([always, onset, some], axis=1)
    mode = np.argmax(stack, axis=1)
    first = 1 + np.argmax(bf[:, 1:], axis=1) if days > 1 else np.zeros(n, np.int64)
    on = np.ones((n, days))
    on[mode == ONSET] = np.arange(days)[None] >= first[mode == ONSET][:, None]
    on[mode == SOME_DAYS] = active[mode == SOME_DAYS]
    best = np.where(
        (mode == ALWAYS)[:, None],
        theta[:, 0],
        np.where((mode == ONSET)[:, None], theta[np.arange(n), first % days], theta_some),
    )
    return DayEvidence(log_sum_exp(stack, axis=1) - np.log(3.0), mode, on, best)


def _some_days(
    b_day: Floats, h_day: Floats, corr: Floats, prior: tuple[Floats, Floats], sound: Sound
) -> tuple[Floats, Floats, Floats]:
    n, days, q = b_day.shape
    mean, var = prior
    if days < 4:
        return np.full(n, -np.inf), np.ones((n, days)), np.zeros((n, q))
    # both signs of the hidden energy at once: of every meter the days above, and the days below its median
    b_day, h_day, corr = np.concatenate([b_day, b_day]), np.concatenate([h_day, h_day]), np.concatenate([corr, corr])
    mean, var = np.concatenate([mean, mean]), np.concatenate([var, var])
    gain = b_day.sum(axis=2)
    gain[n:] *= -1.0
    ordered = np.sort(gain, axis=1)
    active = (gain > (ordered[:, [(days - 1) // 2]] + ordered[:, [days // 2]]) / 2).astype(float)
    flat = h_day.reshape(2 * n, days, q * q)
    for _ in range(5):
        b = (active[:, None] @ b_day)[:, 0]
        h = absorbed((active[:, None] @ flat).reshape(2 * n, q, q), corr)
        bf, theta = bayes_factor(b, h, mean, var)
        outer = (theta[:, :, None] * theta[:, None, :]).reshape(2 * n, q * q, 1)
        delta = (b_day @ theta[..., None] - 0.5 * (flat @ outer))[..., 0]
        active = special.expit(np.clip(delta, -40, 40))
    entropy = -(special.xlogy(active, active) + special.xlogy(1 - active, 1 - active)).sum(axis=1)
    possible = np.concatenate([sound(theta[:n]), sound(theta[n:])])
    value = np.where(possible, bf + entropy - days * np.log(2.0), IMPOSSIBLE)
    best = np.where(value[n:] > value[:n], np.arange(n, 2 * n), np.arange(n))
    return value[best], active[best], theta[best]
