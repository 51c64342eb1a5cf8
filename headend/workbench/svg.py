"""Draws a plot (the JSON of headend/web/plots.py) as SVG that needs no script: a report can be mailed and printed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from markupsafe import Markup

_PANEL_PX: Final = 66.0
"""Height of one unit of a panel's weight."""
_GAP: Final = 22.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 10.0, 18.0, 24.0
_AXIS: Final = 14.0
"""Below the ticks, for what an axis of numbers measures."""
_MOST_MARKERS: Final = 70
"""Points of a curve that get a dot with the number behind it."""


_POINT: Final = Markup('<circle class="dot role-{}" cx="{}" cy="{}" r="2"/>')
"""One of many: its place says all."""
_DOT: Final = Markup('<circle class="dot role-{}" cx="{}" cy="{}" r="2.4"><title>{}</title></circle>')


@dataclass(frozen=True, slots=True)
class _Panel:
    """Where one panel's values stand."""

    top: float
    bottom: float
    low: float
    high: float

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class _Canvas:
    width: float
    count: int
    """Places on the x axis; a step's last value is as wide as the others."""
    stepped: bool
    panels: tuple[_Panel, ...]
    numbers: tuple[float, float] | None = None
    """Ends of an x axis of numbers; None: it is of days or instants, placed one by one."""

    def x_of(self, plot: Mapping[str, Any], series: Mapping[str, Any], k: int) -> float | None:
        """Where the k-th value of a series stands; None where its own abscissa is not known."""
        if self.numbers is None:
            return self.x(k)
        value = (series.get("x") or plot["x"])[k]
        return None if value is None else self.at(value)

    def at(self, value: float) -> float:
        """Where a number stands on an axis of numbers."""
        low, high = self.numbers or (0.0, 1.0)
        return _LEFT + (self.width - _LEFT - _RIGHT) * (value - low) / (high - low)

    def x(self, place: float) -> float:
        return _LEFT + (self.width - _LEFT - _RIGHT) * place / max(self.count - (0 if self.stepped else 1), 1)


def picture(plot: Mapping[str, Any], label: str, *, small: bool = False) -> Markup:
    """Legend and curves: once for a screen, once for a phone; a ``small`` one is the same on both."""
    legend = Markup("").join(
        Markup('<li class="role-{}"><span></span>{}</li>').format(one["role"], one["name"]) for one in plot["series"]
    )
    drawn = Markup("").join(
        Markup('<div class="{}">{}</div>').format(css, _svg(plot, label, width))
        for css, width in ((("small", 350.0),) if small else (("on-screen", 920.0), ("on-phone", 350.0)))
    )
    return Markup('<figure class="picture"><ul class="legend">{}</ul>{}</figure>').format(legend, drawn)


def _svg(plot: Mapping[str, Any], label: str, width: float) -> Markup:
    canvas = _canvas(plot, width)
    height = canvas.panels[-1].bottom + _BOTTOM + (_AXIS if plot.get("axis") else 0.0)
    parts = [*_frame(plot, canvas), *_curves(plot, canvas), *_marks(plot, canvas)]
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        f"{width:g}", f"{height:g}", label, Markup("").join(parts)
    )


def _canvas(plot: Mapping[str, Any], width: float) -> _Canvas:
    panels = []
    top = _TOP
    for number, panel in enumerate(plot["panels"]):
        values = [v for v in _all(plot["series"], number) if v is not None]
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if panel["unit"] != "V":
            low, high = min(low, 0.0), max(high, 0.0)
        if high - low < 1e-9:
            high = low + 1.0
        room = 0.06 * (high - low)
        bottom = top + max(_PANEL_PX * panel["weight"], _PANEL_PX)
        panels.append(_Panel(top, bottom, low - (room if low < 0 or panel["unit"] == "V" else 0.0), high + room))
        top = bottom + _GAP
    stepped = not plot["daily"]
    return _Canvas(width, len(plot["x"]), stepped, tuple(panels), _ends(plot))


def _ends(plot: Mapping[str, Any]) -> tuple[float, float] | None:
    """Ends of an axis of numbers; what steps is as wide at its end as before."""
    if not plot.get("axis"):
        return None
    known = [v for one in plot["series"] for v in (one.get("x") or plot["x"]) if v is not None]
    low, high = min([0.0, *known]), max([0.0, *known])
    if any(one["shape"] == "step" for one in plot["series"]):
        high += 1.0
    return (low, high) if high - low > 1e-9 else (low, low + 1.0)


def _all(series: Sequence[Mapping[str, Any]], panel: int) -> Iterator[float | None]:
    for one in series:
        if one["panel"] == panel:
            yield from one["values"]
            yield from one.get("low") or ()
            yield from one.get("high") or ()


def _frame(plot: Mapping[str, Any], canvas: _Canvas) -> Iterator[Markup]:
    right = canvas.width - _RIGHT
    for panel, told in zip(canvas.panels, plot["panels"], strict=True):
        for tick in nice_ticks(panel.low, panel.high, 4):
            y = panel.y(tick)
            yield _line("zero" if tick == 0 else "grid", _LEFT, y, right, y)
            yield _text(_LEFT - 5, y + 3.5, _short(tick), "end")
        said = ", ".join(part for part in (told["title"], told["unit"]) if part)
        yield _text(_LEFT, panel.top - 6, said, "start", "unit")
    bottom = canvas.panels[-1].bottom
    if plot.get("axis"):
        yield _text(right, bottom + 29, f"{plot['axis']['title']}, {plot['axis']['unit']}", "end", "unit")
    for x, text in _x_ticks(plot, canvas, 4 if canvas.width < 500 else 9):
        yield _line("grid", x, canvas.panels[0].top, x, bottom)
        yield _text(min(x, right - 16), bottom + 15, text, "middle")


def _x_ticks(plot: Mapping[str, Any], canvas: _Canvas, most: int) -> Iterator[tuple[float, str]]:
    if canvas.numbers is None:
        yield from ((canvas.x(place), text) for place, text in _days(plot["x"], most))
        return
    yield from ((canvas.at(tick), _short(tick)) for tick in nice_ticks(*canvas.numbers, most - 1))


def _days(x: Sequence[str], most: int) -> list[tuple[int, str]]:
    """Places of some midnights with their dates; of a day or two, hours in between."""
    begins = [k for k, at in enumerate(x) if len(at) == 10 or at.endswith("T00:00:00")]
    if len(begins) <= 2 and any(len(at) > 10 for at in x):
        hours = [k for k, at in enumerate(x) if at.endswith(":00:00")]
        every = next((h for h in (1, 2, 3, 4, 6, 8, 12) if len(hours) <= h * most), 24)
        ticks = [k for k in hours if int(x[k][11:13]) % every == 0]
        return [(k, datetime.fromisoformat(x[k]).strftime("%d %b" if k in begins else "%H:%M")) for k in ticks]
    every = max(1, -(-len(begins) // most))
    return [(k, datetime.fromisoformat(x[k]).strftime("%d %b")) for k in begins[::every]]


def _curves(plot: Mapping[str, Any], canvas: _Canvas) -> Iterator[Markup]:
    for series in plot["series"]:
        panel, role = canvas.panels[series["panel"]], series["role"]
        points = series["shape"] == "points"
        if series.get("low"):
            yield from _band(series, panel, canvas)
        path = "" if points else " ".join(_path(run, panel, canvas, plot, series) for run in _runs(series["values"]))
        if path:
            yield Markup('<path class="curve role-{}" d="{}"/>').format(role, path)
        if points or (len(series["values"]) <= _MOST_MARKERS and "x" not in series):
            unit = plot["panels"][series["panel"]]["unit"].replace(" a day", "")
            for k, value in enumerate(series["values"]):
                x = canvas.x_of(plot, series, k)
                if value is not None and x is not None:
                    if points:
                        yield _POINT.format(role, _px(x), _px(panel.y(value)))
                        continue
                    where = str((series.get("x") or plot["x"])[k]).replace("T", " ")
                    told = f"{series['name']}, {where}: {value:,.4g} {unit}"
                    yield _DOT.format(role, _px(x), _px(panel.y(value)), told)


def _path(
    run: Sequence[tuple[int, float]],
    panel: _Panel,
    canvas: _Canvas,
    plot: Mapping[str, Any],
    series: Mapping[str, Any],
) -> str:
    """A move and lines; a step runs to the beginning of the next one."""
    parts = []
    for n, (k, value) in enumerate(run):
        y, x = _px(panel.y(value)), canvas.x_of(plot, series, k) or 0.0
        parts.append(f"{'L' if n else 'M'}{_px(x)} {y}")
        if series["shape"] == "step" and (k + 1 < canvas.count or canvas.stepped):
            end = canvas.x(k + 1) if canvas.numbers is None else canvas.at(plot["x"][k] + 1.0)
            parts.append(f"H{_px(end)}")
    return "".join(parts)


def _band(series: Mapping[str, Any], panel: _Panel, canvas: _Canvas) -> Iterator[Markup]:
    both = [
        None if low is None or high is None else (low, high)
        for low, high in zip(series["low"], series["high"], strict=True)
    ]
    for run in _runs(both):
        up = [f"{_px(canvas.x(k))},{_px(panel.y(pair[1]))}" for k, pair in run]
        down = [f"{_px(canvas.x(k))},{_px(panel.y(pair[0]))}" for k, pair in reversed(run)]
        yield Markup('<polygon class="band role-{}" points="{}"/>').format(series["role"], " ".join(up + down))


def _marks(plot: Mapping[str, Any], canvas: _Canvas) -> Iterator[Markup]:
    for mark in plot["marks"]:
        at = _place(plot["x"], mark["x"])
        if at is not None:
            x = canvas.x(at)
            yield _line("mark", x, canvas.panels[0].top, x, canvas.panels[-1].bottom)
            yield _text(min(x + 3, canvas.width - 40), canvas.panels[0].top + 11, mark["label"], "start", "mark-text")


def _place(x: Sequence[str], at: str) -> float | None:
    """Where on the axis an instant is; None: not on it."""
    if len(x) < 2:
        return None
    first, second, wanted = (datetime.fromisoformat(text) for text in (x[0], x[1], at))
    step = (second - first) / timedelta(seconds=1)
    place = (wanted - first) / timedelta(seconds=1) / step if step else 0.0
    return place if 0 <= place <= len(x) else None


def _runs(values: Sequence[Any]) -> Iterator[list[tuple[int, Any]]]:
    """Stretches without a gap."""
    run: list[tuple[int, Any]] = []
    for k, value in enumerate(values):
        if value is None:
            if run:
                yield run
            run = []
        else:
            run.append((k, value))
    if run:
        yield run


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two values, at most so many and one more; zero is exactly zero."""
    rough = (high - low) / most
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(scale * m for m in (1, 2, 2.5, 5, 10) if scale * m >= rough * 0.999)
    return [round(k * step, 12) + 0.0 for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _short(value: float) -> str:
    return f"{value / 1e3:,.4g}k" if abs(value) >= 10_000 else f"{value:,.4g}".replace("-", "−")


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _line(css: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(css, *map(_px, (x1, y1, x2, y2)))


def _text(x: float, y: float, said: str, anchor: str, css: str = "tick") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(css, _px(x), _px(y), anchor, said)
