"""The spool's file: rounds on disk in the order in which they were read, in SQLite, one process at a time.

The rule it keeps: what `append` has returned from is on the disk: a kill -9 loses none of it, nor does a power cut (the
write-ahead log is synced at each commit; one sync takes all rounds that came since the last one). A file that is no
good is set aside, never deleted, and a new one begun.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from headend.lockfile import DirectoryInUse, DirectoryLock

T = TypeVar("T")

NAME: Final = "spool.sqlite3"
LOCK: Final = "spool.lock"
_ASIDE: Final = "damaged"
_LAYOUT: Final = 1
"""Of the tables; kept in the file's user_version."""
_PAGE_BYTES: Final = 1024
"""Less than most rounds take: what lies beyond a page is freed to the byte when a round is thinned."""
_LOG_PAGES: Final = 4000
"""Of the write-ahead log, before it goes into the file."""
_SHRINK_PAGES: Final = 16_384
"""An empty file gives so many free pages (16 MiB) back to the disk."""
_NO_GOOD: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_WORDS: Final = {
    sqlite3.SQLITE_FULL: "disk_full",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_CANTOPEN: "cannot_open",
    sqlite3.SQLITE_PERM: "cannot_open",
    sqlite3.SQLITE_IOERR: "io",
}
_TABLES: Final = """
create table round (
    id integer primary key autoincrement,  -- never given twice: what is deleted up to an id was there when it was read
    version integer not null,
    bus text not null,
    began_us integer not null,
    readings integer not null,
    thinned integer not null,              -- passes of `spool_room` that have nothing to do in it any more
    packed blob not null
);
create index round_bus on round (bus, id);
create index round_thinned on round (thinned, id);
create table given_up (class text primary key, readings integer not null);
create table hole (
    manufacturer text not null, serial text not null,
    from_us integer not null, to_us integer not null
);
create table book (key text primary key, value integer not null);
"""


class SpoolFailed(Exception):
    """The disk does not take or give what it should; `kind` is the machine word of it."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class SpoolInUse(Exception):
    """Another process has this spool."""


class Record(NamedTuple):
    """One round as it lies on disk."""

    id: int
    version: int
    bus: str
    began_us: int
    readings: int
    packed: bytes


class NewRecord(NamedTuple):
    """One round that is to be kept."""

    version: int
    bus: str
    began_us: int
    readings: int
    thinned: int
    packed: bytes


class Hole(NamedTuple):
    """Between two kept readings of a meter, where others were given up that its stored profile can tell again."""

    manufacturer: str
    serial: str
    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What the file holds."""

    readings: int = 0
    rounds: int = 0
    bytes: int = 0
    """In use; the file itself may be larger."""
    oldest_us: int | None = None
    """When the oldest round began [µs UTC]."""
    first_id: int | None = None
    full_until: int | None = None
    """The last round that was there when something was given up; None: nothing was since the last `forgive`."""

    @property
    def full(self) -> bool:
        """Whether anything is here of the time when something was given up."""
        return self.full_until is not None and self.first_id is not None and self.first_id <= self.full_until


class SpoolFile:
    """Used by one thread at a time. Every method raises SpoolFailed when the disk fails; the next call tries anew."""

    def __init__(self, directory: Path, *, aside_stamp: Callable[[], str]) -> None:
        """`aside_stamp` names a file that is set aside: when that was."""
        self.directory = directory
        self._aside_stamp = aside_stamp
        self._lock = DirectoryLock(directory, LOCK)
        self._connection: sqlite3.Connection | None = None
        self._counts = (0, 0)
        """Readings and rounds."""
        self._last_id = 0
        """A file that is begun anew goes on from here: what is deleted as committed was never in another one."""
        self.set_aside: list[str] = []
        """Why files were set aside since somebody looked last."""

    def open(self) -> None:
        """Take the directory, begin or go on. Raises SpoolInUse, SpoolFailed."""
        try:
            with _understood(self.directory):
                self._lock.acquire()
        except DirectoryInUse as error:
            raise SpoolInUse(f"{error}: each process that polls needs a poll.spool_dir of its own") from None
        self._do(lambda _: None)

    def close(self) -> None:
        """Let go of file and directory."""
        self._disconnect()
        self._lock.release()

    def append(self, records: Sequence[NewRecord]) -> None:
        """Keep rounds behind all others, all of them or none."""

        def insert(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "insert into round (version, bus, began_us, readings, thinned, packed) values (?, ?, ?, ?, ?, ?)",
                records,
            )
            self._last_id = _last_id(connection)

        self._write(insert)
        self._add(sum(r.readings for r in records), len(records))

    def oldest(self, *, after: int, most: int) -> list[Record]:
        """The oldest rounds behind `after`, of `most` readings together; one at least."""

        def take(connection: sqlite3.Connection) -> list[Record]:
            found: list[Record] = []
            size = 0
            query = "select id, version, bus, began_us, readings, packed from round where id > ? order by id"
            with closing(connection.execute(query, [after])) as rows:
                for row in rows:
                    record = Record(*row)
                    size += max(1, record.readings)  # one may hold status words alone
                    if found and size > most:
                        break
                    found.append(record)
            return found

        return self._do(take)

    def delete(self, *, until: int) -> None:
        """Forget every round up to this one."""

        def forget(connection: sqlite3.Connection) -> tuple[int, int]:
            return self._drop(connection, until)

        self._add(*(-n for n in self._write(forget)))
        if self._counts[1] == 0:
            self._do(_shrink)

    def totals(self) -> Totals:
        """What is here now."""

        def ask(connection: sqlite3.Connection) -> Totals:
            first = connection.execute("select id, began_us from round order by id limit 1").fetchone()
            return Totals(
                readings=self._counts[0],
                rounds=self._counts[1],
                bytes=used_bytes(connection),
                oldest_us=None if first is None else first[1],
                first_id=None if first is None else first[0],
                full_until=_booked(connection, "full_until"),
            )

        return self._do(ask)

    def given_up(self) -> dict[str, int]:
        """Readings by class, since the last `forgive`."""
        return self._do(lambda c: dict(c.execute("select class, readings from given_up order by class").fetchall()))

    def holes(self) -> list[Hole]:
        """What stored profiles are to be asked for, oldest first."""
        # One that grew was noted more than once.
        query = "select manufacturer, serial, from_us, max(to_us) from hole group by 1, 2, 3 order by 3"
        return self._do(lambda c: [Hole(*row) for row in c.execute(query)])

    def forgive(self, full_until: int) -> None:
        """What was given up is told to whom it concerns; nothing is forgotten where more was given up meanwhile."""

        def forget(connection: sqlite3.Connection) -> None:
            if _booked(connection, "full_until") != full_until:
                return
            for table in ("given_up", "hole", "book"):
                connection.execute(f"delete from {table}")

        self._write(forget)

    def rework(self, work: Callable[[sqlite3.Connection], tuple[int, int]]) -> None:
        """One transaction of `spool_room`; it tells by how many readings and rounds the file gets smaller."""
        self._add(*(-n for n in self._write(work)))

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Ask something of the file."""
        return self._do(query)

    def damaged(self) -> list[Path]:
        """Files that were set aside and that nobody has taken away yet."""
        return sorted(self.directory.glob(f"{NAME}.{_ASIDE}-*"))

    @staticmethod
    def _drop(connection: sqlite3.Connection, until: int) -> tuple[int, int]:
        count = connection.execute("select coalesce(sum(readings), 0), count(*) from round where id <= ?", [until])
        readings, rounds = count.fetchone()
        connection.execute("delete from round where id <= ?", [until])
        return readings, rounds

    def _add(self, readings: int, rounds: int) -> None:
        self._counts = (self._counts[0] + readings, self._counts[1] + rounds)

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def within(connection: sqlite3.Connection) -> T:
            connection.execute("begin immediate")
            with ExitStack() as undo:
                undo.callback(_roll_back, connection)
                result = work(connection)
                connection.execute("commit")
                undo.pop_all()
            return result

        return self._do(within)

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run it on the open file; on one that is no good a second time, on a new file."""
        try:
            return self._once(work)
        except _NoGood as error:
            self._put_aside(str(error))
        try:
            return self._once(work)
        except _NoGood as error:
            raise SpoolFailed(f"{self._path}: {error}", "damaged") from error

    def _once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with _understood(self._path):
                if self._connection is None:
                    self._connect()
                assert self._connection is not None
                return work(self._connection)
        except (_NoGood, SpoolFailed):
            self._disconnect()
            raise

    @property
    def _path(self) -> Path:
        return self.directory / NAME

    def _connect(self) -> None:
        try:
            self._lock.acquire()  # where the directory could not be had at the start
        except DirectoryInUse as error:
            raise SpoolFailed(str(error), "in_use") from None
        # Each call comes from the same worker thread in turn, but not from the one that opened the file.
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0)
        with ExitStack() as undo:
            undo.callback(connection.close)
            # No other process may look in: the log's index stays in memory, and no reader keeps the log from shrinking.
            connection.execute("pragma locking_mode = exclusive")
            connection.execute(f"pragma page_size = {_PAGE_BYTES}")
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")
            connection.execute(f"pragma wal_autocheckpoint = {_LOG_PAGES}")
            layout = connection.execute("pragma user_version").fetchone()[0]
            if layout == 0:
                goes_on = f"insert into sqlite_sequence (name, seq) values ('round', {self._last_id})"
                connection.executescript(
                    f"begin immediate; {_TABLES} {goes_on}; pragma user_version = {_LAYOUT}; commit;"
                )
            elif layout != _LAYOUT:
                raise _NoGood(f"written by another version of this program (layout {layout}, this one's is {_LAYOUT})")
            count = connection.execute("select coalesce(sum(readings), 0), count(*) from round").fetchone()
            last_id = _last_id(connection)
            undo.pop_all()
        self._connection, self._counts, self._last_id = connection, (count[0], count[1]), last_id

    def _disconnect(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(sqlite3.Error):  # whatever it could not do any more, the next connection finds in the log
                connection.close()

    def _put_aside(self, reason: str) -> None:
        """Rename file and log; a name that is taken gets a number."""
        stamp = self._aside_stamp()
        taken, name = 0, f"{NAME}.{_ASIDE}-{stamp}"
        while (self.directory / name).exists():
            taken += 1
            name = f"{NAME}.{_ASIDE}-{stamp}-{taken}"
        try:
            os.replace(self._path, self.directory / name)
            log = Path(f"{self._path}-wal")
            if log.exists():
                os.replace(log, self.directory / f"{name}-wal")
        except OSError as error:
            raise SpoolFailed(f"{self._path} is no good and cannot be set aside: {error}", "damaged") from error
        self.set_aside.append(f"{reason}; kept as {self.directory / name}")


class _NoGood(Exception):
    """The file is none of ours, or damaged."""


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        code = None if code is None else code & 0xFF  # the primary one
        if code in _NO_GOOD:
            raise _NoGood(str(error)) from error
        raise SpoolFailed(f"{path}: {error}", _WORDS.get(code or -1, "other")) from error
    except OSError as error:
        raise SpoolFailed(f"{path}: {error.strerror}", _kind_of_os(error)) from error


def _kind_of_os(error: OSError) -> str:
    words = {errno.ENOSPC: "disk_full", errno.EROFS: "read_only", errno.EIO: "io"}
    return words.get(error.errno or 0, "cannot_open")


def used_bytes(connection: sqlite3.Connection) -> int:
    """Of the file, without its free pages."""
    pages, free, size = (
        connection.execute(f"pragma {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _roll_back(connection: sqlite3.Connection) -> None:
    """Where the file did not do so by itself."""
    if connection.in_transaction:
        connection.execute("rollback")


def _last_id(connection: sqlite3.Connection) -> int:
    return int(connection.execute("select seq from sqlite_sequence where name = 'round'").fetchone()[0])


def _booked(connection: sqlite3.Connection, key: str) -> int | None:
    found = connection.execute("select value from book where key = ?", [key]).fetchone()
    return None if found is None else int(found[0])


def _shrink(connection: sqlite3.Connection) -> None:
    if connection.execute("pragma freelist_count").fetchone()[0] >= _SHRINK_PAGES:
        connection.execute("vacuum")
        connection.execute("pragma wal_checkpoint(truncate)")
