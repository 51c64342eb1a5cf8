"""The voltage picture: where on the feeders all meters' voltages place what is missing, meter by meter."""

from collections.abc import Mapping

import numpy as np

from reconciliation.evidence_series import series
from reconciliation.localise import Localisation
from reconciliation.model import AreaModel
from reconciliation.report import EvidencePicture, Untold
from reconciliation.voltage_evidence import Field, location_evidence
from reconciliation.window import Bools, Floats

MOST_METERS = 10
"""Meters shown, besides the one that the finding is about."""
PLACED = 3.0
"""[nat] over the next place from which the voltages say where: odds of 20 : 1."""


def place_of(model: AreaModel, found: Localisation, meter: int, field: Field | None) -> Floats | None:
    """(N,) log evidence [nat] that what a suspect is thought to hide is at each meter, the other suspects given."""
    if field is None:
        return None
    hidden, residual = np.zeros_like(model.area.net), found.fit.residual.copy()
    for s, energy in zip(found.suspects, found.hidden_wh, strict=True):
        if s.meter == meter:
            residual += model.share[meter][:, None] * energy[None, :]
        else:
            hidden[s.meter] += energy
    return location_evidence(field, residual, hidden)


def place_of_nobody(model: AreaModel, found: Localisation | None, field: Field | None) -> Floats | None:
    """(N,) the same of what nobody's reading explains."""
    return (
        None if field is None else location_evidence(field, model.fit.residual if found is None else found.fit.residual)
    )


def place(
    model: AreaModel, evidence: Floats | None, on: Bools, meter: int | None, response: Floats | None
) -> tuple[EvidencePicture | None, Mapping[str, float], tuple[Untold, ...]]:
    """The picture of the MOST_METERS likeliest places on the streams ``on`` (K,) and of ``meter``; what it comes to in
    numbers; and what it leaves open. ``response`` (N,) [SD]: see voltage_response.py."""
    known = None if evidence is None else (evidence != 0.0) & (model.share[:, on] > 0).any(axis=1)
    if evidence is None or known is None or known.sum() < 2:
        return None, {}, (Untold.PLACE_NO_VOLTAGE,)
    order = [int(i) for i in np.argsort(-evidence, kind="stable") if known[i]]
    shown = order[:MOST_METERS]
    if meter is not None and known[meter] and meter not in shown:
        shown.append(meter)
    curves = [series("place_evidence", "nat", evidence[shown])]
    if response is not None:
        curves.append(series("voltage_response", "SD", response[shown]))
    picture = EvidencePicture(
        name="place", resolution="meter", series=tuple(curves), meters=tuple(model.area.meters[i] for i in shown)
    )
    best, second = float(evidence[order[0]]), float(evidence[order[1]])
    numbers = {"place_margin_nat": best - second, "place_meters": float(known.sum())}
    if meter is not None and known[meter]:
        numbers["place_rank"] = float(order.index(meter) + 1)
        numbers["place_evidence_nat"] = float(evidence[meter])
    return picture, numbers, () if best - second >= PLACED else (Untold.PLACE_ALIKE,)
