"""Edits as people read and type them: what was done and how it stands, energies in kWh, rules with their thresholds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, DecimalException
from typing import Any, Final
from zoneinfo import ZoneInfo

from headend.domain.edits import MOST_TOTAL_WH, EditState
from headend.domain.quality import ValidationFlag
from headend.store.pool import Row
from headend.web import text

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "values": ("Energy set", "电量修改"),
    "readings": ("Readings set aside", "剔除读数"),
}
"""What an edit did, and the Chinese term."""
DIRECTIONS: Final[Mapping[str, tuple[str, str]]] = {"import": ("Import", "用电"), "export": ("Export", "上网")}


@dataclass(frozen=True, slots=True)
class StateWords:
    """How an edit stands, for people."""

    word: str
    chinese: str
    badge: str
    """CSS class of its colour."""
    means: str


STATES: Final[Mapping[EditState, StateWords]] = {
    EditState.HOLDS: StateWords("holds", "有效", "state-normal", "settlement goes by it"),
    EditState.DOES_NOT_HOLD: StateWords(
        "does not hold",
        "与示值矛盾，未采用",
        "state-high",
        "registers or earlier edits contradict it: nothing is changed by it",
    ),
    EditState.OVERLAID: StateWords("overlaid", "已被覆盖", "state-unknown", "newer edits cover all of it"),
    EditState.WAITING: StateWords(
        "waiting", "待结算", "state-unknown", "its days have not been settled since it was made"
    ),
    EditState.UNDONE: StateWords("undone", "已撤销", "state-not_computable", "somebody took it back"),
}
"""The word, the Chinese term, and what it means."""
_NOT_THRESHOLDS: Final = {"version", "flag", "enabled", "category"}
_SEPARATORS: Final = re.compile(r"[\s,;，；]+")


class Unreadable(ValueError):
    """What was typed is none of what was asked for."""


def energies_wh(typed: str) -> list[int]:
    """Energies [Wh] of what somebody typed in kWh, separated by anything but digits. Raises Unreadable."""
    return [energy_wh(word) for word in _SEPARATORS.split(typed.strip()) if word]


def energy_wh(typed: str) -> int:
    """One energy [Wh] of what somebody typed in kWh. Raises Unreadable."""
    try:
        exact = Decimal(typed.strip()) * 1000
    except DecimalException as wrong:
        raise Unreadable(f"{typed!r} is no number of kWh") from wrong
    if not exact.is_finite() or abs(exact) > MOST_TOTAL_WH:
        raise Unreadable(f"{typed!r} is no energy of a usage point")
    if exact != exact.to_integral_value():
        raise Unreadable(f"{typed} kWh is not whole Wh: at most three decimals")
    return int(exact)


def typed(at: datetime, zone: ZoneInfo) -> str:
    """An instant as a field of a form takes it."""
    return at.astimezone(zone).strftime("%Y-%m-%dT%H:%M")


def thresholds(rules: Mapping[str, Any], flag: ValidationFlag, category: str) -> str:
    """What a rule measured by, of the rule set that judged the day; empty: the set does not say."""
    for entry in [*_entries(rules.get("rules")), *_entries(rules.get("estimation"))]:
        if entry.get("flag") != int(flag):
            continue
        own = entry.get("category", {}).get(category, {}) if isinstance(entry.get("category"), dict) else {}
        limits = {key: value for key, value in {**entry, **own}.items() if key not in _NOT_THRESHOLDS}
        told = [f"{_named(key)} {_plain(value)}" for key, value in limits.items() if key != "code"]
        return ", ".join([*told, f"version {entry['version']}"] if "version" in entry else told)
    return ""


def _entries(found: object) -> Sequence[Mapping[str, Any]]:
    if isinstance(found, Mapping):
        return [one for one in found.values() if isinstance(one, Mapping)]
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _named(key: str) -> str:
    word = text.humanise(key)
    return word[:1].lower() + word[1:]


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def sums(edit: Row) -> tuple[int | None, int | None]:
    """(before, set) energy of an edit of values [Wh]; None: nothing was known, or readings were set aside."""
    if edit["values_wh"] is None:
        return None, None
    known = [v for v in edit["before_wh"] if v is not None]
    return (sum(known) if known else None), sum(edit["values_wh"])
