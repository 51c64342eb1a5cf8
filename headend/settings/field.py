"""What the role *poll* does at the meters: reading them, changing things at them, minding their clocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from headend.settings.sections import Section


class Poll(Section):
    """Modbus polling."""

    period_s: int = Field(
        900, ge=1, le=86400, description="all meters of a bus once each period, on the UTC grid of it"
    )
    area_period_s: int | None = Field(
        None, ge=1, le=86400, description="area meters once each so long, a divisor of period_s; unset: as all others"
    )
    area_again_s: float = Field(
        20.0, ge=0, description="an area meter is read again at the end where reading its area took longer"
    )
    missed_tick: Literal["skip", "at_once"] = Field(
        "skip", description="after a round that ran into the next one's time: wait for the following, or start at once"
    )
    stagger_share: float = Field(
        0.05, ge=0, le=0.5, description="areas start within this share of the period, so that not all do at once"
    )
    stagger_most_s: float = Field(20.0, ge=0, le=3600, description="... and within so long at the most")
    max_buses_at_once: int | None = Field(None, ge=1, description="buses at work at once; unset: all of them")
    timeout_s: float = Field(
        1.0, gt=0, le=60, description="longest wait for an answer; what a meter gets before its own times are known"
    )
    timeout_min_s: float = Field(0.2, gt=0, le=60, description="shortest wait, however quickly a meter used to answer")
    connect_timeout_s: float = Field(5.0, gt=0, le=300)
    retries: int = Field(1, ge=0, le=10, description="further tries after silence or a broken answer")
    turnaround_s: float = Field(
        0.0, ge=0, le=10, description="rest between an answer and the next question; slow converters need it"
    )
    inter_frame_s: float = Field(0.0, ge=0, le=10, description="least silence before a question, after a time-out too")
    late_s: float = Field(
        5.0, ge=0, le=600, description="how late an answer may come and must not be taken for another one's"
    )
    breaker_failures: int = Field(
        3, ge=2, le=100, description="visits in vain, while neighbours answer, after which a meter rests"
    )
    breaker_backoff_s: float = Field(60.0, gt=0, le=86400, description="its first rest; doubles up to ...")
    breaker_backoff_max_s: float = Field(900.0, gt=0, le=7 * 86400, description="... this")
    refusal_keep_s: int = Field(
        7 * 86400, ge=60, description="registers that a meter refuses are not asked for again for so long"
    )
    dialin: dict[str, Any] | None = Field(
        None, description="the listener for modems that dial in; unset: none. Its keys are those of the drivers"
    )
    models_dir: Path | None = Field(
        None, description="a directory with register maps of your own, besides the built-in ones"
    )
    reload_s: float = Field(5.0, gt=0, le=3600, description="how often changed endpoints are looked for")
    request_check_s: float = Field(
        0.5, gt=0, le=60, description="how often live reads that somebody wants are looked for"
    )
    spool_dir: Path | None = Field(
        None,
        description="what was read lies here until the database has it; unset: a directory of the service's own state. "
        "Each process that polls needs one of its own",
    )
    spool_mb: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="of so many MB at the most; 1000 hold 50,000 meters at 15 min for 4 days. When it is full, "
        "readings between others are given up first",
    )
    hold_readings: int = Field(
        200_000,
        ge=1,
        description="readings kept in memory while database and spool both fail; beyond them polling pauses",
    )

    @model_validator(mode="after")
    def _grids_fit(self) -> Self:
        if self.area_period_s is not None and self.period_s % self.area_period_s:
            raise ValueError(
                f"area_period_s = {self.area_period_s} is no divisor of period_s = {self.period_s}: "
                "a round of all meters would fall between two of the area meters"
            )
        return self


class Commands(Section):
    """What may be changed at meters; a command is confirmed only by the state read back."""

    relay: bool = Field(
        False, description="opening and closing supply relays; off: disconnecting people is a process of its own"
    )
    clock: bool = Field(True, description="setting clocks")
    tariff: bool = Field(True, description="switching the tariff in force")
    ttl_s: int = Field(
        60, ge=1, le=3600, description="a command never executed by then expires, unless it says otherwise"
    )
    settle_s: float = Field(
        20.0, gt=0, le=300, description="how long after a write the state is read back before it counts as unconfirmed"
    )


class Clock(Section):
    """Meters' own clocks."""

    read_every_s: int = Field(86400, ge=1, le=31 * 86400, description="each meter's clock is read once so long")
    threshold_s: float = Field(5.0, gt=0, le=3600, description="a clock off by more has drifted: an event")
    set: Literal["never", "beyond_threshold"] = Field(
        "never", description="whether a drifted clock is set without being asked"
    )
    max_set_s: float = Field(60.0, gt=0, le=86400, description="off by more: a person decides")
    min_interval_s: int = Field(86400, ge=0, description="at least so long between two settings of one clock")
    guard_s: float = Field(
        10.0, ge=1, le=60, description="never set so close to an instant of settlement.interval_s, before or after"
    )

    @model_validator(mode="after")
    def _orders(self) -> Self:
        if self.max_set_s < self.threshold_s:
            raise ValueError(
                f"max_set_s = {self.max_set_s:g} is less than threshold_s = {self.threshold_s:g}: nothing would be set"
            )
        return self
