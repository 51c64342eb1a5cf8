"""The spool's file: in order, nothing lost by a kill, one process at a time, a damaged one set aside."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from headend.ingest.spool_file import NAME, NewRecord, SpoolFailed, SpoolFile, SpoolInUse
from support.spooled import spool_file


def _record(number: int, readings: int = 1, size: int = 10) -> NewRecord:
    return NewRecord(1, f"bus {number}", number, readings, 1, bytes([number % 256]) * size)


def _numbers(file: SpoolFile, *, after: int = 0, most: int = 10**9) -> list[int]:
    return [record.began_us for record in file.oldest(after=after, most=most)]


def test_it_gives_back_in_the_order_in_which_it_took(tmp_path: Path) -> None:
    file = spool_file(tmp_path)
    for numbers in ([5, 3], [9], [1, 2]):
        file.append([_record(n, readings=n) for n in numbers])
    assert _numbers(file) == [5, 3, 9, 1, 2]
    assert _numbers(file, most=16) == [5, 3]
    assert _numbers(file, most=1) == [5]  # one at least
    assert _numbers(file, after=2, most=10) == [9, 1]
    totals = file.totals()
    assert (totals.readings, totals.rounds, totals.oldest_us, totals.full) == (20, 5, 5, False)
    file.delete(until=2)
    assert _numbers(file) == [9, 1, 2]
    assert (file.totals().readings, file.totals().rounds) == (12, 3)
    file.close()
    again = spool_file(tmp_path)
    assert _numbers(again) == [9, 1, 2]
    assert (again.totals().readings, again.totals().rounds) == (12, 3)


def test_a_place_is_never_given_twice(tmp_path: Path) -> None:
    """Or what is deleted as committed could be something that came in its place."""
    file = spool_file(tmp_path)
    file.append([_record(n) for n in range(3)])
    file.delete(until=3)
    file.append([_record(7)])
    file.delete(until=3)
    assert _numbers(file) == [7]


def test_a_place_of_a_damaged_file_is_not_given_again_by_the_new_one(tmp_path: Path) -> None:
    """What the database took meanwhile was of the old one: nothing of the new one is deleted for it."""
    file = spool_file(tmp_path)
    file.append([_record(n) for n in range(5)])
    lent = file.oldest(after=0, most=10)[-1].id
    file._disconnect()
    (tmp_path / NAME).write_bytes(b"what is this" * 1000)
    file.append([_record(n) for n in range(7, 10)])
    assert file.set_aside
    file.delete(until=lent)
    assert _numbers(file, after=lent) == [7, 8, 9]


CHILD = """
import os, sys
from pathlib import Path
from headend.ingest.spool_file import NewRecord, SpoolFile
file = SpoolFile(Path(sys.argv[1]), aside_stamp=lambda: "then")
file.open()
for number in range(100):
    file.append([NewRecord(1, "bus", number, 1, 1, b"x" * 5000)])
    os.write(1, b"%d\\n" % number)  # nothing is flushed at a kill
os.kill(os.getpid(), 9)
"""


def test_what_it_took_survives_a_kill(tmp_path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, check=False)
    assert child.returncode == -9, child.stderr
    assert _numbers(spool_file(tmp_path)) == [int(line) for line in child.stdout.split()] == list(range(100))


HOLDER = """
import sys
from pathlib import Path
from headend.ingest.spool_file import SpoolFile
file = SpoolFile(Path(sys.argv[1]), aside_stamp=lambda: "then")
file.open()
print("open", flush=True)
sys.stdin.read()
"""


def test_two_processes_never_share_one(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(SpoolInUse, match=f"in use by process {holder.pid}: each process that polls needs"):
            spool_file(tmp_path)
        holder.kill()
    file = spool_file(tmp_path)  # the kernel dropped the lock with its holder
    with pytest.raises(SpoolInUse):
        spool_file(tmp_path)
    file.close()
    spool_file(tmp_path).close()


def _spoil(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * 4096)


def test_a_file_that_is_none_of_ours_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"not a database at all, but long enough to look like one" * 100)
    file = spool_file(tmp_path)
    assert file.damaged() == [tmp_path / f"{NAME}.damaged-then"]
    assert (tmp_path / f"{NAME}.damaged-then").read_bytes().startswith(b"not a database")
    assert file.set_aside == [f"file is not a database; kept as {tmp_path / (NAME + '.damaged-then')}"]
    file.append([_record(1)])
    assert _numbers(file) == [1]


def test_a_file_that_spoils_while_in_use_is_set_aside_with_its_log(tmp_path: Path) -> None:
    file = spool_file(tmp_path)
    file.append([_record(n, size=3000) for n in range(50)])
    file.close()
    (tmp_path / f"{NAME}.damaged-then").touch()  # an earlier one of the same second
    _spoil(tmp_path / NAME, 4096)  # the table's root page
    file = SpoolFile(tmp_path, aside_stamp=lambda: "then")
    file.open()
    file.append([_record(99)])
    assert _numbers(file) == [99]
    assert file.totals().readings == 1
    assert [path.name for path in file.damaged()] == [f"{NAME}.damaged-then", f"{NAME}.damaged-then-1"]
    [why] = file.set_aside
    assert why.startswith("database disk image is malformed; kept as")


def test_a_file_of_another_version_is_set_aside_and_not_written(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / NAME) as newer:
        newer.execute("create table round (something_else)")
        newer.execute("pragma user_version = 9")
    newer.close()
    file = spool_file(tmp_path)
    assert "layout 9, this one's is 1" in file.set_aside[0]
    [aside] = file.damaged()
    with sqlite3.connect(aside) as kept:
        assert kept.execute("select count(*) from round").fetchone() == (0,)
    kept.close()


def test_a_full_disk_is_said_and_nothing_of_the_batch_is_kept(tmp_path: Path) -> None:
    file = spool_file(tmp_path)
    file.append([_record(1, size=5000)])
    file.read(lambda c: c.execute("pragma max_page_count = 20").fetchone())  # SQLite's answer is that to ENOSPC
    with pytest.raises(SpoolFailed, match="database or disk is full") as failed:
        file.append([_record(n, size=5000) for n in range(2, 40)])
    assert failed.value.kind == "disk_full"
    assert _numbers(file) == [1]
    file.append([_record(2, size=5000)])  # on a new connection
    assert _numbers(file) == [1, 2]
    assert (file.totals().readings, file.totals().rounds) == (2, 2)


def test_a_directory_that_cannot_be_had_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"")  # a file where the directory should be
    file = SpoolFile(tmp_path / "disk" / "spool", aside_stamp=lambda: "then")
    with pytest.raises(SpoolFailed) as failed:
        file.open()
    assert failed.value.kind == "cannot_open"
    with pytest.raises(SpoolFailed):
        file.append([_record(1)])
    (tmp_path / "disk").unlink()
    file.append([_record(2)])
    assert _numbers(file) == [2]
    with pytest.raises(SpoolInUse):  # the lock was taken, late as it is
        spool_file(tmp_path / "disk" / "spool")


def test_an_empty_file_gives_the_disk_back(tmp_path: Path) -> None:
    file = spool_file(tmp_path)
    for _ in range(6):
        file.append([_record(n, size=100_000) for n in range(40)])
    assert file.totals().bytes > 24_000_000
    file.delete(until=10**6)
    assert file.totals().bytes < 100_000
    assert (tmp_path / NAME).stat().st_size < 100_000
    file.append([_record(1)])
    assert [record.id for record in file.oldest(after=0, most=1)] == [241]
