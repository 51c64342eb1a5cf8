"""The read plan: wanted registers → the fewest requests that a model's limits allow. Pure, and provably minimal.

Why a partition into runs of neighbours is enough: a request covers an interval of addresses, so if it holds two
wanted registers it holds every wanted one between them; giving those to another request can only add requests. The
best partition of a sorted sequence into runs is found exactly by dynamic programming over its end. Tables never mix:
each is an address space and a function code of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby, pairwise

from drivers.errors import DriverError
from drivers.modbus.register_map import AddressRange, Limits, RegisterSpec, Table


class PlanError(DriverError):
    """A wanted register cannot be asked for at all under the limits given."""

    code = "plan"


@dataclass(frozen=True, slots=True)
class Block:
    """One request: registers `address … address + count - 1` of a table, and the wanted ones among them."""

    table: Table
    address: int
    """0-based, as on the wire."""
    count: int
    """Registers asked for."""
    specs: tuple[RegisterSpec, ...]

    @property
    def range(self) -> AddressRange:
        """The registers asked for."""
        return AddressRange(self.table, self.address, self.address + self.count - 1)

    def words_of(self, spec: RegisterSpec, words: tuple[int, ...]) -> tuple[int, ...]:
        """The part of this block's answer that belongs to `spec`."""
        start = spec.address - self.address
        return words[start : start + spec.count]

    def __str__(self) -> str:
        return str(self.range)


def plan(specs: Iterable[RegisterSpec], limits: Limits, *, refused: Collection[AddressRange] = ()) -> tuple[Block, ...]:
    """The fewest requests that read all of `specs`; among the plans with as few, one that reads the fewest registers.

    `specs` do not overlap, as a map's never do.
    `refused` holds ranges that this meter was seen to refuse; no request touches them or the model's forbidden ones.
    Raises `PlanError` when a wanted register lies in such a range or is alone longer than a request may be.
    """
    ordered = sorted(specs, key=lambda s: (s.table.value, s.address))
    closed = (*limits.forbidden, *refused)
    return tuple(
        block for _, run in groupby(ordered, key=lambda s: s.table) for block in _plan_table(list(run), limits, closed)
    )


def cover(specs: Collection[RegisterSpec], limits: Limits) -> Block:
    """The one block that spans `specs` of one table, widened to the alignment; whether it is allowed is not asked."""
    first = min(s.address for s in specs)
    last = max(s.last for s in specs)
    start = first - first % limits.align
    stop = -(-(last + 1) // limits.align) * limits.align
    return Block(next(iter(specs)).table, start, stop - start, tuple(specs))


def _plan_table(specs: list[RegisterSpec], limits: Limits, closed: Collection[AddressRange]) -> list[Block]:
    # best[j]: (requests, registers) of the cheapest plan for specs[:j]; cut[j]: where its last request begins.
    best: list[tuple[int, int]] = [(0, 0)]
    cut: list[int] = [0]
    for j in range(1, len(specs) + 1):
        options = []
        for i in range(j - 1, -1, -1):
            block = cover(specs[i:j], limits)
            if not _allowed(block, limits, closed):
                if i == j - 1:
                    raise PlanError(_why_not(block, limits, closed))
                break  # a longer run holds this one, so it is not allowed either
            options.append((best[i][0] + 1, best[i][1] + block.count, i))
        requests, registers, i = min(options)
        best.append((requests, registers))
        cut.append(i)
    blocks = []
    j = len(specs)
    while j:
        blocks.append(cover(specs[cut[j] : j], limits))
        j = cut[j]
    return blocks[::-1]


def _allowed(block: Block, limits: Limits, closed: Collection[AddressRange]) -> bool:
    return (
        block.count <= limits.max_registers
        and all(_gap(a, b, limits.align) <= limits.max_gap for a, b in pairwise(block.specs))
        and not any(c.overlaps(block.table, block.range.first, block.range.last) for c in closed)
    )


def _gap(a: RegisterSpec, b: RegisterSpec, align: int) -> int:
    """Registers between two neighbours that neither would be read with for the sake of alignment."""
    return (b.address - b.address % align) - (a.last + align - a.last % align)


def _why_not(block: Block, limits: Limits, closed: Collection[AddressRange]) -> str:
    name = block.specs[0].quantity.value
    if block.count > limits.max_registers:
        return f"{name} at {block} is {block.count} registers long, a request may be {limits.max_registers}"
    hit = next(c for c in closed if c.overlaps(block.table, block.range.first, block.range.last))
    return f"{name} at {block} lies in {hit}, which must not be asked for"
