"""One data directory, one owner: an advisory file lock (flock) that the kernel drops when its holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from headend.embedded.errors import DataDirInUseError, EmbeddedError


class DataDirLock:
    """Exclusive use of a directory while held; the file in it names the holder's pid for the one who is refused."""

    def __init__(self, directory: Path, name: str = "headend.lock") -> None:
        self.path = directory / name
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise :class:`DataDirInUseError`, which names the pid that holds it.

        Raises EmbeddedError when the directory cannot be made or written.
        """
        if self._descriptor is not None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EmbeddedError(f"cannot use data directory {self.path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            pid = int(holder) if holder.isdigit() else None
            raise DataDirInUseError(
                f"data directory {self.path.parent} is in use by process {holder or 'unknown'}: "
                "stop that one, or choose another data directory",
                pid,
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; the file stays, since removing it would let two others hold two different files of one name."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
