"""A table in chunks of columns, whatever file it came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headend.workbench.cells import Cells
from headend.workbench.errors import WrongInput


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows."""

    first_row: int
    """Number of the first one in its file, counted as an editor does."""
    columns: Sequence[Cells]
    """In the table's order, all of one length."""

    def __len__(self) -> int:
        """Rows."""
        return len(self.columns[0]) if self.columns else 0


@dataclass(frozen=True, slots=True)
class Table:
    """Columns by name, rows on demand."""

    file: str
    columns: tuple[str, ...]
    """As the file writes them."""
    chunks: Iterator[Chunk]
    comma: bool
    """Whether a comma in a number is its decimal sign."""


def header_of(file: str, header: Sequence[str]) -> tuple[str, ...]:
    """The columns' names. Raises WrongInput where one is empty or stands twice."""
    names = [name.strip() for name in header]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise WrongInput(file, "a header line that names the columns", row=1, found="nothing")
    for position, name in enumerate(names):
        if not name:
            raise WrongInput(file, "a name for every column", row=1, found=f"none for column {position + 1}")
        if name.lower() in (other.lower() for other in names[:position]):
            raise WrongInput(file, "every column once", row=1, column=name, found="it stands twice")
    return tuple(names)
