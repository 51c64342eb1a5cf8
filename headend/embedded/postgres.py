"""A PostgreSQL server of our own in a data directory: made when new, started, watched, stopped, never left behind.

It listens on a Unix socket in a directory that only its owner may enter, and on no network address. A committed row
survives kill -9 of anything: fsync and synchronous_commit stay on, except for tests (``durable=False``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from headend.embedded.errors import EmbeddedError
from headend.embedded.lock import DataDirLock
from headend.embedded.postgres_binaries import (
    Identity,
    PostgresBinaries,
    choose_identity,
    find_binaries,
    require_reachable,
)
from headend.embedded.probes import postgres_ready
from headend.embedded.spawn import POLL_S, Process, await_ready, end, open_log, spawn, tail
from headend.log import get_logger

PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
MAX_SOCKET_PATH_BYTES = 107
"""sockaddr_un.sun_path holds 108 bytes with its closing zero, unix(7)."""
INITDB_TIMEOUT_S = 120.0

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    # Bulk loads: few checkpoints, bounded disk.
    "max_wal_size": "1GB",
    "min_wal_size": "128MB",
    "checkpoint_timeout": "15min",
    # Nobody replicates from it.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "logging_collector": "off",
}
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB"}

_log = get_logger(__name__)


class EmbeddedPostgres:
    """One server in one directory: ``with EmbeddedPostgres(data_dir) as server: connect(server.dsn)``.

    ``data_dir`` is made when missing and holds ``cluster/`` (PostgreSQL's data), ``run/`` (the socket), the log
    ``postgres.log`` and a lock. ``durable=False`` trades the survival of a power cut for speed: for tests only.
    Whoever starts it may be root (see :func:`~headend.embedded.postgres_binaries.choose_identity`).
    """

    name = "postgres"

    def __init__(
        self,
        data_dir: Path | str,
        *,
        durable: bool = True,
        bin_dir: Path | None = None,
        start_timeout_s: float = 60.0,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.cluster_dir = self.data_dir / "cluster"
        self.log_path = self.data_dir / "postgres.log"
        self._durable = durable
        self._bin_dir = bin_dir
        self._start_timeout_s = start_timeout_s
        self._lock = DataDirLock(self.data_dir, "postgres.lock")
        self._socket_dir: Path | None = None
        self._process: Process | None = None

    @property
    def dsn(self) -> str:
        """libpq connection string to database ``postgres`` as user ``postgres`` over the socket.

        Raises EmbeddedError before :meth:`start`.
        """
        if self._socket_dir is None:
            raise EmbeddedError(f"PostgreSQL in {self.data_dir} is not started")
        host = str(self._socket_dir).replace("\\", "\\\\").replace("'", "\\'")
        return f"host='{host}' port={PORT} user=postgres dbname=postgres"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self.running and self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether the server process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Exit status of a server that died; None while it runs, and after a stop."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Make the cluster when the directory is new, start the server and wait until it opens sessions.

        Raises DataDirInUseError when another process holds the directory, EmbeddedError when PostgreSQL is missing,
        of another major version than the data, cannot reach the directory, or does not come up (with its log's tail).
        """
        if self.running:
            return
        self._lock.acquire()
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            try:
                self._start()
            except OSError as error:
                raise EmbeddedError(f"cannot start PostgreSQL in {self.data_dir}: {error}") from error
            undo.pop_all()

    def stop(self) -> None:
        """Stop the server: fast shutdown (sessions end, work is checkpointed); immediate after 30 s."""
        process, self._process = self._process, None
        if process is not None and not end(process, [(signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0)]):
            _log.warning("embedded_postgres_killed", data_dir=str(self.data_dir))
        if self._socket_dir is not None and self._socket_dir.parent != self.data_dir:
            with contextlib.suppress(OSError):  # a killed server's socket is still in it: the next one cleans up
                self._socket_dir.rmdir()
        self._socket_dir = None
        self._lock.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        started = time.monotonic()
        binaries = find_binaries(self._bin_dir)
        owner = (self.cluster_dir if self.cluster_dir.exists() else self.data_dir).stat()
        identity = choose_identity(owner.st_uid, owner.st_gid)
        self._prepare_owner(identity, binaries)
        if not self.cluster_dir.exists():
            self._initialise(binaries, identity)
        self._check_version(binaries)
        self._await_vacant(self.cluster_dir)
        self.cluster_dir.chmod(0o700)  # a copied directory may be open to others, which PostgreSQL refuses
        # PostgreSQL refuses to start when the pid in a stale file was given to some other process since, which is the
        # rule rather than the exception in a restarted container.
        (self.cluster_dir / "postmaster.pid").unlink(missing_ok=True)
        socket_dir = self._make_socket_dir(identity)
        settings = _SETTINGS | (_DURABLE if self._durable else _NOT_DURABLE)
        settings["unix_socket_directories"] = f'"{socket_dir}"'
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(binaries.bin_dir / "postgres"), "-D", str(self.cluster_dir), "-p", str(PORT), *options]
        # SIGINT: on our death it shuts down by itself, with a checkpoint.
        self._process = self._run(command, identity, signal.SIGINT)
        self._socket_dir = socket_dir
        await_ready(
            self._process,
            lambda: postgres_ready(socket_dir / SOCKET_NAME),
            what=f"PostgreSQL in {self.data_dir}",
            log_path=self.log_path,
            timeout_s=self._start_timeout_s,
        )
        _log.info(
            "embedded_postgres_started",
            data_dir=str(self.data_dir),
            major=binaries.major,
            pid=self._process.pid,
            seconds=round(time.monotonic() - started, 2),
        )

    def _run(self, command: list[str], identity: Identity, death_signal: signal.Signals) -> Process:
        # PGPORT, PGDATA and the like would change what the programs do.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        environment |= {"LC_ALL": "C", "TZ": "UTC"}
        with open_log(self.log_path) as log:
            return spawn(
                [*identity.prefix, *command],
                output=log,
                death_signal=death_signal,
                environment=environment,
                working_dir=self.data_dir,
                user=identity.user,
            )

    def _prepare_owner(self, identity: Identity, binaries: PostgresBinaries) -> None:
        """Hand the directory to the user that the server drops to, after making sure that it can get there."""
        if identity.user is None:
            return
        uid, gid = identity.user
        require_reachable(self.data_dir, uid, "data directory")
        require_reachable(binaries.bin_dir / "postgres", uid, "program")
        os.chown(self.data_dir, uid, gid)
        if self.cluster_dir.exists() and self.cluster_dir.stat().st_uid != uid:
            for directory, names, files in os.walk(self.cluster_dir):
                for name in (".", *names, *files):
                    os.chown(Path(directory) / name, uid, gid, follow_symlinks=False)

    def _initialise(self, binaries: PostgresBinaries, identity: Identity) -> None:
        """initdb beside the final place, then one rename: an interrupted initdb leaves nothing that looks finished."""
        scratch = self.data_dir / "cluster.new"
        self._await_vacant(scratch)
        shutil.rmtree(scratch, ignore_errors=True)
        command = [str(binaries.bin_dir / "initdb"), "-D", str(scratch), "-U", "postgres", "-E", "UTF8", "--locale=C"]
        if binaries.major >= 17:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # Whoever may enter the socket's directory may connect; there is no network listener.
        command += ["--auth-local=trust", "--auth-host=reject"]
        if not self._durable:
            command.append("--no-sync")
        process = self._run(command, identity, signal.SIGKILL)
        with contextlib.ExitStack() as undo:
            undo.callback(end, process, [])
            try:
                status = process.wait(INITDB_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                late = f"initdb did not finish within {INITDB_TIMEOUT_S:.0f} s; see {self.log_path}"
                raise EmbeddedError(late) from None
            undo.pop_all()
        if status != 0:
            raise EmbeddedError(f"initdb failed with status {status} in {self.data_dir}:\n{tail(self.log_path)}")
        scratch.rename(self.cluster_dir)
        descriptor = os.open(self.data_dir, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _check_version(self, binaries: PostgresBinaries) -> None:
        try:
            made_by = (self.cluster_dir / "PG_VERSION").read_text("ascii").strip()
        except FileNotFoundError:
            raise EmbeddedError(
                f"{self.cluster_dir} is no PostgreSQL data directory (it has no PG_VERSION): "
                "move it away, or choose another data directory"
            ) from None
        if made_by != str(binaries.major):
            raise EmbeddedError(
                f"{self.cluster_dir} was made by PostgreSQL {made_by}, but {binaries.bin_dir} is PostgreSQL "
                f"{binaries.major}: give a bin directory of version {made_by}, upgrade the data with pg_upgrade, "
                "or choose another data directory"
            )

    def _await_vacant(self, directory: Path) -> None:
        """Wait for what a killed predecessor left running there; it is shutting down by itself."""
        deadline = time.monotonic() + self._start_timeout_s
        while left := processes_working_in(directory):
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"a PostgreSQL server that is not ours runs in {directory} (process {left[0]}): stop it first"
                )
            time.sleep(POLL_S)

    def _make_socket_dir(self, identity: Identity) -> Path:
        """``run/`` in the data directory, or a short private directory elsewhere when its path is too long."""
        directory = self.data_dir / "run"
        if not _usable_socket_dir(directory):
            digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]
            name = f"headend-{os.geteuid()}-{digest}"
            directory = Path(tempfile.gettempdir()) / name
            if not _usable_socket_dir(directory):
                directory = Path("/tmp") / name
        uid, gid = identity.user or (os.geteuid(), os.getegid())
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (os.geteuid(), uid):
            raise EmbeddedError(f"{directory}, where the socket is to be, belongs to somebody else: remove it")
        directory.chmod(0o700)
        if status.st_uid != uid:
            os.chown(directory, uid, gid)
        return directory


def _usable_socket_dir(directory: Path) -> bool:
    """Short enough for a socket address, and free of what separates hosts in libpq and directories in the server."""
    path = directory / SOCKET_NAME
    return len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES and not set(str(path)) & set(',"\n')


def processes_working_in(directory: Path) -> list[int]:
    """Pids of the PostgreSQL processes in a data directory: server and workers have it as their working directory.

    Somebody's shell in there does not count.
    """
    wanted = os.path.realpath(directory)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd") == wanted and (entry / "comm").read_text() == "postgres\n":
                    found.append(int(entry.name))
            except OSError:  # gone meanwhile, or somebody else's
                continue
    return sorted(found)
