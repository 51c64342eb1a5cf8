"""A round on disk: what comes back is what was put, or is known to be something else."""

from __future__ import annotations

import zlib
from contextlib import suppress
from dataclasses import fields, replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import MeterIdentity, ReadingFlag, RegisterReading
from drivers.events import EventKind
from headend.domain.topology import PollTarget
from headend.ingest.poll_round import Mismatch, Rejected, RoundResult
from headend.ingest.spool_record import VERSION, SpoiledRecord, pack, unpack
from headend.ingest.status_events import StatusWord
from support import spooled

TARGET = PollTarget(7, "Eastron", "630001", "eastron-sdm630", "modbus+tcp://10.0.0.1:502", 1, True, "A1")
FULL = RegisterReading(
    instant_us=1_764_000_000_000_001,
    uncertainty_ms=23,
    import_wh=123_450,
    export_wh=0,
    import_phase_wh=(100_000, 20_000, None),
    export_phase_wh=(0, 0, 0),
    voltage_v=(229.5, 231.25, None),
    current_a=(1.5, None, 0.0),
    power_w=-531.0,
    resolution_wh=10.0,
    serial="630001",
    firmware="1.2",
    flags=ReadingFlag.CLOCK_SUSPECT | ReadingFlag.BACKFILL,
    refused=("import_l3_wh",),
    import_tariff_wh=(60_000, None, 3_450),
)
ROUND = RoundResult(
    "10.0.0.1:502",
    1_764_000_000_000_000,
    [(MeterIdentity("Eastron", "630001"), FULL)],
    [Mismatch(TARGET, RegisterReading(instant_us=5, uncertainty_ms=1, serial="999999"))],
    [Rejected(TARGET, "profile_fell", "the register fell", 3, (1, 65535))],
    [
        StatusWord(
            meter=MeterIdentity("Eastron", "630001"),
            register="holding 16",
            word=33,
            bits={0: (EventKind.COVER_OPENED, EventKind.COVER_CLOSED), 5: (EventKind.MAGNET_DETECTED, None)},
            instant_us=6,
            uncertainty_ms=2,
        )
    ],
)
LAYOUT_1 = [
    "10.0.0.1:502",
    1_764_000_000_000_000,
    [
        ["Eastron", "630001", 1_764_000_000_000_001, 23, 123_450, 0, [100_000, 20_000, None], [0, 0, 0],
         [229.5, 231.25, None], [1.5, None, 0.0], -531.0, 10.0, "630001", "1.2", 3, ["import_l3_wh"]]
    ],
    [
        [
            [7, "Eastron", "630001", "eastron-sdm630", "modbus+tcp://10.0.0.1:502", 1, True, "A1"],
            ["Eastron", "630001", 5, 1, None, None, None, None, None, None, None, None, "999999", None, 0, []],
        ]
    ],
    [
        [
            [7, "Eastron", "630001", "eastron-sdm630", "modbus+tcp://10.0.0.1:502", 1, True, "A1"],
            "profile_fell", "the register fell", 3, [1, 65535],
        ]
    ],
    [
        ["Eastron", "630001", "holding 16", 33,
         {0: ["cover_opened", "cover_closed"], 5: ["magnet_detected", None]}, 6, 2]
    ],
]  # fmt: skip
"""What lies on the disks of those who ran the program before it read registers per rate."""
LAYOUT_2 = [
    *LAYOUT_1[:2],
    [[*LAYOUT_1[2][0], [60_000, None, 3_450]]],
    [[LAYOUT_1[3][0][0], [*LAYOUT_1[3][0][1], None]]],
    *LAYOUT_1[4:],
]
"""What lies on the disks of those who run this version; another layout has another number."""


@given(spooled.rounds)
def test_a_round_comes_back_as_it_was(result: RoundResult) -> None:
    back = unpack(VERSION, pack(result))
    assert back == result
    assert [type(reading.flags) for _, reading in back.readings] == [ReadingFlag] * len(result.readings)


def test_the_layout_is_the_one_that_lies_on_disks() -> None:
    assert VERSION == 2
    assert msgspec.msgpack.decode(zlib.decompress(pack(ROUND)), strict=False) == LAYOUT_2
    assert unpack(2, zlib.compress(msgspec.msgpack.encode(LAYOUT_2))) == ROUND


def test_what_an_older_program_left_is_still_stored() -> None:
    back = unpack(1, zlib.compress(msgspec.msgpack.encode(LAYOUT_1)))
    assert back == replace(ROUND, readings=[(ROUND.readings[0][0], replace(FULL, import_tariff_wh=None))])
    for version, layout in ((1, LAYOUT_2), (2, LAYOUT_1)):
        with pytest.raises(SpoiledRecord, match="not as it was written"):
            unpack(version, zlib.compress(msgspec.msgpack.encode(layout)))


def test_nothing_of_a_reading_is_left_out() -> None:
    """A field that is added to a reading has to be added to the layout, and this test to know it."""
    assert all(getattr(FULL, f.name) != f.default for f in fields(RegisterReading) if f.name != "export_wh")
    assert len(fields(RegisterReading)) + len(fields(MeterIdentity)) == len(LAYOUT_2[2][0])


@given(spooled.rounds, st.data())
def test_a_spoilt_record_is_known_as_such(result: RoundResult, data: st.DataObject) -> None:
    packed = bytearray(pack(result))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    with suppress(SpoiledRecord):
        assert unpack(VERSION, bytes(packed)) == result  # bits that zlib does not look at
    with pytest.raises(SpoiledRecord):
        unpack(VERSION, pack(result)[:-1])


@pytest.mark.parametrize("version", [0, 3, -1])
def test_another_layout_is_not_guessed_at(version: int) -> None:
    with pytest.raises(SpoiledRecord, match=rf"written in layout {version}; this program reads 1 and 2"):
        unpack(version, pack(ROUND))


@pytest.mark.parametrize(
    "wrong",
    [
        LAYOUT_2[:5],
        [*LAYOUT_2, []],
        [*LAYOUT_2[:2], [LAYOUT_2[2][0][:-1]], *LAYOUT_2[3:]],
        [*LAYOUT_2[:2], [[*LAYOUT_2[2][0], 1]], *LAYOUT_2[3:]],
        [*LAYOUT_2[:1], "noon", *LAYOUT_2[2:]],
    ],
)
def test_a_record_of_another_shape_is_not_believed_in_part(wrong: list[object]) -> None:
    with pytest.raises(SpoiledRecord):
        unpack(2, zlib.compress(msgspec.msgpack.encode(wrong)))
