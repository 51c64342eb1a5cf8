"""What is done to whom, and when, in each round: a pure function of seed and number of rounds."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ROUND_S: Final = 1.6
"""Faults begin within so long of a round's start, while everybody publishes."""


class Deed(StrEnum):
    """Everything that is done; the first word is the victim."""

    INGEST_KILLED = "ingest killed"
    INGEST_STAYS_AWAY = "ingest killed, its messages are taken over by the other one"
    INGEST_STOPPED = "ingest stopped by SIGTERM"
    INGEST_FROZEN = "ingest frozen"
    DATABASE_KILLED = "database killed"
    DATABASE_BACKEND_KILLED = "database backend killed"
    DATABASE_STOPPED = "database stopped, fast"
    DATABASE_DROPPED = "database stopped, at once"
    DATABASE_FROZEN = "database frozen"
    BROKER_KILLED = "broker killed"
    BROKER_STOPPED = "broker stopped by SIGTERM"
    BROKER_FROZEN = "broker frozen"
    FIELD_CUT = "field-broker line cut"
    FIELD_SILENT = "field-broker line silent, then cut"
    LINE_CUT = "broker-ingest line cut"
    LINE_SILENT = "broker-ingest line silent, then cut"
    STORE_CUT = "ingest-database line cut"
    STORE_SILENT = "ingest-database line: answers lost, then cut"

    @property
    def victim(self) -> str:
        """Nobody gets two deeds in a round; an ingest is one of several."""
        return self.value.split(maxsplit=1)[0].rstrip(",")


LONGEST_S: Final = {
    Deed.INGEST_KILLED: 1.0,
    Deed.INGEST_STOPPED: 1.0,
    Deed.INGEST_FROZEN: 2.0,
    Deed.DATABASE_KILLED: 1.0,
    Deed.DATABASE_STOPPED: 1.5,
    Deed.DATABASE_DROPPED: 1.5,
    Deed.DATABASE_FROZEN: 2.0,
    Deed.BROKER_KILLED: 1.0,
    Deed.BROKER_STOPPED: 1.0,
    Deed.BROKER_FROZEN: 1.5,
    Deed.FIELD_CUT: 1.0,
    Deed.FIELD_SILENT: 1.0,
    Deed.LINE_CUT: 1.0,
    Deed.LINE_SILENT: 1.0,
    Deed.STORE_CUT: 1.0,
    Deed.STORE_SILENT: 1.0,
}
"""Until it is undone, at the most; what is not here is over at once, or when the books are even."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One deed at one instant of a round."""

    deed: Deed
    at_s: float
    for_s: float
    which: int
    """Which ingest process, or a number to choose a backend by."""


def plan(seed: int, rounds: int, ingests: int) -> list[list[Fault]]:
    """The faults of each round: every deed in turn, in an order by chance, and in two of three rounds more with it."""
    chance = random.Random(seed)
    possible = [d for d in Deed if ingests > 1 or d is not Deed.INGEST_STAYS_AWAY]
    found: list[list[Fault]] = []
    deck: list[Deed] = []
    for _ in range(rounds):
        if not deck:
            deck = list(possible)
            chance.shuffle(deck)
        deeds = [deck.pop()]
        for _ in range(chance.choice((0, 1, 2))):
            free = [d for d in possible if d.victim not in {o.victim for o in deeds}]
            deeds.append(chance.choice(free))
        found.append([_fault(chance, deed, ingests) for deed in deeds])
    return found


def each_once(seed: int, ingests: int) -> list[list[Fault]]:
    """Every deed once, in as few rounds as there may be when nobody gets two in one."""
    chance = random.Random(seed)
    left = [d for d in Deed if ingests > 1 or d is not Deed.INGEST_STAYS_AWAY]
    chance.shuffle(left)
    found: list[list[Fault]] = []
    while left:
        deeds: list[Deed] = []
        # Of whom most is left to be done to, first: so that the last rounds are not one deed each.
        for victim, _ in Counter(d.victim for d in left).most_common(3):
            deeds.append(next(d for d in left if d.victim == victim))
            left.remove(deeds[-1])
        found.append([_fault(chance, deed, ingests) for deed in deeds])
    return found


def of(seed: int, deed: Deed, rounds: int, ingests: int) -> list[list[Fault]]:
    """The same deed in every round."""
    chance = random.Random(seed)
    return [[_fault(chance, deed, ingests)] for _ in range(rounds)]


def _fault(chance: random.Random, deed: Deed, ingests: int) -> Fault:
    for_s = chance.uniform(0.0, LONGEST_S.get(deed, 0.0))
    which = chance.randrange(1_000) if deed is Deed.DATABASE_BACKEND_KILLED else chance.randrange(ingests)
    return Fault(deed, chance.uniform(0.0, ROUND_S), for_s, which)
