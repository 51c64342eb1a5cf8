"""Checks Modbus TCP frames byte by byte before any library believes them. Pure: bytes in, verdict out.

Why beside the library: pymodbus 3.16 takes an answer whose transaction id is 0 for any question, does not compare the
byte count with the frame's length, and waits for the time-out where the stream is already known to be broken.
Layout: Modbus Messaging on TCP/IP Implementation Guide V1.0b, section 3.1.3 (MBAP header).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

_MBAP: Final = 7
_MAX_FRAME: Final = 260
_LAST_TRANSACTION: Final = 0xFFFF
_LATELY: Final = 256
"""Questions ago; answers to older ones have long come or are lost."""
EXCEPTION_BIT: Final = 0x80
WRITES: Final = (5, 6, 16)
"""Functions whose answer repeats (part of) the question."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the next answer must match."""

    transaction: int
    """0 where frames carry no number."""
    unit: int
    function: int
    """3 or 4 (reads), 5, 6 or 16 (writes)."""
    count: int
    """Registers asked for or written."""
    repeats: bytes = b""
    """What the answer to a write must repeat after its function code."""

    @property
    def answer_length(self) -> int:
        """Bytes of the answer after its function code."""
        return 4 if self.function in WRITES else 1 + 2 * self.count


@dataclass(frozen=True, slots=True)
class Answered:
    """The buffer holds the whole answer to the question, and all of it fits."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """What came is no answer to the question and never will be; nothing of it may be used."""

    reason: str


Verdict = Answered | Broken | None
"""None: the answer is not there yet."""


class Framing(Protocol):
    """How questions and answers stand on a connection; remembers the question that is open."""

    @property
    def numbered(self) -> bool:
        """Whether an answer carries its question's number."""
        ...

    @property
    def checked(self) -> bool:
        """Whether an answer carries a checksum."""
        ...

    def ask(self, unit: int, pdu: bytes, count: int) -> bytes:
        """The bytes that ask `pdu` (function code and data) of a unit; its answer is looked for from now on."""
        ...

    def examine(self, received: bytes) -> Verdict:
        """Look for the answer in all that was received since the question was sent."""
        ...

    def out_of_step(self, received: bytes) -> bool:
        """Whether the next answer cannot be found behind these bytes: a frame has begun in them and not ended."""
        ...

    def pdu(self, answered: Answered) -> bytes:
        """Function code and data of an answer."""
        ...


class MbapFraming:
    """Modbus TCP's: every frame has a header with a number that the answer repeats.

    Numbers go on over a reconnect, so that no old answer fits a new question. With `noisy`, bytes that are no frame may
    stand between frames, as where a modem sends heartbeats.
    """

    numbered: Final = True
    checked: Final = False

    def __init__(self, *, noisy: bool = False) -> None:
        self._look = search if noisy else examine
        self._question = Question(0, 0, 0, 0)

    def ask(self, unit: int, pdu: bytes, count: int) -> bytes:
        """See `Framing.ask`."""
        transaction = self._question.transaction % _LAST_TRANSACTION + 1
        self._question = question_of(transaction, unit, pdu, count)
        return b"%b\0\0%b%c%b" % (transaction.to_bytes(2, "big"), (1 + len(pdu)).to_bytes(2, "big"), unit, pdu)

    def examine(self, received: bytes) -> Verdict:
        """See `Framing.examine`."""
        return self._look(received, self._question)

    def out_of_step(self, received: bytes) -> bool:
        """See `Framing.out_of_step`."""
        return self._look is examine and ends_amid(received)

    def pdu(self, answered: Answered) -> bytes:
        """See `Framing.pdu`."""
        return answered.frame[_MBAP:]


def question_of(transaction: int, unit: int, pdu: bytes, count: int) -> Question:
    """What an answer to `pdu` must match."""
    return Question(transaction, unit, pdu[0], count, pdu[1:5] if pdu[0] in WRITES else b"")


def examine(buffer: bytes, question: Question) -> Verdict:
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
            if not _may_follow(buffer[end:], question):
                return Broken("what follows the answer is no frame: it was cut, and filled up with another one's bytes")
            return _verdict(buffer[start:end], question)
        start = end
    return None


def ends_amid(received: bytes) -> bool:
    """Whether the last frame in these bytes has not come to its end."""
    start = 0
    while len(received) - start >= 6:
        start += 6 + int.from_bytes(received[start + 4 : start + 6], "big")
    return start != len(received)


def _may_follow(rest: bytes, question: Question) -> bool:
    """Whether these bytes may begin a frame of a question asked lately; no checksum would tell otherwise."""
    if len(rest) >= 2:
        away = abs(int.from_bytes(rest[:2], "big") - question.transaction)
        if _LATELY <= away <= _LAST_TRANSACTION - _LATELY:
            return False
    return not any(rest[2:4]) and (len(rest) < 6 or _MBAP + 2 <= 6 + int.from_bytes(rest[4:6], "big") <= _MAX_FRAME)


def search(buffer: bytes, question: Question) -> Verdict:
    """As `examine`, where other bytes may stand between the frames: only the question's number starts an answer."""
    mark = question.transaction.to_bytes(2, "big") + b"\0\0"
    start = buffer.find(mark)
    while start >= 0:
        end = start + 6 + int.from_bytes(buffer[start + 4 : start + 6], "big")
        if _MBAP + 2 <= end - start <= _MAX_FRAME and end <= len(buffer):
            return _verdict(buffer[start:end], question)
        start = buffer.find(mark, start + 1)
    return None


def _verdict(frame: bytes, question: Question) -> Answered | Broken:
    reason = _mismatch(frame[6], frame[7], frame[8:], question)
    return Answered(bytes(frame)) if reason is None else Broken(reason)


def _mismatch(unit: int, function: int, body: bytes, question: Question) -> str | None:
    if unit != question.unit:
        return f"unit {unit} answered a question to unit {question.unit}"
    if function == question.function | EXCEPTION_BIT:
        return None if len(body) == 1 else f"an exception of {len(body)} bytes instead of 1"
    if function != question.function:
        return f"function {function} answered a question of function {question.function}"
    return not_repeated(body, question) if question.repeats else _not_counted(body, question)


def _not_counted(body: bytes, question: Question) -> str | None:
    if body[0] != len(body) - 1:
        return f"byte count {body[0]}, but {len(body) - 1} bytes came"
    if body[0] != 2 * question.count:
        return f"{body[0]} bytes of registers instead of {2 * question.count}"
    return None


def not_repeated(body: bytes, question: Question) -> str | None:
    """What is wrong with the answer to a write; None where it repeats what was written."""
    if body == question.repeats:
        return None
    return f"the device repeated {body.hex(' ')} of a write that said {question.repeats.hex(' ')}"
