"""Places in a decoded message, as a payload map writes them: `params."em:0".a_voltage`, `phases[0].u`, `Total[*]`.

A step that leads nowhere is absent; a step into something of another shape is an error, for the map does not fit then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from drivers.errors import PayloadError

Scalar = str | int | bool | float | None
"""What a leaf of a document can be, beside Decimal."""

_STEP: Final = re.compile(
    r"""
      (?P<key>      [^.\[\]"\s] [^.\[\]"]* )
    | "(?P<quoted>  [^"]+ )"
    | \[ (?P<index> [0-9]{1,6} ) \]
    | \[ (?P<each>  \* ) \]
    | \[ (?P<field> [^=\[\]"]+ ) = (?P<value> [^\[\]"]+ ) \]
    """,
    re.VERBOSE,
)


class Float32(float):
    """A single-precision number: its step is coarser than a Python float shows."""


class PathError(ValueError):
    """A path that cannot be read; says what would be right."""


@dataclass(frozen=True, slots=True)
class Key:
    """The value that an object has under a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """One element of a list; a lone number or text counts as a list of one."""

    place: int


@dataclass(frozen=True, slots=True)
class Each:
    """All elements of a list, as the last step; a lone number counts as a list of one."""


@dataclass(frozen=True, slots=True)
class Where:
    """The one object of a list whose field reads so."""

    field: str
    value: str


Step = Key | Index | Each | Where


@dataclass(frozen=True, slots=True)
class Path:
    """A place in a document; no steps: the document itself."""

    text: str
    """As the map writes it."""
    steps: tuple[Step, ...]

    def find(self, document: Any, topic: str) -> Any:
        """What stands there; None: nothing, or null. Raises PayloadError `wrong_type` or `bad_shape`."""
        value = document
        for step in self.steps:
            if value is None:
                return None
            value = self._into(step, value, topic)
        return value

    def _into(self, step: Step, value: Any, topic: str) -> Any:
        match step:
            case Key(name):
                if not isinstance(value, dict):
                    self._misfit(f"{name!r} is looked for in {_shown(value)}, which is no object", topic)
                return value.get(name)
            case Index(place):
                listed = self._list(value, topic)
                return listed[place] if place < len(listed) else None
            case Each():
                return self._list(value, topic)
            case Where(field, wanted):
                found = [v for v in self._list(value, topic) if isinstance(v, dict) and str(v.get(field)) == wanted]
                if len(found) > 1:
                    raise PayloadError(
                        f"{self.text}: {field} {wanted} stands {len(found)} times", peer=topic, reason="bad_shape"
                    )
                return found[0] if found else None

    def _list(self, value: Any, topic: str) -> list[Any]:
        if isinstance(value, dict):
            self._misfit(f"{_shown(value)} is no list", topic)
        return value if isinstance(value, list) else [value]

    def _misfit(self, what: str, topic: str) -> None:
        raise PayloadError(f"{self.text}: {what}", peer=topic, reason="wrong_type")

    @property
    def many(self) -> bool:
        """Whether it gives a list of values that are to be added up."""
        return bool(self.steps) and isinstance(self.steps[-1], Each)


def parse_path(text: str) -> Path:
    """A path from its text; `$` is the document. Raises PathError."""
    if text == "$":
        return Path(text, ())
    steps: list[Step] = []
    at = 0
    while at < len(text):
        dotted = text[at] == "."
        if dotted and steps:
            at += 1
        found = _STEP.match(text, at)
        opens_key = found is not None and (found["key"] is not None or found["quoted"] is not None)
        if found is None or (opens_key and steps and not dotted) or (dotted and not opens_key):
            raise PathError(
                f'cannot be read from {text[at:]!r} on; wanted keys with dots between ("in quotes" where they hold '
                "dots), [0], [*] at the end, [field=value], or $ for the whole message"
            )
        steps.append(_step(found))
        at = found.end()
    if not steps or any(isinstance(step, Each) for step in steps[:-1]):
        raise PathError("wanted at least one key, and [*] only at the end")
    return Path(text, tuple(steps))


def _step(found: re.Match[str]) -> Step:
    if (key := found["key"] or found["quoted"]) is not None:
        return Key(key)
    if found["index"] is not None:
        return Index(int(found["index"]))
    return Each() if found["each"] else Where(found["field"], found["value"])


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
