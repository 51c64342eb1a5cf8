"""The rules in force with their thresholds for each category of supply, and as one document that names them all.

Settled days carry the number of the document that judged them: a flag leads to the rule, the version and the threshold
that set it, whatever the settings say since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import US_PER_S
from headend.domain.topology import CATEGORIES
from headend.settings import Validation
from headend.settings.validation import RuleTables
from reconciliation.estimation import METHODS, REFERENCE_DAYS
from reconciliation.registers import GridRules
from reconciliation.validation import RULES, Limit

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

NO_CATEGORY: Final = CATEGORIES.index("none")
REGISTERS_VERSION: Final = 2
"""Rises whenever the same readings would become other intervals: cleaning, registers at grid instants, rounding."""
Document = Mapping[str, Any]
"""JSON."""


@dataclass(frozen=True)
class Rulebook:
    """Thresholds of all rules by category; a category is its index in CATEGORIES."""

    settings: Validation

    @cached_property
    def _tables(self) -> Mapping[tuple[str, str], Floats]:
        """(rule, key) → (categories,) values; `enabled` is 0 or 1."""
        of_category = [_of(self.settings, category).model_dump() for category in CATEGORIES]
        return {
            (rule, key): np.array([float(tables[rule][key]) for tables in of_category])
            for rule, keys in of_category[0].items()
            for key in keys
        }

    def limit(self, rule: str, threshold: str, category: Ints) -> Limit:
        """A threshold for rows of the given categories (n,): one number where it is the same in all of them."""
        values = self._tables[rule, threshold]
        return float(values[0]) if (values == values[0]).all() else values[category]

    def limits(self, rule: str, category: Ints) -> dict[str, Limit]:
        """All thresholds of a rule, by name."""
        return {name: self.limit(rule, name, category) for name in RULES[rule].defaults}

    def extreme(self, rule: str, threshold: str, *, highest: bool) -> float:
        """The highest, or lowest, value of a threshold in any category: what may be of interest at all."""
        values = self._tables[rule, threshold]
        return float(values.max() if highest else values.min())

    def runs(self, rule: str, category: Ints) -> Bools:
        """(n,) whether a rule runs on each row."""
        return np.asarray(self._tables[rule, "enabled"][category] > 0)

    def in_use(self, rule: str) -> bool:
        """Whether a rule runs for any category."""
        return bool(self._tables[rule, "enabled"].any())

    def document(self) -> dict[str, Any]:
        """Code → version, flag, whether it runs, thresholds, and what differs in which category."""
        return {code: self._entry(code) for code in RULES}

    def _entry(self, code: str) -> dict[str, Any]:
        rule = RULES[code]
        entry: dict[str, Any] = {"version": rule.version, "flag": int(rule.flag)}
        if (for_all := getattr(self.settings, code, None)) is None:  # a rule that cannot be set: it states what is
            return entry
        told = for_all.model_dump()
        entry |= told
        if code in RuleTables.model_fields:
            of_category = {c: getattr(_of(self.settings, c), code).model_dump() for c in CATEGORIES}
            entry["category"] = {
                c: differs
                for c, own in of_category.items()
                if (differs := {key: value for key, value in own.items() if value != told[key]})
            }
        return entry


@dataclass(frozen=True)
class RuleSet:
    """Everything that judged and estimated a day, as one document."""

    document: Document

    @cached_property
    def canonical(self) -> str:
        """The document in the one way of writing it."""
        return json.dumps(self.document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of it."""
        return hashlib.sha256(self.canonical.encode()).digest()


def everything(
    book: Rulebook, grid: GridRules, holidays: Collection[date] = (), working_days: Collection[date] = ()
) -> RuleSet:
    """What judges and estimates: validation rules, ways of estimating, and how registers become intervals.

    `holidays` count as weekend days though they are none, `working_days` the other way round.
    """
    return RuleSet(
        {
            "rules": book.document(),
            "estimation": {m.code: {"version": m.version, "flag": int(m.flag)} for m in METHODS},
            "registers": {
                "version": REGISTERS_VERSION,
                "on_grid_s": grid.on_grid_us / US_PER_S,
                "tolerance_s": grid.tolerance_us / US_PER_S,
                "line_gap_s": grid.line_gap_us / US_PER_S,
                "longest_gap_s": grid.longest_gap_us / US_PER_S,
                "reference_days": REFERENCE_DAYS,
                "holidays": sorted(day.isoformat() for day in holidays),
                "working_days": sorted(day.isoformat() for day in working_days),
            },
        }
    )


def _of(settings: Validation, category: str) -> RuleTables:
    found: RuleTables = getattr(settings.category, category)
    return found
