"""Data files that a person writes (register maps, payload maps), read strictly: what is not understood is an error.

Every message names the file, the line where it can be found, the key, the value and what would be right.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from drivers.errors import DriverConfigError

_E = TypeVar("_E", bound=StrEnum)


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
        return Part(self, self.data, "", 0, keys)

    def parts(self, table: str, keys: Iterable[str]) -> list[Part]:
        """Every `[[table]]` of an array of tables (`a.b`: within table a); none where it is not given."""
        holder: Any = self.data
        *path, name = table.split(".")
        for key in path:
            holder = holder.get(key, {})
        found = holder.get(name, [])
        if not isinstance(found, list):
            self.fail("", f"{found!r}: wanted [[{table}]] tables", table=table, index=0)
        return [Part(self, item, table, i, keys) for i, item in enumerate(found)]

    def fail(self, key: str, message: str, *, table: str, index: int) -> NoReturn:
        """Raise the file's error for `key` of the index-th table of that name."""
        many = any(line.strip().startswith(f"[[{table}]]") for line in self._lines)
        dotted = ".".join(p for p in (f"{table}[{index + 1}]" if many else table, key) if p)
        raise self._error(message, file=self.name, line=self._line(table, index, key), key=dotted)

    def _line(self, table: str, index: int, key: str) -> int | None:
        """The line that gives `key` in the index-th table of that name, else the table's own line."""
        inside, seen, head = table == "", -1, None
        for number, raw in enumerate(self._lines, start=1):
            line = raw.strip()
            if line.startswith("["):
                inside = line.split("#")[0].strip().strip("[]").strip() == table
                seen += inside
                if inside and seen == index:
                    head = number
            elif inside and (table == "" or seen == index) and line.split("=")[0].strip().strip("\"'") == key:
                return number
        if head is None and "." in table:  # an inline table: the line of the key that holds it
            parent, _, name = table.rpartition(".")
            return self._line(parent, 0, name)
        return head


class Part:
    """One TOML table; every value is checked where it is taken out, every message says what would be right."""

    def __init__(self, file: DataFile, data: object, table: str, index: int, keys: Iterable[str]) -> None:
        self._file, self._table, self._index = file, table, index
        if not isinstance(data, dict):
            self.fail("", f"{data!r}: wanted a table")
        self._data: dict[str, Any] = dict(data)
        for key in self._data:
            if key not in keys:
                self.fail(key, f"unknown key; known here: {', '.join(sorted(keys))}")

    def fail(self, key: str, message: str) -> NoReturn:
        self._file.fail(key, message, table=self._table, index=self._index)

    def inherit(self, defaults: Part) -> None:
        self._data = {**defaults._data, **self._data}

    def given(self, key: str) -> bool:
        return key in self._data

    def part(self, key: str, keys: Iterable[str], *, optional: bool = False) -> Part:
        if key not in self._data and not optional:
            self.fail(key, f"missing; wanted a table [{key}] with {', '.join(sorted(keys))}")
        name = f"{self._table}.{key}" if self._table else key
        return Part(self._file, self._data.get(key, {}), name, 0, keys)

    def inline(self, key: str, item: object, keys: Iterable[str]) -> Part:
        """An inline table that stands in the list `key`."""
        if not isinstance(item, dict):
            self.fail(key, f"{item!r}: wanted inline tables {{ … }} with {', '.join(sorted(keys))}")
        return Part(self._file, item, f"{self._table}.{key}" if self._table else key, 0, keys)

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
        if not isinstance(value, (int, Decimal)) or isinstance(value, bool) or not 0 < value < Decimal("Infinity"):
            self.fail(key, f"{value!s}: wanted a number greater than 0")
        return Fraction(value)

    def bits(self, key: str, count: int) -> list[int]:
        values = self.items(key)
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 16 * count:
                self.fail(key, f"{value!r}: wanted bit patterns of {count} registers, 0..0x{(1 << 16 * count) - 1:X}")
        return values
