"""Raw registers → registers that only rise: rollovers unwrapped, resets parted into runs, readings that cannot be
left out (and flagged).

Every decision looks at a few neighbouring readings only, so that the same readings give the same answer whichever
stretch of time is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from reconciliation.validation import RULES, Flag, register_decreased

Ints: TypeAlias = npt.NDArray[np.int64]

LOOK_AROUND: Final = 4
"""A run of up to so many readings that cannot be is left out when the ones around it agree."""
LARGEST_TICKS: Final = 4.6e18
"""Registers are counted in 1e-4 Wh of the primary side with 64 bits: half of what these hold, so that two may be added.
"""
_DEFAULTS: Final = RULES["register_decreased"].defaults


@dataclass(frozen=True, slots=True, kw_only=True)
class Plausible:
    """What a register may do; the thresholds of the rule register_decreased, for all series alike."""

    skew_s: float = _DEFAULTS["skew_s"]
    headroom: float = _DEFAULTS["headroom"]
    rollover_share: float = _DEFAULTS["rollover_share"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeriesMeta:
    """What holds for each of S series; all arrays (S,)."""

    multiplier_e4: Ints
    """int64: CT x VT ratio x 10,000."""
    span_wh: Ints
    """int64 [Wh]: where the register rolls over to zero."""
    slack_wh: Ints
    """int64 [Wh]: a fall of so little is resolution or clock skew, not a decrease."""
    capacity_w: npt.NDArray[np.float64]
    """float64 [W], as the register counts (secondary side): what the connection can carry."""
    from_us: Ints
    """int64 [µs UTC]: the series serves from here ..."""
    to_us: Ints
    """... to here."""
    plausible: Plausible = field(default_factory=Plausible)


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """Readings that are believed, in order of series and time."""

    offsets: Ints
    """(S + 1,) readings of series s are offsets[s] ... offsets[s + 1]."""
    ts_us: Ints
    """(n,) int64 [µs UTC]."""
    value_wh: Ints
    """(n,) int64 [Wh]: unwrapped, rising within a run but for falls within the slack."""
    run: Ints
    """(n,) int64: rises by one at every reset of a series."""
    flag: npt.NDArray[np.int32]
    """(n,) Flag of the step that leads to the reading (ROLLOVER, RESET; ABOVE_CAPACITY: to what no 64 bits hold on the
    primary side, a run of its own), 0 mostly.
    """
    source: Ints
    """(n,) index of the reading in what was given."""
    refused: Ints
    """(k,) indices, in what was given, of readings that are not believed."""


def clean(offsets: Ints, ts_us: Ints, value_wh: Ints, meta: SeriesMeta, coarser_wh: Ints | None = None) -> Cleaned:
    """Check the steps between readings of S series. `ts_us`, `value_wh`: (n,) int64, rising in time within offsets[s]
    ... offsets[s + 1]. `coarser_wh`: (n,) int64 [Wh] slack of each reading beyond its series' own (a 32-bit float's
    step grows with its value); between two readings the larger one's holds.
    """
    n = ts_us.size
    owner = np.repeat(np.arange(offsets.size - 1), np.diff(offsets))
    slack = meta.slack_wh[owner] if coarser_wh is None else meta.slack_wh[owner] + coarser_wh
    falls = _falls(owner, value_wh, slack)
    if not falls.size:  # nearly always
        nothing = np.zeros(n, dtype=np.int64)
        return _within_range(
            Cleaned(
                offsets, ts_us, value_wh, nothing, nothing.astype(np.int32), np.arange(n), np.empty(0, dtype=np.int64)
            ),
            meta,
        )
    keep = np.ones(n, dtype=np.bool_)
    for s in np.unique(owner[falls]):
        a, b = int(offsets[s]), int(offsets[s + 1])
        keep[a:b] = _believed(ts_us[a:b], value_wh[a:b], slack[a:b], _Limits.of(meta, int(s)))
    chosen = np.flatnonzero(keep)
    owner, ts, value, slack = owner[chosen], ts_us[chosen], value_wh[chosen], slack[chosen]
    wraps, resets = np.zeros(ts.size, dtype=np.int64), np.zeros(ts.size, dtype=np.int64)
    for k in _falls(owner, value, slack) + 1:
        limits = _Limits.of(meta, int(owner[k]))
        between = int(max(slack[k - 1], slack[k]))
        if limits.rolled_over(int(value[k - 1]), int(value[k]), int(ts[k] - ts[k - 1]), between):
            wraps[k] = 1
        else:
            resets[k] = 1
    counts = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=offsets.size - 1))]).astype(np.int64)
    wrapped = np.cumsum(wraps)
    wrapped -= _at_series_start(wrapped - wraps, counts, owner)
    flag = np.where(wraps > 0, Flag.ROLLOVER, np.where(resets > 0, Flag.RESET, 0)).astype(np.int32)
    return _within_range(
        Cleaned(
            counts, ts, value + wrapped * meta.span_wh[owner], np.cumsum(resets), flag, chosen, np.flatnonzero(~keep)
        ),
        meta,
    )


def _within_range(found: Cleaned, meta: SeriesMeta) -> Cleaned:
    """The same with every reading that leaves the range of 64 bits as a run of its own, so that it makes no energy with
    any other: a meter that sends nonsense takes none of its neighbours down with it.
    """
    largest = float(meta.multiplier_e4.max(initial=1))
    if float(found.value_wh.max(initial=0)) * largest <= LARGEST_TICKS:  # nearly always
        return found
    owner = np.repeat(np.arange(found.offsets.size - 1), np.diff(found.offsets))
    beyond = found.value_wh.astype(np.float64) * meta.multiplier_e4[owner] > LARGEST_TICKS
    parted = beyond.astype(np.int64)
    parted[1:] |= beyond[:-1]
    return replace(
        found,
        value_wh=np.where(beyond, 0, found.value_wh),
        run=found.run + np.cumsum(parted),
        flag=np.where(beyond, Flag.ABOVE_CAPACITY, found.flag).astype(np.int32),
    )


def _at_series_start(values: Ints, counts: Ints, owner: Ints) -> Ints:
    return values[counts[owner]] if values.size else values


def _falls(owner: Ints, value_wh: Ints, slack_wh: Ints) -> Ints:
    """Indices k whose successor in the same series is lower by more than the slack of the two."""
    fell = register_decreased(value_wh, slack_wh)[1:] & (owner[1:] == owner[:-1])
    return np.flatnonzero(fell).astype(np.int64)


def most_wh(most_w: float, elapsed_us: int, slack_wh: int) -> float:
    """How far a register may climb when no more than `most_w` flows: so much, and the slack of both readings."""
    return most_w * elapsed_us / 3.6e9 + 2 * slack_wh


@dataclass(frozen=True, slots=True)
class _Limits:
    """The limits of one series as plain numbers; `slack_wh` is the one between the two readings."""

    span_wh: int
    capacity_w: float
    plausible: Plausible

    @classmethod
    def of(cls, meta: SeriesMeta, s: int) -> _Limits:
        return cls(int(meta.span_wh[s]), float(meta.capacity_w[s]), meta.plausible)

    def most_wh(self, elapsed_us: int, slack_wh: int) -> float:
        return most_wh(self.plausible.headroom * self.capacity_w, elapsed_us, slack_wh)

    def rolled_over(self, before: int, after: int, elapsed_us: int, slack_wh: int) -> bool:
        climb = after - before + self.span_wh
        most = min(self.most_wh(elapsed_us, slack_wh), self.plausible.rollover_share * self.span_wh)
        return after < before and 0 <= climb <= most

    def climbs(self, before: int, after: int, elapsed_us: int, slack_wh: int) -> bool:
        """Whether the step can be: up by no more than the connection carries, level within the slack, or a rollover."""
        up = -slack_wh <= after - before <= self.most_wh(elapsed_us, slack_wh)
        return up or self.rolled_over(before, after, elapsed_us, slack_wh)


def _believed(ts: Ints, value: Ints, slack: Ints, limits: _Limits) -> npt.NDArray[np.bool_]:
    """Which readings of one series to believe: a short run that cannot be, between readings that agree, is left out."""
    keep = np.ones(ts.size, dtype=np.bool_)

    def can(a: int, b: int) -> bool:
        return limits.climbs(int(value[a]), int(value[b]), int(ts[b] - ts[a]), int(max(slack[a], slack[b])))

    for k in range(1, ts.size):
        if value[k] - value[k - 1] >= -max(slack[k - 1], slack[k]) or can(k - 1, k):
            continue
        for size in range(1, LOOK_AROUND + 1):
            high = k - 1 - size  # a run of too high readings ends at k - 1
            if high >= 0 and not can(high, high + 1) and can(high, k):
                keep[high + 1 : k] = False
                break
            low = k + size  # a run of too low readings begins at k
            if low < ts.size and value[low] >= value[k - 1] and can(k - 1, low):
                keep[k:low] = False  # what follows goes on where the last one was
                break
    return keep
