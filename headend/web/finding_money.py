"""What a finding's energy is worth, with its 90 % interval; nothing is priced that is not lost or owed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from headend.settings import Findings
from headend.web import text

_NOT_LOST: Final = frozenset({"wrong_area", "missing_data", "clock_skew", "unexplained"})
"""Kinds whose energy is booked elsewhere, not known, or nothing in sum."""


@dataclass(frozen=True, slots=True)
class Money:
    """An amount with both ends of its 90 % interval."""

    amount: float
    low: float
    high: float
    currency: str

    def shown(self, value: float) -> str:
        """One of them, in whole units where it is large."""
        return text.number(value)


def is_lost(kind: str) -> bool:
    """Whether a kind's energy is lost or owed, so that it can be priced."""
    return kind not in _NOT_LOST


def is_known(kind: str, energy_wh: float | None) -> bool:
    """Whether it is known how much is at stake: of what nobody read, nothing is not known to be zero."""
    return energy_wh is not None and (kind != "missing_data" or energy_wh != 0)


def at_stake(finding: Mapping[str, Any], prices: Findings) -> Money | None:
    """The energy at stake at the price of the usage point's category; None: no price is set, or nothing is lost.

    Negative: the utility counted too much, and owes it.
    """
    price = prices.price_of(finding.get("category"))
    energies = [finding[name] for name in ("energy_wh", "energy_low_wh", "energy_high_wh")]
    if price is None or not is_lost(finding["kind"]) or any(wh is None for wh in energies) or not any(energies):
        return None
    amount, low, high = (wh / 1000 * price for wh in energies)
    return Money(amount, low, high, prices.currency)
