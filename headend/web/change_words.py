"""Changes as people read them: which rows became what, and what is true from when to when as bars of a timeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from headend.domain.changes import ChangeKind
from headend.domain.timeline import CategoryRow, InstallationRow, MembershipRow, Records, Span
from headend.web import text
from headend.web.change_forms import FORMS
from headend.web.render import CATEGORIES

LABELS: Final[Mapping[str, tuple[str, str]]] = {
    "valid_from": ("from", "起"),
    "valid_to": ("until", "止"),
    "multiplier": ("multiplier", "倍率"),
    "sign": ("wired", "接线方向"),
    "area": ("area", "台区"),
    "behind": ("behind", "总表"),
    "category": ("category", "用电类别"),
    "start_import_wh": ("start register", "起码"),
    "start_export_wh": ("start register, export", "反向起码"),
    "end_import_wh": ("final register", "止码"),
    "end_export_wh": ("final register, export", "反向止码"),
    "seal": ("seal", "封印号"),
    "meter": ("meter", "电能表"),
    "digits": ("digits", "位数"),
    "resolution_wh": ("step", "最小分度"),
    "phases": ("phases", "相数"),
}
"""Of each column its word and the Chinese term."""
SIGNS: Final = {1: "the right way", -1: "the other way round"}
_LANES: Final = (
    ("Hangs on", "户变关系"), ("Meter", "电能表"), ("Multiplier", "倍率"), ("Category", "用电类别"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RowWords:
    """One row of a change."""

    head: str
    """What it is about."""
    verb: str
    """`new`, `gone` or `changed`."""
    details: Sequence[tuple[str, str, str]]
    """(label, was, is) of what differs; of a new row all that it says."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What held from an instant to an instant, on a line of 100 %."""

    said: str
    tip: str
    left: float
    width: float
    open_start: bool
    open_end: bool


def title(kind: ChangeKind) -> tuple[str, str]:
    """A kind of change in words, and its Chinese term."""
    return FORMS[kind].title, FORMS[kind].chinese


def rows(
    before: Mapping[str, Sequence[Mapping[str, Any]]], after: Mapping[str, Sequence[Mapping[str, Any]]], zone: ZoneInfo
) -> list[RowWords]:
    """Every row of a change in words; rows as they are kept with it."""
    found = []
    for table in sorted(before.keys() | after.keys(), reverse=True):
        was = {row["row_id"]: row for row in before.get(table, ())}
        now = {row["row_id"]: row for row in after.get(table, ())}
        found += [_row(table, was.get(row_id), now.get(row_id), zone) for row_id in dict.fromkeys([*was, *now])]
    return found


def lanes(records: Records, now: datetime, zone: ZoneInfo) -> list[tuple[str, str, list[Bar]]]:
    """(name, Chinese term, bars) of the timeline: place, meter, multiplier, category; oldest left."""
    spans: list[Span] = [*records.memberships, *records.installations, *records.categories]
    edges = [edge for span in spans for edge in (span.valid_from, span.valid_to) if edge is not None]
    first, last = min([*edges, now]), max([*edges, now])
    room = (last - first) * 0.06
    start, length = first - room, ((last - first) + 2 * room).total_seconds() or 1.0

    def bar(span: Span, said: str) -> Bar:
        begins = 0.0 if span.valid_from is None else (span.valid_from - start).total_seconds() / length * 100
        ends = 100.0 if span.valid_to is None else (span.valid_to - start).total_seconds() / length * 100
        since = "since ever" if span.valid_from is None else f"from {text.instant(span.valid_from, zone)}"
        until = "still" if span.valid_to is None else f"until {text.instant(span.valid_to, zone)}"
        left, width = round(begins, 2), round(max(ends - begins, 0.4), 2)
        return Bar(said, f"{said}, {since}, {until}", left, width, span.valid_from is None, span.valid_to is None)

    bars = (
        [bar(r, r.area if r.behind is None else f"{r.area}, behind {r.behind}") for r in records.memberships],
        [bar(r, f"{r.manufacturer}/{r.serial}") for r in records.installations],
        [bar(r, f"× {text.factor(r.multiplier)}{', reversed' if r.sign < 0 else ''}") for r in records.installations],
        [bar(r, CATEGORIES.get(r.category, r.category)) for r in records.categories],
    )
    return [(name, chinese, found) for (name, chinese), found in zip(_LANES, bars, strict=True) if found]


def said_of(row: InstallationRow | MembershipRow | CategoryRow) -> str:
    """A row of the history in a few words."""
    if isinstance(row, InstallationRow):
        return f"{row.manufacturer}/{row.serial}"
    if isinstance(row, MembershipRow):
        return row.area if row.behind is None else f"{row.area}, behind {row.behind}"
    return CATEGORIES.get(row.category, row.category)


def _row(table: str, was: Mapping[str, Any] | None, now: Mapping[str, Any] | None, zone: ZoneInfo) -> RowWords:
    either = now or was or {}
    verb = "changed" if was and now else "new" if now else "gone"
    details = list(_details(_named(was or {}), _named(now or {}), zone, both=verb == "changed"))
    meter = f"{either.get('manufacturer')}/{either.get('serial')}"
    head = {
        "installations": f"{meter} at {either.get('usage_point')}",
        "memberships": f"{either.get('usage_point')} on {either.get('area')}",
        "categories": f"{either.get('usage_point')} as {CATEGORIES.get(either.get('category', ''), '')}",
    }.get(table, meter)
    return RowWords(head, verb, details)


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    named = dict(row)
    if "serial" in named:
        named["meter"] = f"{named['manufacturer']}/{named['serial']}"
    return named


def _details(
    was: Mapping[str, Any], now: Mapping[str, Any], zone: ZoneInfo, *, both: bool
) -> Iterator[tuple[str, str, str]]:
    for name, (label, _) in LABELS.items():
        before, after = was.get(name), now.get(name)
        if both and before != after:
            yield label, _value(name, before, zone), _value(name, after, zone)
        elif not both and name not in ("meter", "area") and (before is not None or after is not None):
            value = _value(name, before if after is None else after, zone)
            yield (label, "", value) if now else (label, value, "")


def _value(name: str, value: Any, zone: ZoneInfo) -> str:
    if value is None:
        return {"valid_to": "still", "valid_from": "since ever", "behind": "nobody"}.get(name, "not noted")
    if name in ("valid_from", "valid_to"):
        return text.exactly(datetime.fromisoformat(value), zone)
    if name.endswith("import_wh") or name.endswith("export_wh"):
        return f"{text.register(value)} kWh"
    words: Mapping[str, Callable[[Any], str]] = {
        "multiplier": lambda factor: f"× {text.factor(Decimal(factor))}",
        "sign": lambda sign: SIGNS.get(sign, str(sign)),
        "category": lambda word: CATEGORIES.get(word, str(word)),
        "resolution_wh": lambda step: f"{step} Wh",
    }
    return words.get(name, str)(value)
