"""Validation rules: each fires where it should and is silent where it should be."""

from __future__ import annotations

import numpy as np

from headend.domain.quality import Quality, ValidationFlag
from reconciliation import validation
from reconciliation.registers import IntervalQuality
from reconciliation.validation import RULES, Flag


def _limits(rule: str) -> dict[str, float]:
    return RULES[rule].defaults


def _day(*values: int) -> tuple[np.ndarray, np.ndarray]:
    energy = np.array([values], dtype=np.int64)
    return energy, np.ones(energy.shape, dtype=np.bool_)


def test_the_packages_flags_and_qualities_are_the_stores() -> None:
    assert {f.name: f.value for f in Flag} == {f.name: f.value for f in ValidationFlag}
    assert {q.name: q.value for q in IntervalQuality} == {q.name: q.value for q in Quality}


def test_register_decreased() -> None:
    value = np.array([100, 90, 200, 150])
    assert validation.register_decreased(value, np.full(4, 10)).tolist() == [False, False, False, True]


def test_above_capacity() -> None:
    # 60 A x 230 V = 13.8 kW; in 15 min 3,450 Wh, with a tenth on top 3,795 Wh
    capacity = validation.capacity_w(np.array([60.0]), np.array([1]))
    energy, present = _day(3795, 3796, 10)
    limits = _limits("above_capacity")
    assert validation.above_capacity(energy, present, capacity, 0.25, **limits).tolist() == [[False, True, False]]
    assert not validation.above_capacity(energy, present, np.array([np.nan]), 0.25, **limits).any(), "unknown capacity"
    assert not validation.above_capacity(energy, ~present, capacity, 0.25, **limits).any(), "absent is no number"


def test_missing() -> None:
    present, wanted = np.array([True, False, False]), np.array([True, True, False])
    assert validation.missing(present, wanted).tolist() == [False, True, False]


def test_before_installation() -> None:
    ts = np.array([0, 700_000_000, 601_000_000])
    assert validation.before_installation(ts, np.full(3, 601_000_000)).tolist() == [True, False, False]


def test_voltage_band() -> None:
    volts = np.array([[195.4, 195.5, 230.0, 253.0, 253.1, np.nan]])
    found = validation.voltage_band(volts, **_limits("voltage_band"))
    assert found.tolist() == [[True, False, False, False, True, False]]


def test_spike() -> None:
    energy, present = _day(*([100] * 90), 200, 200, 200, 600, 601, 1800)
    assert not validation.spike(energy, present, **_limits("spike")).any(), (
        "the third-highest is 600, and 1800 is not above three times that"
    )
    # the day's third-highest is 200 Wh: 3 x 200 = 600; only above that, and above 500 Wh
    energy, present = _day(*([100] * 92), 200, 200, 150, 2000)
    assert np.flatnonzero(validation.spike(energy, present, **_limits("spike"))[0]).tolist() == [95]
    energy, present = _day(*([1] * 95), 400)
    assert not validation.spike(energy, present, **_limits("spike")).any(), "400 Wh is below the floor"


def test_zero_days() -> None:
    energy = np.array([[0] * 6 + [1] + [0] * 7])
    known = np.ones(energy.shape, dtype=np.bool_)
    assert np.flatnonzero(validation.zero_days(energy, known, days=7)[0]).tolist() == [13], "the seventh day in a row"
    assert np.flatnonzero(validation.zero_days(energy, known, days=3)[0]).tolist() == [*range(2, 6), *range(9, 14)]
    known[0, 10] = False
    assert not validation.zero_days(energy, known, days=7).any(), "a day that is not known is not a day without energy"


def test_constant() -> None:
    energy, present = _day(*([50] * 48), *range(100, 148))
    assert np.flatnonzero(validation.constant(energy, present, intervals=48)[0]).tolist() == list(range(48))
    energy, present = _day(*([50] * 47), 51, *range(100, 148))
    assert not validation.constant(energy, present, intervals=48).any()
    energy, present = _day(*([0] * 96))
    assert not validation.constant(energy, present, intervals=48).any(), "a vacant home is no fault"
