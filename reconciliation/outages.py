"""Power failures between two registers: nothing was used in the dark, so the difference belongs to the rest of the gap.

The rule it keeps: never against the registers. An outage during which the meter was read, or that leaves the energy no
time to have been used in, is not believed, and its gap is estimated like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from reconciliation.cleaning import Cleaned, most_wh
from reconciliation.estimation import NO_SPANS, cumulative_share
from reconciliation.registers import GridRegisters, GridRules, IntervalQuality

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

SKEW_US: Final = 10_000_000
"""A meter's event and its reading may be stamped by clocks so far apart [µs]: an outage may begin so long before the
last reading, or end so long after the next one, and is cut off there."""


@dataclass(frozen=True, slots=True, eq=False)
class DarkGap:
    """Two neighbouring readings of a series with time without power between them."""

    series: int
    before: int
    """Index of the reading before; the next one is the one after."""
    dark_us: Ints
    """(d, 2) int64 [µs UTC]: from, to; in order, apart from each other, within the gap."""


def outages(ts_us: Ints, failed: Bools, uncertainty_us: Ints) -> Ints:
    """(d, 2) int64 [µs UTC]: the time for which one meter's power had certainly failed, by its events in order of time.

    `failed`: (n,) True: failed, False: restored; `uncertainty_us`: (n,) each happened within so much of its instant.
    An outage is a failure and a restoration with no other event between them: of a failure told twice the later one
    counts, of a restoration the earlier one, and one without the other says nothing.
    """
    if ts_us.size < 2:
        return NO_SPANS
    pair = np.flatnonzero(failed[:-1] & ~failed[1:])
    begin, end = ts_us[pair] + uncertainty_us[pair], ts_us[pair + 1] - uncertainty_us[pair + 1]
    return np.stack([begin, end], axis=1)[end > begin]


def dark_gaps(
    readings: Cleaned, series: int, spans_us: Ints, *, most_w: float, slack_wh: int, suspect_us: Ints
) -> list[DarkGap]:
    """The gaps of one series that hold outages, where these can be believed.

    `spans_us`: (d, 2) outages of its meter; `most_w`: no more can flow for a while; `suspect_us`: instants of
    readings whose clock is suspect: next to them no event can be placed.
    """
    first, end = int(readings.offsets[series]), int(readings.offsets[series + 1])
    ts = readings.ts_us[first:end]
    found: dict[int, list[tuple[int, int]]] = {}
    for went, came in spans_us.tolist():
        i = int(np.searchsorted(ts, went + SKEW_US, side="right")) - 1
        if i < 0 or i + 1 >= ts.size or ts[i + 1] < came - SKEW_US:
            continue  # nothing before it, nothing after it, or read meanwhile
        begin, finish = max(went, int(ts[i])), min(came, int(ts[i + 1]))
        if finish > begin and not np.isin(ts[i : i + 2], suspect_us).any():
            found.setdefault(first + i, []).append((begin, finish))
    gaps = [DarkGap(series, before, np.array(spans, dtype=np.int64)) for before, spans in sorted(found.items())]
    return [gap for gap in gaps if _has_room(readings, gap, most_w, slack_wh)]


def _has_room(readings: Cleaned, gap: DarkGap, most_w: float, slack_wh: int) -> bool:
    """Whether the energy of the gap can have been used in what the outages leave of it."""
    before, after = gap.before, gap.before + 1
    if readings.run[before] != readings.run[after]:
        return False
    climb = int(readings.value_wh[after] - readings.value_wh[before])
    lit_us = int(readings.ts_us[after] - readings.ts_us[before] - np.diff(gap.dark_us, axis=1).sum())
    return climb == 0 or (lit_us > 0 and climb <= most_wh(most_w, lit_us, slack_wh))


def darken_lines(
    registers: GridRegisters, readings: Cleaned, scale: Ints, gaps: Sequence[DarkGap], rules: GridRules
) -> None:
    """Move the registers between the readings of short gaps, in place, so that nothing is used in the dark.

    `scale`: (S,) int64 multiplier of each series, x 10,000. Longer gaps get their shape elsewhere, the same way.
    """
    for gap in gaps:
        begin, end = (int(us) for us in readings.ts_us[gap.before : gap.before + 2])
        if end - begin > rules.longest_line_us:
            continue
        own = registers.before[gap.series] == gap.before
        between = np.flatnonzero(
            own & (registers.after[gap.series] == gap.before + 1) & (registers.anchor[gap.series] < 0)
            & (registers.quality[gap.series] != IntervalQuality.ABSENT)
        )  # fmt: skip
        low, high = (int(wh) * int(scale[gap.series]) for wh in readings.value_wh[gap.before : gap.before + 2])
        at = registers.at_us[gap.series, between]
        ends = np.array([begin, end], dtype=np.int64)
        share = cumulative_share(ends, np.ones(1), begin, end, at, dark_us=gap.dark_us)
        registers.ticks[gap.series, between] = low + np.rint((high - low) * share).astype(np.int64)


def dark_intervals(registers: GridRegisters, gaps: Sequence[DarkGap]) -> Bools:
    """(S, K-1) bool: the part of the interval in which the series served lies wholly in the dark."""
    begin, end = registers.at_us[:, :-1], registers.at_us[:, 1:]
    dark = np.zeros(begin.shape, dtype=np.bool_)
    for gap in gaps:
        for first, last in gap.dark_us.tolist():
            dark[gap.series] |= (begin[gap.series] >= first) & (end[gap.series] <= last)
    return dark & (end > begin)
