"""What billing is told: daily determinants in an immutable numbered batch, with control totals and a canonical form."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any
from uuid import UUID

FORMAT = "headend.billing-batch/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Determinant:
    """Energy of one usage point, local day, direction and tariff band, with the registers behind it."""

    usage_point_id: int
    usage_point: str
    category: str
    day: date
    direction: str
    """`import` or `export`."""
    tariff_band: str
    revision: int
    """0: the original; n: the n-th adjustment, which holds the difference."""
    energy_wh: int
    estimated_wh: int
    """Part of the day's energy that was estimated."""
    start_register_wh: int | None
    """Raw, as the meter shows it; None where nothing was read at that instant."""
    start_ts: datetime
    end_register_wh: int | None
    end_ts: datetime
    multiplier: Decimal | None
    meters: tuple[str, ...]
    """`manufacturer/serial`, in the order in which they served."""
    reason: str | None
    """Why there is an adjustment; None for an original."""

    def as_json(self) -> dict[str, Any]:
        """The members that billing sees."""
        return {
            "usage_point": self.usage_point,
            "category": self.category,
            "day": self.day.isoformat(),
            "direction": self.direction,
            "tariff_band": self.tariff_band,
            "revision": self.revision,
            "energy_wh": self.energy_wh,
            "estimated_wh": self.estimated_wh,
            "start_register_wh": self.start_register_wh,
            "start_ts": self.start_ts.isoformat(),
            "end_register_wh": self.end_register_wh,
            "end_ts": self.end_ts.isoformat(),
            "multiplier": None if self.multiplier is None else f"{self.multiplier.normalize():f}",
            "meters": list(self.meters),
            "reason": self.reason,
        }


@dataclass(frozen=True, kw_only=True)
class Batch:
    """An immutable, numbered set of determinants."""

    number: int
    idempotency_key: UUID
    created_at: datetime
    period_from: date
    period_to: date
    determinants: tuple[Determinant, ...]

    def __post_init__(self) -> None:
        if not self.determinants:
            raise ValueError(f"batch {self.number} would be empty")

    @cached_property
    def energy_wh(self) -> int:
        """Control total: the sum over all determinants [Wh]."""
        return sum(d.energy_wh for d in self.determinants)

    @cached_property
    def checksum(self) -> str:
        """`sha256:` and the hash over every determinant's canonical JSON (sorted keys, no spaces), one a line."""
        lines = (
            json.dumps(d.as_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            for d in self.determinants
        )
        return "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def body(self) -> bytes:
        """The request body of a push: the same bytes whenever it is made."""
        content = {
            "format": FORMAT,
            "number": self.number,
            "created_at": self.created_at.isoformat(),
            "period": {"from": self.period_from.isoformat(), "to": self.period_to.isoformat()},
            "control": {"count": len(self.determinants), "energy_wh": self.energy_wh, "checksum": self.checksum},
            "determinants": [d.as_json() for d in self.determinants],
        }
        return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
