"""One day's intervals as static/usage_point.js draws them: a bar each, coloured by how its energy came to be, with all
that is said of it to be read on hover.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from headend.domain.quality import FAULTS, Quality
from headend.settlement.edit_trial import Preview
from headend.store.pool import Row
from headend.store.vectors import ABSENT
from headend.web import flag_words

DayPlot = dict[str, Any]
QUALITY_NAMES: Final = {quality: quality.name.lower() for quality in Quality}


def day(
    row: Row, direction: str, zone: ZoneInfo, before: Mapping[int, int | None], tried: Preview | None = None
) -> DayPlot:
    """`before`: by interval what an edit that stands found there [Wh]; `tried`: an edit that is being tried out."""
    step = timedelta(seconds=row["interval_s"])
    energy = row["import_wh" if direction == "import" else "export_wh"]
    starts = [row["starts_at"] + n * step for n in range(len(energy))]
    return {
        "x": [_local(at, zone) for at in starts],
        "width_ms": row["interval_s"] * 1000,
        "interval_s": row["interval_s"],
        "kwh": [None if e is None else e / 1000 for e in energy],
        "before_kwh": [_kwh(before.get(n)) for n in range(len(energy))],
        "tried_kwh": _tried(tried, starts),
        "quality": [QUALITY_NAMES[Quality(q)] for q in row["quality"]],
        "words": {QUALITY_NAMES[q]: f"{word} {chinese}" for q, (word, chinese) in flag_words.QUALITIES.items()},
        "hover": [
            _hover(at, at + step, zone, quality=q, flags=f)
            for at, q, f in zip(starts, row["quality"], row["flags"], strict=True)
        ],
        "faults": [bool(f & FAULTS) for f in row["flags"]],
    }


def _hover(start: datetime, end: datetime, zone: ZoneInfo, *, quality: int, flags: int) -> str:
    word, chinese = flag_words.QUALITIES[Quality(quality)]
    said = [f"{words.word} {words.chinese}: {words.means}" for words in flag_words.words(flags)]
    return "<br>".join([f"{start.astimezone(zone):%H:%M}–{end.astimezone(zone):%H:%M} · {word} {chinese}", *said])


def _tried(tried: Preview | None, starts: Sequence[datetime]) -> list[float | None] | None:
    if tried is None:
        return None
    step = timedelta(seconds=tried.interval_s)
    after = {tried.starts_at + n * step: v for n, v in enumerate(tried.after_wh.tolist())}
    return [_kwh(after.get(at)) for at in starts]


def _kwh(value: int | None) -> float | None:
    return None if value is None or value == ABSENT else value / 1000


def _local(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S")
