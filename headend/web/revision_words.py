"""Another value for the same instant, as people read it: of each only what differs, in the units of displays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from headend.api.meters import SOURCES
from headend.domain.rates import RATE_COLUMNS
from headend.store.pool import Row
from headend.web import text

RULES: Final[Mapping[str, str]] = {"first_stored": "what was stored first stays"}
"""Rules that choose between two values, in words."""


@dataclass(frozen=True, slots=True)
class Differing:
    """A quantity of which the two say different things."""

    name: str
    kept: str
    other: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRevision:
    """One revision."""

    ts: datetime
    noted_at: datetime
    differing: list[Differing]
    kept_source: str
    other_source: str
    rule: str


def shown(row: Row) -> ShownRevision:
    """A revision as the store gives it, in words."""
    return ShownRevision(
        ts=row["ts"],
        noted_at=row["noted_at"],
        differing=list(_differing(row)),
        kept_source=_source(row["kept_source"]),
        other_source=_source(row["other_source"]),
        rule=RULES.get(row["rule"], text.humanise(row["rule"])),
    )


def _source(number: int) -> str:
    return SOURCES.get(number, str(number))


def _energy(energy_wh: int) -> str:
    return f"{text.register(energy_wh)}\u00a0kWh"


def _voltage(voltage_dv: int) -> str:
    return f"{voltage_dv / 10:.1f}\u00a0V"


def _current(current_ma: int) -> str:
    return f"{current_ma / 1000:.3f}\u00a0A"


def _power(power_w: int) -> str:
    return f"{text.register(power_w)}\u00a0kW"


_PHASES: Final[Sequence[tuple[str, str, Callable[[int], str]]]] = (
    ("import", "import_l{}_wh", _energy),
    ("export", "export_l{}_wh", _energy),
    ("voltage", "voltage_l{}_dv", _voltage),
    ("current", "current_l{}_ma", _current),
)
"""To the last digit: two values that differ must not read the same."""


def _differing(row: Row) -> Iterator[Differing]:
    """Absent is not another value: the quantities that both say, and say differently."""
    kept_phases, other_phases = row["kept_phases"] or {}, row["other_phases"] or {}
    quantities: list[tuple[str, Any, Any, Callable[[int], str]]] = [
        ("import", row["kept_import_wh"], row["other_import_wh"], _energy),
        ("export", row["kept_export_wh"], row["other_export_wh"], _energy),
        ("voltage", row["kept_voltage_dv"], row["other_voltage_dv"], _voltage),
        ("power", kept_phases.get("power_w"), other_phases.get("power_w"), _power),
    ]
    for name, pattern, words in _PHASES:
        for phase in (1, 2, 3):
            column = pattern.format(phase)
            quantities.append((f"{name} L{phase}", kept_phases.get(column), other_phases.get(column), words))
    for rate, column in enumerate(RATE_COLUMNS, start=1):
        quantities.append((f"import rate {rate}", kept_phases.get(column), other_phases.get(column), _energy))
    for name, kept, other, words in quantities:
        if kept is not None and other is not None and kept != other:
            yield Differing(name, words(kept), words(other))
