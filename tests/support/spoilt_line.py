"""An RTU line as the field spoils it, in simulated time: answers come late, twice, torn, swapped or not at all.

As on a real one an answer tells unit, function and length, and nothing else of its question.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from drivers.errors import DeviceException, IllegalAddress, ResponseTimeout
from drivers.modbus.link import Answer
from support.modbus import FakeClock


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one answer."""

    delay_s: float = 0.05
    lost: bool = False
    """Lost, or torn so that no checksum fits."""
    again_s: tuple[float, ...] = ()
    """It comes again so long after the question, too."""
    exception: int | None = None
    """The device is in the mood for an exception."""


@dataclass(frozen=True, slots=True)
class _Frame:
    question: int
    unit: int
    function: int
    count: int | None
    """Registers; None: an exception, which has no length to tell it by."""
    exception: int
    words: tuple[int, ...]


def word(unit: int, function: int, address: int) -> int:
    """What a register holds: another value than every register near it, and than the same of other units."""
    return (unit * 8209 + function * 4099 + address * 13) & 0xFFFF


@dataclass
class SpoiltLine:
    """A `Link` without numbers."""

    clock: FakeClock
    fates: Iterator[Fate]
    missing: frozenset[tuple[int, int]] = frozenset()
    """(unit, address) that a meter does not have."""
    numbered: bool = False
    connected: bool = False
    peer: str = "line"
    asked: list[tuple[int, int, int, int]] = field(default_factory=list)
    mistaken: list[str] = field(default_factory=list)
    """Answers that were taken for another question's."""
    _coming: list[tuple[float, _Frame]] = field(default_factory=list)

    async def connect(self, timeout_s: float) -> None:
        self.connected = True

    async def close(self) -> None:
        self.connected = False

    async def read(self, *, unit: int, function: int, address: int, count: int, timeout_s: float) -> Answer:
        fate = next(self.fates, Fate())
        exception = fate.exception or 0
        if any((unit, a) in self.missing for a in range(address, address + count)):
            exception = 2
        words = tuple(word(unit, function, a) for a in range(address, address + count))
        frame = _Frame(len(self.asked), unit, function, None if exception else count, exception, words)
        self.asked.append((unit, function, address, count))
        now = self.clock.elapsed_s
        self._coming = [(at, f) for at, f in self._coming if at >= now]  # what lay in the buffer is thrown away
        if not fate.lost:
            self._coming += [(now + delay_s, frame) for delay_s in (fate.delay_s, *fate.again_s)]
        self._coming.sort(key=lambda c: c[0])
        for at, come in self._coming:
            if at <= now + timeout_s and (come.unit, come.function) == (unit, function) and come.count in (count, None):
                self.clock.elapsed_s = at
                self._coming.remove((at, come))
                return self._take(come, frame, round((at - now) * 1e6))
        self.clock.elapsed_s = now + timeout_s
        raise ResponseTimeout("no answer", peer=self.peer)

    def _take(self, come: _Frame, due: _Frame, span_us: int) -> Answer:
        if come.exception:
            error = IllegalAddress if come.exception == 2 else DeviceException
            raise error("exception", peer=self.peer, exception_code=come.exception)
        if come.question != due.question:
            self.mistaken.append(f"{self.asked[come.question]} for {self.asked[due.question]}")
        return Answer(come.words, self.clock.now_us() - span_us, span_us)

    async def write(
        self, *, unit: int, function: int, address: int, words: tuple[int, ...], timeout_s: float
    ) -> Answer:
        raise AssertionError("nothing is written here")
