"""Checks Modbus TCP frames byte by byte before any library believes them. Pure: bytes in, verdict out.

Why beside the library: pymodbus 3.16 takes an answer whose transaction id is 0 for any question, does not compare the
byte count with the frame's length, and waits for the time-out where the stream is already known to be broken.
Layout: Modbus Messaging on TCP/IP Implementation Guide V1.0b, section 3.1.3 (MBAP header).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MBAP: Final = 7
_MAX_FRAME: Final = 260
EXCEPTION_BIT: Final = 0x80


@dataclass(frozen=True, slots=True)
class Question:
    """What the next answer must match."""

    transaction: int
    unit: int
    function: int
    """3 or 4."""
    count: int
    """Registers asked for."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The buffer holds the whole answer to the question, and all of it fits."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """What came is no answer to the question and never will be; nothing of it may be used."""

    reason: str


def examine(buffer: bytes, question: Question) -> Answered | Broken | None:
    """Look for the answer in all that was received since the question; None: not there yet.

    Frames of other transactions (late or repeated answers) are passed over, whatever they say.
    """
    start = 0
    while len(buffer) - start >= _MBAP + 1:
        transaction = int.from_bytes(buffer[start : start + 2], "big")
        protocol = int.from_bytes(buffer[start + 2 : start + 4], "big")
        end = start + 6 + int.from_bytes(buffer[start + 4 : start + 6], "big")
        if protocol:
            return Broken(f"protocol id {protocol} instead of 0: not Modbus TCP, or the stream is out of step")
        if not _MBAP + 2 <= end - start <= _MAX_FRAME:
            return Broken(f"a frame length of {end - start} bytes cannot be")
        if len(buffer) < end:
            return None
        if transaction == question.transaction:
            return _verdict(buffer[start:end], question)
        start = end
    return None


def _verdict(frame: bytes, question: Question) -> Answered | Broken:
    reason = _mismatch(frame[6], frame[7], frame[8:], question)
    return Answered(frame) if reason is None else Broken(reason)


def _mismatch(unit: int, function: int, body: bytes, question: Question) -> str | None:
    if unit != question.unit:
        return f"unit {unit} answered a question to unit {question.unit}"
    if function == question.function | EXCEPTION_BIT:
        return None if len(body) == 1 else f"an exception of {len(body)} bytes instead of 1"
    if function != question.function:
        return f"function {function} answered a question of function {question.function}"
    if body[0] != len(body) - 1:
        return f"byte count {body[0]}, but {len(body) - 1} bytes came"
    if body[0] != 2 * question.count:
        return f"{body[0]} bytes of registers instead of {2 * question.count}"
    return None
