"""Numbers as people read them: what is missing is never a zero, and rounding never hides a gap."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from headend.web import text

NBSP = "\u00a0"


@pytest.mark.parametrize(
    ("energy_wh", "shown"),
    [(None, "–"), (0, "0"), (1_234, "1.23"), (12_345, "12.3"), (1_234_567_890, "1,234,568"), (-512_000, "−512")],
)
def test_kwh(energy_wh: float | None, shown: str) -> None:
    assert text.kwh(energy_wh) == shown


def test_what_is_no_number_is_a_dash() -> None:
    assert {text.kwh(float("nan")), text.percent(float("inf")), text.share(None), text.count(None)} == {"–"}
    assert text.instant(None, None) == "–"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate", "shown"), [(0.9999, "99.9"), (1.0, "100"), (0.0001, "0.1"), (0.0, "0"), (0.53, "53"), (0.995, "99.5")]
)
def test_share_never_rounds_to_all_or_nothing(rate: float, shown: str) -> None:
    assert text.share(rate) == f"{shown}{NBSP}%"


def test_likelihood_is_never_rounded_to_certainty() -> None:
    assert text.likelihood(0.0001) == f"< 0.1{NBSP}%"
    assert text.likelihood(0.99999) == f"> 99.9{NBSP}%"
    assert text.likelihood(0.0) == f"0.0{NBSP}%"


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (timedelta(seconds=20), "just now"),
        (timedelta(minutes=59, seconds=59), "59 min ago"),
        (timedelta(hours=47), "1 d ago"),
        (timedelta(minutes=-5), "in the future"),
    ],
)
def test_ago(age: timedelta, shown: str) -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    assert text.ago(now - age, now) == shown
    assert text.ago(None, now) == "never"


@pytest.mark.parametrize(
    ("name", "value", "label", "shown"),
    [
        ("hidden_energy_wh", 198_400.0, "Hidden energy", "198 kWh"),
        ("registered_share", 0.31, "Registered share", f"31.0{NBSP}%"),
        ("median_difference_v", 1.7, "Median difference", "1.70 V"),
        ("log_evidence", 41.33, "Log evidence", "41.3"),
        ("clock_offset_s", 320, "Clock offset", "320 s"),
        ("unheard_of", None, "Unheard of", "–"),
    ],
)
def test_quantities_carry_their_unit(name: str, value: object, label: str, shown: str) -> None:
    assert text.quantity(name, value) == (label, shown)


def test_factor_drops_the_zeros_of_its_column_only() -> None:
    assert [text.factor(Decimal(v)) for v in ("40.0000", "1.5000", "100")] == ["40", "1.5", "100"]


@pytest.mark.parametrize(
    ("value", "shown"), [(-0.0004, "0.00"), (-0.0, "0"), (-0.004999, "0.00"), (-0.005001, "−0.01")]
)
def test_nothing_has_no_sign(value: float, shown: str) -> None:
    assert text.number(value) == shown
