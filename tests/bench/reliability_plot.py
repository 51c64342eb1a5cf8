"""Draws stated probabilities against how often they were so, with 95 % Wilson intervals, as one SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headend.domain.proportion import wilson

SIDE, LEFT, TOP = 320.0, 56.0, 36.0
PANEL = SIDE + 90.0


def reliability_svg(panels: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """One square for each name; its rows hold `stated`, `was_so` and `findings`, as engine_cases prints them."""
    drawn = [_panel(name, rows, LEFT + at * PANEL) for at, (name, rows) in enumerate(panels.items())]
    width = LEFT + len(panels) * PANEL
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {TOP + SIDE + 56:g}" '
        'font-family="sans-serif" font-size="12">' + "".join(drawn) + "</svg>\n"
    )


def _panel(name: str, rows: Sequence[Mapping[str, Any]], left: float) -> str:
    bottom = TOP + SIDE

    def x(p: float) -> float:
        return left + p * SIDE

    def y(p: float) -> float:
        return bottom - p * SIDE

    total = sum(int(row["findings"]) for row in rows)
    out = [
        f'<text x="{left:g}" y="{TOP - 14:g}" font-weight="bold">{name}: {total:,} stated</text>',
        f'<rect x="{left:g}" y="{TOP:g}" width="{SIDE:g}" height="{SIDE:g}" fill="none" stroke="#999"/>',
        f'<line x1="{x(0):g}" y1="{y(0):g}" x2="{x(1):g}" y2="{y(1):g}" stroke="#999" stroke-dasharray="4 4"/>',
        f'<text x="{left + SIDE / 2:g}" y="{bottom + 40:g}" text-anchor="middle">probability stated</text>',
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        out.append(f'<text x="{x(tick):g}" y="{bottom + 18:g}" text-anchor="middle">{tick:g}</text>')
        out.append(f'<text x="{left - 8:g}" y="{y(tick) + 4:g}" text-anchor="end">{tick:g}</text>')
    for row in rows:
        count = int(row["findings"])
        was = wilson(round(row["was_so"] * count), count)
        if was is None:
            continue
        at, so = x(row["stated"]), y(was.share)
        out.append(
            f'<line x1="{at:g}" y1="{y(was.low):g}" x2="{at:g}" y2="{y(was.high):g}" stroke="#246" stroke-width="2"/>'
        )
        out.append(f'<circle cx="{at:g}" cy="{so:g}" r="4" fill="#246"><title>{count:,}</title></circle>')
        out.append(f'<text x="{at + 7:g}" y="{so + 14:g}" fill="#246">{count:,}</text>')
    return "".join(out)
