"""Every validation rule there is, with its version, its thresholds and where their defaults are from.

The functions stand in energy.py, readings.py and supply.py; which of them run, and with what numbers for which category
of supply, is the settings' to say. A default whose source is not named is our own judgement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reconciliation.validation.flags import Flag
from reconciliation.validation.rule import Rule, Threshold

_REGISTERS: Final = (
    Rule(
        code="register_decreased", version=1, flag=Flag.REGISTER_DECREASED,
        says="a register lower than the one before by more than two of its steps and what flows in a clock error, or "
        "one that climbed beyond what the connection carries and fell back",
        thresholds=(
            Threshold(
                name="skew_s", unit="s", default=10.0, least=0.0, most=3600.0,
                says="a fall by what flows in so long is clocks that differ",
            ),
            Threshold(
                name="headroom", unit="", default=1.5, least=1.0, most=10.0,
                says="a connection carries so many times its rated current for a while, no more",
            ),
            Threshold(
                name="rollover_share", unit="of the register's span", default=0.1, least=0.0, most=0.5,
                says="a rollover means less energy than this, or is none",
            ),
        ),
    ),
    Rule(
        code="rollover", version=1, flag=Flag.ROLLOVER,
        says="the register passed 10^digits × its step, and the energy that means is plausible",
    ),
    Rule(
        code="reset", version=1, flag=Flag.RESET,
        says="the register fell and no rollover explains it: reset, or another meter; what lies between is not known",
    ),
    Rule(code="meter_swap", version=1, flag=Flag.METER_SWAP, says="more than one installation served in the interval"),
    Rule(code="missing", version=1, flag=Flag.MISSING, says="a meter served, and a reading of it is missing"),
)  # fmt: skip

_READINGS: Final = (
    Rule(
        code="duplicate_other_value", version=1, flag=Flag.DUPLICATE_OTHER_VALUE,
        says="a second reading of the same instant tells another register; what was stored first stays",
        thresholds=(
            Threshold(
                name="tolerance_wh", unit="Wh", default=0.0, least=0.0, most=1e6,
                says="registers of one instant may differ by so much: two ways in may round differently",
            ),
        ),
    ),
    Rule(
        code="in_future", version=1, flag=Flag.IN_FUTURE,
        says="a reading stamped over 60 s later than it came in; beyond ingest.future_tolerance_s it is refused",
    ),
    Rule(
        code="before_installation", version=1, flag=Flag.BEFORE_INSTALLATION,
        says="the meter was read, by nobody else's account, before it is said to have been installed; said of the "
        "interval in which the installation begins",
        thresholds=(
            Threshold(
                name="tolerance_s", unit="s", default=900.0, least=0.0, most=86_400.0,
                says="a reading so shortly before is the crew's own check; one 15-min interval",
            ),
            Threshold(
                name="reach_days", unit="d", default=31.0, least=0.0, most=40.0,
                says="readings longer ago are from a bench or another owner",
            ),
        ),
    ),
    Rule(
        code="clock_drift", version=1, flag=Flag.CLOCK_DRIFT,
        says="the device says that its clock is off, or the clock as it was read is off by more than its limit",
        thresholds=(
            Threshold(
                name="offset_s", unit="s", default=60.0, least=1.0, most=86_400.0,
                says="a fifteenth of a 15-min interval, our own judgement; the Californian standards (DASMMD) ask for "
                "3 min; an event is told far earlier (clock.threshold_s)",
            ),
            Threshold(
                name="holds_h", unit="h", default=24.0, least=0.0, most=168.0,
                says="a clock found off counts as off until it is read again, so long at most (clock.read_every_s)",
            ),
        ),
    ),
    Rule(
        code="tariff_sum", version=1, flag=Flag.TARIFF_SUM,
        says="the tariff registers do not add up to the total register",
        thresholds=(
            Threshold(
                name="steps", unit="", default=1.0, least=0.0, most=100.0,
                says="each tariff register is cut off at its own step: so many steps a register may be lacking",
            ),
        ),
    ),
)  # fmt: skip

_ENERGY: Final = (
    Rule(
        code="above_capacity", version=1, flag=Flag.ABOVE_CAPACITY,
        says="more energy than rated current × 230 V × phases × time carries",
        thresholds=(
            Threshold(
                name="factor", unit="", default=1.1, least=1.0, most=10.0,
                says="230 V + 10 % (EN 50160), at which the rated current carries a tenth more",
            ),
        ),
    ),
    Rule(
        code="spike", version=1, flag=Flag.SPIKE,
        says="far above the third-highest interval of the same day",
        thresholds=(
            Threshold(
                name="factor", unit="", default=3.0, least=1.0, most=100.0,
                says="so many times the third-highest, our own judgement; Californian standards (DASMMD) look again "
                "at a day whose highest is 180 % above its third-highest (2.8 times), at the loads of large customers: "
                "households are spikier",
            ),
            Threshold(
                name="floor_wh", unit="Wh", default=500.0, least=0.0, most=1e9,
                says="... and above this, whatever the interval's length: 2 kW over 15 min, one kettle",
            ),
        ),
    ),
    Rule(
        code="constant", version=1, flag=Flag.CONSTANT,
        says="the same measured energy, not zero, in every interval of a stretch within one local day",
        thresholds=(
            Threshold(
                name="hours", unit="h", default=12.0, least=0.5, most=25.0,
                says="so long, within one local day: a run is not carried over midnight, so more than 24 h is only "
                "found on a day of 25; a refrigerator alone already varies from one quarter to the next",
            ),
        ),
    ),
    Rule(
        code="zero_days", version=1, flag=Flag.ZERO_DAYS,
        says="no energy, in or out, on this whole local day nor on those before it",
        thresholds=(
            Threshold(
                name="days", unit="d", default=7.0, least=1.0, most=60.0,
                says="so many days, this one included; a week is longer than most absences",
            ),
        ),
    ),
)  # fmt: skip

_SUPPLY: Final = (
    Rule(
        code="voltage_band", version=1, flag=Flag.VOLTAGE_BAND,
        says="the mean voltage of the interval lies outside its band",
        thresholds=(
            Threshold(
                name="low_v", unit="V", default=195.5, least=0.0, most=1000.0,
                says="230 V − 15 %: EN 50160 has all 10-min means between this and + 10 %, and 95 % of a week's within "
                "± 10 % (GB/T 12325: 220 V − 10 %)",
            ),
            Threshold(
                name="high_v", unit="V", default=253.0, least=0.0, most=1000.0,
                says="230 V + 10 % (EN 50160; GB/T 12325 is narrower: 220 V + 7 %)",
            ),
        ),
    ),
    Rule(
        code="phase_missing", version=1, flag=Flag.PHASE_MISSING,
        says="of a three-phase meter one phase is without voltage while another is live, or without current while both "
        "others carry load",
        thresholds=(
            Threshold(
                name="gone_share", unit="of 230 V", default=0.6, least=0.0, most=1.0,
                says="a phase is gone below this share of the nominal voltage (Chinese meters: 断相 below 60 %)",
            ),
            Threshold(
                name="live_share", unit="of 230 V", default=0.78, least=0.0, most=1.0,
                says="... while another one is above this (失压 begins at 78 %)",
            ),
            Threshold(
                name="idle_share", unit="of rated current", default=0.005, least=0.0, most=1.0,
                says="a current is gone below this share; Chinese meters have 失流 below 0.5 %, but of the basic "
                "current (5 A of a 5(60) A meter), so this finds more",
            ),
            Threshold(
                name="load_share", unit="of rated current", default=0.05, least=0.0, most=1.0,
                says="... while both others are above this; there likewise 5 %, of the basic current, and one of them "
                "is enough",
            ),
        ),
    ),
    Rule(
        code="reversed_flow", version=1, flag=Flag.REVERSED_FLOW,
        says="energy or power flows back at a meter that does not feed in as a matter of course",
        thresholds=(
            Threshold(
                name="floor_wh", unit="Wh", default=10.0, least=0.0, most=1e9,
                says="an interval may give back so much: a meter's own creep, and motors that stop",
            ),
            Threshold(
                name="floor_w", unit="W", default=50.0, least=0.0, most=1e9,
                says="power that flows back by less says nothing (events.reversed_w), as the meter shows it",
            ),
            Threshold(
                name="feeds_in_wh", unit="Wh", default=10_000.0, least=0.0, most=1e15,
                says="a meter with an export register above this feeds in as a matter of course (events.feeds_in_wh)",
            ),
        ),
    ),
)  # fmt: skip

RULES: Final[Mapping[str, Rule]] = {rule.code: rule for rule in (*_REGISTERS, *_READINGS, *_ENERGY, *_SUPPLY)}
"""Code → rule."""
