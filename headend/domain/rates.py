"""Registers that a meter keeps per rate beside its total (OBIS 1.8.1 … 1.8.8), by the names of their columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

RATE_COLUMNS: Final = tuple(f"import_t{rate}_wh" for rate in range(1, 9))
"""Of the first rate, and so on."""


def rates_of(row: Mapping[str, Any]) -> list[int | None] | None:
    """Registers per rate [Wh] as far as the last one that was read; None: none was."""
    rates = [row.get(column) for column in RATE_COLUMNS]
    while rates and rates[-1] is None:
        rates.pop()
    return rates or None
