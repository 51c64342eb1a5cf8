"""The further pictures of a finding's evidence: a telling day, the hours, pairs, and the meters along the line.

What they are made of is the engine's; here are their words, units and axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from headend.web import plots, text
from headend.web.told import Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One picture with its title and how to read it."""

    name: str
    title: Told
    says: Told
    plot: plots.Plot | None = None
    places: tuple[tuple[str, float, float | None], ...] = ()
    """Of meters along the line: name, evidence [nat], answer of its voltage [SD]."""

    @property
    def most(self) -> float:
        """Largest evidence of a place, for bars."""
        return max((nat for _, nat, _ in self.places), default=0.0)


_TITLES: Final[Mapping[str, Told]] = {
    "day": Told("One day, {day}", "典型日 {day}"),
    "day_before": Told("For comparison, {day}", "对照日 {day}"),
    "hours": Told("When in the day", "一天中的时段"),
    "pairs": Told("Hour against hour", "逐小时对比"),
    "place": Told("Where on the line", "线路位置"),
    "voltages": Told("Voltages, {day}", "电压 {day}"),
}
_SAYS: Final[Mapping[str, Told]] = {
    "day": Told(
        "The day with most at stake, interval by interval: what the balance misses beside what is claimed.",
        "涉及电量最多的一天，逐时段：平衡所缺与判断所称。",
    ),
    "day_before": Told(
        "A day on which this fault does not act. What is missing here all the same has another cause.",
        "该故障未发生的一天。此处若仍有缺失，则另有原因。",
    ),
    "hours": Told(
        "Mean of the days on which it acts, by hour of the local day.", "故障各日按当地时刻的平均值。"
    ),
    "pairs": Told(
        "Each dot is an hour. On the line: exactly what is claimed.", "每点为一小时。落在线上：与判断完全一致。"
    ),
    "place": Told(
        "Log evidence, from all meters’ voltages, that what is missing is at a meter’s place, and how its own voltage "
        "answers what is missing. It accuses nobody.",
        "由全部表计电压得出的位置证据（对数），及该表电压对缺失电量的响应。不指认任何人。",
    ),
    "voltages": Told(
        "The day on which the candidates differ most; whom the voltage follows, there it hangs.",
        "各候选差异最大的一天；电压随谁变化，就接在谁下。",
    ),
}  # fmt: skip
_AXES: Final[Mapping[str, str]] = {"reading": "This meter", "households": "Households and conductors"}
_LINES: Final[Mapping[str, str]] = {"line_claimed": "As claimed", "line_honest": "An honest meter"}


def pictures(finding: Mapping[str, Any], zone: ZoneInfo) -> list[Shown]:
    """Those that can be drawn, in the engine's order; of another shape than they should be, they are left out."""
    held = finding["evidence"] if isinstance(finding["evidence"], Mapping) else {}
    found = held.get("pictures")
    shown = (_shown(one, held, finding, zone) for one in (found if isinstance(found, list) else ()))
    return [one for one in shown if one is not None]


def _shown(one: Any, held: Mapping[str, Any], finding: Mapping[str, Any], zone: ZoneInfo) -> Shown | None:
    name = str(one.get("name")) if isinstance(one, Mapping) else ""
    if name not in _TITLES or not isinstance(one.get("series"), list) or not one["series"]:
        return None
    interval_s = held.get("interval_s") or 900
    title, says = _TITLES[name], _SAYS[name]
    match one.get("resolution"):
        case "interval":
            start = plots.start_of(held.get("starts_at"), finding["window_from"], zone)
            first = start + timedelta(seconds=interval_s * int(one.get("first_interval") or 0))
            day = first.astimezone(zone).date().isoformat()
            title = Told(title.english.format(day=day), title.chinese.format(day=day))
            return Shown(name=name, title=title, says=says, plot=_by_interval(one["series"], first, interval_s, zone))
        case "hour":
            return Shown(name=name, title=title, says=says, plot=_by_hour(one["series"]))
        case "pair":
            return Shown(name=name, title=title, says=says, plot=_pairs(one["series"]))
        case "meter":
            return Shown(name=name, title=title, says=says, places=_places(one))
    return None


def _by_interval(series: Sequence[Any], first: datetime, interval_s: float, zone: ZoneInfo) -> plots.Plot:
    volts = any(curve["unit"] == "V" for curve in series)
    factor = 1.0 if volts else 3.6 / interval_s
    return {
        "x": plots.instants(first, interval_s, len(series[0]["values"]), zone),
        "daily": False,
        "panels": [{"title": "", "unit": "V" if volts else "kW", "weight": 4}],
        "series": [_curve(curve, factor, k, shape="line" if volts else "step") for k, curve in enumerate(series)],
        "marks": [],
    }


def _by_hour(series: Sequence[Any]) -> plots.Plot:
    return {
        "x": list(range(24)),
        "axis": {"title": "hour of the day", "unit": "h"},
        "daily": False,
        "panels": [{"title": "", "unit": "kW", "weight": 3}],
        "series": [_curve(curve, 1e-3, k, shape="step") for k, curve in enumerate(series)],
        "marks": [],
    }


def _pairs(series: Sequence[Any]) -> plots.Plot:
    across, up, lines = series[0], series[1], series[2:]
    x = [None if v is None else round(v / 1000, 6) for v in across["values"]]
    most = max((v for v in x if v is not None), default=1.0)
    dots = _curve(up, 1e-3, 0, shape="points") | {"x": x}
    drawn = [
        _curve(line, 1e-3, k + 1, shape="line")
        | {"name": _LINES.get(line["name"], text.humanise(line["name"])), "x": [0.0, most]}
        | {"role": "after" if line["name"] == "line_claimed" else "technical"}
        for k, line in enumerate(lines)
    ]
    return {
        "x": x,
        "axis": {"title": _AXES.get(across["name"], text.humanise(across["name"])), "unit": "kW"},
        "daily": False,
        "panels": [{"title": dots["name"], "unit": "kW", "weight": 4}],
        "series": [dots, *drawn],
        "marks": [],
    }


def _places(one: Mapping[str, Any]) -> tuple[tuple[str, float, float | None], ...]:
    columns = {curve["name"]: curve["values"] for curve in one["series"]}
    evidence = columns.get("place_evidence") or []
    answers = columns.get("voltage_response") or [None] * len(evidence)
    return tuple(
        (str(name), float(nat), answer)
        for name, nat, answer in zip(one.get("meters") or [], evidence, answers, strict=False)
        if nat is not None
    )


def _curve(curve: Mapping[str, Any], factor: float, place: int, *, shape: str) -> dict[str, Any]:
    name = str(curve["name"])
    values = [None if v is None else round(v * factor, 6) for v in curve["values"]]
    return plots.series_of(name, values, place, shape=shape)
