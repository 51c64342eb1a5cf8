"""Questions as they come to a gateway, and answers as they leave it: Modbus TCP and RTU, the server's side. Pure.

Written from the specifications alone, so that a simulated gateway does not share the head-end's mistakes: Modbus
Messaging on TCP/IP Implementation Guide V1.0b, section 3.1; Modbus over Serial Line V1.02, sections 2.5.1 and 6.2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Protocol

_HEADER: Final = struct.Struct(">HHHB")
_MOST_BYTES: Final = 254
"""Longest unit + PDU."""
_SEAL: Final = 2
_SHORTEST_RTU: Final = 4
_LONGEST_RTU: Final = 256
_FIXED: Final = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8}
"""Function code → length of its RTU question."""
_COUNTED: Final = {15: 6, 16: 6}
"""Function code → where the byte stands that says how many follow it before the checksum."""


class NotModbus(Exception):
    """What came is no Modbus; the connection is of no more use."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question."""

    transaction: int
    """0 in RTU, which has none."""
    unit: int
    pdu: bytes


class Questions(Protocol):
    """The questions of one connection."""

    def feed(self, data: bytes) -> list[Asked]:
        """Take what came, give the questions that are whole now. Raises `NotModbus`."""
        ...

    def answer(self, asked: Asked, pdu: bytes) -> bytes:
        """What goes back."""
        ...


class TcpQuestions:
    """Of Modbus TCP."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Asked]:
        """See `Questions.feed`."""
        self._rest += data
        found = []
        while len(self._rest) >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(self._rest)
            if protocol != 0 or not 2 <= length <= _MOST_BYTES:
                raise NotModbus(f"protocol {protocol}, length {length}")
            end = _HEADER.size - 1 + length
            if len(self._rest) < end:
                break
            found.append(Asked(transaction, unit, self._rest[_HEADER.size : end]))
            self._rest = self._rest[end:]
        return found

    def answer(self, asked: Asked, pdu: bytes) -> bytes:
        """See `Questions.answer`."""
        return _HEADER.pack(asked.transaction, 0, len(pdu) + 1, asked.unit) + pdu


class RtuQuestions:
    """Of RTU frames that a transparent gateway or modem passes on.

    A serial line tells frames apart by silence, a TCP stream has none: a question ends where its function code says,
    an unknown one where the bytes do. What has no right checksum is passed over, as meters do.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Asked]:
        """See `Questions.feed`; there is nothing that RTU could not pass over."""
        self._rest = (self._rest + data)[-2 * _LONGEST_RTU :]
        found = []
        start = 0
        while start <= len(self._rest) - _SHORTEST_RTU:
            length = _length(self._rest[start:])
            frame = self._rest[start : start + length] if length is not None else b""
            if len(frame) == length and _sealed(frame):
                found.append(Asked(0, frame[0], frame[1:-_SEAL]))
                self._rest, start = self._rest[start + len(frame) :], 0
            elif not start and length is None and _sealed(self._rest):
                found.append(Asked(0, self._rest[0], self._rest[1:-_SEAL]))
                self._rest = b""
            else:
                start += 1
        return found

    def answer(self, asked: Asked, pdu: bytes) -> bytes:
        """See `Questions.answer`."""
        frame = bytes((asked.unit,)) + pdu
        return frame + _crc(frame).to_bytes(_SEAL, "little")


def _length(received: bytes) -> int | None:
    """How long a question is that begins here; None: of an unknown function, or not yet told."""
    function = received[1]
    if function in _COUNTED:
        at = _COUNTED[function]
        return at + 1 + received[at] + _SEAL if len(received) > at else None
    return _FIXED.get(function)


def _sealed(frame: bytes) -> bool:
    return len(frame) >= _SHORTEST_RTU and _crc(frame[:-_SEAL]) == int.from_bytes(frame[-_SEAL:], "little")


def _table() -> tuple[int, ...]:
    """What each byte does to the checksum, as section 6.2.2 shifts it bit by bit."""
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC: Final = _table()


def _crc(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc
