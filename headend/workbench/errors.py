"""How a file is refused: it says where it is wrong and what was expected there."""

from __future__ import annotations

from pathlib import Path


class WrongInput(Exception):
    """A file that cannot be used as it is: file, row, column, what was expected and what was found."""

    def __init__(
        self, file: str, expected: str, *, row: int | None = None, column: str | None = None, found: object = None
    ) -> None:
        self.file, self.row, self.column, self.expected = file, row, column, expected
        where = [file]
        if row is not None:
            where.append(f"row {row}")
        if column is not None:
            where.append(f"column {column}")
        shown = "" if found is None else f", found {_short(found)}"
        super().__init__(f"{', '.join(where)}: expected {expected}{shown}")


def written_name(path: Path) -> str:
    """A file's name as a report can hold it: bytes of it that are no UTF-8 are question marks."""
    return path.name.encode("utf-8", "replace").decode("utf-8")


def _short(found: object) -> str:
    text = found if isinstance(found, str) else str(found)
    shown = text if len(text) <= 60 else text[:57] + "…"
    return repr(shown) if isinstance(found, str) else shown
