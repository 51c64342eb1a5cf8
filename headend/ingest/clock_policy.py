"""When a meter's clock has drifted, and whether and when it may be set. Pure; everything is handed in.

The rule it keeps: a setting never steps over an instant of the interval grid. Neither what the meter's clock showed,
nor what it shows then, nor anything between may lie within the guard of such an instant: a register frozen twice, or
never, would move energy from one interval to its neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from headend.domain.calendar import US_PER_S, LocalCalendar, to_us
from headend.settings import Settings
from headend.store.clocks import ClockReading

_JUMP_PPM: Final = 1000.0
"""A quartz that is off by more was not drifting: somebody set the clock between two readings."""


@dataclass(frozen=True, slots=True)
class IntervalGrid:
    """Instants at which meters freeze registers: `phase_us` + any number of intervals."""

    interval_us: int
    phase_us: int = 0

    def before(self, instant_us: int) -> int:
        """The last grid instant that is not after this one."""
        return (instant_us - self.phase_us) // self.interval_us * self.interval_us + self.phase_us

    def between(self, first_us: int, last_us: int) -> bool:
        """Whether a grid instant lies within, both ends included."""
        return self.before(last_us) >= first_us


def grid_at(calendar: LocalCalendar, instant: datetime) -> IntervalGrid:
    """The grid of the local day that an instant lies in."""
    interval_us = calendar.interval_s * US_PER_S
    midnight, _ = calendar.bounds(calendar.day_of(instant))
    return IntervalGrid(interval_us, to_us(midnight) % interval_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockRules:
    """The policy of the settings."""

    threshold_s: float
    set: Literal["never", "beyond_threshold"]
    max_set_s: float
    min_interval_s: float
    guard_s: float
    may_set: bool
    """Whether commands of kind clock are allowed at all."""

    @classmethod
    def of(cls, settings: Settings) -> ClockRules:
        """The policy as it stands in the settings."""
        clock = settings.clock
        return cls(
            threshold_s=clock.threshold_s,
            set=clock.set,
            max_set_s=clock.max_set_s,
            min_interval_s=clock.min_interval_s,
            guard_s=clock.guard_s,
            may_set=settings.commands.clock,
        )


def good_moment(at_us: int, offset_us: int, guard_us: int, grid: IntervalGrid) -> bool:
    """Whether a clock that is off by `offset_us` may be set right at `at_us`: nothing of the grid is stepped over."""
    showed_us, shows_us = at_us + offset_us, at_us
    return not grid.between(min(showed_us, shows_us) - guard_us, max(showed_us, shows_us) + guard_us)


def next_good_moment(now_us: int, offset_us: int, guard_us: int, grid: IntervalGrid) -> int | None:
    """The first instant from now on at which it may be; None: the step is as long as an interval, it never may.

    Between two grid instants it may from a guard after the first (and what the clock lags behind) to a guard before the
    second (and what it is ahead).
    """
    if good_moment(now_us, offset_us, guard_us, grid):
        return now_us
    lag_us, lead_us = max(0, -offset_us), max(0, offset_us)
    if lag_us + lead_us + 2 * guard_us >= grid.interval_us - 1:
        return None
    first_us = grid.before(now_us) + lag_us + guard_us + 1
    return first_us if first_us >= now_us else first_us + grid.interval_us


def good_ends(at_us: int, offset_us: int | None, guard_us: int, grid: IntervalGrid) -> bool:
    """Whether both ends of a step that a person allows over grid instants keep away from them themselves.

    Where the clock names no instant (`offset_us` None) its step has only one end.
    """
    ends = [at_us] if offset_us is None else [at_us, at_us + offset_us]
    return all(not grid.between(end - guard_us, end + guard_us) for end in ends)


def next_good_ends(now_us: int, offset_us: int | None, guard_us: int, grid: IntervalGrid) -> int | None:
    """The first instant from now on at which both ends do; None: there is none within an interval from now."""
    shifts = [0] if offset_us is None else [0, offset_us]
    behind = (grid.before(now_us + shift + guard_us) - shift + guard_us + 1 for shift in shifts)
    after = (grid.before(now_us + shift + guard_us) + grid.interval_us - shift + guard_us + 1 for shift in shifts)
    for candidate in sorted({now_us, *behind, *after}):
        if candidate >= now_us and good_ends(candidate, offset_us, guard_us, grid):
            return candidate
    return None


def has_drifted(offset_ms: int | None, uncertainty_ms: int, threshold_s: float, *, before: bool) -> bool:
    """Whether a clock is beyond the threshold for certain; one that was (`before`) still is until it certainly is not.

    A clock whose registers name no instant is.
    """
    if offset_ms is None:
        return True
    margin_ms = -uncertainty_ms if before else uncertainty_ms
    return abs(offset_ms) > threshold_s * 1000 + margin_ms


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a clock is to be set without being asked, and why, or why not."""

    set: bool
    why: str


def decide(
    rules: ClockRules, reading: ClockReading, *, model_sets: bool, set_last: datetime | None, under_way: bool
) -> Decision:
    """What the policy says to a reading."""
    off_ms = reading.offset_ms
    since_s = None if set_last is None else (reading.at - set_last).total_seconds()
    against = (
        (not reading.drifted, "within the threshold"),
        (rules.set == "never", "by the settings clocks are not set without being asked (clock.set)"),
        (not rules.may_set, "by the settings clocks are not set at all (commands.clock)"),
        (not model_sets, "its register map knows no way to set it"),
        (off_ms is None, "its registers name no instant: a person decides"),
        (
            off_ms is not None and abs(off_ms) > rules.max_set_s * 1000,
            f"off by more than {rules.max_set_s:g} s (clock.max_set_s): a person decides",
        ),
        (under_way, "a command to set it is under way"),
        (
            since_s is not None and since_s < rules.min_interval_s,
            f"it was set within the last {rules.min_interval_s:g} s (clock.min_interval_s)",
        ),
    )
    for speaks, why in against:
        if speaks:
            return Decision(False, why)
    return Decision(True, f"off by {(off_ms or 0) / 1000:+.1f} s, more than {rules.threshold_s:g} s")


@dataclass(frozen=True, slots=True)
class Drift:
    """How fast a clock runs ahead (positive) or lags behind, seen over a span."""

    ppm: float
    """Seconds a million seconds; 11.6 is a second a day."""
    uncertainty_ppm: float
    since: datetime
    until: datetime

    @property
    def s_per_day(self) -> float:
        """The same in seconds a day."""
        return self.ppm * 86_400 / 1e6


def drift_of(readings: Sequence[ClockReading]) -> Drift | None:
    """The rate over the longest stretch up to the newest reading in which nobody set the clock; None: too few readings.

    `readings`: newest first. A reading that a setting was confirmed by begins a stretch, and so does one that differs
    from the one before by more than any drift explains.
    """
    known = [r for r in readings if r.offset_ms is not None]
    if not known:
        return None
    newest = oldest = known[0]
    for earlier in known[1:]:
        if oldest.command_id is not None or _jumped(earlier, oldest):
            break
        oldest = earlier
    span_ms = (newest.at - oldest.at).total_seconds() * 1000
    if span_ms <= 0:
        return None
    return Drift(
        ppm=_offset(newest, oldest) / span_ms * 1e6,
        uncertainty_ppm=(newest.uncertainty_ms + oldest.uncertainty_ms) / span_ms * 1e6,
        since=oldest.at,
        until=newest.at,
    )


def _jumped(earlier: ClockReading, later: ClockReading) -> bool:
    span_ms = (later.at - earlier.at).total_seconds() * 1000
    explained_ms = earlier.uncertainty_ms + later.uncertainty_ms + _JUMP_PPM * span_ms / 1e6
    return abs(_offset(later, earlier)) > explained_ms


def _offset(later: ClockReading, earlier: ClockReading) -> int:
    assert later.offset_ms is not None  # only readings that have one come here
    assert earlier.offset_ms is not None
    return later.offset_ms - earlier.offset_ms
