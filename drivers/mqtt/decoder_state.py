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
    """What the births of one edge node declared, its devices included ("" is the node itself).

    The standard wants an alias to be unique within the node; who has it so within each device is understood as well.
    """

    session: int | None = None
    """The node's own number of its session (bdSeq); None: not said."""
    by_alias: dict[tuple[str, int], Metric] = field(default_factory=dict)
    """By device and alias."""
    datatypes: dict[tuple[str, str], int] = field(default_factory=dict)
    """By device and metric name."""

    def __len__(self) -> int:
        return len(self.by_alias) + len(self.datatypes)

    def forget(self, device: str) -> None:
        """It is born anew: what it declared before holds no more."""
        self.by_alias = {key: metric for key, metric in self.by_alias.items() if key[0] != device}
        self.datatypes = {key: kind for key, kind in self.datatypes.items() if key[0] != device}


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

    def forget_births(self) -> None:
        """Births may have passed by unheard: an alias may mean something else by now."""
        self.births.clear()

    def see_flag(self, key: tuple[str, ...], seen: FlagSeen) -> FlagSeen | None:
        """Remember a flag; how it was seen before. Beyond MAX_FLAGS those seen longest ago are forgotten."""
        before = self.flags.pop(key, None)
        self.flags[key] = seen
        if len(self.flags) > MAX_FLAGS:
            del self.flags[next(iter(self.flags))]
        return before
