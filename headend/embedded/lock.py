"""One data directory, one owner; said in the words of whoever starts a server in it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from headend.embedded.errors import DataDirInUseError, EmbeddedError
from headend.lockfile import DirectoryInUse, DirectoryLock


class DataDirLock:
    """Exclusive use of a directory while held; the file in it names the holder's pid for the one who is refused."""

    def __init__(self, directory: Path, name: str = "headend.lock") -> None:
        self._lock = DirectoryLock(directory, name)

    @property
    def path(self) -> Path:
        """The file that is locked."""
        return self._lock.path

    def acquire(self) -> None:
        """Take the lock or raise :class:`DataDirInUseError`, which names the pid that holds it.

        Raises EmbeddedError when the directory cannot be made or written.
        """
        try:
            self._lock.acquire()
        except DirectoryInUse as error:
            raise DataDirInUseError(
                f"data directory {error}: stop that one, or choose another data directory", error.pid
            ) from None
        except OSError as error:
            raise EmbeddedError(f"cannot use data directory {self.path.parent}: {error.strerror}") from error

    def release(self) -> None:
        """Let go."""
        self._lock.release()

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
