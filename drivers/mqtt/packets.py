"""From the bytes of a line to MQTT 5 control packets, many at once; publications are taken apart on the spot.

Pure: no socket, no thread. MQTT 5.0: §2.1 fixed header, §1.5.5 variable byte integer, §3.3 PUBLISH.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from drivers.mqtt.broker import Message

_PUBLISH: Final = 0x30
_PUBACK: Final = b"\x40\x02"
_RETAIN: Final = 0x01
_QOS: Final = 0x06
_MORE: Final = 0x80
_MAX_LENGTH_BYTES: Final = 4


class MalformedPacket(ValueError):
    """The broker broke the protocol; the line is of no use any more."""


@dataclass(frozen=True, slots=True)
class OtherPacket:
    """Any control packet but a publication of QoS 0 or 1."""

    header: int
    body: bytearray
    """Behind the fixed header."""


class PacketCutter:
    """Holds what has arrived of a packet that is not whole yet."""

    def __init__(self) -> None:
        self._held = bytearray()

    def clear(self) -> None:
        """A new line: what came of a packet over the last one is of no use."""
        self._held = bytearray()

    def feed(self, data: bytes) -> None:
        """Take what the line brought."""
        self._held += data

    def cut(self, *, connection: int, session: str) -> tuple[list[Message], OtherPacket | None]:
        """Publications up to the next other packet, and that packet; None: there is none, nothing whole is left.

        To be called until there is none: what another packet changes (a connection begins) holds for what follows it.
        Raises MalformedPacket.
        """
        held = self._held
        end = len(held)
        found: list[Message] = []
        other = None
        at = 0
        while end - at >= 2:
            header = held[at]
            length = held[at + 1]
            body = at + 2
            if length & _MORE:
                size = _length(held, at + 1)
                if size is None:
                    break
                length, body = size
            stop = body + length
            if stop > end:
                break
            at = stop
            if header & 0xF0 != _PUBLISH or header & _QOS == 0x04:
                other = OtherPacket(header, held[body:stop])
                break
            found.append(_publication(held, header, (body, stop), connection, session))
        if at:
            del held[:at]
        return found, other


def pubacks(mids: list[int]) -> bytes:
    """Acknowledgements of these packet identifiers, one behind the other."""
    return b"".join([_PUBACK + mid.to_bytes(2, "big") for mid in mids])


def _publication(held: bytearray, header: int, within: tuple[int, int], connection: int, session: str) -> Message:
    body, stop = within
    qos = (header & _QOS) >> 1
    topic_end = body + 2 + (held[body] << 8 | held[body + 1]) if stop - body > 2 else stop + 1
    properties = topic_end + 2 if qos else topic_end
    if properties >= stop or qos > 1:
        raise MalformedPacket(f"a PUBLISH of {stop - body} bytes with QoS {qos}")
    mid = held[topic_end] << 8 | held[topic_end + 1] if qos else 0
    name = bytes(held[body + 2 : topic_end])
    try:
        topic = name.decode()
    except UnicodeDecodeError:
        topic = repr(name)
    length = held[properties]
    payload = properties + 1 + length
    if length & _MORE:
        size = _length(held, properties)
        if size is None:
            raise MalformedPacket("a PUBLISH ends within its properties")
        payload = size[0] + size[1]
    if payload > stop:
        raise MalformedPacket("a PUBLISH has more properties than it has bytes")
    return Message(topic, bytes(held[payload:stop]), mid, qos, connection, bool(header & _RETAIN), session)


def _length(held: bytearray, at: int) -> tuple[int, int] | None:
    """A variable byte integer and where what follows it begins. None: it is not whole yet."""
    value = shift = 0
    for place in range(at, at + _MAX_LENGTH_BYTES):
        if place >= len(held):
            return None
        byte = held[place]
        value |= (byte & 0x7F) << shift
        if not byte & _MORE:
            return value, place + 1
        shift += 7
    raise MalformedPacket("a length of more than four bytes")
