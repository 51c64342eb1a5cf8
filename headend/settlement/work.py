"""What can be spread over processes or a cluster: work that is cut into pieces, each done in one place from the store
alone.

The rule it keeps: a piece is done again where it was lost, so doing one twice comes to the same as doing it once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from headend.domain.clock import Clock
from headend.store.pool import Store

Piece = TypeVar("Piece", bound=Hashable)
"""What is handed out: ids, small and without secrets."""
Result = TypeVar("Result")
"""What comes back: counts."""
_Piece_contra = TypeVar("_Piece_contra", bound=Hashable, contravariant=True)
_Result_co = TypeVar("_Result_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where pieces are done: this process, one beside it, or a cluster's worker."""

    store: Store
    clock: Clock
    stop: Callable[[], bool] = bool
    """Whether to stop as soon as what was done until then can be kept."""


class Work(Protocol[_Piece_contra, _Result_co]):
    """A kind of work. It travels to who does it: it can be pickled, and holds no secret."""

    @property
    def name(self) -> str:
        """One word, for names of locks, tasks and log lines."""
        ...

    @property
    def connections(self) -> int:
        """So many connections of the store doing a piece takes."""
        ...

    def do(self, piece: _Piece_contra, place: Place) -> _Result_co:
        """Do a piece; what fails within it is told in the result. Raises StoreUnavailable."""
        ...

    def lost(self, piece: _Piece_contra, why: str) -> _Result_co:
        """What a piece comes to that whoever tried it died of."""
        ...

    def stopped(self) -> _Result_co:
        """What a stop before the end comes to."""
        ...


def here(work: Work[Piece, Result], place: Place, pieces: Iterable[Piece]) -> Iterator[Result]:
    """Do one piece after the other in this process, until all are done or a stop is asked for."""
    for piece in pieces:
        if place.stop():
            yield work.stopped()
            return
        yield work.do(piece, place)
