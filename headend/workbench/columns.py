"""The words of the layout: which column holds what, in which unit. A name that is not here is refused by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PHASES: Final = ("l1", "l2", "l3")
ENERGIES: Final = (
    "import", "export",
    *(f"import_{p}" for p in PHASES), *(f"export_{p}" for p in PHASES), *(f"net_{p}" for p in PHASES),
    "gap",
)  # fmt: skip
"""Energy of an interval; `gap`: net energy by the registers of the whole stretch without readings that ends with it."""
REGISTERS: Final = (
    "register", "register_export", *(f"register_{p}" for p in PHASES), *(f"register_export_{p}" for p in PHASES),
)  # fmt: skip
"""Cumulative counters at an instant."""
VOLTAGES: Final = ("voltage", *(f"voltage_{p}" for p in PHASES))
"""Mean of an interval where energies stand beside them, else at the instant."""

TIMES: Final = ("timestamp", "interval_start", "interval_end")
NAMES: Final = ("area", "meter", "role")
OF_METERS: Final = ("meter", "area", "role", "phases", "multiplier", "resolution_wh", "digits")
"""Columns of the meters' file."""
ROLES: Final = ("household", "area")

_FACTOR: Final = {"wh": 1.0, "kwh": 1e3, "mwh": 1e6, "v": 1.0}
_QUANTITY: Final = re.compile(r"([a-z][a-z0-9_]*)_(wh|kwh|mwh|v)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a column measures."""

    name: str
    """One of ENERGIES, REGISTERS or VOLTAGES."""
    factor: float
    """From the column's unit to Wh or V."""


def quantity_of(column: str) -> Quantity | None:
    """What a column of that name holds; None: it is not of the layout."""
    found = _QUANTITY.fullmatch(column.strip().lower())
    if found is None:
        return None
    name, unit = found.groups()
    known = VOLTAGES if unit == "v" else (*ENERGIES, *REGISTERS)
    return Quantity(name, _FACTOR[unit]) if name in known else None


def unit_expected(column: str) -> str | None:
    """For a name that lacks its unit, or has a wrong one: the names that would do."""
    stem = re.sub(r"_(wh|kwh|mwh|v|kv|w|kw)$", "", column.strip().lower())
    if stem in VOLTAGES:
        return f"{stem}_v"
    if stem in (*ENERGIES, *REGISTERS):
        return f"{stem}_wh or {stem}_kwh"
    return None


def nearest(column: str, known: Iterable[str]) -> str | None:
    """The name that somebody may have meant."""
    found = difflib.get_close_matches(column.strip().lower(), list(known), n=1, cutoff=0.75)
    return found[0] if found else None
