"""Random numbers as a pure function of (seed, key): a day can be drawn again at any time, in any order."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Complexes = npt.NDArray[np.complex128]


def stream(seed: int, *key: int | str) -> np.random.Generator:
    """The generator of this key; the same key gives the same numbers for ever."""
    words = [seed, *(zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))


def smooth_noise(seed: int, key: str, ordinal: int, hours: Floats, *, knots: int, rows: int) -> Floats:
    """(rows, n) slowly varying standard noise at local `hours` of day `ordinal`; continuous over midnight.

    `knots` values a day, with smooth steps in between.
    """
    today = stream(seed, key, ordinal).standard_normal((rows, knots))
    tomorrow = stream(seed, key, ordinal + 1).standard_normal((rows, knots))[:, :1]
    values = np.hstack([today, tomorrow])
    at = np.clip(hours / 24.0, 0.0, 1.0 - 1e-12) * knots
    left = at.astype(np.int64)
    w = at - left
    w = w * w * (3.0 - 2.0 * w)
    return np.asarray(values[:, left] * (1.0 - w) + values[:, left + 1] * w)
