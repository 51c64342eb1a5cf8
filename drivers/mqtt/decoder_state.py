"""What decoding has to remember from one message to the next, in one explicit object of bounded size.

It is lost with the process: a flag that is still set is then told once more, an alias is unknown until the next birth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MAX_FLAGS: Final = 200_000
MAX_METRICS: Final = 1_000_000

EdgeNode = tuple[str, str]
"""Group and node of Sparkplug."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as its birth declared it."""

    name: str
    datatype: int
    """Sparkplug's number of it; 0: not said."""


@dataclass(slots=True)
class Births:
    """What the births of one edge node declared, its devices included: an alias is unique within the node."""

    by_alias: dict[int, Metric] = field(default_factory=dict)
    datatypes: dict[tuple[str, str], int] = field(default_factory=dict)
    """By device ("" is the node itself) and metric name."""

    def __len__(self) -> int:
        return len(self.by_alias) + len(self.datatypes)


@dataclass(frozen=True, slots=True)
class FlagSeen:
    """A flag as it was seen last."""

    set: bool
    at_us: int


@dataclass(slots=True)
class DecoderState:
    """Aliases of Sparkplug births, and flags seen last."""

    births: dict[EdgeNode, Births] = field(default_factory=dict)
    flags: dict[tuple[str, ...], FlagSeen] = field(default_factory=dict)

    def keep_births(self, node: EdgeNode, births: Births) -> None:
        """Remember a node's births; beyond MAX_METRICS the nodes born longest ago are forgotten."""
        self.births.pop(node, None)
        self.births[node] = births
        total = sum(map(len, self.births.values()))
        while total > MAX_METRICS:
            total -= len(self.births.pop(next(iter(self.births))))

    def see_flag(self, key: tuple[str, ...], seen: FlagSeen) -> FlagSeen | None:
        """Remember a flag; how it was seen before. Beyond MAX_FLAGS those seen longest ago are forgotten."""
        before = self.flags.pop(key, None)
        self.flags[key] = seen
        if len(self.flags) > MAX_FLAGS:
            del self.flags[next(iter(self.flags))]
        return before
