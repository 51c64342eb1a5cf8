"""One meter's turn on the bus: questions to it, with the patience and the second tries that it deserves.

The rules it keeps: a meter that rests is asked one question, once, and only when its probe is due or a person waits; a
write is never tried again; on a link without numbers no question is put that an answer to an earlier one would fit.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from drivers.base import Quantity
from drivers.errors import (
    ConnectionFailed,
    DeviceException,
    MalformedResponse,
    PeerError,
    ResponseTimeout,
)
from drivers.modbus.address import ModbusAddress
from drivers.modbus.bus_settings import BusSettings, BusStats
from drivers.modbus.clock import Clock
from drivers.modbus.features import WriteTarget
from drivers.modbus.gate import Hold, Priority
from drivers.modbus.link import Answer
from drivers.modbus.meters import KnownMeter, KnownMeters
from drivers.modbus.plan import Block
from drivers.modbus.plan_book import PlanBook
from drivers.modbus.register_map import AddressRange
from drivers.modbus.shapes import Shape, exception_to, longer
from drivers.modbus.snapshot import Snapshot
from drivers.modbus.visit import REFUSING, Visit
from drivers.modbus.wire import Wire, write_shape

_BUSY: Final = frozenset({5, 6})
"""Still working on it, busy: may be gone at the next try."""
_NOBODY: Final = frozenset({10, 11})
"""The gateway found no path, or nobody on it: silence, told by somebody else."""
_PADDINGS_TRIED: Final = 2
_UNLOCK: Final = 16


class Turn:
    """The bus while one meter has it: several questions that nobody else's come between.

    A turn of `Priority.BACKFILL` lets the more urgent in between its questions.
    """

    def __init__(
        self,
        address: ModbusAddress,
        *,
        wire: Wire,
        hold: Hold,
        meters: KnownMeters,
        plans: PlanBook,
        settings: BusSettings,
        clock: Clock,
        stats: BusStats,
    ) -> None:
        self.address = address
        self.meter: KnownMeter = meters.of(address.unit)
        self._wire = wire
        self._hold = hold
        self._meters = meters
        self._plans = plans
        self._settings = settings
        self._clock = clock
        self._stats = stats
        self._brought = False
        self._silent = False
        self.exception_certain = True
        """Whether an exception to the last question could be to none before it."""

    @property
    def peer(self) -> str:
        """The meter, as a person would look for it."""
        return f"{self._wire.peer} unit {self.address.unit}"

    @property
    def numbered(self) -> bool:
        """Whether an answer tells its question by number."""
        return self._wire.numbered

    @property
    def probing(self) -> bool:
        """Whether the meter rests and has not answered in this turn: its next question is a single one."""
        return self.meter.breaker.opened_at is not None

    async def read(self, where: AddressRange, timeout_s: float | None = None) -> Answer:
        """Read these registers as they are, tried again as usual; `timeout_s` in place of what was learnt.

        Raises `PeerError`; registers that are refused are an error here, and nothing is remembered of it.
        """
        block = Block(where.table, where.first, where.last - where.first + 1, ())
        closed = () if self._wire.numbered else self._plans.refused(self.meter, self.address.model)
        asked, answer = await self.ask(block, closed=closed, timeout_s=timeout_s)
        start = block.address - asked.address
        return replace(answer, words=answer.words[start : start + block.count])

    async def write(self, target: WriteTarget, words: tuple[int, ...]) -> Answer:
        """Write `words`, after what the target wants written before.

        Never tried again: after any `PeerError` but a `DeviceException` nobody knows whether the meter obeyed.
        """
        for address, unlocking in target.unlock:
            await self._write_once(_UNLOCK, address, unlocking)
        return await self._write_once(target.function, target.address, words)

    async def make_way(self, target: WriteTarget, words: tuple[int, ...]) -> None:
        """Let pass whatever would hold up `write` with these, or with others that look like them: see `write_waits`."""
        await self._my_turn()
        await self._wait_out(*self._answers_to(target, words))

    def write_waits(self, target: WriteTarget, words: tuple[int, ...]) -> bool:
        """Whether `write` would not leave at once: for a connection, or for late answers."""
        return not self._wire.connected or any(map(self._wire.wait_s, self._answers_to(target, words)))

    def _answers_to(self, target: WriteTarget, words: tuple[int, ...]) -> list[Shape]:
        """All that can look like an answer to a write, and to what unlocks it."""
        steps = [(_UNLOCK, *step) for step in target.unlock] + [(target.function, target.address, words)]
        echoes = [write_shape(self.address.unit, *step) for step in steps]
        return [*echoes, *map(exception_to, echoes)]

    async def visit(self, quantities: frozenset[Quantity] | None = None) -> Snapshot:
        """Read the wanted quantities that the model has (all for None); see `ModbusBus.visit`."""
        return await Visit(self, self._plans, self._clock, self._stats).run(quantities)

    async def ask(
        self, block: Block, *, closed: Collection[AddressRange] = (), timeout_s: float | None = None
    ) -> tuple[Block, Answer]:
        """Ask for a block, tried again as usual: what was asked for in the end (all of it and perhaps some registers
        more, none of them `closed`), and the answer. Raises `PeerError`."""
        tries_left = self._settings.retries
        repeated = False
        while True:
            await self._my_turn()  # before a shape is chosen: whoever goes first may ask the same meter
            try:
                if self._wire.numbered:
                    return block, await self._ask_once(block, repeated, timeout_s)
                return await self._ask_apart(block, closed, repeated, timeout_s)
            except PeerError as error:
                if not tries_left or not self._worth_another_try(error):
                    raise
                if not self._wire.numbered and self._apart(block, closed) is None:
                    raise  # waiting until no late answer can come is for the next round
                if isinstance(error, DeviceException):
                    await self._clock.sleep(self._settings.busy_delay_s)
            tries_left -= 1
            repeated = True
            self._stats.retries += 1

    async def ended(self) -> None:
        """The turn is over: a meter that was asked and brought nothing has failed once more.

        Was it the last that still answered, then perhaps nobody listens at the other end of this connection.
        """
        if self._silent and not self._brought and self._meters.failed(self.meter):
            await self._wire.close()

    def _worth_another_try(self, error: PeerError) -> bool:
        if self.probing and not isinstance(error, ConnectionFailed):
            return False  # a probe is a single question
        match error:
            case MalformedResponse():
                return True
            case ConnectionFailed():
                return self._wire.down_s() == 0  # lost, rather than not made
            case ResponseTimeout():
                return self._meters.retries(self.meter) > 0
            case DeviceException(exception_code=code):
                return code in _BUSY or (code in _NOBODY and self._meters.retries(self.meter) > 0)
            case _:
                return False

    async def _ask_apart(
        self, block: Block, closed: Collection[AddressRange], repeated: bool, timeout_s: float | None
    ) -> tuple[Block, Answer]:
        """Ask so that no answer to an earlier question fits: as it is, longer, or once none can come any more."""
        for _ in range(_PADDINGS_TRIED):
            asked = self._apart(block, closed)
            if asked is None:
                break
            try:
                answer = await self._ask_once(asked, repeated, timeout_s)
            except DeviceException as error:
                if asked.count == block.count or error.exception_code not in REFUSING:
                    raise
                self._stats.reshaped += 1
                if self.meter.has_answered(block.range):
                    self.meter.no_padding |= set(_around(block, asked))
                elif len(block.specs) > 1:
                    raise  # its halves will tell
                else:
                    break  # the padding or the block? Only the block alone can tell
            else:
                if self._wire.doubtful:
                    break
                self._stats.reshaped += asked.count != block.count
                self.meter.answered_for(asked.range)
                return asked, answer
        while True:
            await self._wait_out(self._shape(block))
            answer = await self._ask_once(block, repeated, timeout_s)
            if not self._wire.doubtful:
                self.meter.answered_for(block.range)
                return block, answer

    def _apart(self, block: Block, closed: Collection[AddressRange]) -> Block | None:
        """The block itself, or the least of it with registers around it that looks like nothing lately asked for.

        Where none does, the block itself once more if only answers can come again whose words are known.
        """
        if self._wire.clear(self._shape(block)):
            return block
        candidates = longer(block, self.address.model, (*closed, *self.meter.no_padding))
        known = None if self._wire.wait_s(self._shape(block)) else block
        return next((b for b in candidates if self._wire.clear(self._shape(b))), known)

    async def _wait_out(self, *shapes: Shape) -> None:
        """Let the time pass in which a late answer could come. Others have the bus meanwhile, unless a person waits."""
        while (wait_s := max(map(self._wire.wait_s, shapes))) > 0:
            self._stats.waited_out += 1
            if self.address.priority is Priority.COMMAND:
                await self._clock.sleep(wait_s)
            else:
                async with self._hold.away():
                    await self._clock.sleep(wait_s)
                self._refuse_resting()

    def _shape(self, block: Block) -> Shape:
        return (self.address.unit, self._function(block), block.count)

    def _function(self, block: Block) -> int:
        return self.address.model.limits.function_codes[block.table]

    async def _ask_once(self, block: Block, repeated: bool, timeout_s: float | None) -> Answer:
        meter = self.meter
        self.exception_certain = not self._wire.wait_s(exception_to(self._shape(block)))
        self._stats.probes += self.probing
        meter.last_count = block.count
        behind_s = self._wire.gateway_busy_s()
        wait_s = behind_s + (meter.patience.timeout_s(block.count) if timeout_s is None else timeout_s)
        try:
            answer = await self._wire.read(
                self.address.unit,
                self._function(block),
                block.address,
                block.count,
                wait_s,
                silence_expected=self.probing,
            )
        except PeerError as error:
            self._failed(error)
            raise
        certain = behind_s == 0 and (self._wire.numbered or not (repeated or self._wire.doubtful))
        meter.patience.answered(block.count, answer.span_us / 1e6, certain=certain)
        self._answered()
        return answer

    async def _write_once(self, function: int, address: int, words: tuple[int, ...]) -> Answer:
        await self._my_turn()
        shape = write_shape(self.address.unit, function, address, words)
        await self._wait_out(shape, exception_to(shape))  # a refusal of another write would say that this one was none
        self._stats.probes += self.probing
        # Relays and memories take their time, and a write given up too early cannot be tried again.
        wait_s = self._settings.timeout_s + self._wire.gateway_busy_s()
        try:
            answer = await self._wire.write(self.address.unit, function, address, words, wait_s)
        except PeerError as error:
            self._failed(error)
            raise
        self._answered()
        return answer

    async def _my_turn(self) -> None:
        """Let the more urgent go first where this turn should, and do not ask a meter that rests."""
        if self.address.priority is Priority.BACKFILL:
            await self._hold.give_way()
        self._refuse_resting()

    def _refuse_resting(self) -> None:
        if self.probing:
            self._meters.refuse_resting(self.address, self._wire.peer)

    def _answered(self) -> None:
        self.meter.successes += 1
        self.meter.heard(True)
        self._brought = True
        self._meters.alive(self.meter)

    def _failed(self, error: PeerError) -> None:
        match error:
            case ConnectionFailed():
                pass  # nobody's fault on this bus
            case DeviceException(exception_code=code) if code not in _NOBODY:
                self._brought = True
                self._meters.alive(self.meter)
            case _:
                self._silent = True
                self.meter.timeouts += isinstance(error, ResponseTimeout)
                self.meter.heard(False)
                if isinstance(error, ResponseTimeout):
                    self.meter.patience.timed_out()


def _around(block: Block, asked: Block) -> list[AddressRange]:
    """What `asked` has beside `block`."""
    sides = [(asked.address, block.address - 1), (block.range.last + 1, asked.range.last)]
    return [AddressRange(block.table, first, last) for first, last in sides if first <= last]
