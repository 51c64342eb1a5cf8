"""A batch read from the body that billing accepted: what a restored head-end no longer knows that it told.

The rule it keeps: what is taken back is what billing was told, byte for byte; a body that this program would not make
again from its rows is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from headend.domain.billing import FORMAT, Batch, Determinant

_SPACE: Final = uuid5(NAMESPACE_URL, FORMAT)


class NotABatch(ValueError):
    """The body is none of this head-end's, or was changed."""


def read_body(body: bytes, usage_points: Mapping[str, int] | None = None) -> Batch:
    """The batch in a body; usage points that are not given have the number 0.

    Its idempotency key is not in the body and is made from it: an acknowledged batch is not pushed again. Raises
    NotABatch.
    """
    known = usage_points or {}
    try:
        content: dict[str, Any] = json.loads(body)
        batch = Batch(
            number=content["number"],
            idempotency_key=uuid5(_SPACE, body.decode()),
            created_at=datetime.fromisoformat(content["created_at"]),
            period_from=date.fromisoformat(content["period"]["from"]),
            period_to=date.fromisoformat(content["period"]["to"]),
            determinants=tuple(_determinant(row, known) for row in content["determinants"]),
        )
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise NotABatch(f"no billing batch: {error!r}") from error
    if batch.body() != body.strip():
        raise NotABatch(f"batch {batch.number}: the body is not the one that its rows make")
    return batch


def _determinant(row: dict[str, Any], known: Mapping[str, int]) -> Determinant:
    return Determinant(
        usage_point_id=known.get(row["usage_point"], 0),
        usage_point=row["usage_point"],
        category=row["category"],
        day=date.fromisoformat(row["day"]),
        direction=row["direction"],
        tariff_band=row["tariff_band"],
        revision=row["revision"],
        energy_wh=row["energy_wh"],
        estimated_wh=row["estimated_wh"],
        start_register_wh=row["start_register_wh"],
        start_ts=datetime.fromisoformat(row["start_ts"]),
        end_register_wh=row["end_register_wh"],
        end_ts=datetime.fromisoformat(row["end_ts"]),
        multiplier=None if row["multiplier"] is None else Decimal(row["multiplier"]),
        meters=tuple(row["meters"]),
        reason=row["reason"],
    )
