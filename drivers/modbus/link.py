"""What a bus needs of whatever carries it: Modbus TCP, RTU over TCP, a serial line, a modem that dialled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """Registers, and when they were true."""

    words: tuple[int, ...]
    """As many as were asked for, each 0..65535."""
    sent_us: int
    """UTC, microseconds since 1970, when the request left."""
    span_us: int
    """From request to answer, by the monotonic clock."""

    @property
    def received_us(self) -> int:
        """When the answer was there, on the wall clock as it stood at the request."""
        return self.sent_us + self.span_us


class Link(Protocol):
    """One connection that carries one question at a time; it neither retries nor schedules."""

    @property
    def peer(self) -> str:
        """How a person would look for it: `10.1.2.3:502`."""
        ...

    @property
    def connected(self) -> bool:
        """Whether a question can be asked now."""
        ...

    @property
    def numbered(self) -> bool:
        """Whether answers carry their question's number (MBAP transaction id).

        Where they do not (RTU), an answer is told from a late one by unit, function and length alone: the bus then
        keeps two questions of one shape far enough apart.
        """
        ...

    async def connect(self, timeout_s: float) -> None:
        """Connect, or raise `ConnectionFailed`; nothing happens where it is connected already."""
        ...

    async def close(self) -> None:
        """Give the connection up; a late answer dies with it."""
        ...

    async def read(self, *, unit: int, function: int, address: int, count: int, timeout_s: float) -> Answer:
        """Ask one unit for `count` registers from `address` (0-based).

        Raises `ConnectionFailed`, `ResponseTimeout`, `IllegalAddress`, `DeviceException` or `MalformedResponse`; after
        the last, and after half an answer, the link is closed, because nobody knows where the next frame begins.
        """
        ...

    async def write(
        self, *, unit: int, function: int, address: int, words: tuple[int, ...], timeout_s: float
    ) -> Answer:
        """Write with function 5 (one coil: 0x0000 or 0xFF00), 6 (one register) or 16 (several), 0-based.

        Returns the times with the words written, once the device has repeated what it was told. Raises as `read` does;
        after anything but an exception response nobody knows whether the device obeyed.
        """
        ...
