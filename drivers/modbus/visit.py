"""A visit: one meter's wanted registers in the fewest requests, whatever it refuses.

The rules it keeps: an address that is refused inside a block is found by halving, and the rest is read in the same
visit; a refusal is remembered only when it was said twice, so that a busy device is not misjudged, and can be no other
question's; once its remembrance is over it is asked once more. What came before a silence stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from drivers.base import Quantity
from drivers.errors import DeviceException, DriverConfigError, IllegalAddress, PeerError, ResponseTimeout
from drivers.modbus.bus_settings import BusStats
from drivers.modbus.clock import Clock
from drivers.modbus.codec import decode
from drivers.modbus.gate import Priority
from drivers.modbus.link import Answer
from drivers.modbus.plan import Block, cover
from drivers.modbus.plan_book import PlanBook, touches
from drivers.modbus.register_map import AddressRange, RegisterSpec
from drivers.modbus.snapshot import Snapshot

if TYPE_CHECKING:
    from drivers.modbus.turn import Turn

REFUSING: Final = frozenset({2, 3})
"""Exception codes that speak of the addresses asked for; 3 is what some meters say to a block across a hole."""


class Visit:
    """One meter's snapshot in the making."""

    def __init__(self, turn: Turn, plans: PlanBook, clock: Clock, stats: BusStats) -> None:
        self._turn = turn
        self._meter = turn.meter
        self._model = turn.address.model
        self._plans = plans
        self._clock = clock
        self._stats = stats
        self._answers: list[tuple[Block, Answer]] = []
        self._answered: set[Quantity] = set()
        self._refused: set[Quantity] = set()
        self._closed: tuple[AddressRange, ...] = ()
        self._refusal: DeviceException | None = None
        self._firmware = self._model.by_quantity.get(Quantity.FIRMWARE)
        self._firmware_asked = False

    async def run(self, quantities: frozenset[Quantity] | None) -> Snapshot:
        """Ask, halve, remember. Raises `PeerError` when nothing at all could be read."""
        wanted = tuple(s.quantity for s in self._model.specs(quantities))
        if not wanted:
            names = ", ".join(sorted(quantities or ()))
            raise DriverConfigError(f"model {self._model.id} has none of the wanted quantities: {names}")
        ended_by: PeerError | None = None
        try:
            await self._settle_a_doubt()
            while await self._go_through(frozenset(wanted) - self._answered - self._refused):
                pass
            await self._ask_again_what_is_due()
        except PeerError as error:
            # Silent, broken or gone: it would be no better for the rest, and the neighbours are waiting.
            ended_by = error
        if self._answers:
            missing = tuple(q for q in wanted if q not in self._answered)
            return Snapshot(self._model, tuple(self._answers), missing, ended_by)
        raise ended_by or self._refusal or self._all_refused()

    async def _go_through(self, wanted: frozenset[Quantity]) -> bool:
        """Go through the plan for `wanted`; True when another firmware, and with it other refusals, became known."""
        self._closed = self._plans.refused(self._meter, self._model)
        for block in self._in_order(self._plans.plan(self._model, wanted, self._closed)):
            if not await self._try(block):
                if await self._learn_firmware():
                    return True
                await self._search(block, whole=True)
            elif self._tells_firmware(block) and self._plans.refused(self._meter, self._model) != self._closed:
                return True
        return False

    def _in_order(self, blocks: Sequence[Block]) -> Sequence[Block]:
        """The smallest first where it is a probe; then what tells the firmware, because refusals hang on it."""
        if self._firmware is None and not self._turn.probing:
            return blocks
        ordered = sorted(blocks, key=lambda b: not self._tells_firmware(b))
        if self._turn.probing and ordered:
            ordered.insert(0, ordered.pop(min(range(len(ordered)), key=lambda i: ordered[i].count)))
        return ordered

    def _tells_firmware(self, block: Block) -> bool:
        return self._firmware is not None and any(s.quantity is Quantity.FIRMWARE for s in block.specs)

    async def _try(self, block: Block) -> bool:
        """Read a block; False when it is refused."""
        answered = await self._ask(block)
        if answered is None:
            return False
        asked, answer = answered
        if asked.specs:
            self._answers.append(answered)
        self._answered.update(s.quantity for s in asked.specs)
        self._meter.undoubt(self._model.id, asked.range)
        if self._firmware is not None and self._tells_firmware(asked):
            self._firmware_asked = True
            told = decode(self._firmware, asked.words_of(self._firmware, answer.words))
            if told is not None:
                self._meter.firmware[self._model.id] = str(told)
        return True

    async def _ask(self, block: Block) -> tuple[Block, Answer] | None:
        try:
            return await self._turn.ask(block, closed=self._closed)
        except DeviceException as error:
            if error.exception_code not in REFUSING:
                raise
            self._refusal = error
            return None

    async def _search(self, block: Block, *, whole: bool = False) -> bool:
        """Of a block that was just refused, read what can be read; says whether that was all of it.

        `whole`: it is one of the plan's, so that its refusal has been said once only.
        """
        specs = block.specs
        if len(specs) == 1:
            if whole and await self._try(block):
                return True
            self._refused.add(specs[0].quantity)
            self._remember(block.range)
            return False
        middle = _widest_gap(specs)
        left, right = cover(specs[:middle], self._model.limits), cover(specs[middle:], self._model.limits)
        both = [await self._try(half) or await self._search(half) for half in (left, right)]
        if all(both) and right.address > left.range.last + 1 and await self._ask(block) is None:
            # Each half is fine alone: it is what lies between them that the meter does not have.
            self._remember(AddressRange(block.table, left.range.last + 1, right.address - 1))
        return all(both)

    def _remember(self, refused: AddressRange) -> None:
        """Remember it; on a link without numbers not before it is sure: see `_settle_a_doubt`."""
        if not self._turn.numbered:
            self._meter.doubted[self._model.id, refused] = None
            return
        self._plans.remember(self._meter, self._model, refused, self._clock.now_us())
        self._stats.refusals_found += 1

    async def _settle_a_doubt(self) -> None:
        """Ask alone, before all else, for registers that an earlier visit seemed to be refused without a number.

        An exception there tells unit and function, and may be one to a question before. A person who waits is not kept.
        """
        doubts = (where for model_id, where in self._meter.doubted if model_id == self._model.id)
        where = next(doubts, None)
        if where is None or self._turn.probing or self._turn.address.priority is Priority.COMMAND:
            return
        self._meter.undoubt(self._model.id, where)
        self._closed = self._plans.refused(self._meter, self._model)
        if await self._try(self._block_of(where)):
            return
        if self._turn.exception_certain:
            self._plans.remember(self._meter, self._model, where, self._clock.now_us())
            self._stats.refusals_found += 1
        else:
            self._meter.doubted[self._model.id, where] = None

    async def _learn_firmware(self) -> bool:
        """Where the meter can tell its firmware and has not: ask, because others of that firmware may have been refused
        the same already. True when it told."""
        if self._firmware is None or self._firmware_asked or self._model.id in self._meter.firmware:
            return False
        self._firmware_asked = True
        block = cover([self._firmware], self._model.limits)
        if touches(block.range, self._closed):
            return False
        return await self._try(block) and self._model.id in self._meter.firmware

    async def _ask_again_what_is_due(self) -> None:
        """Put one refusal whose remembrance is over to the test; a person who waits is not kept for it."""
        if self._turn.address.priority is Priority.COMMAND:
            return
        now_us = self._clock.now_us()
        known = self._plans.known(self._meter, self._model)
        due = next((r.range for r in known if r.until_us <= now_us), None)
        if due is None:
            return
        try:
            refused = not await self._try(self._block_of(due))
        except ResponseTimeout:
            refused = True  # some meters say nothing where others refuse
        if refused:
            self._plans.remember(self._meter, self._model, due, now_us)
        else:
            self._plans.forget(self._meter, self._model, due)

    def _block_of(self, where: AddressRange) -> Block:
        """One quantity's registers, or what lies between two."""
        specs = tuple(s for s in self._model.registers if where.overlaps(s.table, s.address, s.last))
        if specs:
            return cover(specs, self._model.limits)
        return Block(where.table, where.first, where.last - where.first + 1, ())

    def _all_refused(self) -> IllegalAddress:
        ranges = ", ".join(map(str, self._closed))
        return IllegalAddress(
            f"every wanted register is known to be refused: {ranges}", peer=self._turn.peer, exception_code=2
        )


def _widest_gap(specs: tuple[RegisterSpec, ...]) -> int:
    """Where to halve: before the register that follows the widest gap, nearest to the middle among equals."""
    middle = len(specs) / 2
    return max(range(1, len(specs)), key=lambda i: (specs[i].address - specs[i - 1].last, -abs(i - middle)))
