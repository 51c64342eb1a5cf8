"""Keeps questions that look alike apart on links whose answers carry no number (RTU). Pure; time is handed in.

There an answer tells only its unit, function and length. An answer that comes late fits any question of the same shape;
so for as long as one may come, no such question is asked: it is made a register or two longer where the model's limits
allow, or waits. An answer that comes a second time is known word by word: only the very same words are doubted. An
exception has no length: whose it is can be told only where no other may come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from drivers.modbus.features import ProfileSpec
from drivers.modbus.model import MeterModel
from drivers.modbus.plan import Block
from drivers.modbus.register_map import AddressRange

Shape = tuple[int, ...]
"""All that an answer repeats of its question: unit, function and count; of a write, what it echoes."""
Words = tuple[int, ...]
_LAST_ADDRESS: Final = 0xFFFF
_SWEEP_AT: Final = 256


def exception_to(shape: Shape) -> Shape:
    """All that an exception repeats of its question: unit and function."""
    return shape[:2]


class ShapesAsked:
    """Which shapes an answer may still come for."""

    def __init__(self, late_s: float) -> None:
        self._late_s = late_s
        self._until: dict[Shape, dict[Words | None, float]] = {}

    def ended(self, shape: Shape, now: float, words: Words | None = None) -> None:
        """A question of this shape was answered with `words`, which may come again, or nobody knows what may come."""
        if len(self._until) >= _SWEEP_AT:
            self._until = {s: open_ for s in self._until if (open_ := self._open(s, now))}
        self._until[shape] = self._open(shape, now) | {words: now + self._late_s}

    def wait_s(self, shape: Shape, now: float) -> float:
        """How long until no unknown answer to an earlier question of this shape can come; 0: it may be asked now."""
        return max(0.0, self._until.get(shape, {}).get(None, now) - now)

    def clear(self, shape: Shape, now: float) -> bool:
        """Whether no answer to an earlier question of this shape can come at all."""
        return not self._open(shape, now)

    def may_be_again(self, shape: Shape, words: Words, now: float) -> bool:
        """Whether this answer may be an earlier one that came a second time: it has the very same words."""
        return words in self._open(shape, now)

    def _open(self, shape: Shape, now: float) -> dict[Words | None, float]:
        return {words: until for words, until in self._until.get(shape, {}).items() if until > now}


def longer(block: Block, model: MeterModel, closed: Collection[AddressRange]) -> Iterator[Block]:
    """`block` with more and more registers around it that the model may be asked for, one of each length.

    No `closed` or forbidden register is added, no listed value is torn, and no more unlisted registers follow each
    other than `max_gap` allows.
    """
    limits = model.limits
    most = limits.max_registers - block.count
    behind = set(_reach(block, model, closed, most, 1))
    before = _reach(block, model, closed, most, -1)
    for added in range(limits.align, most + 1, limits.align):
        for k in before:
            if added - k in behind:
                yield Block(block.table, block.address - k, block.count + added, block.specs)
                break


def _reach(block: Block, model: MeterModel, closed: Collection[AddressRange], most: int, step: int) -> list[int]:
    """How many registers may be added behind (`step` 1) or before (-1) the block, in every way there is."""
    limits = model.limits
    edge = block.range.last if step > 0 else block.address
    near = AddressRange(block.table, min(edge, edge + step * most), max(edge, edge + step * most))
    shut = [r for r in (*limits.forbidden, *closed) if r.overlaps(near.table, near.first, near.last)]
    listed = [r for r in _listed(model, near) if r.overlaps(near.table, near.first, near.last)]
    reach, unlisted = [0], 0
    for added in range(1, most + 1):
        address = edge + step * added
        if not 0 <= address <= _LAST_ADDRESS or any(r.first <= address <= r.last for r in shut):
            break
        values = [r for r in listed if r.first <= address <= r.last]
        unlisted = 0 if values else unlisted + 1
        if unlisted > limits.max_gap:
            break
        torn = any(address != (r.last if step > 0 else r.first) for r in values)
        if not torn and added % limits.align == 0:
            reach.append(added)
    return reach


def _listed(model: MeterModel, near: AddressRange) -> Iterator[AddressRange]:
    """Registers of every value that the map knows; of stored records those `near`."""
    features = model.features
    yield from (spec.range for spec in model.registers)
    if features.clock is not None:
        yield features.clock.range
    yield from (switch.state.range for switch in (features.relay, features.tariff) if switch is not None)
    yield from (status.range for status in features.status)
    if features.profile is not None:
        yield from _records(features.profile, near)


def _records(profile: ProfileSpec, near: AddressRange) -> Iterator[AddressRange]:
    shown = 1 if profile.selector is not None else profile.records
    first = max(0, (near.first - profile.address) // profile.stride)
    for record in range(first, min(shown, (near.last - profile.address) // profile.stride + 1)):
        start = profile.address + record * profile.stride
        if profile.stamp is not None:
            stamp = start + profile.stamp_offset
            yield AddressRange(profile.table, stamp, stamp + profile.stamp.count - 1)
        for spec in profile.registers:
            yield AddressRange(profile.table, start + spec.address, start + spec.last)
