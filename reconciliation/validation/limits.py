"""A threshold as the rules take it: one number for all rows, or one for each, so that categories mix in one call."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Limit: TypeAlias = float | Floats
"""A number, or (n,) float64: one of each row."""


def column(limit: Limit) -> Floats:
    """(1, 1) or (n, 1): what stands against (n, k)."""
    return np.asarray(limit, dtype=np.float64).reshape(-1, 1)


def of_rows(limit: Limit, n: int) -> Floats:
    """(n,): one of each row."""
    return np.broadcast_to(np.asarray(limit, dtype=np.float64), (n,))
