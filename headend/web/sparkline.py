"""A loss rate over some weeks as a small inline SVG: gaps stay gaps, the limit is a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT, PAD = 140.0, 34.0, 3.0


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    count: int

    def x(self, index: int) -> float:
        return PAD + (WIDTH - 2 * PAD) * (index / max(self.count - 1, 1))

    def y(self, value: float) -> float:
        return HEIGHT - PAD - (HEIGHT - 2 * PAD) * (value - self.low) / (self.high - self.low)


def sparkline(rates: Sequence[float | None], limit: float, label: str) -> Markup:
    """(days,) loss rates as SVG, None = no balance that day; `limit` is always in the picture, for comparison."""
    known = [rate for rate in rates if rate is not None]
    if not known:
        return Markup('<span class="muted">no balance yet</span>')
    low, high = min(0.0, *known), max(limit * 1.4, *known)
    scale = _Scale(low, high, len(rates))
    parts = [
        _line("spark-zero", scale.y(0.0)),
        _line("spark-limit", scale.y(limit)),
    ]
    for run in _runs(rates):
        points = " ".join(f"{scale.x(i):.1f},{scale.y(value):.1f}" for i, value in run)
        if len(run) == 1:
            ((at, alone),) = run
            parts.append(
                Markup('<circle class="spark-dot" cx="{}" cy="{}" r="1.6"/>').format(
                    f"{scale.x(at):.1f}", f"{scale.y(alone):.1f}"
                )
            )
        else:
            parts.append(Markup('<polyline class="spark-line" points="{}"/>').format(points))
    last = max(index for index, rate in enumerate(rates) if rate is not None)
    value = rates[last]
    assert value is not None
    dot = "spark-end spark-over" if value > limit else "spark-end spark-under" if value < 0 else "spark-end"
    parts.append(
        Markup('<circle class="{}" cx="{}" cy="{}" r="2.6"/>').format(
            dot, f"{scale.x(last):.1f}", f"{scale.y(value):.1f}"
        )
    )
    return Markup('<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title>{}</svg>').format(
        f"{WIDTH:g}", f"{HEIGHT:g}", label, label, Markup("").join(parts)
    )


def _line(kind: str, y: float) -> Markup:
    return Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
        kind, PAD, WIDTH - PAD, f"{y:.1f}", f"{y:.1f}"
    )


def _runs(rates: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    runs: list[list[tuple[int, float]]] = []
    before = False
    for index, rate in enumerate(rates):
        if rate is not None:
            if not before:
                runs.append([])
            runs[-1].append((index, rate))
        before = rate is not None
    return runs
