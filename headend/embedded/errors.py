"""What can go wrong with a server that the head-end starts itself; every message says what to do about it."""


class EmbeddedError(RuntimeError):
    """An embedded server or a child process could not be started, kept running or stopped."""


class DataDirInUseError(EmbeddedError):
    """Another process holds the data directory.

    ``pid`` is that process where it could be found out, else ``None``.
    """

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid
