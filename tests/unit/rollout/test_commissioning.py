"""A meter passes by what it said itself: serial, register, voltage."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.rollout.commissioning import Expected, faults, largest_energy_wh, same_serial, told

NOTED = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
EXPECTED = Expected(
    meter="Eastron/0210001",
    serial="0210001",
    phases=1,
    resolution_wh=10,
    start_import_wh=1200,
    noted_import_wh=1250,
    noted_at=NOTED,
    rated_current_a=60,
)
ANSWER: dict[str, Any] = {
    "serial": "210001",
    "import_wh": 1255,
    "voltage_v": [229.8],
    "instant": (NOTED + timedelta(minutes=1)).isoformat(),
    "resolution_wh": 1,
}
MINUTE_WH = 230  # 60 A x 230 V for a minute


def test_the_meter_that_was_installed_passes() -> None:
    assert faults(EXPECTED, ANSWER) == []
    assert told(ANSWER) == "read by the head-end at 2026-11-23T06:01:00+00:00: serial 210001, 1255 Wh, 229.8 V"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"serial": "210002"}, "the meter says its serial is 210002, installed is Eastron/0210001"),
        ({"serial": None}, "does not say its serial"),
        ({"import_wh": None}, "no import register"),
        ({"import_wh": 1199}, "less than the start register 1200 Wh"),
        ({"import_wh": 1239}, "the crew noted 1250 Wh, and only 1240 to 1490 Wh would agree"),
        ({"import_wh": 1250 + 10 + MINUTE_WH + 1}, "only 1240 to 1490 Wh would agree"),
        ({"import_wh": 12500}, "only 1240 to 1490 Wh would agree"),
        ({"voltage_v": []}, "the voltage was not measured"),
        ({"voltage_v": None}, "the voltage was not measured"),
        ({"voltage_v": [None]}, "the voltage was not measured"),
        ({"voltage_v": [183.9]}, "the voltage is 183.9 V, less than 184 V"),
        ({"voltage_v": [0.0]}, "the voltage is 0.0 V"),
    ],
)
def test_each_thing_that_does_not_fit_is_told(change: dict[str, Any], says: str) -> None:
    (fault,) = faults(EXPECTED, ANSWER | change)
    assert says in fault


@pytest.mark.parametrize("import_wh", [1240, 1490])
def test_the_tolerance_is_resolution_and_what_the_connection_carries(import_wh: int) -> None:
    assert faults(EXPECTED, ANSWER | {"import_wh": import_wh}) == []


def test_the_coarser_of_listed_and_told_resolution_counts() -> None:
    assert faults(EXPECTED, ANSWER | {"import_wh": 1200, "resolution_wh": 100}) == []


def test_every_phase_of_a_three_phase_meter_has_to_be_there() -> None:
    three = replace(EXPECTED, phases=3)
    assert faults(three, ANSWER | {"voltage_v": [230.0, 231.0, 229.0]}) == []
    assert faults(three, ANSWER | {"voltage_v": [230.0, 2.0]}) == [
        "L2 is 2.0 V, less than 184 V: the supply is not there",
        "L3 was not measured: nothing shows that the supply is there",
    ]


def test_everything_wrong_is_told_at_once() -> None:
    assert len(faults(EXPECTED, {"instant": NOTED.isoformat()})) == 3


@pytest.mark.parametrize(("stored", "said", "same"), [("0007", "7", True), (" ab1", "AB1 ", True), ("70", "7", False)])
def test_leading_zeros_and_case_do_not_make_another_serial(stored: str, said: str, same: bool) -> None:
    assert same_serial(stored, said) is same


@given(
    seconds=st.integers(-1000, 10**7),
    rated=st.none() | st.integers(1, 100),
    phases=st.sampled_from([1, 3]),
)
def test_energy_bound_never_falls_with_time(seconds: int, rated: int | None, phases: int) -> None:
    def bound(s: int) -> int:
        return largest_energy_wh(timedelta(seconds=s), rated_current_a=rated, phases=phases)

    assert 0 <= bound(seconds) <= bound(seconds + 3600)
    assert bound(3600) == (rated or 60) * 230 * phases


def test_a_register_that_is_only_read_more_coarsely_has_not_gone_back() -> None:
    """The display shows 10 Wh, the float that is read 64 Wh: its rounding may be lower than what was noted."""
    just_installed = replace(EXPECTED, noted_import_wh=EXPECTED.start_import_wh)
    lower = ANSWER | {"import_wh": EXPECTED.start_import_wh - 40}
    assert faults(just_installed, lower), "a register that counts as the display does"
    assert faults(just_installed, lower | {"resolution_wh": 62.5}) == []
    assert faults(just_installed, ANSWER | {"import_wh": EXPECTED.start_import_wh - 70, "resolution_wh": 62.5})
