"""What all meters' voltages say of the suspects, and in which order to look at the meters of an area that stands out.

suspicion_i = ln(e^(B_i) + [V_i > PLACED, register says nothing]·e^W) + V_i + STILL·[register stands still] [nat]

- B_i: evidence of the meter's days (replication.py), the suspects' given each other, the others' given all suspects.
- W: evidence that something, whatever its course, is missing on the meter's streams (variance_evidence). It counts for
  a meter where the voltages place it and whose own voltage does not follow its reading: a register that stands still
  or shows something else than the load hides whatever was used; one that follows, what the families describe.
- V_i: evidence that what is missing is at the meter (voltage_evidence.py): of a suspect, what it is thought to hide,
  given the other suspects; of the others, what the honest balance misses.

It ranks; it does not accuse.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reconciliation.attribution import variance_evidence
from reconciliation.localise import Localisation
from reconciliation.model import AreaModel
from reconciliation.suspects import Suspect
from reconciliation.voltage_evidence import Field, follows, location_evidence
from reconciliation.window import Bools, Floats

MARGIN = 8.0
"""[nat] odds of 3,000 : 1 by which voltages must place a load elsewhere before they exonerate: their model of the
feeder is not exact, and meters at one joint answer alike."""
STILL = 5.0
"""[nat] a register that stands still for a day or more is rare where all is well (an empty flat reads zero), the rule
where a register is stuck: odds of about 150 : 1."""
STILL_SHARE = 0.05
"""Share of the window from which a register counts as standing still: more than a day of 28."""
PLACED = 3.0
"""[nat] from which the voltages place what is missing at a meter: odds of 20 : 1."""


def located(model: AreaModel, found: Localisation, field: Field | None) -> Localisation:
    """The suspects with what voltages say of each, given the others."""
    if field is None:
        return found
    suspects: Sequence[Suspect] = [
        replace(s, place=place, elsewhere=elsewhere)
        for s in found.suspects
        for place, elsewhere in [placed(model, found, s.meter, field)]
    ]
    return replace(found, suspects=tuple(suspects))


def placed(model: AreaModel, found: Localisation, meter: int, field: Field) -> tuple[float, bool]:
    """Log evidence [nat] that what a meter is thought to hide is at it, the other suspects given; and whether voltages
    place it elsewhere: at another meter of its streams, or all over them, by MARGIN."""
    hidden, residual = np.zeros_like(model.area.net), found.fit.residual.copy()
    for k, s in enumerate(found.suspects):
        if s.meter == meter:
            residual += model.share[meter][:, None] * found.hidden_wh[k][None, :]
        else:
            hidden[s.meter] += found.hidden_wh[k]
    evidence = location_evidence(field, residual, hidden)
    same = np.any((model.share > 0) & (model.share[meter] > 0), axis=1)
    own = float(evidence[meter])
    return own, own < -MARGIN or float(evidence[same].max()) - own > MARGIN


def ranking(model: AreaModel, found: Localisation, still: Bools, field: Field | None) -> Floats:
    """(N,) suspicion [nat]; ``still`` (N, T): whether a register stands still."""
    if field is None:
        return found.ranking
    place = location_evidence(field, model.fit.residual)
    for s in found.suspects:
        place[s.meter] = max(place[s.meter], s.place)
    silent = ~follows(field) & (place > PLACED)
    missing = np.where(model.share > 0, variance_evidence(model.fit)[None, :], np.inf).min(axis=1)
    own = np.logaddexp(found.ranking, np.where(silent, missing, -np.inf))
    return np.asarray(own + place + STILL * (still.mean(axis=1) > STILL_SHARE))
