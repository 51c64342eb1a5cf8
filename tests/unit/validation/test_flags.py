"""Every rule on a settled day: where it fires, where it does not, at its threshold, per category, and turned off."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from headend.domain.calendar import US_PER_S
from headend.settlement.observations import ClocksOff, OtherValues, PhaseReadings
from headend.settlement.tariffs import TariffReadings
from headend.settlement.topology import FOREVER_US
from headend.settlement.zero_days import without_energy
from reconciliation.registers import IntervalQuality
from reconciliation.validation import RULES, Flag
from support.judged import DAY0, SLOTS, House, Judge, uneven

GRID = Judge(days=9).span.grid_us


def _with(values: np.ndarray, **slots: int) -> np.ndarray:
    changed = values.copy()
    for slot, value in slots.items():
        changed[int(slot.removeprefix("at"))] = value
    return changed


def _phases(slot: int, **values: Any) -> dict[str, Any]:
    """One per-phase reading of the first house, at the end of an interval."""
    measured: dict[str, Any] = {"voltage_v": [230.0] * 3, "current_a": [10.0] * 3, "power_w": 6900.0} | values
    return {
        "phases": {
            0: PhaseReadings(
                GRID[[slot + 1]],
                np.array([measured["voltage_v"]]),
                np.array([measured["current_a"]]),
                np.array([measured["power_w"]]),
            )
        }
    }


def _other(slot: int, kept: tuple[float, float], other: tuple[float, float]) -> dict[str, Any]:
    return {"other_values": {0: OtherValues(GRID[[slot + 1]], np.array([kept]), np.array([other]))}}


def _clock(slot: int, offset_s: float, until: int | None = None) -> dict[str, Any]:
    """A clock read a minute after an interval began."""
    since = GRID[[slot]] + 60 * US_PER_S
    return {
        "clocks": {0: ClocksOff(since, np.array([FOREVER_US if until is None else GRID[until]]), np.array([offset_s]))}
    }


def _tariffs(slot: int, *registers: float, total: float) -> dict[str, Any]:
    return {"tariffs": {0: TariffReadings(GRID[[slot + 1]], np.array([registers]), np.array([total]))}}


PLAIN = uneven()
THREE = {"phases": 3}
NIGHT = np.zeros(SLOTS, dtype=np.int64)
TURNED = {"sign": -1}
IDLE = {"current_a": [0.1, 10.0, 10.0]}
NAN = float("nan")


@pytest.mark.parametrize(
    ("flag", "house", "observed", "slots"),
    [
        # 60 A x 230 V x 15 min x 1.1 = 3,795 Wh
        (Flag.ABOVE_CAPACITY, House(energy_wh=_with(PLAIN, at5=3796)), {}, [5]),
        (Flag.ABOVE_CAPACITY, House(energy_wh=_with(PLAIN, at5=3795)), {}, []),
        (Flag.ABOVE_CAPACITY, House(energy_wh=_with(PLAIN, at5=3796), rated_current_a=None), {}, []),
        (Flag.ABOVE_CAPACITY, House(energy_wh=_with(PLAIN, at5=11_386), installed=THREE), {}, [5]),
        (Flag.ABOVE_CAPACITY, House(energy_wh=_with(PLAIN, at5=11_385), installed=THREE), {}, []),
        # the third-highest is 200 Wh, the spike itself counted: 3 x 200 = 600
        (Flag.SPIKE, House(energy_wh=_with(PLAIN, at1=200, at3=200, at5=601)), {}, [5]),
        (Flag.SPIKE, House(energy_wh=_with(PLAIN, at1=200, at3=200, at5=600)), {}, []),
        (Flag.SPIKE, House(energy_wh=_with(NIGHT + 1, at5=501)), {}, [5]),
        (Flag.SPIKE, House(energy_wh=_with(NIGHT + 1, at5=500)), {}, []),
        # twelve hours of one and the same
        (Flag.CONSTANT, House(energy_wh=np.concatenate([np.full(48, 50), uneven(48)])), {}, list(range(48))),
        (Flag.CONSTANT, House(energy_wh=np.concatenate([np.full(47, 50), uneven(49)])), {}, []),
        (Flag.CONSTANT, House(energy_wh=np.concatenate([np.zeros(60, dtype=np.int64), uneven(36)])), {}, []),
        (Flag.CONSTANT, House(energy_wh=np.full(SLOTS, 50), lacking=range(10, 70)), {}, []),
        (Flag.VOLTAGE_BAND, House(energy_wh=PLAIN, voltage_dv=_with(NIGHT + 2300, at7=1954)), {}, [7]),
        (Flag.VOLTAGE_BAND, House(energy_wh=PLAIN, voltage_dv=_with(NIGHT + 2300, at7=2531)), {}, [7]),
        (Flag.VOLTAGE_BAND, House(energy_wh=PLAIN, voltage_dv=_with(NIGHT + 2300, at7=1955, at8=2530)), {}, []),
        (Flag.MISSING, House(energy_wh=PLAIN, lacking=[9]), {}, [9, 10]),
        (Flag.MISSING, House(energy_wh=PLAIN), {}, []),
        (Flag.CLOCK_DRIFT, House(energy_wh=PLAIN, flags={7: 1}), {}, [7]),
        (Flag.CLOCK_DRIFT, House(energy_wh=PLAIN, flags={7: 2}), {}, []),
        (Flag.CLOCK_DRIFT, House(energy_wh=PLAIN), _clock(7, 61.0, until=9), [7, 8]),
        (Flag.CLOCK_DRIFT, House(energy_wh=PLAIN), _clock(7, -61.0, until=9), [7, 8]),
        (Flag.CLOCK_DRIFT, House(energy_wh=PLAIN), _clock(7, 60.0, until=9), []),
        (Flag.CLOCK_DRIFT, House(energy_wh=PLAIN), _clock(90, NAN), list(range(90, 96))),
        (Flag.CLOCK_DRIFT, House(energy_wh=PLAIN[:93]), _clock(90, NAN), list(range(90, 93))),
        (Flag.IN_FUTURE, House(energy_wh=PLAIN, flags={7: 5}), {}, [7]),
        (Flag.IN_FUTURE, House(energy_wh=PLAIN, flags={7: 1}), {}, []),
        (Flag.BEFORE_INSTALLATION, House(energy_wh=PLAIN, before=[timedelta(minutes=16)]), {}, [0]),
        (Flag.BEFORE_INSTALLATION, House(energy_wh=PLAIN, before=[timedelta(minutes=15)]), {}, []),
        (Flag.BEFORE_INSTALLATION, House(energy_wh=PLAIN, before=[timedelta(days=32)]), {}, []),
        (
            Flag.BEFORE_INSTALLATION,
            House(energy_wh=PLAIN, before=[timedelta(hours=2)]),
            {"served_until": {(0, int(GRID[0])): int(GRID[0]) - 3600 * US_PER_S}},
            [],
        ),
        (Flag.DUPLICATE_OTHER_VALUE, House(energy_wh=PLAIN), _other(7, (800, 0), (801, 0)), [7]),
        (Flag.DUPLICATE_OTHER_VALUE, House(energy_wh=PLAIN), _other(7, (800, 0), (800, 1)), [7]),
        (Flag.DUPLICATE_OTHER_VALUE, House(energy_wh=PLAIN), _other(7, (800, 0), (NAN, 0)), []),
        (Flag.DUPLICATE_OTHER_VALUE, House(energy_wh=PLAIN, lacking=[7]), _other(7, (800, 0), (801, 0)), []),
        (Flag.TARIFF_SUM, House(energy_wh=PLAIN), _tariffs(7, 300, 500, total=803), [7]),
        (Flag.TARIFF_SUM, House(energy_wh=PLAIN), _tariffs(7, 300, 500, total=802), []),
        (Flag.TARIFF_SUM, House(energy_wh=PLAIN), _tariffs(7, 300, NAN, total=800), [7]),
        (Flag.TARIFF_SUM, House(energy_wh=PLAIN), _tariffs(7, NAN, NAN, total=800), []),
        # 60 % of 230 V is 138 V, 78 % is 179.4 V
        (Flag.PHASE_MISSING, House(energy_wh=PLAIN, installed=THREE), _phases(7, voltage_v=[137.9, 230, 230]), [7]),
        (Flag.PHASE_MISSING, House(energy_wh=PLAIN, installed=THREE), _phases(7, voltage_v=[138.0, 230, 230]), []),
        (Flag.PHASE_MISSING, House(energy_wh=PLAIN, installed=THREE), _phases(7, voltage_v=[0, 179, 179]), []),
        (Flag.PHASE_MISSING, House(energy_wh=PLAIN, installed=THREE), _phases(7, voltage_v=[NAN, 230, 230]), []),
        (Flag.PHASE_MISSING, House(energy_wh=PLAIN), _phases(7, voltage_v=[0, 230, 230]), []),
        # 0.5 % of 60 A is 0.3 A, 5 % is 3 A
        (Flag.PHASE_MISSING, House(energy_wh=PLAIN, installed=THREE), _phases(7, **IDLE), [7]),
        (Flag.PHASE_MISSING, House(energy_wh=PLAIN, installed=THREE), _phases(7, current_a=[0.3, 10, 10]), []),
        (Flag.PHASE_MISSING, House(energy_wh=PLAIN, installed=THREE), _phases(7, current_a=[0.0, 2.9, 10]), []),
        (Flag.PHASE_MISSING, House(energy_wh=PLAIN, installed=THREE), _phases(7, current_a=[NAN, 10, 10]), []),
        (Flag.PHASE_MISSING, House(energy_wh=PLAIN, installed=THREE, rated_current_a=None), _phases(7, **IDLE), []),
        # behind a transformer 5 A: 25 mA, 250 mA
        (
            Flag.PHASE_MISSING,
            House(energy_wh=PLAIN, rated_current_a=None, installed=THREE | {"multiplier_e4": 400_000}),
            _phases(7, current_a=[0.024, 0.26, 0.26]),
            [7],
        ),
        (Flag.REVERSED_FLOW, House(energy_wh=PLAIN, export_wh=_with(NIGHT, at7=11)), {}, [7]),
        (Flag.REVERSED_FLOW, House(energy_wh=PLAIN, export_wh=_with(NIGHT, at7=10)), {}, []),
        (
            Flag.REVERSED_FLOW,
            House(energy_wh=PLAIN, export_wh=_with(NIGHT, at7=400, at8=400), first_export_wh=9_600),
            {},
            [7],
        ),
        (Flag.REVERSED_FLOW, House(energy_wh=PLAIN), _phases(7, power_w=-51.0), [7]),
        (Flag.REVERSED_FLOW, House(energy_wh=PLAIN), _phases(7, power_w=-50.0), []),
        (Flag.REVERSED_FLOW, House(energy_wh=PLAIN, first_export_wh=10_001), _phases(7, power_w=-51.0), []),
        # wired the other way round, and known to be: what it counts as export comes in
        (Flag.REVERSED_FLOW, House(energy_wh=NIGHT, export_wh=PLAIN, installed=TURNED), _phases(7, power_w=-51.0), []),
        (Flag.REVERSED_FLOW, House(energy_wh=NIGHT, export_wh=PLAIN, installed=TURNED), _phases(7, power_w=51.0), [7]),
        # 8 digits of 1 Wh: 99,999,899 + 100 Wh are just not zero
        (Flag.ROLLOVER, House(energy_wh=PLAIN, first_register_wh=99_999_900), {}, [0]),
        (Flag.ROLLOVER, House(energy_wh=PLAIN, first_register_wh=99_999_899), {}, [1]),
        (Flag.ROLLOVER, House(energy_wh=PLAIN, first_register_wh=50_000_000, reset_after=6), {}, []),
        (Flag.RESET, House(energy_wh=PLAIN, first_register_wh=99_999_900), {}, []),
        (Flag.RESET, House(energy_wh=PLAIN, first_register_wh=50_000_000, reset_after=6), {}, [6]),
    ],
)  # fmt: skip
def test_a_rule(flag: Flag, house: House, observed: dict[str, Any], slots: list[int]) -> None:
    assert Judge(observed=observed).slots(house, flag) == slots
    rule = (flag.name or "").lower()
    off = Judge(observed=observed, validation={rule: {"enabled": False}}) if slots and _can_be_off(rule) else None
    if off is not None:
        assert off.slots(house, flag) == [], "turned off"
        other = Judge(observed=observed, validation={"category": {"production": {rule: {"enabled": False}}}})
        assert other.slots(house, flag) == slots, "turned off for another category"
        assert other.slots(replace(house, category="production"), flag) == [], "... and for this one"


def _can_be_off(rule: str) -> bool:
    return rule not in {"missing", "rollover", "reset", "register_decreased", "meter_swap"}


def test_no_rule_finds_fault_with_an_ordinary_day() -> None:
    house = House(energy_wh=uneven(3 * SLOTS), export_wh=np.zeros(3 * SLOTS, dtype=np.int64), voltage_dv=2310)
    assert not Judge(days=3).flags(house).any()


def test_zero_days_counts_back_over_settled_days() -> None:
    # a week by default; three days settled here, five of them before
    idle = House(energy_wh=np.zeros(3 * SLOTS, dtype=np.int64))
    asked: list[Any] = []

    def past(points: Any, first: Any, last: Any) -> list[dict[str, Any]]:
        asked.append((list(points), first, last))
        zero, one = np.zeros(SLOTS, dtype=np.int64), np.ones(SLOTS, dtype=np.int8)
        days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
        return [
            {"usage_point_id": 0, "day": day, "import_wh": zero, "export_wh": zero, "quality": one}
            for day in days
            if (DAY0 - day).days <= before
        ]

    for before, flagged in ((5, [1, 2]), (6, [0, 1, 2]), (3, []), (4, [2])):
        found = Judge(days=3, past=past).slots(idle, Flag.ZERO_DAYS)
        assert sorted({slot // SLOTS for slot in found}) == flagged, before
        assert len(found) == SLOTS * len(flagged), "whole days"
    assert asked[0] == ([0], DAY0 - timedelta(days=13), DAY0 - timedelta(days=1)), "as far as any category asks"
    busy = House(energy_wh=_with(np.zeros(3 * SLOTS, dtype=np.int64), at0=1))
    before, asked[:] = 6, []
    assert Judge(days=3, past=past).slots(busy, Flag.ZERO_DAYS) == []
    assert asked == [], "nobody looks back from a day with energy"
    feeding = replace(idle, export_wh=np.ones(3 * SLOTS, dtype=np.int64))
    assert Judge(days=3, past=past).slots(feeding, Flag.ZERO_DAYS) == [], "it feeds in"


def test_zero_days_within_the_stretch() -> None:
    idle = House(energy_wh=np.concatenate([uneven(), np.zeros(8 * SLOTS, dtype=np.int64)]))
    found = Judge(days=9).slots(idle, Flag.ZERO_DAYS)
    assert sorted({slot // SLOTS for slot in found}) == [7, 8], "the seventh and the eighth day without energy"
    assert Judge(days=9).slots(replace(idle, category="temporary"), Flag.ZERO_DAYS) == []
    assert Judge(days=9).slots(replace(idle, lacking=[8 * SLOTS - 1]), Flag.ZERO_DAYS) == found, "level on both sides"
    cut = replace(idle, energy_wh=idle.energy_wh[: 9 * SLOTS - 1])
    assert sorted({s // SLOTS for s in Judge(days=9).slots(cut, Flag.ZERO_DAYS)}) == [7], "the last day is not over"


def test_days_without_power_are_no_days_without_energy() -> None:
    told = np.zeros((3, SLOTS), dtype=np.int64)
    quality = np.ones((3, SLOTS), dtype=np.int8)
    quality[1, 40] = IntervalQuality.ZERO_BY_EVENT
    quality[2, 40] = IntervalQuality.ESTIMATED
    assert without_energy(told, told, quality).tolist() == [True, False, True]


def test_a_clock_found_off_counts_for_a_day_at_the_most() -> None:
    house = House(energy_wh=uneven(3 * SLOTS))
    assert Judge(days=3, observed=_clock(7, 61.0)).slots(house, Flag.CLOCK_DRIFT) == list(range(7, 7 + SLOTS + 1))
    brief = Judge(days=3, observed=_clock(7, 61.0), validation={"clock_drift": {"holds_h": 1.0}})
    assert brief.slots(house, Flag.CLOCK_DRIFT) == list(range(7, 12))


def test_thresholds_follow_the_category_of_the_day() -> None:
    # production may rise to six times the third-highest, from the second day on
    day = _with(uneven(base_wh=200), at1=300, at2=300, at3=300, at5=1000)
    house = House(energy_wh=np.tile(day, 3), category=["residential", "production", "production"])
    assert Judge(days=3).slots(house, Flag.SPIKE) == [5]
    strict = Judge(days=3, validation={"category": {"production": {"spike": {"factor": 3.0}}}})
    assert strict.slots(house, Flag.SPIKE) == [5, 5 + SLOTS, 5 + 2 * SLOTS]


def test_a_spike_is_measured_against_its_own_day() -> None:
    quiet, loud = uneven(), uneven(base_wh=900)
    assert Judge(days=2).slots(House(energy_wh=np.concatenate([_with(quiet, at5=900), loud])), Flag.SPIKE) == [5]


def test_what_is_constant_across_midnight_is_two_days() -> None:
    evening, morning = np.full(40, 50), np.full(40, 50)
    energy = np.concatenate([uneven(56), evening, morning, uneven(56)])
    assert Judge(days=2).slots(House(energy_wh=energy), Flag.CONSTANT) == []


@pytest.mark.parametrize(("first", "intervals"), [(date(2026, 3, 28), 92), (date(2026, 10, 24), 100)])
def test_days_on_which_the_clocks_change_are_judged_like_others(first: date, intervals: int) -> None:
    judge = Judge(zone="Europe/Berlin", days=3, first=first)
    assert np.diff(judge.span.midnights).tolist() == [96, intervals, 96]
    energy = uneven(judge.span.intervals)
    energy[[5, 96 + 5, 96 + intervals + 5]] = 3796
    energy[96 + intervals - 50 : 96 + intervals] = 50
    flags = judge.flags(House(energy_wh=energy))
    assert np.flatnonzero(flags & Flag.ABOVE_CAPACITY).tolist() == [5, 101, 96 + intervals + 5]
    assert np.flatnonzero(flags & Flag.SPIKE).tolist() == [5, 101, 96 + intervals + 5]
    assert np.flatnonzero(flags & Flag.CONSTANT).tolist() == list(range(96 + intervals - 50, 96 + intervals))


def test_every_rule_is_tested_here() -> None:
    cases = [case for mark in test_a_rule.pytestmark for case in mark.args[1]]  # type: ignore[attr-defined]
    fires, silent = ({flag for flag, *_, slots in cases if bool(slots) == wanted} for wanted in (True, False))
    elsewhere = {Flag.ZERO_DAYS, Flag.REGISTER_DECREASED, Flag.METER_SWAP}  # above, and in tests of settlement
    assert {rule.flag for rule in RULES.values()} == fires | elsewhere == silent | elsewhere
