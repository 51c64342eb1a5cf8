"""One directory, one owner: an advisory file lock (flock) that the kernel drops when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class DirectoryInUse(Exception):
    """Another process holds the directory."""

    def __init__(self, directory: Path, holder: str) -> None:
        super().__init__(f"{directory} is in use by process {holder or 'unknown'}")
        self.pid = int(holder) if holder.isdigit() else None
        """Of the holder, where its file tells it."""


class DirectoryLock:
    """Exclusive use of a directory while held; the file in it names the holder's pid for the one who is refused."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / name
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, if it is not held already. Raises DirectoryInUse, and OSError where it cannot be made."""
        if self._descriptor is not None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise DirectoryInUse(self.path.parent, holder) from None
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # on a full disk only the holder's pid is not told
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go; the file stays, since removing it would let two others hold two different files of one name."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            # Closing alone would leave it with a child that another thread forks just now, until that one's exec.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)
