"""What a crew sends with a step, read strictly: every fault is told at once, and nothing is guessed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final

from headend.domain.topology import CATEGORIES, PHASES
from headend.rollout.checklist import Step, StepRefused

_CUSTOMER_CATEGORIES: Final = tuple(category for category in CATEGORIES if category != "none")
_MOST_PEOPLE: Final = 1000
_MOST_WH: Final = 10**15
"""Beyond any register; the meter's own digits are checked where the meter is known."""
_WORD: Final = 64
"""Longest serial, seal, manufacturer or code."""
_NOTE: Final = 2000
_EARLIEST: Final = datetime(1990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """Who lives behind the shared meter, and how they are connected."""

    people: int
    category: str
    phase: str
    note: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MeterInstalled:
    """A meter as a crew put it in."""

    manufacturer: str | None
    """None: the serial alone tells."""
    serial: str
    seal: str
    start_import_wh: int
    installed_at: datetime
    note: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProductionSeparated:
    """Living and production supply apart (两电分离)."""

    note: str
    production_usage_point: str | None
    """None: what the note says needed no usage point of its own here."""
    meter: MeterInstalled | None
    """None: the production usage point has one already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CommissioningAsked:
    """The head-end is to read the meter itself, and to find what the crew saw."""

    noted_import_wh: int
    noted_at: datetime | None
    """None: just before it was sent."""
    note: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedMeterRemoved:
    """The shared meter is out."""

    final_import_wh: int
    removed_at: datetime
    seal: str
    note: str | None


Evidence = Survey | MeterInstalled | ProductionSeparated | CommissioningAsked | SharedMeterRemoved


def read(step: Step, evidence: Mapping[str, Any], now: datetime) -> Evidence:
    """The evidence of a step. Raises StepRefused with every fault in `missing`, each beginning with the key."""
    reader = _Reader(evidence, now)
    found = _READ[step](reader)
    reader.finish(step)
    return found


def as_json(evidence: Evidence) -> dict[str, Any]:
    """The evidence as it is kept: what was given, instants as ISO 8601 in UTC."""
    flat: dict[str, Any] = {}
    for field in fields(evidence):
        value = getattr(evidence, field.name)
        if isinstance(value, MeterInstalled):
            flat |= as_json(value)
        elif value is not None:
            flat[field.name] = value.isoformat() if isinstance(value, datetime) else value
    return flat


class _Reader:
    """Takes keys out of the evidence and collects what is wrong with them; a wrong value reads as an empty one."""

    def __init__(self, evidence: Mapping[str, Any], now: datetime) -> None:
        self._given = {key: value for key, value in evidence.items() if value is not None and value != ""}
        self._unread = set(self._given)
        self._known: list[str] = []
        self._now = now
        self._faults: list[str] = []

    def has(self, *keys: str) -> bool:
        """Whether any of the keys has a value."""
        return any(key in self._given for key in keys)

    def finish(self, step: Step) -> None:
        """Raise StepRefused when anything is wrong."""
        known = ", ".join(dict.fromkeys(self._known))
        faults = [
            *self._faults,
            *(f"{key!r}: is not known here; known are {known}" for key in sorted(self._unread, key=str)),
        ]
        if faults:
            raise StepRefused(f"{step} lacks evidence", faults)

    def word(self, key: str, *, required: bool = True) -> str | None:
        """One line of printable text."""
        value = self._text(key, required, _WORD)
        if value is not None and not value.isprintable():
            self._faults.append(f"{key}: has characters that cannot be printed")
            return None
        return value

    def note(self, key: str = "note", *, required: bool = False) -> str | None:
        """Some lines of text."""
        value = self._text(key, required, _NOTE)
        if value is not None and not all(c.isprintable() or c in "\n\r\t" for c in value):
            self._faults.append(f"{key}: has characters that cannot be printed")
            return None
        return value

    def whole(self, key: str, low: int, high: int, unit: str) -> int:
        """A whole number from `low` to `high`."""
        value = self._take(key, required=True)
        if value is None:
            return low
        if isinstance(value, bool) or not isinstance(value, int):
            self._faults.append(f"{key}: {_shown(value)} is not a whole number of {unit}")
            return low
        if not low <= value <= high:
            self._faults.append(f"{key}: {value} {unit} is not between {low} and {high}")
        return value

    def choice(self, key: str, among: Collection[str]) -> str:
        """One of some words."""
        value = self._take(key, required=True)
        if value is not None and (not isinstance(value, str) or value not in among):
            self._faults.append(f"{key}: {_shown(value)} is none of {', '.join(among)}")
        return str(value)

    def instant(self, key: str, *, required: bool = True) -> datetime | None:
        """An instant with its offset, not in the future."""
        value = self._take(key, required)
        if value is None:
            return None
        try:
            found = value if isinstance(value, datetime) else datetime.fromisoformat(_must_be_text(value))
            if found.tzinfo is None:
                raise ValueError
            found = found.astimezone(UTC)
        except (ValueError, OverflowError):
            self._faults.append(f"{key}: {_shown(value)} is not an instant with offset, as 2026-11-23T14:05:00+08:00")
            return None
        if found > self._now:
            self._faults.append(f"{key}: {found.isoformat()} lies in the future; it is {self._now.isoformat()}")
        elif found < _EARLIEST:
            self._faults.append(f"{key}: {found.isoformat()} lies too far in the past")
        return found

    def _text(self, key: str, required: bool, most: int) -> str | None:
        value = self._take(key, required)
        if value is None:
            return None
        if not isinstance(value, str):
            self._faults.append(f"{key}: {_shown(value)} is not text")
            return None
        text = value.strip()
        if not text and required:
            self._faults.append(f"{key}: is missing")
        if len(text) > most:
            self._faults.append(f"{key}: has {len(text)} characters, more than {most}")
        return text or None

    def _take(self, key: str, required: bool) -> Any:
        self._known.append(key)
        self._unread.discard(key)
        value = self._given.get(key)
        if value is None and required:
            self._faults.append(f"{key}: is missing")
        return value


def _survey(reader: _Reader) -> Survey:
    return Survey(
        people=reader.whole("people", 0, _MOST_PEOPLE, "people"),
        category=reader.choice("category", _CUSTOMER_CATEGORIES),
        phase=reader.choice("phase", PHASES),
        note=reader.note(),
    )


def _meter(reader: _Reader) -> MeterInstalled:
    return MeterInstalled(
        manufacturer=reader.word("manufacturer", required=False),
        serial=reader.word("serial") or "",
        seal=reader.word("seal") or "",
        start_import_wh=reader.whole("start_import_wh", 0, _MOST_WH, "Wh"),
        installed_at=reader.instant("installed_at") or _EARLIEST,
        note=reader.note(),
    )


def _production(reader: _Reader) -> ProductionSeparated:
    note = reader.note(required=True)
    point = reader.word("production_usage_point", required=False)
    meter = None
    if not reader.has("manufacturer", "serial", "seal", "start_import_wh"):
        reader.instant("installed_at", required=False)  # forms fill in the time: alone it speaks of no meter
    else:
        meter = _meter(reader)
        if point is None:
            reader.word("production_usage_point")  # a meter hangs somewhere: say that the place is missing
    return ProductionSeparated(note=note or "", production_usage_point=point, meter=meter)


def _commissioned(reader: _Reader) -> CommissioningAsked:
    return CommissioningAsked(
        noted_import_wh=reader.whole("noted_import_wh", 0, _MOST_WH, "Wh"),
        noted_at=reader.instant("noted_at", required=False),
        note=reader.note(),
    )


def _removed(reader: _Reader) -> SharedMeterRemoved:
    return SharedMeterRemoved(
        final_import_wh=reader.whole("final_import_wh", 0, _MOST_WH, "Wh"),
        removed_at=reader.instant("removed_at") or _EARLIEST,
        seal=reader.word("seal") or "",
        note=reader.note(),
    )


_READ: Final[Mapping[Step, Callable[[_Reader], Evidence]]] = {
    Step.SURVEY: _survey,
    Step.HOUSEHOLD_METER_INSTALLED: _meter,
    Step.PRODUCTION_SEPARATED: _production,
    Step.COMMISSIONED: _commissioned,
    Step.SHARED_METER_REMOVED: _removed,
}


def _must_be_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")
    return value


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
