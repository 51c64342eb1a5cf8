"""Runs of equal answers along time: how long a condition held without a break."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


def in_long_run(hits: Bools, least: Ints) -> Bools:
    """(n, k) bool: elements of runs of True along axis 1 that are at least so long; `least`: (n,) int64."""
    n, k = hits.shape
    found = np.zeros((n, k), dtype=np.bool_)
    promising = np.flatnonzero(np.count_nonzero(hits, axis=1) >= np.maximum(least, 1))
    if not promising.size:
        return found
    padded = np.zeros((promising.size, k + 2), dtype=np.int8)
    padded[:, 1:-1] = hits[promising]
    step = np.diff(padded, axis=1)
    rows, starts = np.nonzero(step == 1)
    _, ends = np.nonzero(step == -1)
    marked = np.zeros((promising.size, k + 1), dtype=np.int32)
    long = ends - starts >= least[promising][rows]
    np.add.at(marked, (rows[long], starts[long]), 1)
    np.add.at(marked, (rows[long], ends[long]), -1)
    found[promising] = np.cumsum(marked, axis=1)[:, :k] > 0
    return found


def run_before(hits: Bools) -> Ints:
    """(n, k) int64: how many elements in a row are True, up to and with each one; 0 where it is not."""
    k = hits.shape[1]
    place = np.arange(k, dtype=np.int64)
    last_miss = np.maximum.accumulate(np.where(hits, -1, place[None, :]), axis=1)
    return np.where(hits, place[None, :] - last_miss, 0)
