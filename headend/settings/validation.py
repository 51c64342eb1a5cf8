"""The validation rules' table: of each rule whether it runs and its thresholds, and what differs for a category.

A category's table names only what differs; everything else is as for all. Some categories differ as delivered, because
lamps, pumps and building sites do not live like households.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

from pydantic import Field, ValidationError, model_validator

from headend.domain.topology import CATEGORIES
from headend.settings.sections import Section

CATEGORY_DEFAULTS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "production": {"spike": {"factor": 6.0}, "zero_days": {"days": 14.0}},
    "irrigation": {"spike": {"enabled": False}, "constant": {"enabled": False}, "zero_days": {"enabled": False}},
    "public_lighting": {"constant": {"enabled": False}},
    "temporary": {"zero_days": {"enabled": False}},
}
"""Category → rule → what differs: machines start at once, and works holidays last a fortnight; a pump runs at one load
for weeks and rests for months; lamps burn evenly; a building site pauses."""


class Switch(Section):
    """A rule without a threshold."""

    enabled: bool = Field(True, description="off: its flag is not set")


class DuplicateOtherValue(Switch):
    """A second reading of the same instant tells another register."""

    tolerance_wh: float = Field(0.0, ge=0, le=1e6, description="registers of one instant may differ by so much")


class BeforeInstallation(Switch):
    """The meter was read before it is said to have been installed."""

    tolerance_s: float = Field(900.0, ge=0, le=86_400, description="a reading so shortly before is the crew's own")
    reach_days: float = Field(31.0, ge=0, le=40, description="readings longer ago are from a bench or another owner")


class ClockDrift(Switch):
    """A device's clock is off."""

    offset_s: float = Field(60.0, ge=1, le=86_400, description="off by more, as the clock was read")
    holds_h: float = Field(
        24.0, ge=0, le=168, description="a clock found off counts as off until it is read again, so long at the most"
    )


class TariffSum(Switch):
    """The tariff registers do not add up to the total register."""

    steps: float = Field(1.0, ge=0, le=100, description="each tariff register may lack so many of its steps")


class AboveCapacity(Switch):
    """More energy than rated current x 230 V x phases x time carries."""

    factor: float = Field(1.1, ge=1, le=10, description="... times this: the voltage may be a tenth higher")


class Spike(Switch):
    """Far above the third-highest interval of the same day."""

    factor: float = Field(3.0, ge=1, le=100, description="so many times the third-highest")
    floor_wh: float = Field(500.0, ge=0, le=1e9, description="... and above this in one interval")


class Constant(Switch):
    """The same energy, not zero, in every interval of a stretch within one local day."""

    hours: float = Field(12.0, ge=0.5, le=25, description="so long; a run is not carried over midnight")


class ZeroDays(Switch):
    """No energy, in or out, on this whole local day nor on those before it."""

    days: float = Field(7.0, ge=1, le=60, description="so many days, this one included")


class VoltageBand(Switch):
    """The mean voltage of the interval lies outside its band."""

    low_v: float = Field(195.5, ge=0, le=1000, description="230 V - 15 %")
    high_v: float = Field(253.0, ge=0, le=1000, description="230 V + 10 %")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low_v >= self.high_v:
            raise ValueError(f"low_v = {self.low_v:g} has to be less than high_v = {self.high_v:g}")
        return self


class PhaseMissing(Switch):
    """Of a three-phase meter one phase is without voltage, or without current, while the others have it."""

    gone_share: float = Field(0.6, ge=0, le=1, description="voltage of a phase that is gone, of 230 V")
    live_share: float = Field(0.78, ge=0, le=1, description="... while another one is above this")
    idle_share: float = Field(0.005, ge=0, le=1, description="current of a phase that is gone, of the rated current")
    load_share: float = Field(0.05, ge=0, le=1, description="... while both others are above this")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.gone_share > self.live_share or self.idle_share > self.load_share:
            raise ValueError("a phase that is gone has to lie below one that is there: gone_share, idle_share")
        return self


class ReversedFlow(Switch):
    """Energy or power flows back at a meter that does not feed in as a matter of course."""

    floor_wh: float = Field(10.0, ge=0, le=1e9, description="an interval may give back so much")
    floor_w: float = Field(50.0, ge=0, le=1e9, description="power that flows back by less says nothing")
    feeds_in_wh: float = Field(
        10_000.0,
        ge=0,
        le=1e15,
        description="a meter with an export register above this feeds in as a matter of course",
    )


class RegisterDecreased(Section):
    """What a register may do that falls, or climbs too fast; for all categories alike, because it decides energy."""

    skew_s: float = Field(10.0, ge=0, le=3600, description="a fall by what flows in so long is clocks that differ")
    headroom: float = Field(
        1.5, ge=1, le=10, description="a connection carries so many times its rated current for a while, no more"
    )
    rollover_share: float = Field(
        0.1, gt=0, le=0.5, description="a rollover means less energy than this share of the register's span, or is none"
    )


class RuleTables(Section):
    """The rules that may differ from category to category, by their codes."""

    above_capacity: AboveCapacity = AboveCapacity()
    spike: Spike = Spike()
    constant: Constant = Constant()
    zero_days: ZeroDays = ZeroDays()
    voltage_band: VoltageBand = VoltageBand()
    phase_missing: PhaseMissing = PhaseMissing()
    reversed_flow: ReversedFlow = ReversedFlow()
    duplicate_other_value: DuplicateOtherValue = DuplicateOtherValue()
    in_future: Switch = Switch()
    before_installation: BeforeInstallation = BeforeInstallation()
    clock_drift: ClockDrift = ClockDrift()
    tariff_sum: TariffSum = TariffSum()


def _as_delivered(category: str) -> RuleTables:
    return RuleTables.model_validate(CATEGORY_DEFAULTS.get(category, {}))


class Categories(Section):
    """The rules of each category of supply."""

    residential: RuleTables = _as_delivered("residential")
    production: RuleTables = _as_delivered("production")
    commercial: RuleTables = _as_delivered("commercial")
    irrigation: RuleTables = _as_delivered("irrigation")
    public_lighting: RuleTables = _as_delivered("public_lighting")
    temporary: RuleTables = _as_delivered("temporary")
    none: RuleTables = _as_delivered("none")


class Validation(RuleTables):
    """The validation rules: whether each runs, and its thresholds."""

    register_decreased: RegisterDecreased = RegisterDecreased()
    category: Categories = Categories()

    @model_validator(mode="before")
    @classmethod
    def _inherited(cls, data: Any) -> Any:
        """Give every category the tables of all, with what differs as delivered, and with what its own tables say."""
        if not isinstance(data, Mapping) or not isinstance(data.get("category", {}), Mapping):
            return data  # its own error says what is wrong
        told: Mapping[str, Any] = data.get("category", {})
        for_all = {rule: table for rule, table in data.items() if rule in RuleTables.model_fields}
        try:
            RuleTables.model_validate(for_all)
        except ValidationError:
            for_all = {}  # named once, where it stands, and not again in each category
        unknown = {name: table for name, table in told.items() if name not in CATEGORIES}
        merged = {
            name: _merged(for_all, _merged(CATEGORY_DEFAULTS.get(name, {}), told.get(name, {}))) for name in CATEGORIES
        }
        return {**data, "category": {**merged, **unknown}}


def _merged(base: Any, more: Any) -> Any:
    """Nested tables, the second one's values where both have one."""
    if not isinstance(base, Mapping) or not isinstance(more, Mapping):
        return more
    return {**base, **{key: _merged(base[key], value) if key in base else value for key, value in more.items()}}
