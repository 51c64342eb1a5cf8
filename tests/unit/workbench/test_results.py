"""Files that belong together are all replaced, or none of them, whatever fails and when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headend.workbench.results import write_together


def _held(directory: Path) -> dict[str, str]:
    return {one.name: one.read_text(encoding="utf-8") for one in directory.iterdir() if one.is_file()}


def test_new_ones_take_the_places_of_the_old(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old a")
    write_together({tmp_path / "a": "表", tmp_path / "b": "new b"})
    assert _held(tmp_path) == {"a": "表", "b": "new b"}


def test_a_file_that_cannot_be_written_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old a")
    with pytest.raises(UnicodeEncodeError):
        write_together({tmp_path / "a": "new a", tmp_path / "b": "half of it \udcb1"})
    assert _held(tmp_path) == {"a": "old a"}


def test_a_directory_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(IsADirectoryError) as refused:
        write_together({tmp_path / "a": "new a", tmp_path / "b": "new b"})
    assert refused.value.filename == str(tmp_path / "b")
    assert _held(tmp_path) == {}


def test_an_error_names_the_file_and_not_its_temporary_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused:
        write_together({tmp_path / "nowhere" / "a": "new a"})
    assert refused.value.filename == str(tmp_path / "nowhere" / "a")


@pytest.mark.parametrize("fails_at", range(4))
def test_where_a_rename_fails_the_old_ones_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """Another user's file in a directory with the sticky bit refuses only when it is its turn."""
    (tmp_path / "b").write_text("old b")
    (tmp_path / "c").write_text("old c")
    calls, rename = [0], os.replace

    def failing(one: Path, other: Path) -> None:
        calls[0] += 1
        if calls[0] == fails_at + 1:
            raise PermissionError(1, "Operation not permitted", str(one))
        rename(one, other)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(PermissionError) as refused:
        write_together({tmp_path / name: f"new {name}" for name in "abc"})
    assert refused.value.filename == str(tmp_path / "abbc"[fails_at])
    assert _held(tmp_path) == {"b": "old b", "c": "old c"}
