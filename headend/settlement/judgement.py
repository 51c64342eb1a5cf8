"""The rules in force as people ask for them, and what they found on an area's day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from headend.domain.calendar import LocalCalendar
from headend.domain.quality import FAULTS
from headend.settings import Settings
from headend.settlement.rules import Rules
from headend.store import rule_sets, topology, validation
from headend.store.pool import Connection
from reconciliation.estimation import METHODS
from reconciliation.validation import RULES, Flag

WORST = 10
"""So many usage points are named."""


@dataclass(frozen=True, slots=True)
class ThresholdInForce:
    """One threshold."""

    name: str
    value: float
    unit: str
    says: str
    default: float
    of_category: Mapping[str, float]
    """Where it differs."""


@dataclass(frozen=True, slots=True)
class RuleInForce:
    """One rule."""

    code: str
    version: int
    flag: int
    says: str
    enabled: bool
    of_category: Mapping[str, bool]
    """Whether it runs, where that differs."""
    thresholds: tuple[ThresholdInForce, ...]


@dataclass(frozen=True, slots=True)
class MethodInForce:
    """One way of estimating."""

    code: str
    version: int
    flag: int
    says: str


@dataclass(frozen=True, slots=True)
class InForce:
    """All of them."""

    rule_set: int | None
    """The number under which settled days name them; None: nothing was settled by them yet."""
    rules: tuple[RuleInForce, ...]
    estimation: tuple[MethodInForce, ...]
    registers: Mapping[str, float | list[str]]
    """How registers become intervals, and which days of the calendar count otherwise than by their weekday."""


def in_force(connection: Connection, settings: Settings) -> InForce:
    """The rules that the settings ask for."""
    rule_set = Rules.of(settings.settlement, settings.validation).rule_set
    return InForce(
        rule_sets.known(connection, rule_set.digest),
        tuple(_rule(code, entry) for code, entry in rule_set.document["rules"].items()),
        tuple(MethodInForce(m.code, m.version, int(m.flag), m.says) for m in METHODS),
        rule_set.document["registers"],
    )


def _rule(code: str, entry: Mapping[str, Any]) -> RuleInForce:
    rule = RULES[code]
    differs: Mapping[str, Mapping[str, Any]] = entry.get("category", {})
    return RuleInForce(
        code,
        rule.version,
        int(rule.flag),
        rule.says,
        entry.get("enabled", True),
        {category: own["enabled"] for category, own in differs.items() if "enabled" in own},
        tuple(
            ThresholdInForce(
                t.name, entry[t.name], t.unit, t.says, t.default,
                {category: own[t.name] for category, own in differs.items() if t.name in own},
            )
            for t in rule.thresholds
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """How often one flag stands on an area's day."""

    code: str
    intervals: int
    usage_points: int
    worst: Mapping[str, int]
    """Usage point → intervals, the most first."""


@dataclass(frozen=True, slots=True)
class AreaJudged:
    """What the rules found on one area's local day."""

    area: str
    day: date
    rule_sets: tuple[int, ...]
    """That judged it; several while some of it has not been settled since the rules changed."""
    usage_points: int
    """Metering points that were settled."""
    intervals: int
    flagged: int
    """Intervals with anything wrong."""
    found: tuple[Found, ...]
    worst: Mapping[str, int]
    """Usage point → intervals with anything wrong, the most first."""


def judged(connection: Connection, area: str, day: date, calendar: LocalCalendar) -> AreaJudged:
    """Count the flags of an area's day. Raises LookupError when there is no such area."""
    area_id = topology.area_id(connection, area)
    if area_id is None:
        raise LookupError(f"no area {area!r}")
    rows = validation.flags_of_area(connection, area_id, day, *calendar.bounds(day))
    by_flag: dict[Flag, dict[str, int]] = {}
    wrong: dict[str, int] = {}
    for row in rows:
        point, flags, intervals = row["usage_point"], Flag(row["flags"]), row["intervals"]
        for flag in flags:
            counts = by_flag.setdefault(flag, {})
            counts[point] = counts.get(point, 0) + intervals
        if flags & FAULTS:
            wrong[point] = wrong.get(point, 0) + intervals
    return AreaJudged(
        area,
        day,
        tuple(sorted({row["rules"] for row in rows})),
        len({row["usage_point"] for row in rows}),
        sum(row["intervals"] for row in rows),
        sum(wrong.values()),
        tuple(
            Found((flag.name or "").lower(), sum(counts.values()), len(counts), _most(counts))
            for flag, counts in sorted(by_flag.items())
        ),
        _most(wrong),
    )


def _most(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:WORST])
