"""A finding's evidence as the store keeps it: JSON with the engine's own names, null where a value is not known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from reconciliation import Evidence, EvidenceSeries


def evidence_json(evidence: Evidence) -> dict[str, Any]:
    """Everything that a page shows of it."""
    return {
        "resolution": evidence.resolution,
        "series": [_series(one) for one in evidence.series],
        "numbers": _numbers(evidence.numbers),
        "alternatives": _numbers(evidence.alternatives),
        "pattern": evidence.pattern,
        "pictures": [
            {
                "name": picture.name,
                "resolution": picture.resolution,
                "first_interval": picture.first_interval,
                "meters": list(picture.meters),
                "series": [_series(one) for one in picture.series],
            }
            for picture in evidence.pictures
        ],
        "untold": [str(one) for one in evidence.untold],
    }


def _series(one: EvidenceSeries) -> dict[str, Any]:
    return {"name": one.name, "unit": one.unit, "values": [_known(float(value)) for value in one.values]}


def _numbers(named: Mapping[str, float]) -> dict[str, float | None]:
    return {str(name): _known(float(value)) for name, value in named.items()}


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
