"""What else may be behind a finding, and with which odds: probabilities that sum to one.

The finding's own is its confidence; what is left is divided among the other explanations in proportion to what each
has for it. Where nothing tells them apart they share alike.
"""

from collections.abc import Mapping

import numpy as np

from reconciliation.report import METER_PREFIX, Explanation

RARE = 0.001
"""Weight of an explanation that its own test did not find: nothing here is known to one in a thousand."""


def divided(claim: float, others: Mapping[Explanation, float]) -> dict[str, float]:
    """``claim``: probability of the finding's own explanation, 0..1; ``others``: weight of each other, any scale."""
    weights = {name: max(weight, RARE) for name, weight in others.items()}
    total = sum(weights.values())
    out = {str(Explanation.THIS_FINDING): claim}
    return out | {str(name): (1.0 - claim) * weight / total for name, weight in weights.items()}


def among(meters: Mapping[str, float], claim: float, others: Mapping[Explanation, float]) -> dict[str, float]:
    """The same where one of several meters is to blame: ``claim`` is divided among them by their log odds [nat]."""
    names, nats = list(meters), np.array(list(meters.values()))
    weight = np.exp(np.clip(nats - nats.max(), -40, 0))
    rest = divided(claim, others)
    del rest[str(Explanation.THIS_FINDING)]
    own = {METER_PREFIX + name: float(claim * w / weight.sum()) for name, w in zip(names, weight, strict=True)}
    return own | rest


def restated(odds: Mapping[str, float], before: float, now: float) -> dict[str, float]:
    """Odds after the finding's confidence was restated, e.g. by what inspections taught: the others keep their
    proportions. A finding that is divided among meters keeps theirs, too."""
    if not odds or before == now:
        return dict(odds)

    def scale(name: str) -> float:
        own = name == Explanation.THIS_FINDING or name.startswith(METER_PREFIX)
        return now / before if own else (1.0 - now) / (1.0 - before)

    return {name: p * scale(name) for name, p in odds.items()} if 0.0 < before < 1.0 else dict(odds)
