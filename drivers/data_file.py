"""Data files that a person writes (register maps, payload maps), read strictly: what is not understood is an error.

Every message names the file, the line where it can be found, the key, the value and what would be right.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from drivers.errors import DriverConfigError

_E = TypeVar("_E", bound=StrEnum)
_LEAST, _MOST = Decimal("1E-30"), Decimal("1E+30")
"""What a person means by a number lies between; as a fraction, 1E+999999999 alone would fill the memory."""
_HEADER: Final = re.compile(r"\s*\[\[?\s*([^\[\],{}=]+?)\s*\]\]?\s*(?:#.*)?")
_PIECE: Final = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_KEY: Final = re.compile(rf"\s*({_PIECE}(?:\s*\.\s*{_PIECE})*)\s*=")


class DataFileError(DriverConfigError):
    """A data file is wrong; says where and what would be right."""

    code = "data_file"

    def __init__(self, message: str, *, file: str, line: int | None = None, key: str | None = None) -> None:
        where = file if line is None else f"{file}:{line}"
        super().__init__(f"{where}: {message}" if key is None else f"{where}: {key}: {message}")
        self.file = file
        self.line = line
        self.key = key


def read_text(source: Traversable | Path, error: type[DataFileError] = DataFileError) -> str:
    """The whole of a file. Raises `error` when it cannot be read."""
    try:
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        raise error(f"cannot be read: {failure}", file=str(source)) from failure


def data_files(
    shipped: Traversable, extra_dir: Path | None, error: type[DataFileError], what: str
) -> list[Traversable | Path]:
    """The `*.toml` of a shipped folder and of a utility's own directory, each by name. Raises `error`."""
    found: list[Traversable | Path] = sorted(
        (f for f in shipped.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name
    )
    if extra_dir is not None:
        if not extra_dir.is_dir():
            raise error(f"no such directory; it should hold {what} (*.toml)", file=str(extra_dir))
        found += sorted(extra_dir.glob("*.toml"))
    return found


class DataFile:
    """A TOML file's content, and the lines in which its keys stand."""

    def __init__(self, text: str, *, file: str, error: type[DataFileError] = DataFileError) -> None:
        """Raises `error` when the text is not TOML. Fractions are kept exact (Decimal)."""
        self.name = file
        self._lines = text.splitlines()
        self._error = error
        try:
            self.data: dict[str, Any] = tomllib.loads(text, parse_float=Decimal)
        except tomllib.TOMLDecodeError as failure:
            raise error(f"not TOML: {failure}", file=file) from failure

    def top(self, keys: Iterable[str]) -> Part:
        """The file's own table."""
        return Part(self, self.data, "", None, keys)

    def parts(self, table: str, keys: Iterable[str]) -> list[Part]:
        """Every `[[table]]` of an array of tables (`a.b`: within table a); none where it is not given."""
        holder: Any = self.data
        *path, name = table.split(".")
        for key in path:
            holder = holder.get(key, {}) if isinstance(holder, dict) else {}
        found = holder.get(name, []) if isinstance(holder, dict) else []
        if not isinstance(found, list):
            self.fail(f"{found!r}: wanted [[{table}]] tables", line=self.line_of(table, 0), key=table)
        return [Part(self, item, table, i, keys) for i, item in enumerate(found)]

    def fail(self, message: str, *, line: int | None, key: str | None) -> NoReturn:
        """Raise the file's error."""
        raise self._error(message, file=self.name, line=line, key=key)

    def line_of(self, table: str, index: int, key: str | None = None) -> int | None:
        """The line that gives `key` in the index-th table of that name (without a key: the table's header)."""
        seen = -1 if table else 0
        for number, here, text in self._statements():
            if text is None:
                seen += here == table
                if here == table and seen == index and key is None:
                    return number
            elif here == table and seen == index and text == key:
                return number
        return None

    def _statements(self) -> Iterator[tuple[int, str, str | None]]:
        """(line, the table that it belongs to, the key that it gives; None: it is that table's header)."""
        table, quote = "", ""
        for number, raw in enumerate(self._lines, start=1):
            if quote:  # within a text of several lines nothing is a key
                quote = "" if raw.count(quote) % 2 else quote
            elif header := _HEADER.fullmatch(raw):
                table = header[1].replace('"', "").replace("'", "")
                yield number, table, None
            elif key := _KEY.match(raw):
                yield number, table, key[1].replace('"', "").replace("'", "").replace(" ", "")
                quote = next((q for q in ('"""', "'''") if raw.count(q) % 2), "")


class Part:
    """One TOML table; every value is checked where it is taken out, every message says what would be right."""

    def __init__(
        self,
        file: DataFile,
        data: object,
        table: str,
        index: int | None,
        keys: Iterable[str],
        *,
        holder: tuple[Part, str] | None = None,
    ) -> None:
        """`table`: its whole name; `index`: which of an array of tables; `holder`: what holds it, under which key."""
        self._file, self._table, self._index, self._holder = file, table, index, holder
        if not isinstance(data, dict):
            self.fail("", f"{data!r}: wanted a table")
        self._data: dict[str, Any] = dict(data)
        for key in self._data:
            if key not in keys:
                self.fail(key, f"unknown key; known here: {', '.join(sorted(keys))}")

    def fail(self, key: str, message: str) -> NoReturn:
        """Raise the file's error for `key` of this table (empty: for the table itself)."""
        self._file.fail(message, line=self.line(key), key=".".join(p for p in (self._called(), key) if p) or None)

    def _called(self) -> str:
        if self._holder is not None:
            holder, name = self._holder
            return f"{holder._called()}.{name}".strip(".")
        return self._table if self._index is None or not self._table else f"{self._table}[{self._index + 1}]"

    def line(self, key: str) -> int | None:
        """The line of `key` (empty: of the table itself), for whoever has something to say of it later.

        Else that of the table's header, else of the key of the table that holds this one inline.
        """
        line = self._line_of_key(key) if key else None
        if line is None and key:  # given as a table of its own
            line = self._file.line_of(f"{self._table}.{key}".strip("."), 0)
        if line is None and self._table:
            line = self._file.line_of(self._table, self._index or 0)
        if line is None and self._holder is not None:
            holder, name = self._holder
            line = holder.line(name)
        return line

    def _line_of_key(self, key: str) -> int | None:
        """The line `key = …`, or `table.key = …` in the table that holds this one."""
        line = self._file.line_of(self._table, self._index or 0, key)
        if line is None and self._holder is not None:
            holder, name = self._holder
            line = holder._line_of_key(f"{name}.{key}")
        return line

    def inherit(self, defaults: Part) -> None:
        """Take over what is not given here."""
        self._data = {**defaults._data, **self._data}

    def inherit_key(self, key: str, other: Part) -> None:
        """Take one key over from another table, where it is given there and not here."""
        if other.given(key):
            self._data.setdefault(key, other._data[key])

    def given(self, key: str) -> bool:
        return key in self._data

    def value(self, key: str) -> Any:
        """Whatever stands there; None: the key is not given."""
        return self._data.get(key)

    def part(self, key: str, keys: Iterable[str], *, optional: bool = False) -> Part:
        if key not in self._data and not optional:
            self.fail(key, f"missing; wanted a table [{key}] with {', '.join(sorted(keys))}")
        return Part(
            self._file, self._data.get(key, {}), f"{self._table}.{key}".strip("."), None, keys, holder=(self, key)
        )

    def inline(self, key: str, item: object, keys: Iterable[str]) -> Part:
        """An inline table that stands at `key`, or in the list there."""
        if not isinstance(item, dict):
            self.fail(key, f"{item!r}: wanted inline tables {{ … }} with {', '.join(sorted(keys))}")
        return Part(self._file, item, f"{self._table}.{key}".strip("."), None, keys, holder=(self, key))

    def items(self, key: str) -> list[Any]:
        value = self._data.get(key, [])
        if not isinstance(value, list):
            self.fail(key, f"{value!r}: wanted a list")
        return value

    def _required(self, key: str, default: Any, wanted: str) -> Any:
        if key in self._data:
            return self._data[key]
        if default is None:
            self.fail(key, f"missing; wanted {wanted}")
        return default

    def text(self, key: str) -> str:
        return self.matching(key, lambda s: bool(s.strip()), "a text that is not empty")

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.items(key)
        if not values or not all(isinstance(v, str) and v.strip() for v in values):
            self.fail(key, f"{values!r}: wanted a list of texts, at least one")
        return tuple(values)

    def matching(self, key: str, rule: Callable[[str], bool], wanted: str, *, default: str | None = None) -> str:
        value = self._required(key, default, wanted)
        if not isinstance(value, str) or not rule(value):
            self.fail(key, f"{value!r}: wanted {wanted}")
        return value

    def integer(self, key: str, low: int, high: int, *, default: int | None = None) -> int:
        value = self._required(key, default, f"a whole number {low}..{high}")
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fail(key, f"{value!r}: wanted a whole number {low}..{high}")
        return value

    def one_of(self, key: str, allowed: tuple[int, ...], *, default: int | None = None) -> int:
        wanted = f"one of {', '.join(map(str, allowed))}"
        value = self._required(key, default, wanted)
        if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
            self.fail(key, f"{value!r}: wanted {wanted}")
        return value

    def enum(self, key: str, kind: type[_E], *, default: _E | None = None) -> _E:
        wanted = f"one of {', '.join(e.value for e in kind)}"
        value = self._required(key, default, wanted)
        if not isinstance(value, str) or value not in [e.value for e in kind]:
            self.fail(key, f"{value!r}: wanted {wanted}")
        return kind(value)

    def choice(self, key: str, allowed: tuple[str, ...], *, default: str | None = None) -> str:
        wanted = f"one of {', '.join(allowed)}"
        return self.matching(key, allowed.__contains__, wanted, default=default)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._data.get(key, default)
        if not isinstance(value, bool):
            self.fail(key, f"{value!r}: wanted true or false")
        return value

    def is_text(self, key: str) -> bool:
        return isinstance(self._data.get(key), str)

    def positive(self, key: str, *, default: Fraction) -> Fraction:
        value = self._data.get(key)
        if value is None:
            return default
        if not isinstance(value, (int, Decimal)) or isinstance(value, bool) or not value > 0:
            self.fail(key, f"{value!s}: wanted a number greater than 0")
        if not _LEAST < value < _MOST:
            self.fail(key, f"{value!s}: wanted a number between {_LEAST} and {_MOST}")
        return Fraction(value)

    def bits(self, key: str, count: int) -> list[int]:
        values = self.items(key)
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 16 * count:
                self.fail(key, f"{value!r}: wanted bit patterns of {count} registers, 0..0x{(1 << 16 * count) - 1:X}")
        return values
