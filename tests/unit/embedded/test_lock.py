"""The data directory's lock within one process and against a file of the past."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from headend.embedded.errors import DataDirInUseError, EmbeddedError
from headend.embedded.lock import DataDirLock
from headend.lockfile import DirectoryLock


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


def test_what_is_let_go_is_free_although_a_child_was_forked_meanwhile(tmp_path: Path) -> None:
    """Between fork and exec a child has every descriptor of its parent."""
    held = DirectoryLock(tmp_path, "a.lock")
    held.acquire()
    assert held._descriptor is not None
    with subprocess.Popen(["sleep", "60"], pass_fds=[held._descriptor]) as child:
        held.release()
        try:
            DirectoryLock(tmp_path, "a.lock").acquire()
        finally:
            child.kill()
