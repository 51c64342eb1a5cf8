"""Finds the answer in the bytes of a serial line: no number, no length, only a checksum. Pure: bytes in, verdict out.

The rule it keeps: of all that came since the question, the answer is the frame that ends first, has the right unit,
function and length, and whose CRC is right. Everything else (noise, late answers of others, torn frames, the question's
own echo) is passed over, so the verdict does not depend on how the bytes were cut into pieces.
Layout: Modbus over Serial Line V1.02, sections 2.5.1 (RTU) and 6.2.2 (CRC).
"""

from __future__ import annotations

from typing import Final

from drivers.modbus.frames import EXCEPTION_BIT, Answered, Broken, Question, Verdict, not_repeated, question_of

_AROUND: Final = 4
"""Bytes of a frame beside the data: unit, function, CRC."""
_POLYNOMIAL: Final = 0xA001
"""x^16 + x^15 + x^2 + 1, lowest bit first."""
_COPIES: Final = (5, 6)
"""Functions whose answer is the question itself, byte for byte."""


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC_OF: Final = _table()


def crc16(data: bytes) -> int:
    """The checksum over `data`; it follows on the wire with its low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_OF[crc & 0xFF ^ byte]
    return crc


def sealed(data: bytes) -> bytes:
    """`data` with its checksum."""
    return data + crc16(data).to_bytes(2, "little")


class RtuFraming:
    """RTU's, on a serial line or carried by TCP.

    Some RS-485 converters give back what they send. They are recognised by the echo of a read; from then on nothing
    counts before the echo, because a write's echo would pass for the device's answer.
    """

    numbered: Final = False
    checked: Final = True

    def __init__(self) -> None:
        self._question = Question(0, 0, 0, 0)
        self._sent = b""
        self._echoes = False
        self._echoed = False
        self._answered = True

    def ask(self, unit: int, pdu: bytes, count: int) -> bytes:
        """See `Framing.ask`."""
        if not self._answered and not self._echoed:
            self._echoes = False  # no echo and no answer: the converter may have been exchanged
        self._question = question_of(0, unit, pdu, count)
        self._sent = sealed(bytes((unit,)) + pdu)
        self._echoed = self._answered = False
        return self._sent

    def examine(self, received: bytes) -> Verdict:
        """See `Framing.examine`."""
        start = self._after_echo(received)
        if start is None:
            return None
        verdict = find_answer(received, self._question, start)
        if isinstance(verdict, Answered):
            self._answered, self._echoes = True, self._echoed
        return verdict

    def _after_echo(self, received: bytes) -> int | None:
        """Where an answer may begin; None: only after bytes that are still to come."""
        if self._echoes:
            at = received.find(self._sent)
            self._echoed = at >= 0
            return at + len(self._sent) if self._echoed else None
        if self._question.function in _COPIES:
            return 0
        at = received.find(self._sent)  # not always first: a line that changes hands makes a byte or two of noise
        if at >= 0 and find_answer(received[:at], self._question) is None:
            self._echoes = self._echoed = True
            return at + len(self._sent)
        return None if self._sent.startswith(received) or received.endswith(self._sent[:-1]) else 0

    def out_of_step(self, received: bytes) -> bool:  # noqa: ARG002 - the checksum finds the next answer anywhere
        """See `Framing.out_of_step`."""
        return False

    def pdu(self, answered: Answered) -> bytes:
        """See `Framing.pdu`."""
        return answered.frame[1:-2]


def find_answer(received: bytes, question: Question, start: int = 0) -> Verdict:
    """Look for the answer from `start`.

    Never `Broken` for a read. For a write it is, where the device repeats something else than it was told.
    """
    head = bytes((question.unit, question.function))
    if not question.repeats:
        head += bytes((2 * question.count,))
    refusal = bytes((question.unit, question.function | EXCEPTION_BIT))
    frames = (
        _first(received, start, head, _AROUND + question.answer_length),
        _first(received, start, refusal, _AROUND + 1),
    )
    found = min((end, frame) for end, frame in frames)[1]
    if question.repeats and found.startswith(head) and (reason := not_repeated(found[2:-2], question)):
        return Broken(reason)
    return Answered(found) if found else None


def _first(received: bytes, start: int, head: bytes, length: int) -> tuple[int, bytes]:
    """The first frame of this head and length, and where it ends; an end beyond everything where there is none."""
    at = received.find(head, start)
    while 0 <= at <= len(received) - length:
        frame = bytes(received[at : at + length])
        if crc16(frame[:-2]) == int.from_bytes(frame[-2:], "little"):
            return at + length, frame
        at = received.find(head, at + 1)
    return len(received) + 1, b""
