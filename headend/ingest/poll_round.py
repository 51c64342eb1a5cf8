"""What one round of one bus brought: readings for the store, and for each meter how it went."""

from __future__ import annotations

from dataclasses import dataclass, field

from drivers.base import MeterIdentity, RegisterReading
from drivers.errors import ConnectionFailed, MeterResting
from drivers.modbus.endpoint import parse_endpoint
from headend.domain.topology import PollTarget
from headend.ingest.status_events import StatusWord

OK = "ok"
"""The outcome of a meter that was read; every other one is the code of an error, or says what was wrong with it."""
RESTING = MeterResting.code
"""The outcome of a meter that was not asked: it was silent too often, and its next probe is not due."""


CONNECTION = ConnectionFailed.code
"""The outcome of a meter that no connection led to."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A reading of a meter that says it is another one."""

    target: PollTarget
    reading: RegisterReading

    @property
    def detail(self) -> str:
        """For a person."""
        return (
            f"the store expects {self.target.manufacturer}/{self.target.serial} here, "
            f"the meter says its serial is {self.reading.serial}"
        )


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record of a stored profile that is not believed."""

    target: PollTarget
    reason: str
    """Machine word of the quarantine."""
    detail: str
    """For a person."""
    number: int
    """Its place in the profile when it was read."""
    words: tuple[int, ...]


@dataclass(slots=True)
class RoundResult:
    """What is to be stored of a round, or of some records of a stored profile.

    An area meter may have been read at both ends of the round.
    """

    bus: str
    """As a person looks for it: `10.1.2.3:502`."""
    began_us: int
    """UTC, µs since 1970."""
    readings: list[tuple[MeterIdentity, RegisterReading]] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    status: list[StatusWord] = field(default_factory=list)
    """Of meters that were read; they go with the readings."""

    def __len__(self) -> int:
        return len(self.readings) + len(self.mismatches) + len(self.rejected)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it went with one meter."""

    code: str
    """`ok`, `resting`, or what failed: the machine word of the counter."""
    reason: str = ""
    """For a person; empty where it was read."""


@dataclass(slots=True)
class RoundReport:
    """How a round went; nothing of it is stored as a reading."""

    bus: str
    """URI."""
    began_us: int
    ended_us: int = 0
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    """By meter_id: of those that were due."""
    read_us: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """By meter_id: the instants of the readings of those that were read."""

    @property
    def read(self) -> int:
        """Meters that were read."""
        return self.count(OK)

    @property
    def resting(self) -> int:
        """Meters that were not asked because they are known to be silent."""
        return self.count(RESTING)

    @property
    def failed(self) -> int:
        """Meters that were asked in vain."""
        return len(self.outcomes) - self.read - self.resting

    def count(self, code: str) -> int:
        """How many meters came to this outcome."""
        return sum(outcome.code == code for outcome in self.outcomes.values())


def peer_of(target: PollTarget) -> str:
    """Where a meter is, as a person would look for it."""
    return f"{parse_endpoint(target.bus).peer} unit {target.unit}"


def same_serial(stored: str, told: str) -> bool:
    """Whether two spellings name one serial: meters that hold it as a number lose leading zeros."""
    return _plain(stored) == _plain(told)


def _plain(serial: str) -> str:
    return serial.strip().casefold().lstrip("0")
