"""How probable each cause of an area's balance is, by comparison of the models that were fitted.

Clean against not clean: the area's evidence beyond its alarm limit. Not clean is divided between meters and an
unmetered load: P(some meter) = 1 − Π(1 − p_k) over the suspects' posteriors (decide.log_odds), and where no suspect
repeats itself, what of the wrong meters escapes that test. A wrong area meter or a wrong mapping, where found, takes
its own posterior, and the rest is divided as before. Sums to 1.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special

from reconciliation.decide import PRIOR_WRONG
from reconciliation.report import Cause

ESCAPES = 0.2
"""Share of areas with wrong meters in which none repeats itself day by day, as unmetered loads do: a reading that says
nothing about its load, and losses near the noise."""
COINCIDENCE = 0.02
"""Probability that a fault which repeats itself is another load with the same course, on the same streams: two shops,
two street lights; no balance can tell."""
TEMPER = 2.0
"""Divides log evidence of whole areas [nat]: the instruments' errors are correlated between rows, so that about every
other one is new."""
DEAD = 0.9
"""Probability of a register that was called dead by rule to be so: an empty flat may look the same."""
BOUNDS = (0.001, 0.999)
"""No probability is stated beyond: nothing here is known to one in a thousand."""


def posterior(log_odds: float) -> float:
    """Log odds [nat] → probability within BOUNDS."""
    return float(np.clip(special.expit(log_odds), *BOUNDS))


def stated(log_odds: float) -> float:
    """Probability to state for a meter of posterior ``log_odds`` (decide.log_odds) [nat].

    Days that do not repeat the fault are no proof of honesty: a share ESCAPES of wrong meters shows none, so the odds
    never fall below that share of the prior. And days that do may be those of somebody else's load with the same hours.
    """
    odds = float(np.exp(min(log_odds, 50.0))) + ESCAPES * PRIOR_WRONG / (1.0 - PRIOR_WRONG)
    return min(odds / (1.0 + odds), 1.0 - COINCIDENCE)


def cause_probability(
    *,
    beyond_alarm: float,
    suspect_log_odds: Sequence[float],
    dead: int,
    found: Cause | None = None,
    found_evidence: float = 0.0,
) -> Mapping[Cause, float]:
    """Probability of each cause.

    ``beyond_alarm``: evidence against clean less the alarm limit [nat]; ``dead``: number of registers called dead;
    ``found``: AREA_METER or MAPPING with its evidence [nat], or None.
    """
    clean = posterior(-beyond_alarm / TEMPER)
    nobody = float(np.prod([1.0 - stated(x) for x in suspect_log_odds])) * (1.0 - DEAD) ** dead
    meter = 1.0 - nobody * (1.0 - ESCAPES)
    share = 0.0 if found is None else posterior(found_evidence / TEMPER)
    out = {
        Cause.CLEAN: (1.0 - share) * clean,
        Cause.METER: (1.0 - share) * (1.0 - clean) * meter,
        Cause.UNMETERED: (1.0 - share) * (1.0 - clean) * (1.0 - meter),
        Cause.MAPPING: share if found is Cause.MAPPING else 0.0,
        Cause.AREA_METER: share if found is Cause.AREA_METER else 0.0,
    }
    return out
