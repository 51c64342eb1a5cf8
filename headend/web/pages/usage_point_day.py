"""What the page of a usage point's day is made of: intervals and what was said of them, edits, readings, a month."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final, Literal
from uuid import uuid4

from fastapi import Request, Response

from headend.api.deps import Parts, invalid
from headend.api.errors import Problem
from headend.api.meters import SOURCES
from headend.api.usage_points import covering, existing
from headend.domain.edits import EditState
from headend.domain.quality import FAULTS, Quality, ValidationFlag
from headend.settlement.edit_trial import Preview
from headend.store import edits, rule_sets, usage_points, views
from headend.store.pool import Connection, Row
from headend.store.vectors import ABSENT
from headend.web import day_plot, edit_words, flag_words, text
from headend.web.render import page
from headend.web.sent_forms import OPERATOR, name_of

STRIP_DAYS: Final = 31
MOST_READINGS: Final = 1_500
Direction = Literal["import", "export"]


@dataclass(kw_only=True)
class Answer:
    """What came of a form: what was typed, what is wrong with it, and what it would make."""

    about: Literal["values", "readings", "undo", ""] = ""
    entered: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    refusal: Problem | None = None
    tried: Preview | None = None

    @property
    def status(self) -> int:
        """Of the page that shows it."""
        if self.refusal is not None:
            return self.refusal.status
        return 422 if self.faults else 200


def day_page(  # noqa: PLR0917 what a page is made of
    request: Request, connection: Connection, code: str, day: date, direction: Direction, answer: Answer
) -> Response:
    """The page. Raises Problem: there is no such usage point, or no such day."""
    parts: Parts = request.app.state.parts
    calendar = parts.calendar
    head = existing(connection, code, parts.clock())
    try:
        start, end = calendar.bounds(day)
        strip_first = day - timedelta(days=STRIP_DAYS // 2)
        strip_last = strip_first + timedelta(days=STRIP_DAYS - 1)
    except OverflowError as error:
        raise invalid("day", f"{day} is at the end of the calendar") from error
    point = head["usage_point_id"]
    found = usage_points.days(connection, point, day, day)
    row = found[0] if found else None
    of_day = edits.of_stretch(connection, point, start, end)
    meters = usage_points.meters(connection, point, start, end + timedelta(microseconds=1))
    rules = rule_sets.get(connection, [row["rules"]]) if row else {}
    standing = [e for e in of_day if e["undone_at"] is None]
    before = _before(row, standing, direction) if row else {}
    return page(
        request,
        "usage_point.html",
        status=answer.status,
        point=head,
        meters=meters,
        shown_day=day,
        day_before=day - timedelta(days=1),
        day_after=day + timedelta(days=1) if day < parts.today else None,
        today=parts.today,
        direction=direction,
        row=row,
        plot=None if row is None else day_plot.day(row, direction, calendar.zone, before, answer.tried),
        intervals=[] if row is None else _intervals(row, direction, before),
        said=[] if row is None else _said(row, rules, head["category"]),
        strip=_strip(connection, point, strip_first, strip_last, day),
        edits=of_day,
        readings=_readings(connection, meters, start, end, standing),
        waiting=edits.waiting(connection, point, day),
        answer=answer,
        tried=None if answer.tried is None else _tried(answer.tried),
        by=answer.entered.get("by") or name_of(request, OPERATOR),
        edit_id=str(uuid4()),
        typed=lambda at: edit_words.typed(at, calendar.zone),
        plainly=lambda said: text.plainly(said, calendar.zone),
        interval_s=calendar.interval_s,
        words=edit_words,
        qualities={day_plot.QUALITY_NAMES[q]: words for q, words in flag_words.QUALITIES.items()},
        clock=lambda at: at.astimezone(calendar.zone).strftime("%H:%M"),
        register=text.register,
    )


def _before(row: Row, standing: list[Row], direction: Direction) -> dict[int, int | None]:
    """By interval what the newest edit that holds found there."""
    step = timedelta(seconds=row["interval_s"])
    mine = [
        e
        for e in standing
        if e["direction"] == direction and e["interval_s"] == row["interval_s"] and e["state"] == EditState.HOLDS
    ]
    found: dict[int, int | None] = {}
    for n, quality in enumerate(row["quality"]):
        said = covering(mine, row["starts_at"] + n * step) if quality == Quality.EDITED else None
        if said is not None:
            found[n] = said[0]["before_wh"][said[1]]
    return found


def _intervals(row: Row, direction: Direction, before: Mapping[int, int | None]) -> list[dict[str, Any]]:
    step = timedelta(seconds=row["interval_s"])
    volts = row["voltage_dv"] or [None] * len(row["quality"])
    return [
        {
            "start": row["starts_at"] + n * step,
            "end": row["starts_at"] + (n + 1) * step,
            "energy_wh": row[f"{direction}_wh"][n],
            "voltage_v": None if volts[n] is None else volts[n] / 10,
            "quality": day_plot.QUALITY_NAMES[Quality(row["quality"][n])],
            "flags": flag_words.words(row["flags"][n]),
            "edited": n in before,
            "before_wh": before.get(n),
        }
        for n in range(len(row["quality"]))
    ]


def _said(row: Row, rules: Mapping[int, rule_sets.KeptRuleSet], category: str) -> list[dict[str, Any]]:
    """Each flag of the day with the runs of intervals that carry it, what it means and what it was measured by."""
    step = timedelta(seconds=row["interval_s"])
    document = rules[row["rules"]].rules if row["rules"] in rules else {}
    found: list[dict[str, Any]] = []
    for flag, words in flag_words.FLAGS.items():
        carrying = [n for n, flags in enumerate(row["flags"]) if flags & flag]
        if not carrying:
            continue
        firsts = [n for n in carrying if n - 1 not in carrying]
        lasts = [n for n in carrying if n + 1 not in carrying]
        spans = [
            (row["starts_at"] + a * step, row["starts_at"] + (b + 1) * step) for a, b in zip(firsts, lasts, strict=True)
        ]
        found.append(
            {
                "words": words,
                "spans": spans,
                "count": len(carrying),
                "thresholds": edit_words.thresholds(document, flag, category),
            }
        )
    return sorted(found, key=lambda one: not one["words"].fault)


def _strip(connection: Connection, point: int, first: date, last: date, shown: date) -> list[dict[str, Any]]:
    """A month of days around the one shown, each with the share of what it rests on."""
    by_day = {
        r["day"]: r
        for r in usage_points.qualities(
            connection, point, first, last, refused=int(ValidationFlag.EDIT_REFUSED), faults=FAULTS
        )
    }
    names = ("measured", "interpolated", "estimated", "edited", "zero_by_event", "absent")
    found: list[dict[str, Any]] = []
    for n in range((last - first).days + 1):
        day = first + timedelta(days=n)
        row = by_day.get(day)
        shares = [] if row is None else [(name, row[name] / row["intervals"]) for name in names if row[name]]
        found.append({"day": day, "row": row, "shares": shares, "shown": day == shown})
    return found


def _readings(
    connection: Connection, meters: list[Row], start: datetime, end: datetime, standing: list[Row]
) -> list[dict[str, Any]]:
    """Raw registers of the day's meters, its two midnights included, and who set which aside."""
    aside = [e for e in standing if e["kind"] == "readings"]
    found: list[dict[str, Any]] = []
    for meter in meters:
        last = end + timedelta(microseconds=1)
        for row in views.readings(connection, meter["meter_id"], start, last, limit=MOST_READINGS):
            by = next(
                (e for e in aside if e["meter_id"] == meter["meter_id"] and e["from_ts"] <= row["ts"] <= e["to_ts"]),
                None,
            )
            found.append(
                row
                | {
                    "meter": f"{meter['manufacturer']}/{meter['serial']}",
                    "source": SOURCES.get(row["source"], str(row["source"])),
                    "aside": by,
                }
            )
    return sorted(found, key=lambda r: (r["ts"], r["meter"]))


def _tried(tried: Preview) -> dict[str, Any]:
    """Before and after of an edit that is being tried out, interval by interval and in sum."""
    step = timedelta(seconds=tried.interval_s)
    before, after = tried.before_wh.tolist(), tried.after_wh.tolist()
    rows = [
        {
            "start": tried.starts_at + n * step,
            "end": tried.starts_at + (n + 1) * step,
            "before_wh": None if b == ABSENT else b,
            "after_wh": None if a == ABSENT else a,
            "edited": bool(tried.edited[n]),
        }
        for n, (b, a) in enumerate(zip(before, after, strict=True))
    ]
    mine = [r for r in rows if r["edited"]]
    return {
        "rows": rows,
        "set_before_wh": sum(r["before_wh"] or 0 for r in mine),
        "set_after_wh": sum(r["after_wh"] or 0 for r in mine),
        "all_before_wh": sum(r["before_wh"] or 0 for r in rows),
        "all_after_wh": sum(r["after_wh"] or 0 for r in rows),
        "others": len(rows) - len(mine),
        "blocks": tried.blocks,
        "refusal": tried.refusal,
    }
