"""What the findings of one area share: what else is known of it, and how evidence and spread are stated."""

from dataclasses import dataclass

import numpy as np

from reconciliation.cause_probability import TEMPER, posterior
from reconciliation.voltage_evidence import Field
from reconciliation.window import Floats

Z90 = 1.645
"""Half-width of a Gaussian 90 % interval in SD."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Grounds:
    """What else is known of an area that stands out, for its findings' evidence."""

    field: Field | None = None
    """How voltages answer loads; None where they do not carry it."""
    response: Floats | None = None
    """(N,) how a voltage answers what is missing [SD]; None without voltages."""
    beyond: float = 0.0
    """By how much the area stands out [nat]."""

    meter: float = 0.5
    """Probability that some meter's reading is the cause."""
    unmetered: float = 0.5
    """Probability that a load without a meter is."""

    @property
    def nothing(self) -> float:
        """Probability that the area is clean after all."""
        return posterior(-self.beyond / TEMPER)


def probability(log_odds: float) -> float:
    """Log odds [nat] → probability, tempered by 2 because the model is not exact, kept within [0.01, 0.99]."""
    return float(np.clip(1.0 / (1.0 + np.exp(-np.clip(log_odds / 2.0, -40, 40))), 0.01, 0.99))
