"""Topics with named places in them, `shellypro3em-{mac}/status/emdata:{channel}`, and where two of them overlap.

A name stands for one level or a part of one, never for a slash: who publishes can be told from the topic alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

_LEVEL: Final = re.compile(r"(?P<before>[^{}+#/\x00]*)(?:\{(?P<name>[a-z][a-z0-9_]*)\}(?P<after>[^{}+#/\x00]*))?")


class TopicPatternError(ValueError):
    """A pattern that cannot be read; says what would be right."""


@dataclass(frozen=True, slots=True)
class Level:
    """One level: a fixed text, or a name between a fixed beginning and a fixed end."""

    before: str
    name: str | None = None
    after: str = ""

    def compatible(self, other: Level) -> bool:
        """Whether some text fits both."""
        if self.name is None or other.name is None:
            fixed, open_ = (self, other) if self.name is None else (other, self)
            return open_.fits(fixed.before)
        starts = sorted((self.before, other.before), key=len)
        ends = sorted((self.after, other.after), key=len)
        return starts[1].startswith(starts[0]) and ends[1].endswith(ends[0])

    def covers(self, other: Level) -> bool:
        """Whether every text that fits the other fits this one."""
        if self.name is None:
            return other.name is None and other.before == self.before
        if other.name is None:
            return self.fits(other.before)
        return other.before.startswith(self.before) and other.after.endswith(self.after)

    def fits(self, text: str) -> bool:
        """Whether the level can read so."""
        if self.name is None:
            return text == self.before
        room = len(text) - len(self.before) - len(self.after)
        return room > 0 and text.startswith(self.before) and text.endswith(self.after)


@dataclass(frozen=True)
class TopicPattern:
    """A topic as a payload map writes it."""

    text: str
    levels: tuple[Level, ...]

    @cached_property
    def names(self) -> frozenset[str]:
        """What a match tells."""
        return frozenset(level.name for level in self.levels if level.name is not None)

    @cached_property
    def filter(self) -> str:
        """The narrowest MQTT filter that takes every topic of the pattern (and perhaps others of the same level)."""
        return "/".join(level.before if level.name is None else "+" for level in self.levels)

    def match(self, levels: list[str]) -> dict[str, str] | None:
        """Names and what they stand for in a topic split at its slashes; None: it is another topic."""
        if len(levels) != len(self.levels):
            return None
        found: dict[str, str] = {}
        for level, text in zip(self.levels, levels, strict=True):
            if not level.fits(text):
                return None
            if level.name is not None:
                found[level.name] = text[len(level.before) : len(text) - len(level.after)]
        return found

    def overlaps(self, other: TopicPattern) -> bool:
        """Whether some topic fits both."""
        return len(self.levels) == len(other.levels) and all(
            mine.compatible(theirs) for mine, theirs in zip(self.levels, other.levels, strict=True)
        )

    def covers(self, other: TopicPattern) -> bool:
        """Whether every topic that fits the other fits this one."""
        return len(self.levels) == len(other.levels) and all(
            mine.covers(theirs) for mine, theirs in zip(self.levels, other.levels, strict=True)
        )

    def below(self, prefix: str) -> bool:
        """Whether some topic of the pattern lies below the prefix."""
        fixed = [Level(text) for text in prefix.split("/")]
        return len(self.levels) > len(fixed) and all(
            mine.compatible(theirs) for mine, theirs in zip(self.levels, fixed, strict=False)
        )


def parse_pattern(text: str) -> TopicPattern:
    """A pattern from its text. Raises TopicPatternError."""
    levels: list[Level] = []
    for part in text.split("/"):
        found = _LEVEL.fullmatch(part)
        if not part or found is None:
            raise TopicPatternError(
                f"{part!r} is no level; wanted a text with at most one {{name}} in it, without + and #"
            )
        levels.append(Level(found["before"], found["name"], found["after"] or ""))
    if text.startswith("$"):
        raise TopicPatternError("what begins with $ is the broker's own; wanted a topic that a device publishes to")
    names = [level.name for level in levels if level.name is not None]
    if len(set(names)) != len(names):
        raise TopicPatternError("a name stands twice; wanted each once")
    if all(level.name is not None and not (level.before or level.after) for level in levels):
        raise TopicPatternError("every topic would fit; wanted at least one fixed text")
    return TopicPattern(text, tuple(levels))
