"""A share of counted cases with its uncertainty.

The rule it keeps: of nothing there is no share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

Z95: Final = 1.959964
"""Half-width of a Gaussian 95 % interval in standard deviations."""


@dataclass(frozen=True, slots=True)
class Proportion:
    """A share and the interval that holds the true one 95 times out of 100."""

    share: float
    low: float
    high: float


def wilson(hits: int, trials: int, z: float = Z95) -> Proportion | None:
    """Hits of trials by Wilson's score interval (E. B. Wilson, JASA 22, 1927); None: there was no trial.

    Raises ValueError where the counts make no sense.
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} of {trials} is no share")
    if trials == 0:
        return None
    share, spread = hits / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    low = 0.0 if hits == 0 else max(middle - half, 0.0)
    high = 1.0 if hits == trials else min(middle + half, 1.0)
    return Proportion(share, low, high)
