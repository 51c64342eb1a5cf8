"""The data directory's lock within one process and against a file of the past."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headend.embedded.errors import DataDirInUseError, EmbeddedError
from headend.embedded.lock import DataDirLock


def test_second_holder_is_told_the_pid_and_the_directory(tmp_path: Path) -> None:
    with DataDirLock(tmp_path):
        with pytest.raises(DataDirInUseError, match=f"{tmp_path} is in use by process {os.getpid()}") as refused:
            DataDirLock(tmp_path).acquire()
        assert refused.value.pid == os.getpid()
        with DataDirLock(tmp_path, "other.lock"):
            pass
    with DataDirLock(tmp_path):
        pass


def test_file_of_a_dead_holder_does_not_lock(tmp_path: Path) -> None:
    (tmp_path / "headend.lock").write_text("123456789\n")
    with DataDirLock(tmp_path) as lock:
        assert lock.path.read_text() == f"{os.getpid()}\n"


def test_directory_is_made_and_one_that_cannot_be_is_named(tmp_path: Path) -> None:
    with DataDirLock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedError, match=f"cannot use data directory {tmp_path}/file"):
        DataDirLock(tmp_path / "file").acquire()
