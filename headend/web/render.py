"""Templates with what all of them share: filters, the zone's instants, the states' words, errors as pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from headend.api.deps import Parts
from headend.api.errors import Problem
from headend.web import cause_texts, finding_money, finding_texts, text
from headend.web.static_files import static_url

STATES: Mapping[str, tuple[str, str, str]] = {
    "normal": ("Normal", "正常", "●"),
    "high": ("High loss", "高损", "▲"),
    "negative": ("Negative loss", "负损", "▼"),
    "not_computable": ("Not computable", "不可计算", "∅"),
    "unknown": ("No balance yet", "暂无", "…"),
}
"""State of an area → its word, the Chinese term, and a mark that does not depend on colour."""

REASONS = {
    "no_interval_over": "the day has only begun",
    "no_household_meter": "no household is read by a meter",
    "area_meter_missing": "the area meter was read in too few intervals",
    "power_failed": "the area was without power all day",
    "coverage_too_low": "too few metering points were measured",
    "no_complete_interval": "not one interval is complete",
}
"""The balance's machine words for *not computable*, for people."""


CATEGORIES = {
    "residential": "Residential",
    "production": "Production",
    "commercial": "Commercial",
    "irrigation": "Irrigation",
    "public_lighting": "Public lighting",
    "temporary": "Temporary",
    "none": "–",
}


@cache
def environment() -> Environment:
    """All templates, with the filters they use; also for what is written to a file instead of served."""
    made = Environment(
        loader=PackageLoader("headend.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "kwh": text.kwh,
        "kw": text.kw,
        "number": text.number,
        "count": text.count,
        "percent": text.percent,
        "share": text.share,
        "likelihood": text.likelihood,
        "day": text.day,
        "factor": text.factor,
        "humanise": text.humanise,
        "embedded_json": embedded_json,
        "path": lambda value: quote(str(value), safe=""),
        "reason": lambda word: REASONS.get(word) or (text.humanise(word).lower() if " " not in word else word),
        "category": lambda word: CATEGORIES.get(word, text.humanise(word)),
    }
    made.globals |= {
        "static_url": static_url,
        "states": STATES,
        "finding_text": finding_texts.of,
        "cause_text": cause_texts.of,
        "stake_known": finding_money.is_known,
        "MISSING": text.MISSING,
        "query": lambda parameters: urlencode({k: v for k, v in parameters.items() if v not in (None, "", False)}),
    }
    return made


def embedded_json(value: Any) -> Markup:
    """JSON for a <script type="application/json"> block: no character in it can end the block. NaN is refused."""
    written = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    return Markup(written.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def page(
    request: Request, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> Response:
    """A page; templates show instants by `instant` (in the settlement's zone) and `ago` (against the clock)."""
    parts: Parts = request.app.state.parts
    zone, now = parts.calendar.zone, parts.clock()

    def instant(value: datetime | None) -> Markup | str:
        if value is None:
            return text.MISSING
        return Markup('<time datetime="{}">{}</time>').format(value.isoformat(), text.instant(value, zone))

    html = (
        environment()
        .get_template(template)
        .render(
            request=request,
            path=request.url.path,
            zone=zone.key,
            now=now,
            instant=instant,
            ago=lambda value: text.ago(value, now),
            **values,
        )
    )
    return HTMLResponse(html, status_code=status, headers=dict(headers or {}))


def error_page(request: Request, problem: Problem) -> Response:
    """A problem as a page a person can go on from."""
    return page(request, "error.html", status=problem.status, headers=problem.headers, problem=problem)


def _plain(value: Any) -> str:
    if isinstance(value, date | datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is not for a page's data")
