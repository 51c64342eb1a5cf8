"""How long things are kept and how they lie in the database, and when upkeep raises its voice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from headend.domain.gaps import GAP_DAYS
from headend.settings.sections import Section


class Upkeep(Section):
    """The role that tends the store: one process does it, others wait for their turn."""

    check_s: float = Field(
        60.0, gt=0, le=3600, description="how often what is due is looked for; also the rest after a failure"
    )


class Storage(Section):
    """How readings lie in the database and how long: in chunks of TimescaleDB or partitions of plain PostgreSQL."""

    compress_after_days: int = Field(
        7,
        ge=1,
        le=3650,
        description="days older than this are compressed (TimescaleDB only); most late data is in by then",
    )
    keep_readings_days: int | None = Field(
        None, ge=1, le=36500, description="raw readings are kept so long, settled days for ever; unset: for ever too"
    )
    partitions_ahead_days: int = Field(
        7, ge=1, le=60, description="partitions of so many coming days are made beforehand (plain PostgreSQL only)"
    )

    def check(self, needs: Mapping[str, int]) -> None:
        """Refuse to drop what something still needs: `needs` says who, and for how many days. Raises ValueError."""
        if self.keep_readings_days is None:
            return
        key, days = max(needs.items(), key=lambda need: need[1])
        if self.keep_readings_days < days + GAP_DAYS:
            raise ValueError(
                f"storage.keep_readings_days = {self.keep_readings_days} is less than {days + GAP_DAYS}: "
                f"{key} = {days} days, and {GAP_DAYS} days before them, as far as a gap in the readings may reach; "
                "readings would be dropped that still come in or are still settled"
            )


class Objectives(Section):
    """What share of the scheduled reads has to be stored, per area and local day, and when that is judged."""

    read_success_warn: float = Field(
        0.995, gt=0, le=1, description="below: a warning, once the day and its grace are over"
    )
    read_success_alert: float = Field(0.98, gt=0, le=1, description="below: an alert")
    reporting_s: int | None = Field(
        None,
        ge=1,
        le=86400,
        description="how often meters report that are not polled; unset: once each settlement.interval_s",
    )
    due_s: float = Field(
        1800.0, ge=0, le=86400, description="a read counts as missing so long after its time; today's figure needs it"
    )
    grace_s: float = Field(
        7200.0,
        ge=0,
        le=7 * 86400,
        description="a day is judged so long after its end; what is stored by then came first",
    )
    count_s: float = Field(
        60.0, gt=0, le=86400, description="how often today is counted, and past days that something touched"
    )
    back_days: int = Field(
        31, ge=1, le=366, description="a day so long ago is still counted again when readings come in for it"
    )
    keep_days: int = Field(800, ge=31, le=36500, description="days whose figures are kept")

    @model_validator(mode="after")
    def _orders(self) -> Self:
        if self.read_success_alert > self.read_success_warn:
            raise ValueError(
                f"read_success_alert = {self.read_success_alert:g} is above read_success_warn = "
                f"{self.read_success_warn:g}: a warning comes before an alert"
            )
        if self.grace_s < self.due_s:
            raise ValueError(
                f"grace_s = {self.grace_s:g} is less than due_s = {self.due_s:g}: the day's last reads would not count"
            )
        if self.keep_days < self.back_days:
            raise ValueError(f"keep_days = {self.keep_days} is less than back_days = {self.back_days}")
        return self


class Quarantine(Section):
    """How much is kept of what could not be understood; what is not is counted, with its origin, its reason and why."""

    keep_days: int = Field(
        90, ge=1, le=3650, description="an open message that has not come again for so long is given up"
    )
    keep_closed_days: int = Field(14, ge=0, le=3650, description="one that was understood in the end is kept so long")
    max_messages: int = Field(200_000, ge=1, le=100_000_000, description="open messages at the most")
    max_mib: int = Field(1024, ge=1, le=1_000_000, description="... and their bytes [MiB]")
    origin_messages: int = Field(
        10_000,
        ge=4,
        le=10_000_000,
        description="open messages of one origin and reason at the most: the first half and the newest are kept",
    )
    origin_mib: int = Field(64, ge=1, le=1_000_000, description="... and their bytes [MiB]")
    payload_mib: int = Field(
        16,
        ge=1,
        le=256,
        description="a larger message is cut there; 16 is the longest that is ever read, so nothing readable is cut",
    )
