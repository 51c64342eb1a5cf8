"""CSV files in chunks, as they come from spreadsheets and head-ends: comma, semicolon or tab, a byte order mark,
decimal commas, gzip.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Literal

from headend.workbench.errors import WrongInput
from headend.workbench.tables import Chunk, Table, header_of

CHUNK_ROWS: Final = 50_000
_DELIMITERS: Final = (";", "\t", ",", "|")
_MOST_CHARACTERS: Final = 10_000
"""Of one cell; a longer one means that a quotation mark was never closed."""

Decimal = Literal["auto", ".", ","]


@contextmanager
def read_csv(
    path: Path, *, encoding: str | None, decimal: Decimal, seen: Callable[[int], None] = lambda _bytes: None
) -> Iterator[Table]:
    """The file's table while it is open; `seen` is told how many bytes have been read. Raises WrongInput, also for what
    turns up later.
    """
    name = path.name
    with path.open("rb") as raw:
        start = raw.peek(4)[:4] if hasattr(raw, "peek") else b""
        packed = start.startswith(b"\x1f\x8b")
        source: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
        if not packed and start.startswith((b"PK\x03\x04", b"PAR1")):
            raise WrongInput(name, "a CSV file as its name says", found="a ZIP or Parquet file")
        chosen = encoding or ("utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8")
        try:
            if codecs.lookup(chosen).name == "utf-8":
                chosen = "utf-8-sig"  # with or without a byte order mark
            text = io.TextIOWrapper(source, encoding=chosen, newline="")
        except LookupError:
            raise WrongInput("--encoding", "an encoding such as utf-8 or gb18030", found=encoding) from None
        try:
            yield _table(name, text, decimal, lambda: seen(raw.tell()))
        except UnicodeError as error:  # UTF-16 and -32 without their mark are no UnicodeDecodeError
            raise WrongInput(
                name, f"text in {chosen}; another one is named with --encoding, such as gb18030", found=str(error)
            ) from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise WrongInput(name, "a whole gzip file", found=str(error)) from None


def _table(name: str, text: IO[str], decimal: Decimal, told: Callable[[], None]) -> Table:
    first = text.readline(1_000_000)
    if "\0" in first:
        raise WrongInput(name, "text", row=1, found="NUL characters: a binary file")
    if not first.strip():
        raise WrongInput(name, "a header line that names the columns", row=1, found="nothing")
    delimiter = max(_DELIMITERS, key=first.count)
    header = next(csv.reader([first], delimiter=delimiter))
    columns = header_of(name, header)
    rows = csv.reader(_without_nul(name, text), delimiter=delimiter)
    comma = decimal == "," or (decimal == "auto" and delimiter != ",")
    return Table(name, columns, _chunks(name, rows, len(columns), told), comma=comma)


def _without_nul(name: str, lines: IO[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=2):
        if "\0" in line:
            raise WrongInput(name, "text", row=number, found="a NUL character")
        yield line


def _chunks(name: str, rows: Iterator[list[str]], width: int, told: Callable[[], None]) -> Iterator[Chunk]:
    csv.field_size_limit(_MOST_CHARACTERS)
    first = 2
    while True:
        taken: list[list[str]] = []
        try:
            taken.extend(itertools.islice(rows, CHUNK_ROWS))
        except csv.Error as error:
            raise WrongInput(
                name, f"cells of at most {_MOST_CHARACTERS:,} characters, quotation marks closed",
                row=first + len(taken), found=str(error),
            ) from None  # fmt: skip
        if not taken:
            return
        ragged = next((k for k, row in enumerate(taken) if len(row) != width), None)
        if ragged is not None:
            taken = _even(name, taken, width, first)
        told()
        if taken:
            columns: list[list[str]] = [list(column) for column in zip(*taken, strict=True)]
            yield Chunk(first, columns)
        first += CHUNK_ROWS


def _even(name: str, rows: list[list[str]], width: int, first: int) -> list[list[str]]:
    """Rows of the header's width: empty lines stay as empty cells, so that rows keep their numbers."""
    out = []
    for k, row in enumerate(rows):
        if not any(cell.strip() for cell in row):
            out.append([""] * width)
        elif len(row) == width:
            out.append(row)
        elif len(row) > width and not any(cell.strip() for cell in row[width:]):
            out.append(row[:width])  # spreadsheets end lines with delimiters
        else:
            raise WrongInput(name, f"{width} cells as in the header", row=first + k, found=len(row))
    return out
