"""What all meters' voltages say of the suspects, and in which order to look at the meters of an area that stands out.

suspicion_i = ln(e^(B_i) + [V_i > PLACED, register says nothing]·e^UNKNOWN) + g(V_i) + STILL·[register stands still]
(at a value: AT_VALUE) [nat]

- B_i: evidence of the meter's days against honest meters and any unmetered load (replication.py), the suspects' given
  each other, the others' given all suspects; of who is no suspect, ROWS·ln(1 + E_i) besides, E_i the evidence of its
  rows with nobody in the fit: neighbouring rows are alike, so that evidence counts little, but it orders those whose
  fault is as smooth as an unmetered load with habits.
- UNKNOWN: a register that stands still or shows something else than the load hides a load of any course, as a tap does:
  against that, it has only what is rare about it, and its place. It counts for a meter where the voltages place
  something and whose own voltage does not follow its reading; one that follows, hides what the families describe.
- V_i: evidence that what is missing is at the meter (voltage_evidence.py): of a suspect, what it is thought to hide,
  given the other suspects; of the others, what the honest balance misses. g (``tempered``): linear up to TRUSTED,
  logarithmic beyond.

It ranks; it does not accuse.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from reconciliation.levels import AT_VALUE, standing_at_a_value
from reconciliation.localise import UNKNOWN_COURSE, Localisation
from reconciliation.model import AreaModel
from reconciliation.search import MIN_EVIDENCE
from reconciliation.suspects import Suspect
from reconciliation.voltage_evidence import Field, follows, location_evidence
from reconciliation.window import Bools, Floats

MARGIN = 8.0
"""[nat] odds of 3,000 : 1 by which voltages must place a load elsewhere before they exonerate: their model of the
feeder is not exact, and meters at one joint answer alike."""
TRUSTED = 8.0
"""[nat] up to which voltages' evidence orders meters as it stands; beyond, by its logarithm: its errors are the
model's, and with many thieves no place is the only one."""
UNKNOWN = -3.0
"""[nat] one fault in twenty leaves a reading that says nothing of what it hides."""
ROWS = 2.0
"""Per e-fold of rows' evidence [nat]: ν/2 of their Student-t with ν = 4, whose tails fall as a power."""
STILL = 2.3
"""[nat] a register that stands at zero for a day or more is the rule where one is stuck, and one household in ten where
all is well: nobody lives there, or is away."""
STILL_SHARE = 0.05
"""Share of the window from which a register counts as standing still: more than a day of 28."""
PLACED = 3.0
"""[nat] from which the voltages place what is missing at a meter: odds of 20 : 1."""


def located(model: AreaModel, found: Localisation, field: Field | None) -> Localisation:
    """The suspects with what voltages say of each, given the others."""
    if field is None:
        return found
    suspects: Sequence[Suspect] = [
        replace(s, place=here.own, other_places=here.others, elsewhere=here.elsewhere)
        for s in found.suspects
        for here in [placed(model, found, s.meter, field)]
    ]
    return replace(found, suspects=tuple(suspects))


@dataclass(frozen=True, slots=True)
class Place:
    """Where voltages place what a meter is thought to hide."""

    own: float
    """Log evidence [nat] for the meter, against "no one alone"."""
    others: float
    """Log of the mean evidence [nat] of the other places: the other meters of its streams, and all over them."""
    best_other: float
    """Log evidence [nat] of the best of those."""

    @property
    def elsewhere(self) -> bool:
        """Whether it is placed at another meter, or all over the streams, by MARGIN."""
        return self.own < -MARGIN or self.best_other - self.own > MARGIN


def placed(model: AreaModel, found: Localisation, meter: int, field: Field, among: Bools | None = None) -> Place:
    """Where what a meter is thought to hide is, the other suspects given; ``among`` (N,): others to compare with."""
    hidden, left, own = np.zeros_like(model.area.net), found.fit.residual, None
    for k, s in enumerate(found.suspects):
        if s.meter != meter:
            hidden[s.meter] += found.hidden_wh[k]
        elif s.family.name in UNKNOWN_COURSE:
            left = left + model.share[meter][:, None] * found.hidden_wh[k][None, :]
        else:
            own = model.share[meter][:, None] * found.hidden_wh[k][None, :]
    if own is None:
        evidence = location_evidence(field, left, hidden)
    else:  # what others hide, and nobody has found yet, has places of its own
        evidence = location_evidence(field, own, hidden, beside=left)
    others: Bools = np.any((model.share > 0) & (model.share[meter] > 0), axis=1)
    others[meter] = False
    if among is not None:
        others &= among
    rest = np.append(evidence[others], 0.0)
    return Place(
        own=float(evidence[meter]),
        others=float(special.logsumexp(rest)) - float(np.log(rest.size)),
        best_other=float(rest.max()),
    )


def tempered(evidence: Floats) -> Floats:
    """Log evidence of voltages [nat] as far as it is believed."""
    return np.asarray(np.sign(evidence) * TRUSTED * np.log1p(np.abs(evidence) / TRUSTED))


def ranking(model: AreaModel, found: Localisation, still: Bools, field: Field | None) -> Floats:
    """(N,) suspicion [nat]; ``still`` (N, T): whether a register stands still."""
    if field is None:
        return found.ranking
    place = location_evidence(field, model.fit.residual)
    for s in found.suspects:
        place[s.meter] = max(place[s.meter], s.place)
    silent = ~follows(field) & (place > PLACED)
    days = found.ranking + ROWS * np.log1p(np.maximum(found.first.total, 0.0) / MIN_EVIDENCE)
    for s in found.suspects:
        days[s.meter] = found.ranking[s.meter]
    own = np.logaddexp(days, np.where(silent, UNKNOWN, -np.inf))
    stands = np.where(still.mean(axis=1) > STILL_SHARE, STILL, 0.0)
    stands[standing_at_a_value(model.area, still)] = AT_VALUE
    return np.asarray(own + tempered(place) + stands)
