"""The energy of a gap as a whole is what registers at both its ends say, and told only where they do."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headend.domain.calendar import LocalCalendar
from headend.settlement.gaps import gap_energy
from headend.settlement.grid import DayRange
from headend.settlement.presence import Presence
from headend.settlement.topology import FOREVER_US, Installed, Membership, Point

NAN = float("nan")


def told(net: list[float], blank: str, read: str | None = None, usable: str | None = None) -> list[float]:
    """One meter; `x` in `blank` are intervals that are not believed, `.` in the others those that hold."""
    hidden = np.array([[c == "x" for c in blank]])
    sure = ~hidden if read is None else np.array([[c == "." for c in read]])
    same = np.ones_like(hidden) if usable is None else np.array([[c == "." for c in usable]])
    found: list[float] = gap_energy(np.array([net]), hidden, sure, same)[0].tolist()
    return found


def test_a_gap_between_registers_has_its_sum_at_its_last_interval() -> None:
    found = told([10, 1, 2, 3, 20, 5, 30], "_xxx_x_")
    np.testing.assert_equal(found, [NAN, NAN, NAN, 6, NAN, 5, NAN])


@pytest.mark.parametrize(
    ("why", "net", "marks"),
    [
        ("it touches the beginning", [1, 2, 3, 4], {"blank": "xx__"}),
        ("it touches the end", [1, 2, 3, 4], {"blank": "__xx"}),
        ("a part is absent", [1, 2, NAN, 4], {"blank": "_xx_"}),
        ("what is beside it was set by a person, or by an event", [1, 2, 3, 4], {"blank": "_xx_", "read": ".__x"}),
        ("the meter changed within", [1, 2, 3, 4], {"blank": "_xx_", "usable": "..x."}),
        ("the meter changed at its end", [1, 2, 3, 4], {"blank": "_xx_", "usable": "...x"}),
    ],
)
def test_it_is_not_told_where(why: str, net: list[float], marks: dict[str, str]) -> None:
    assert np.isnan(told(net, **marks)).all(), why


def test_no_meters_and_no_intervals() -> None:
    for shape in ((0, 5), (2, 0)):
        nothing = np.zeros(shape, dtype=np.bool_)
        assert gap_energy(np.zeros(shape), nothing, ~nothing, ~nothing).shape == shape


def test_intervals_at_which_a_meter_or_a_membership_changes_are_not_steady() -> None:
    days = DayRange(LocalCalendar(ZoneInfo("UTC"), 3600), date(2026, 3, 2), date(2026, 3, 2))
    at = [int(us) for us in days.grid_us]
    half = 1_800_000_000

    def meter(since: int, until: int) -> Installed:
        return Installed(1, "Acme/1", since, until, since, until, 10_000, 1, None, None, None, None, 1, 8, 1)

    points = [
        Point(1, "whole", "customer", 60, (Membership(0, FOREVER_US, None),), (meter(at[0], FOREVER_US),)),
        Point(
            2, "on the grid", "customer", 60, (Membership(0, FOREVER_US, None),),
            (meter(0, at[5]), meter(at[5], FOREVER_US)),
        ),
        Point(3, "between", "customer", 60, (Membership(0, FOREVER_US, None),), (meter(0, at[5] + half),)),
        Point(4, "joins", "customer", 60, (Membership(at[9], FOREVER_US, None),), (meter(0, at[-1]),)),
    ]  # fmt: skip
    steady = Presence(points, days).steady
    assert [np.flatnonzero(~row).tolist() for row in steady] == [[], [4, 5], [5], [8, 9]]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(arrays.arrays(np.bool_, (3, 12)), arrays.arrays(np.int16, (3, 12)), st.integers(0, 2))
def test_what_is_told_and_what_is_read_add_up_to_the_registers(blank: np.ndarray, wh: np.ndarray, row: int) -> None:
    blank = blank.copy()
    blank[:, [0, -1]] = False
    net = wh.astype(np.float64)
    gaps = gap_energy(net, blank, ~blank, np.ones_like(blank))
    assert np.nansum(gaps[row]) + net[row][~blank[row]].sum() == net[row].sum()
    assert (np.isfinite(gaps) <= blank).all()
