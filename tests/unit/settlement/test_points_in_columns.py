"""Metering points in columns are the same points as one object each, whatever is known of them."""

from __future__ import annotations

import numpy as np
import pytest

from headend.settlement.topology import FOREVER_US, Membership, Point, Points
from support.installed import installed

POINTS = [
    Point(
        3, "P3", "customer", None,
        (Membership(10, 20, None), Membership(20, FOREVER_US, 4)),
        (
            installed(31, 0, 20, start_import_wh=0, end_export_wh=7, accuracy_class=2.0, multiplier_e4=400_000),
            installed(30, 20, scope_from_us=5, sign=-1, phases=3, resolution_wh=10),
        ),
    ),
    Point(4, "P4", "shared", 60, (Membership(0, FOREVER_US, None),), ()),
    Point(9, "P9", "area", 0, (), (installed(30, 0, 20, end_import_wh=12),)),
]  # fmt: skip


def test_points_come_out_of_columns_as_they_went_in() -> None:
    points = Points.of(POINTS)
    assert list(points) == POINTS
    assert (points[-1], points[0:2]) == (POINTS[2], POINTS[:2])
    assert Points.of(points) is points
    with pytest.raises(IndexError):
        points[3]


def test_columns_tell_what_is_not_known_from_nothing() -> None:
    points = Points.of(POINTS)
    assert np.isnan(points.rated_current_a).tolist() == [True, False, False]
    assert points.installed.point.tolist() == [0, 0, 2]
    assert points.installed[0].start_import_wh == 0
    assert points.installed[0].start_export_wh is None
    assert points.meters == [30, 31], "each once"


def test_no_points_are_no_points() -> None:
    points = Points.of([])
    assert (len(points), list(points), points.meters) == (0, [], [])
