"""Polled rounds on disk until the database has them: what the poll role's event loop sees of the spool.

The rule it keeps: the disk is worked on in a thread of its own, so that no round waits for a database that is away
to be safe; what the disk fails to do is said once, counted, and tried again with the next round.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from drivers.base import MeterIdentity
from headend.domain.calendar import US_PER_S, to_us
from headend.domain.clock import Clock
from headend.ingest.poll_outbox import Portion
from headend.ingest.poll_round import RoundResult
from headend.ingest.spool_file import LOCK, Hole, NewRecord, Record, SpoolFailed, SpoolFile, Totals
from headend.ingest.spool_record import VERSION, Spoiled, SpoiledRecord, pack, unpack
from headend.ingest.spool_room import Room
from headend.lockfile import DirectoryInUse, DirectoryLock
from headend.log import get_logger
from headend.metrics import SPOOL_BYTES, SPOOL_ERRORS, SPOOL_GIVEN_UP, SPOOL_OLDEST_SECONDS, SPOOL_READINGS
from headend.settings import Poll, SettingsError

T = TypeVar("T")

_MB: Final = 1_000_000
_AROUND: Final = 256
"""Bytes that a record takes beside itself, about."""
_STEP: Final = 100
"""A full spool is emptied by this part of what it may hold, so that not every round has to make room for itself."""
_UNPACKABLE: Final = 0
"""Version of a record that holds what could not be packed, as text."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SpoolState:
    """How the spool is doing, as of its last piece of work."""

    totals: Totals = field(default_factory=Totals)
    given_up: Mapping[str, int] = field(default_factory=dict)
    """Readings by class since the spool was full first; emptied when that was told."""
    trouble: str | None = None
    """Why the disk does not do what it should; None: it does."""
    damaged: Sequence[Path] = ()
    """Files that were set aside."""


def spool_dir_of(poll: Poll, environment: Mapping[str, str] = os.environ) -> Path:
    """As set, else what systemd gives the service (StateDirectory=), else among the user's own state."""
    if poll.spool_dir is not None:
        return poll.spool_dir
    if given := environment.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0]) / "spool"  # systemd.exec(5): several are separated by colons
    if base := environment.get("XDG_STATE_HOME"):
        return Path(base) / "headend" / "spool"
    home = environment.get("HOME")
    return Path("/var/lib/headend/spool") if home is None else Path(home) / ".local/state/headend/spool"


def check_spool_dir(poll: Poll) -> None:
    """Raises SettingsError when another process has the spool; a disk that fails is no reason not to start."""
    lock = DirectoryLock(spool_dir_of(poll), LOCK)
    try:
        lock.acquire()
    except DirectoryInUse as error:
        raise SettingsError(f"poll.spool_dir: {error}: each process that polls needs one of its own") from None
    except OSError:
        return
    lock.release()


class Spool:
    """One spool and its thread."""

    def __init__(
        self, poll: Poll, *, zone: ZoneInfo, clock: Clock, tells_again: Callable[[MeterIdentity], bool]
    ) -> None:
        """`tells_again`: whether a meter's readings can be read back from it later."""
        self.directory = spool_dir_of(poll)
        self._clock = clock
        self._most_bytes = poll.spool_mb * _MB
        self._file = SpoolFile(self.directory, aside_stamp=lambda: f"{clock():%Y%m%dT%H%M%SZ}")
        self._room = Room(self._file, zone, tells_again)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._lent_until = 0
        self._done_until = 0
        self._state = SpoolState()

    @property
    def state(self) -> SpoolState:
        """How it is doing."""
        return self._state

    @property
    def readings(self) -> int:
        """That it holds."""
        return self._state.totals.readings

    @property
    def failing(self) -> bool:
        """Whether its disk takes nothing."""
        return self._state.trouble is not None

    @property
    def oldest_age_s(self) -> float:
        """How long ago the oldest round that it holds began; 0 when it is empty."""
        oldest_us = self._state.totals.oldest_us
        return 0.0 if oldest_us is None else max(0.0, (to_us(self._clock()) - oldest_us) / US_PER_S)

    async def open(self) -> None:
        """Take the directory. Raises SpoolInUse; a disk that fails is known as such and tried again."""
        with suppress(SpoolFailed):
            await self._work(self._file.open, writes=True)
        if self.readings:
            _log.info("spool found", readings=self.readings, directory=str(self.directory))

    async def close(self) -> None:
        """Let go of the directory; what is in it stays."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        self._thread.shutdown(wait=False)
        for gauge in (SPOOL_READINGS, SPOOL_BYTES, SPOOL_OLDEST_SECONDS):
            gauge.set(0)

    async def append(self, items: Sequence[RoundResult]) -> None:
        """Keep rounds behind all others. Raises SpoolFailed."""
        await self._work(lambda: self._append(items), writes=True)

    async def oldest(self, most: int) -> Portion[RoundResult] | None:
        """The oldest rounds, about so many readings; None when there are none. Raises SpoolFailed."""
        return await self._work(lambda: self._oldest(most), writes=False)

    async def done(self, portion: Portion[RoundResult]) -> None:
        """Forget what is committed. Raises SpoolFailed; it is not given out again all the same."""
        self._done_until = portion.until
        self.returned(portion)
        await self._work(lambda: self._file.delete(until=portion.until), writes=True)

    def returned(self, portion: Portion[RoundResult]) -> None:  # noqa: ARG002 there is one at a time
        """It may be thinned again where there has to be room."""
        self._lent_until = 0

    async def look(self) -> SpoolState:
        """How it is doing now, set-aside files included."""
        with suppress(SpoolFailed):
            await self._work(lambda: None, writes=False)
        return self._state

    async def holes(self) -> list[Hole]:
        """What stored profiles are to be asked for. Raises SpoolFailed."""
        return await self._work(self._file.holes, writes=False)

    async def forgive(self, full_until: int) -> None:
        """What was given up by then has been told. Raises SpoolFailed."""
        await self._work(lambda: self._file.forgive(full_until), writes=True)

    async def _work(self, work: Callable[[], T], *, writes: bool) -> T:
        """Run it in the spool's thread, and know afterwards how the spool is doing."""
        loop = asyncio.get_running_loop()
        try:
            result, self._state = await loop.run_in_executor(self._thread, self._worked, work, writes)
        except SpoolFailed as error:
            SPOOL_ERRORS.labels(error.kind).inc()
            if self._state.trouble is None:
                _log.error("the spool's disk fails, readings are held in memory", kind=error.kind, error=str(error))
            self._state = replace(self._state, trouble=str(error))
            raise
        SPOOL_READINGS.set(self._state.totals.readings)
        SPOOL_BYTES.set(self._state.totals.bytes)
        SPOOL_OLDEST_SECONDS.set(self.oldest_age_s)
        return result

    # In the spool's thread.

    def _worked(self, work: Callable[[], T], writes: bool) -> tuple[T, SpoolState]:
        try:
            result = work()
            totals = self._file.totals()
            given_up = {} if totals.full_until is None else self._file.given_up()
        finally:
            for reason in self._file.set_aside:
                SPOOL_ERRORS.labels("damaged").inc()
                _log.error("a damaged spool was set aside and a new one begun", reason=reason)
            self._file.set_aside.clear()
        trouble = None if writes else self._state.trouble
        if trouble is None and self._state.trouble is not None:
            _log.info("the spool's disk works again", directory=str(self.directory))
        return result, SpoolState(totals, given_up, trouble, self._file.damaged())

    def _append(self, rounds: Sequence[RoundResult]) -> None:
        records = [_record(result, self._room.thinned(result)) for result in rounds]
        wanted = sum(len(record.packed) for record in records) + _AROUND * (10 + len(records))
        if self._file.totals().bytes + wanted > self._most_bytes:
            self._make_room(wanted)
        self._file.append(records)

    def _make_room(self, wanted: int) -> None:
        goal = self._most_bytes - max(wanted, self._most_bytes // _STEP)
        given_up = self._room.make(goal, behind=max(self._lent_until, self._done_until))
        for kind, readings in given_up.items():
            SPOOL_GIVEN_UP.labels(kind).inc(readings)
        _log.error("the spool is full, readings were given up", **given_up)

    def _oldest(self, most: int) -> Portion[RoundResult] | None:
        found = self._file.oldest(after=self._done_until, most=most)
        if not found:
            return None
        self._lent_until = found[-1].id
        return Portion([_round(record) for record in found], found[-1].id)


def _record(result: RoundResult, thinned: int) -> NewRecord:
    try:
        version, packed = VERSION, pack(result)
    except (ValueError, OverflowError, TypeError, msgspec.MsgspecError):
        # A mistake of ours in one round: it is kept as it is, for somebody to see, and holds up no other.
        _log.exception("a round cannot be packed", bus=result.bus)
        version, packed = _UNPACKABLE, repr(result).encode("utf-8", "backslashreplace")
    return NewRecord(version, result.bus, result.began_us, len(result), thinned, packed)


def _round(record: Record) -> RoundResult | Spoiled:
    try:
        return unpack(record.version, record.packed)
    except SpoiledRecord as error:
        SPOOL_ERRORS.labels("record").inc()
        _log.error("a spooled round goes to the quarantine", bus=record.bus, round=record.id, reason=str(error))
        return Spoiled(record.packed, record.bus, record.began_us, str(error))
