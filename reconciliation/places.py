"""Where series have holes, looked up once for everything that is asked of them."""

from dataclasses import dataclass

import numpy as np

from reconciliation.window import Bools, Ints


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """Where n series of T values have their h holes, and where they are known; places are counted through all of them,
    one series after the other."""

    known: Bools
    """(n, T)."""
    good: Ints
    """Places of the known values."""
    row: Ints
    """(h,) series of each hole."""
    at: Ints
    """(h,) its interval."""
    rank: Ints
    """(h,) how many known values lie before it: the index in ``good`` of the next one."""

    @classmethod
    def of(cls, known: Bools) -> "Places":
        """Of series of which these are known."""
        hole = np.flatnonzero(~known)
        row, at = np.divmod(hole, known.shape[1])
        return cls(known=known, good=np.flatnonzero(known), row=row, at=at, rank=hole - np.arange(hole.size))
