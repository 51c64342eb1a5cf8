"""The document as one HTML file: no script, nothing from elsewhere, small enough to be mailed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from markupsafe import Markup

from headend.web import (
    cause_texts,
    evidence_plots,
    finding_numbers,
    finding_says,
    finding_words,
    limit_words,
    plots,
    text,
)
from headend.web.render import environment
from headend.web.static_files import assets
from headend.web.told import Told
from headend.workbench.svg import picture

_KNOWN: Final = frozenset({
    "anomaly_score", "alarm", "cause", "suspicion", "accused", "misplaced", "technical_loss_wh",
    "technical_interval_wh", "technical_model", "reason", "limits", "cause_probability",
})  # fmt: skip
"""What the page has a place for; whatever else the engine tells is listed as it is named."""
_SUSPECTS: Final = 8


def html(document: Mapping[str, Any]) -> str:
    """The page."""
    zone = ZoneInfo(document["zone"])
    return environment().get_template("report/report.html").render(
        document=document,
        zone=zone.key,
        style=Markup("\n").join(Markup(assets()[name].content.decode()) for name in ("app.css", "report.css")),
        areas=[_shown(area, zone) for area in document["areas"]],
        instant=lambda at: text.instant(datetime.fromisoformat(at), zone) if at else text.MISSING,
        money=lambda amount: text.MISSING if amount is None else f"{amount:,.2f}".replace("-", "−"),
    )  # fmt: skip


def _shown(area: Mapping[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    report = area["report"]
    ranked = sorted(area["meters"], key=lambda one: -(one["suspicion_nat"] or 0.0))
    return {
        "area": area,
        "balance": _picture(_balance(area), f"Balance of {area['area']} by day"),
        "findings": [_finding(area, found, k, zone) for k, found in enumerate(area["findings"], 1)],
        "limits": list(_limits(report)),
        "probability": _ranked(report.get("cause_probability")),
        "suspects": [one for one in ranked if (one["suspicion_nat"] or 0.0) > 0][:_SUSPECTS],
        "unread": [one for one in area["meters"] if one["measured_share"] < 0.9],
        "more": [text.quantity(name, value) for name, value in report.items() if name not in _KNOWN and _scalar(value)],
    }


def _scalar(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _balance(area: Mapping[str, Any]) -> plots.Plot | None:
    """Mean power of each day's complete intervals: days of which a different share is complete can be compared."""
    balance = area["balance"]
    hours = [count * area["window"]["interval_s"] / 3600 for count in balance["complete_intervals"]]

    def power_w(name: str) -> list[float | None]:
        return [None if wh is None else wh / h for wh, h in zip(balance[name], hours, strict=True)]

    columns = {name: power_w(f"{name}_wh") for name in ("supplied", "delivered", "technical", "unexplained")}
    loss = [
        None if s is None or d is None else s - d
        for s, d in zip(columns["supplied"], columns["delivered"], strict=True)
    ]
    return plots.mean_power_by_day([date.fromisoformat(day) for day in balance["days"]], columns | {"loss": loss})


def _finding(area: Mapping[str, Any], found: Mapping[str, Any], number: int, zone: ZoneInfo) -> dict[str, Any]:
    window = area["window"]
    frame = {"starts_at": window["starts_at"], "interval_s": window["interval_s"]}
    onset = datetime.fromisoformat(found["onset_at"]) if found["onset_at"] else None
    row = {
        "evidence": dict(found["evidence"]) | frame,
        "window_from": datetime.fromisoformat(window["starts_at"]).date(),
        "onset_at": onset,
    }
    seen = finding_words.Seen(
        kind=found["kind"],
        evidence=found["evidence"],
        energy_wh=found["energy_wh"],
        since=onset.astimezone(zone).date() if onset else None,
        meter=found["meter"],
        area=area["area"],
        correct_area=found["correct_area"],
    )
    label = f"of finding {number} in {area['area']}"
    return {
        "found": found,
        "number": number,
        "curves": _picture(plots.evidence(row, zone), f"Evidence {label}"),
        "pictures": [
            (one, _picture(one.plot, f"{one.title.english} {label}", small=True))
            for one in evidence_plots.pictures(row, zone)
        ],
        "because": finding_says.because(seen),
        "first_checks": finding_says.checks(seen),
        "untold": finding_words.untold(seen),
        "numbers": finding_numbers.rows(seen.numbers),
        "alternatives": finding_words.explanations(seen),
    }


def _picture(plot: plots.Plot | None, label: str, *, small: bool = False) -> Markup | None:
    return None if plot is None else picture(plot, label, small=small)


def _ranked(odds: Any) -> list[tuple[Told, float]]:
    """Causes with their probability, the likeliest first."""
    if not isinstance(odds, Mapping):
        return []
    words = {name: cause_texts.of(name) for name in odds}
    known = [(Told(words[n].title, words[n].chinese), float(p)) for n, p in odds.items() if isinstance(p, int | float)]
    return sorted(known, key=lambda pair: -pair[1])


def _limits(report: Mapping[str, Any]) -> list[limit_words.LimitSaid]:
    """What could not be told, in whatever shape the engine says it; its reason where it has no list."""
    limits = report.get("limits") or []
    told = [_limit(one) for one in (limits if isinstance(limits, list) else [limits])]
    reason = report.get("reason")
    if reason and not told:
        told = [limit_words.LimitSaid(part.strip(), "") for part in str(reason).split(";")]
    return [one for one in told if one.english]


def _limit(limit: Any) -> limit_words.LimitSaid:
    known = isinstance(limit, Mapping) and "code" in limit
    return limit_words.of(limit) if known else limit_words.LimitSaid(_sentence(limit), "")


def _sentence(limit: Any) -> str:
    if isinstance(limit, Mapping):
        return ", ".join(
            f"{text.humanise(str(name))}: {_sentence(value)}"
            for name, value in limit.items()
            if value not in (None, "", [], {})
        )
    if isinstance(limit, list):
        return ", ".join(map(_sentence, limit))
    return text.humanise(limit) if isinstance(limit, str) and limit.islower() and " " not in limit else str(limit)
