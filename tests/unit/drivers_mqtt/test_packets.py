"""Control packets cut out of a line's bytes, however they arrive; what is no MQTT is refused."""

from __future__ import annotations

import random
import struct

import pytest

from drivers.mqtt.broker import Message
from drivers.mqtt.packets import MalformedPacket, OtherPacket, PacketCutter, pubacks


def varint(value: int) -> bytes:
    found = bytearray()
    while True:
        value, byte = divmod(value, 128)
        found.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(found)


def publish(
    topic: bytes, payload: bytes, *, qos: int = 1, mid: int = 7, retain: bool = False, properties: bytes = b""
) -> bytes:
    body = struct.pack("!H", len(topic)) + topic + (struct.pack("!H", mid) if qos else b"")
    body += varint(len(properties)) + properties + payload
    return bytes([0x30 | qos << 1 | retain]) + varint(len(body)) + body


def cut_all(cutter: PacketCutter) -> list[Message | OtherPacket]:
    found: list[Message | OtherPacket] = []
    while True:
        messages, other = cutter.cut(connection=3, session="s")
        found += messages
        if other is None:
            return found
        found.append(other)


STREAM = [
    (b"\x20\x03\x00\x00\x00", OtherPacket(0x20, bytearray(b"\x00\x00\x00"))),
    (publish(b"a/b", b"x"), Message("a/b", b"x", 7, 1, 3, False, "s")),
    (publish(b"a", b"", qos=0, retain=True), Message("a", b"", 0, 0, 3, True, "s")),
    (publish(b"a", b"y" * 300, mid=65535, properties=b"\x26" * 200), Message("a", b"y" * 300, 65535, 1, 3, False, "s")),
    (b"\xd0\x00", OtherPacket(0xD0, bytearray())),
    (publish("台区".encode(), b"z" * 20_000), Message("台区", b"z" * 20_000, 7, 1, 3, False, "s")),
    (publish(b"a", b"q", qos=2), OtherPacket(0x34, bytearray(publish(b"a", b"q", qos=2)[2:]))),
    (publish(b"\xff", b""), Message("b'\\xff'", b"", 7, 1, 3, False, "s")),
    (b"\x90\x04\x00\x01\x00\x01", OtherPacket(0x90, bytearray(b"\x00\x01\x00\x01"))),
]  # fmt: skip


def test_in_one_piece() -> None:
    cutter = PacketCutter()
    cutter.feed(b"".join(data for data, _ in STREAM))
    assert cut_all(cutter) == [packet for _, packet in STREAM]


@pytest.mark.parametrize("seed", range(5))
def test_in_pieces_of_any_size(seed: int) -> None:
    data, at = b"".join(data for data, _ in STREAM), 0
    rng, cutter = random.Random(seed), PacketCutter()
    found: list[Message | OtherPacket] = []
    while at < len(data):
        size = rng.choice([1, 2, 3, 5, 1000])
        cutter.feed(data[at : at + size])
        at += size
        found += cut_all(cutter)
    assert found == [packet for _, packet in STREAM]


def test_another_packet_parts_the_publications_before_it_from_those_behind_it() -> None:
    cutter = PacketCutter()
    cutter.feed(publish(b"a", b"1") + b"\xd0\x00" + publish(b"a", b"2"))
    messages, other = cutter.cut(connection=1, session="")
    assert ([m.payload for m in messages], other) == ([b"1"], OtherPacket(0xD0, bytearray()))
    messages, other = cutter.cut(connection=2, session="")
    assert ([(m.payload, m.connection) for m in messages], other) == ([(b"2", 2)], None)


def test_a_new_line_begins_with_nothing() -> None:
    cutter = PacketCutter()
    cutter.feed(publish(b"a", b"12345")[:-2])
    cutter.clear()
    cutter.feed(publish(b"b", b"x"))
    assert [m.topic for m in cutter.cut(connection=1, session="")[0]] == ["b"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x32\x00",
        b"\x32\x02\x00\x05",  # a topic longer than the packet
        b"\x32\x04\x00\x01a\x00",  # ends within the identifier
        b"\x32\x05\x00\x01a\x00\x07",  # no properties
        b"\x32\x06\x00\x01a\x00\x07\x05",  # fewer properties than said
        b"\x32\x06\x00\x01a\x00\x07\x85",  # ends within their length
        b"\x36\x06\x00\x01a\x00\x07\x00",  # QoS 3
    ],
)  # fmt: skip
def test_what_is_no_mqtt_is_refused(data: bytes) -> None:
    cutter = PacketCutter()
    cutter.feed(data)
    with pytest.raises(MalformedPacket):
        cut_all(cutter)


def test_acknowledgements_stand_one_behind_the_other() -> None:
    assert pubacks([1, 258, 65535]) == b"\x40\x02\x00\x01\x40\x02\x01\x02\x40\x02\xff\xff"
