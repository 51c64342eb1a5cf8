"""One stream's effects as multiples of few time courses, and the products the noise fit needs of them.

A meter's gain, skew and curve columns are its energy p, (p(t+1) − p(t−1))/2 and (p(t+1) − 2p(t) + p(t−1))/2; its
split columns are p again with other factors. A filter F commutes with shifts, so F is applied to p once and the
courses are shifts of F·p: exact, because the rows whose filter span reaches before the first interval are not used.
The readings are repeated once at both ends; the curve is 0 in the first and the last interval, for want of a neighbour.

Many columns at once may come in float32: products of readings then err by 1e-6 of themselves, far less than what they
are products of is known. Sums over a window, factors and effects are float64.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy import ndimage

from reconciliation.window import Floats, Ints, Numbers, Singles

Some = TypeVar("Some", Floats, Singles)
BLOCK = 16
"""Intervals that one product with a band matrix filters: long enough for the processor, few zeros in the band."""
AT_ONCE = 1 << 16
"""Values filtered at a time: a quarter of a megabyte."""


def filtered(taps: Floats, x: Floats) -> Floats:
    """(…, T) Σ_i taps[i]·x(t − i), with zeros before the first interval."""
    if x.ndim == 1:
        return np.convolve(x, taps)[: x.size]
    return np.asarray(ndimage.convolve1d(x, taps, axis=-1, mode="constant", cval=0.0, origin=-(taps.size // 2)))


def filtered_singles(taps: Floats, x: Numbers, weight: Floats | None = None, rows: Ints | None = None) -> Singles:
    """The same of (n, T) columns in float32, at most BLOCK taps; times the (T,) ``weight``; of some ``rows`` only.

    Blocks of each column times the band of taps that falls on them, and on the end of the block before; a few columns
    at a time, which stay in the processor's cache.
    """
    n, t = x.shape[0] if rows is None else rows.size, x.shape[1]
    order = taps.size - 1
    lag = BLOCK + np.arange(BLOCK) - np.arange(BLOCK - order, 2 * BLOCK)[:, None]
    band = np.where((lag >= 0) & (lag <= order), taps[np.clip(lag, 0, order)], 0.0).astype(np.float32)
    width = (-(-t // BLOCK) + 1) * BLOCK
    some = min(max(AT_ONCE // width, 1), n)
    padded, found = np.zeros((some, width), np.float32), np.empty((some, width), np.float32)
    factor = None if weight is None else weight.astype(np.float32)
    out = np.empty((n, t), np.float32)
    for first in range(0, n, max(some, 1)):
        here = slice(first, min(first + some, n))
        k = here.stop - first
        padded[:k, BLOCK : BLOCK + t] = x[here] if rows is None else x[rows[here]]
        blocks, own = padded[:k].reshape(-1, BLOCK), found[:k].reshape(-1, BLOCK)[1:]
        np.matmul(blocks[1:], band[order:], out=own)
        if order:
            own += blocks[:-1, BLOCK - order :] @ band[:order]
        if factor is None:
            out[here] = found[:k, BLOCK : BLOCK + t]
        else:
            np.multiply(found[:k, BLOCK : BLOCK + t], factor, out=out[here])
    return out


def filtered_back(taps: Floats, x: Floats) -> Floats:
    """(…, T) the transpose of ``filtered``: Σ_i taps[i]·x(t + i), with zeros after the last interval."""
    return np.ascontiguousarray(filtered(taps, x[..., ::-1])[..., ::-1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """The m_k effects on one stream: effect j is ``scale[j]`` × course ``source[j]``. n meters on it, T intervals.

    The courses are n levels, n slopes, n curves, then the others.
    """

    effects: Ints
    """(m_k,) index among all effects."""
    source: Ints
    """(m_k,) course of each."""
    scale: Floats
    """(m_k,) its factor."""
    levels: Floats
    """(n, T + 2) meters' energies, the first and the last repeated [Wh]."""
    others: Floats
    """(o, T) courses that belong to no single meter [Wh]."""

    @property
    def n_courses(self) -> int:
        """3 n + o."""
        return 3 * int(self.levels.shape[0]) + int(self.others.shape[0])

    def extended(self, effects: Ints, columns: Floats) -> "Stream":
        """With further effects, each a course (q, T) of its own [Wh]."""
        q = effects.size
        return replace(
            self,
            effects=np.concatenate([self.effects, effects]),
            source=np.concatenate([self.source, self.n_courses + np.arange(q)]),
            scale=np.concatenate([self.scale, np.ones(q)]),
            others=np.concatenate([self.others, columns]),
        )

    def whitened(self, taps: Floats, root: Floats) -> Floats:
        """(courses, T) filtered and weighted; ``root`` (T,) is 0 in the first p rows, p the filter's order."""
        return self._whitened(filtered(taps, self.levels), filtered(taps, self.others), taps, root)

    def whitened_singles(self, taps: Floats, root: Floats) -> Singles:
        """The same in float32."""
        x, others = filtered_singles(taps, self.levels), filtered_singles(taps, self.others)
        return self._whitened(x, others, taps, root.astype(np.float32))

    def _whitened(self, x: Some, others: Some, taps: Floats, root: Some) -> Some:
        n, t, order = self.levels.shape[0], self.others.shape[1], taps.size - 1
        out = np.empty((self.n_courses, t), x.dtype)
        level, slope, curve = out[:n], out[n : 2 * n], out[2 * n : 3 * n]
        np.multiply(x[:, 1:-1], root, out=level)
        half = root / 2
        np.subtract(x[:, 2:], x[:, :-2], out=slope)
        slope *= half
        np.add(x[:, 2:], x[:, :-2], out=curve)
        curve *= half
        curve -= level
        for at, row, tap in ((0, order, taps[order]), (t - 1, t - 1, taps[0])):
            if row < t:  # the curve in the first and the last interval is 0
                bend = (self.levels[:, at + 2] - 2 * self.levels[:, at + 1] + self.levels[:, at]) / 2
                curve[:, row] -= tap * root[row] * bend
        np.multiply(others, root, out=out[3 * n :])
        return out

    def gram(self, whitened: Numbers) -> Floats:
        """(m_k, m_k) ZᵀR⁻¹Z of the whitened courses."""
        of_courses = np.take(whitened @ whitened.T, self.source, axis=0)
        return self.spread(of_courses) * self.scale[:, None]

    def spread(self, of_courses: Numbers) -> Floats:
        """(…, m_k) products with the effects from (…, courses) products with the courses."""
        return np.asarray(of_courses[..., self.source] * self.scale)

    def against(self, taps: Floats, root: Floats, x: Numbers) -> Floats:
        """(q, m_k) products of (q, T) whitened columns with the effects, without whitening those (for few columns)."""
        back = filtered_back(taps, x * root)
        q, t = back.shape
        bend = back.copy()
        bend[:, [0, -1]] = 0.0
        shifted = np.zeros((3, q, t + 2))
        shifted[0, :, 1:-1] = back
        shifted[1, :, 2:] = back / 2
        shifted[1, :, :-2] -= back / 2
        shifted[2, :, 2:] = bend / 2
        shifted[2, :, :-2] += bend / 2
        shifted[2, :, 1:-1] -= bend
        meters = (shifted.reshape(3 * q, t + 2) @ self.levels.T).reshape(3, q, self.levels.shape[0])
        return self.spread(np.concatenate([*meters, back @ self.others.T], axis=1))

    def sum(self, effects: Floats) -> Floats:
        """(T,) Z·η for (m,) effects [Wh]."""
        n = self.levels.shape[0]
        weight = np.bincount(self.source, weights=self.scale * effects[self.effects], minlength=self.n_courses)
        level, slope, curve = weight[: 3 * n].reshape(3, n) @ self.levels
        out = weight[3 * n :] @ self.others + level[1:-1] + (slope[2:] - slope[:-2]) / 2
        out[1:-1] += (curve[3:-1] - 2 * curve[2:-2] + curve[1:-3]) / 2
        return np.asarray(out)
