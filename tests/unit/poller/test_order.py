"""Which meters are read together, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headend.domain.topology import PollTarget
from headend.ingest.poll_order import areas_of, by_area, by_bus

Make = Callable[..., Any]
TARGETS = st.lists(
    st.builds(
        PollTarget,
        meter_id=st.integers(1, 50),
        manufacturer=st.just("E"),
        serial=st.just("1"),
        model=st.just("m"),
        bus=st.just("b"),
        unit=st.integers(0, 9),
        is_area_meter=st.booleans(),
        area=st.sampled_from([None, "A", "B", "C"]),
    ),
    unique_by=lambda t: t.meter_id,
)


@given(TARGETS)
def test_everybody_once_by_area_the_area_meter_first(targets: list[PollTarget]) -> None:
    rounds = by_area(targets)
    assert sorted(t.meter_id for r in rounds for t in (*r.area_meters, *r.others)) == sorted(
        t.meter_id for t in targets
    )
    named = [r.area for r in rounds if r.area is not None]
    assert named == sorted(areas_of(targets))
    assert None not in [r.area for r in rounds][:-1]
    for r in rounds:
        assert {t.area for t in (*r.area_meters, *r.others)} == {r.area}
        assert [t.unit for t in r.others] == sorted(t.unit for t in r.others)
        assert all(t.is_area_meter for t in r.area_meters)


def test_meters_of_one_gateway_share_a_bus(target: Make) -> None:
    elsewhere = replace(target(3), bus="modbus+serial:///dev/ttyUSB0?baud=9600&parity=N&stop=1")
    found = by_bus([target(1), elsewhere, target(2)])
    assert {bus: [t.unit for t in members] for bus, members in found.items()} == {
        "modbus+tcp://10.0.0.1:502": [1, 2],
        elsewhere.bus: [3],
    }
