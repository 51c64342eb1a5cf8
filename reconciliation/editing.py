"""Values that a person sets, fitted between registers that are believed: energy between two of these never changes.

An edit overrules the registers strictly inside its stretch; those at its two ends and beyond hold, and so does a
register next to intervals without any energy: nothing beyond it would close the sum. A *block* is a run of intervals
between two neighbouring registers that hold. In a block whose energy S is known (the sum of what registers and
estimates gave it) the edited intervals get their values and the others share what is left, S - Σ edited, by the shape
that they have. An edit cannot hold where less than nothing would be left, or where something is left and no interval
could take it: then everything stays as it was without it. Where intervals have no energy at all no register closes
the gap, and the values stand as they were given. So every run of intervals that had energy keeps its sum, exactly.

Edits are taken one after the other in the order in which they were made: of two that cover an interval the newer one
counts, and one that cannot hold leaves those before it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from reconciliation.registers import NO_VALUE, IntervalQuality

Ints: TypeAlias = npt.NDArray[np.int64]
Small: TypeAlias = npt.NDArray[np.int8]
Bools: TypeAlias = npt.NDArray[np.bool_]

_NOBODY: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """Energies of a run of intervals, as a person gave them."""

    first: int
    """Index of its first interval; may lie before the grid."""
    energy_wh: Ints
    """(n,) int64 [Wh], not negative."""
    on_grid: bool = True
    """False: its ends do not lie on the grid (which was another one when it was made); it cannot hold."""

    @property
    def end(self) -> int:
        """Index after its last interval."""
        return self.first + len(self.energy_wh)


@dataclass(frozen=True, slots=True)
class Block:
    """A run of intervals between two registers that hold, and what an edit asks of it."""

    low: int
    """Its first interval ..."""
    high: int
    """... and the one after its last."""
    known_wh: int | None
    """Energy between the registers at its two ends [Wh]; None: no register closes the gap."""
    edited_wh: int
    """Sum of all that is edited in it, by this edit and those before it [Wh]."""
    places: int
    """Intervals that could take the rest."""

    @property
    def holds(self) -> bool:
        """Whether what is edited fits between the registers."""
        if self.known_wh is None:
            return True
        return self.edited_wh == self.known_wh or (self.edited_wh < self.known_wh and self.places > 0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an edit holds, with the numbers."""

    possible: bool
    """It lies on the grid, and a meter served in all of its intervals."""
    blocks: tuple[Block, ...]
    """Those that it reaches into."""

    @property
    def holds(self) -> bool:
        """Whether its values count."""
        return self.possible and all(block.holds for block in self.blocks)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What edits make of T intervals."""

    energy_wh: Ints
    """(T,) int64 [Wh]; NO_VALUE: absent."""
    edited_by: Ints
    """(T,) index of the edit whose value an interval has; -1: none."""
    refused: Bools
    """(T,) where an edit cannot hold and no newer one that does covers it."""
    verdicts: list[Verdict]
    """One an edit."""
    cut: Ints
    """Instants (indices) at which blocks part, both ends of the grid included."""


def cuts(energy_wh: Ints, estimated: Bools, edits: Sequence[Edit]) -> Ints:
    """Instants (indices, rising) at which blocks part: no register there is an estimate, and no edit has it strictly
    inside; or intervals without energy begin or end there.
    """
    cut = ~estimated
    for edit in edits:
        cut[max(edit.first + 1, 0) : max(edit.end, 0)] = False
    known = energy_wh != NO_VALUE
    cut[1:-1] |= known[1:] != known[:-1]
    cut[[0, -1]] = True
    return np.flatnonzero(cut)


def fit(energy_wh: Ints, quality: Small, editable: Bools, estimated: Bools, edits: Sequence[Edit]) -> Fitted:
    """Set what can be set.

    `energy_wh`: (T,) int64 [Wh] as registers and estimates gave it; NO_VALUE: absent. `quality`: (T,) IntervalQuality
    (what is zero by event takes no share of a rest). `editable`: (T,) whether a meter served. `estimated`: (T + 1,)
    whether a register at the instant is an estimate; both ends of the grid part blocks, so the caller sees to it that
    they do. `edits`: in the order in which they were made.
    """
    accepted: list[int] = []
    verdicts: list[Verdict] = []
    for k, edit in enumerate(edits):
        chosen = [*accepted, k]
        here = slice(max(edit.first, 0), max(edit.end, 0))
        cut = cuts(energy_wh, estimated, [edits[j] for j in chosen])
        owner = _owners(len(energy_wh), edits, chosen)
        blocks = tuple(
            _block(slice(low, high), energy_wh, quality, owner, edits)
            for low, high in pairwise(cut.tolist())
            if low < here.stop and high > here.start
        )
        verdict = Verdict(edit.on_grid and bool(blocks) and bool(editable[here].all()), blocks)
        verdicts.append(verdict)
        if verdict.holds:
            accepted = chosen
    owner = _owners(len(energy_wh), edits, accepted)
    values = _values(energy_wh, edits, owner)
    cut = cuts(energy_wh, estimated, [edits[j] for j in accepted])
    for low, high in pairwise(cut.tolist()):
        block, mine = slice(low, high), owner[low:high] != _NOBODY
        if mine.any() and energy_wh[low] != NO_VALUE:
            others = np.flatnonzero(_places(quality[block], owner[block])) + low
            rest = int(energy_wh[block].sum()) - int(values[block][mine].sum())
            values[block] = np.where(mine, values[block], 0)
            values[others] = share(rest, energy_wh[others])
    refused = np.zeros(len(energy_wh), dtype=np.bool_)
    for verdict, edit in zip(verdicts, edits, strict=True):
        refused[max(edit.first, 0) : max(edit.end, 0)] = not verdict.holds
    return Fitted(values, owner, refused, verdicts, cut)


def _owners(count: int, edits: Sequence[Edit], chosen: Sequence[int]) -> Ints:
    """(T,) the newest of the chosen edits that covers each interval; -1: none."""
    owner = np.full(count, _NOBODY, dtype=np.int64)
    for k in chosen:
        owner[max(edits[k].first, 0) : max(edits[k].end, 0)] = k
    return owner


def _values(energy_wh: Ints, edits: Sequence[Edit], owner: Ints) -> Ints:
    """(T,) what is there, with every edited interval's own value."""
    values = energy_wh.copy()
    for k in np.unique(owner[owner != _NOBODY]):
        here = np.flatnonzero(owner == k)
        values[here] = edits[k].energy_wh[here - edits[k].first]
    return values


def _places(quality: Small, owner: Ints) -> Bools:
    return np.asarray((owner == _NOBODY) & (quality != IntervalQuality.ZERO_BY_EVENT), dtype=np.bool_)


def _block(block: slice, energy_wh: Ints, quality: Small, owner: Ints, edits: Sequence[Edit]) -> Block:
    """Within a block either all intervals have energy, or none has."""
    edited = _values(energy_wh, edits, owner)[block][owner[block] != _NOBODY]
    known = None if energy_wh[block.start] == NO_VALUE else int(energy_wh[block].sum())
    places = int(_places(quality[block], owner[block]).sum())
    return Block(block.start, block.stop, known, int(edited.sum()), places)


def share(total_wh: int, shape_wh: Ints) -> Ints:
    """(n,) int64 [Wh] that sum to `total_wh` exactly, in proportion to a shape; evenly where the shape is flat zero.

    What rounding leaves goes to the largest remainders, the earlier first among equals. Integers all the way: two
    products of registers do not fit 64 bits.
    """
    weights = [max(int(w), 0) if w != NO_VALUE else 0 for w in shape_wh.tolist()]
    if not weights:
        return np.empty(0, dtype=np.int64)
    if sum(weights) == 0:
        weights = [1] * len(weights)
    whole = sum(weights)
    parts = [divmod(total_wh * w, whole) for w in weights]
    left = total_wh - sum(p for p, _ in parts)
    order = sorted(range(len(parts)), key=lambda i: (-parts[i][1], i))
    extra = set(order[:left])
    return np.array([p + (i in extra) for i, (p, _) in enumerate(parts)], dtype=np.int64)


def regrid(energy_wh: Ints, was_s: int, is_s: int, shape_wh: Ints) -> Ints:
    """(m,) int64 [Wh] on a grid of `is_s` seconds of what was given on one of `was_s`; the sum stays.

    `shape_wh`: (m,) int64, what the intervals of the new grid hold, for the shape within a longer one. Raises
    ValueError where the one does not divide the other, or the run is not whole on the new grid.
    """
    if was_s == is_s:
        return energy_wh
    if is_s % was_s == 0 and len(energy_wh) % (is_s // was_s) == 0:
        return np.asarray(energy_wh.reshape(-1, is_s // was_s).sum(axis=1), dtype=np.int64)
    if was_s % is_s == 0:
        parts = was_s // is_s
        return np.concatenate([share(int(e), shape_wh[i * parts : (i + 1) * parts]) for i, e in enumerate(energy_wh)])
    raise ValueError(f"{len(energy_wh)} intervals of {was_s} s are not whole on a grid of {is_s} s")
