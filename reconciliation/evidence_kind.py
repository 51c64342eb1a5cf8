"""What a meter's way of being wrong is called: the kind of finding, from family, factor and what is known of it."""

import numpy as np

from reconciliation.report import FindingKind
from reconciliation.window import Floats

FACTORS = ("multiplier", "scaled", "random")
"""Families in which what is missing is a multiple of what was read."""
CT_RATIOS = (2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0)
"""Standard primary currents (IEC 61869-2: 10, 15, 20, 25, 30, 40, 50, 75, 100 … A) over a secondary of 5 A."""
RATIO_KNOWN = 0.04
"""Relative SD of a factor from which it says nothing about a ratio, and how far it may miss one: the technical loss and
both accuracy classes are in it."""


def kind_of(family: str, hidden: Floats, hidden_sd: float, reading: Floats, active: Floats) -> FindingKind:
    """The kind of a suspect: (T,) ``hidden`` [Wh] with the SD of its sum, ``reading`` [Wh], ``active`` 1 where it
    acts."""
    on = active > 0.5
    if float(np.ptp(reading[on])) == 0.0 if on.any() else False:
        return FindingKind.STUCK
    if family == "stuck":
        return FindingKind.STUCK
    if family == "reversed":
        return FindingKind.CLOCK_SKEW
    read, true = float(reading[on].sum()), float((reading + hidden)[on].sum())
    if family in FACTORS and read > 0 and true > 0:
        factor = true / read
        # over-registering, or less than a fifth of the truth; a bypass leaves more
        if factor < 0.9 or factor > 5.0 or (on.all() and is_ratio(factor, hidden_sd / read)):
            return FindingKind.WRONG_MULTIPLIER
    return FindingKind.UNDER_REGISTERING


def is_ratio(factor: float, sd: float) -> bool:
    """Whether a constant factor is a current transformer's ratio, or one over it, and known well enough to say so."""
    miss = min(abs(np.log(factor / r)) for ratio in CT_RATIOS for r in (ratio, 1.0 / ratio))
    return sd < RATIO_KNOWN * factor and miss < max(2.0 * sd / factor, RATIO_KNOWN)
