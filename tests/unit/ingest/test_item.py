"""A polled round in the quarantine can be made into the same item again."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.base import MeterIdentity, ReadingFlag, RegisterReading, Source
from drivers.mqtt.router import Router
from headend.ingest.intake import item_of
from headend.ingest.item import Presence, Upload, polled, polled_again

FULL = RegisterReading(
    instant_us=1_795_410_900_000_000,
    uncertainty_ms=12,
    import_wh=5,
    voltage_v=(230.0, None, 231.5),
    current_a=(1.5, None, -2.0),
    import_phase_wh=(1, 2, None),
    power_w=-3.0,
    resolution_wh=0.1,
    serial="77",
    flags=ReadingFlag.CLOCK_SUSPECT | ReadingFlag.BACKFILL,
    refused=("export_wh",),
)


@pytest.mark.parametrize("flags", [ReadingFlag.NONE, ReadingFlag.BACKFILL, FULL.flags])
def test_polled_round_trip(flags: ReadingFlag) -> None:
    readings = [(MeterIdentity("A", "1"), _with(flags))]
    item = polled(readings, origin="127.0.0.1:502", received_us=7)
    again = polled_again(item.payload, origin=item.origin, received_us=7)
    assert item.batch is not None
    assert again.batch is not None
    assert np.array_equal(item.batch.rows, again.batch.rows)
    assert np.array_equal(item.batch.phases, again.batch.phases)
    assert item.batch.meters == again.batch.meters
    assert (again.payload, again.channel) == (item.payload, "modbus")
    assert set(again.batch.rows["source"].tolist()) == {Source.MODBUS}


def _with(flags: ReadingFlag) -> RegisterReading:
    values = {name: getattr(FULL, name) for name in FULL.__slots__}
    return RegisterReading(**(values | {"flags": flags}))


def test_an_upload_that_cannot_be_read_keeps_its_number() -> None:
    topic = "headend/v1/concentrator/C1/profile"
    item = item_of(topic, b'{"seq":9,', router=Router("headend/v1"), prefix="headend/v1", received_us=7)
    assert (item.upload, item.batch) == (Upload("C1", 9, None), None)
    assert [entry.reason for entry in item.quarantine] == ["not_json"]
    assert (item.payload, item.origin) == (b'{"seq":9,', topic)


@pytest.mark.parametrize("retained", [True, False])
def test_a_word_that_the_broker_had_kept_is_told_from_one_just_said(retained: bool) -> None:
    topic = "headend/v1/concentrator/C1/state"
    item = item_of(topic, b"online", router=Router("headend/v1"), prefix="headend/v1", received_us=7, retained=retained)
    assert item.presence == Presence("C1", online=True, kept=retained)
