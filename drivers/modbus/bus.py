"""One bus = one connection = one question at a time: reads whole meters, whatever the field does to single answers.

The rules it keeps: a silent meter costs its own time-outs and nobody else's; an address that a meter refuses is found
by halving, remembered, and the rest is still read in the same visit; a value is taken only from an answer that fits its
question in every byte.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from drivers.base import Quantity, RegisterReading
from drivers.errors import (
    ConnectionFailed,
    DeviceException,
    DriverConfigError,
    IllegalAddress,
    MalformedResponse,
    PeerError,
    ResponseTimeout,
)
from drivers.modbus.clock import Clock, SystemClock
from drivers.modbus.gate import Priority, PriorityGate
from drivers.modbus.link import Answer, Link
from drivers.modbus.model import MeterModel
from drivers.modbus.plan import Block, cover, plan
from drivers.modbus.refusals import ForgettingRefusals, MeterKey, RefusalMemory
from drivers.modbus.register_map import AddressRange, Limits, RegisterSpec
from drivers.modbus.snapshot import Snapshot, to_reading

_PlanKey = tuple[str, frozenset[Quantity] | None, tuple[AddressRange, ...]]
_PLANS_KEPT: Final = 1000
_REFUSING: Final = {2, 3}
"""Exception codes that speak of the addresses asked for; 3 is what some meters say to a block across a hole."""
_PASSING: Final = {5, 6, 10, 11}
"""Exception codes that may be gone at the next try: still working, busy, gateway found nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """How one bus is used."""

    timeout_s: float = 1.0
    """Longest wait for one answer."""
    connect_timeout_s: float = 5.0
    retries: int = 1
    """Further tries of one request after silence, a broken answer, a lost connection or a busy device."""
    turnaround_s: float = 0.0
    """Rest between an answer and the next question; slow converters lose requests without it."""
    busy_delay_s: float = 0.2
    """Rest before asking a busy device again."""
    reconnect_after: int = 4
    """Time-outs in a row, of whichever meters, after which the connection is taken for dead and made anew."""
    backoff_s: float = 1.0
    """Rest after a failed connection attempt; doubles up to `backoff_max_s`, jittered to 50–100 %."""
    backoff_max_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("timeout_s", "connect_timeout_s", "reconnect_after", "backoff_s", "backoff_max_s"):
            if not getattr(self, name) > 0:
                raise DriverConfigError(f"{name} = {getattr(self, name)}: wanted a number greater than 0")
        for name in ("retries", "turnaround_s", "busy_delay_s"):
            if not getattr(self, name) >= 0:
                raise DriverConfigError(f"{name} = {getattr(self, name)}: wanted 0 or more")


@dataclass(slots=True)
class BusStats:
    """What happened on a bus since it was made; for counters that only grow."""

    requests: int = 0
    timeouts: int = 0
    malformed: int = 0
    exceptions: int = 0
    connects: int = 0
    connect_failures: int = 0
    connections_lost: int = 0


@dataclass(frozen=True, slots=True)
class ModbusAddress:
    """One meter on a bus."""

    unit: int
    """Unit id (slave address) 0..255."""
    model: MeterModel
    priority: Priority = Priority.HOUSEHOLD

    def __post_init__(self) -> None:
        if not 0 <= self.unit <= 255:
            raise DriverConfigError(f"unit = {self.unit}: wanted 0..255")


@dataclass(slots=True)
class _Visit:
    """One meter's reading in the making."""

    address: ModbusAddress
    key: MeterKey
    answers: list[tuple[Block, Answer]] = field(default_factory=list)
    missing: list[Quantity] = field(default_factory=list)
    refusal: DeviceException | None = None

    @property
    def limits(self) -> Limits:
        return self.address.model.limits


class ModbusBus:
    """A `MeterDriver` for all meters behind one link."""

    def __init__(
        self,
        link: Link,
        settings: BusSettings | None = None,
        *,
        clock: Clock | None = None,
        refusals: RefusalMemory | None = None,
        jitter: random.Random | None = None,
    ) -> None:
        self._link = link
        self._settings = settings or BusSettings()
        self._clock = clock or SystemClock()
        self._refusals = refusals or ForgettingRefusals(self._clock)
        self._jitter = jitter or random.Random()
        self._gate = PriorityGate()
        self._plans: dict[_PlanKey, tuple[MeterModel, tuple[Block, ...], tuple[Quantity, ...]]] = {}
        self._silent = 0
        self._failed_connects = 0
        self._connect_again_at = float("-inf")
        self._quiet_until = float("-inf")
        self.stats = BusStats()

    @property
    def peer(self) -> str:
        """The gateway, as a person would look for it."""
        return self._link.peer

    async def read_meter(
        self,
        unit: int,
        model: MeterModel,
        quantities: frozenset[Quantity] | None = None,
        *,
        priority: Priority = Priority.HOUSEHOLD,
    ) -> RegisterReading:
        """Read one meter now: the wanted quantities that its model has, all of them for None.

        Raises `PeerError` when nothing at all could be read; what is missing otherwise stands in `refused`.
        """
        return await self.read(ModbusAddress(unit, model, priority), quantities)

    async def read(self, address: ModbusAddress, quantities: frozenset[Quantity] | None = None) -> RegisterReading:
        """`read_meter` as the `MeterDriver` protocol has it."""
        return to_reading(await self.visit(address, quantities))

    async def visit(self, address: ModbusAddress, quantities: frozenset[Quantity] | None = None) -> Snapshot:
        """Read one meter now and give every answer as it came, with its times; errors as in `read_meter`."""
        async with self._gate.turn(address.priority):
            return await self._visit(address, quantities)

    async def close(self) -> None:
        """Close the connection once nobody uses it; a later reading opens it again."""
        async with self._gate.turn(Priority.COMMAND):
            await self._link.close()

    def _plan(
        self, model: MeterModel, quantities: frozenset[Quantity] | None, refused: tuple[AddressRange, ...]
    ) -> tuple[tuple[Block, ...], tuple[Quantity, ...]]:
        """The requests for what is wanted and readable, and the quantities that are known to be refused."""
        key = (model.id, quantities, refused)
        if key in self._plans and self._plans[key][0] is model:
            return self._plans[key][1:]
        wanted = model.specs(quantities)
        if not wanted:
            names = ", ".join(sorted(quantities or ()))
            raise DriverConfigError(f"model {model.id} has none of the wanted quantities: {names}")
        readable = [s for s in wanted if not _touches(cover([s], model.limits).range, refused)]
        missing = tuple(s.quantity for s in wanted if s not in readable)
        blocks = plan(readable, model.limits, refused=refused)
        if len(self._plans) >= _PLANS_KEPT:
            self._plans.clear()
        self._plans[key] = (model, blocks, missing)
        return blocks, missing

    async def _visit(self, address: ModbusAddress, quantities: frozenset[Quantity] | None) -> Snapshot:
        key = MeterKey(self.peer, address.unit, address.model.id)
        refused = tuple(sorted(self._refusals.known(key)))
        blocks, missing = self._plan(address.model, quantities, refused)
        visit = _Visit(address, key, missing=list(missing))
        ended_by: PeerError | None = None
        for i, block in enumerate(blocks):
            try:
                await self._read_block(visit, block)
            except PeerError as error:
                # Silent, broken or gone: it would be no better for the rest, and the neighbours are waiting.
                got = {s.quantity for b, _ in visit.answers for s in b.specs} | set(visit.missing)
                visit.missing += [s.quantity for b in blocks[i:] for s in b.specs if s.quantity not in got]
                ended_by = error
                break
        if visit.answers:
            return Snapshot(address.model, tuple(visit.answers), tuple(visit.missing), ended_by)
        raise ended_by or visit.refusal or _all_refused(f"{self.peer} unit {address.unit}", refused)

    async def _read_block(self, visit: _Visit, block: Block) -> bool:
        """Read a block, or what of it can be read; says whether all of it could."""
        try:
            answer = await self._ask(visit.address, block)
        except DeviceException as error:
            if error.exception_code not in _REFUSING:
                raise
            visit.refusal = error
        else:
            visit.answers.append((block, answer))
            return True
        if len(block.specs) == 1:
            visit.missing.append(block.specs[0].quantity)
            self._refusals.remember(visit.key, block.range)
            return False
        middle = _widest_gap(block.specs)
        left, right = cover(block.specs[:middle], visit.limits), cover(block.specs[middle:], visit.limits)
        both = [await self._read_block(visit, half) for half in (left, right)]
        if all(both) and right.address > left.range.last + 1:
            # Each half is fine alone: it is what lies between them that the meter does not have.
            between = AddressRange(block.table, left.range.last + 1, right.address - 1)
            self._refusals.remember(visit.key, between)
        return all(both)

    async def _ask(self, address: ModbusAddress, block: Block) -> Answer:
        tries_left = self._settings.retries
        while True:
            await self._connect()
            await self._rest()
            try:
                return await self._ask_once(address, block)
            except (ResponseTimeout, MalformedResponse, ConnectionFailed):
                if not tries_left:
                    raise
            except DeviceException as error:
                if not tries_left or error.exception_code not in _PASSING:
                    raise
                await self._clock.sleep(self._settings.busy_delay_s)
            tries_left -= 1

    async def _ask_once(self, address: ModbusAddress, block: Block) -> Answer:
        self.stats.requests += 1
        try:
            answer = await self._link.read(
                unit=address.unit,
                function=address.model.limits.function_codes[block.table],
                address=block.address,
                count=block.count,
                timeout_s=self._settings.timeout_s,
            )
        except ResponseTimeout:
            self.stats.timeouts += 1
            self._silent += 1
            if self._silent >= self._settings.reconnect_after:
                await self._link.close()
                self._silent = 0
            raise
        except MalformedResponse:
            self.stats.malformed += 1
            raise
        except ConnectionFailed:
            self.stats.connections_lost += 1
            raise
        except DeviceException:
            self.stats.exceptions += 1
            self._silent = 0
            raise
        finally:
            self._quiet_until = self._clock.monotonic() + self._settings.turnaround_s
        self._silent = 0
        return answer

    async def _rest(self) -> None:
        rest_s = self._quiet_until - self._clock.monotonic()
        if rest_s > 0:
            await self._clock.sleep(rest_s)

    async def _connect(self) -> None:
        """Be connected, or raise `ConnectionFailed` at once while the last failure is recent."""
        if self._link.connected:
            return
        wait_s = self._connect_again_at - self._clock.monotonic()
        if wait_s > 0:
            raise ConnectionFailed(f"down; the next attempt is in {wait_s:.1f} s", peer=self.peer)
        try:
            await self._link.connect(self._settings.connect_timeout_s)
        except ConnectionFailed:
            self.stats.connect_failures += 1
            rest_s = min(self._settings.backoff_max_s, self._settings.backoff_s * 2 ** min(self._failed_connects, 16))
            self._failed_connects += 1
            self._connect_again_at = self._clock.monotonic() + rest_s * self._jitter.uniform(0.5, 1.0)
            raise
        self.stats.connects += 1
        self._failed_connects = 0
        self._silent = 0


def _touches(where: AddressRange, ranges: Collection[AddressRange]) -> bool:
    return any(r.overlaps(where.table, where.first, where.last) for r in ranges)


def _widest_gap(specs: tuple[RegisterSpec, ...]) -> int:
    """Where to halve: before the register that follows the widest gap, nearest to the middle among equals."""
    middle = len(specs) / 2
    return max(range(1, len(specs)), key=lambda i: (specs[i].address - specs[i - 1].last, -abs(i - middle)))


def _all_refused(peer: str, refused: Collection[AddressRange]) -> IllegalAddress:
    ranges = ", ".join(map(str, sorted(refused)))
    return IllegalAddress(f"every wanted register is known to be refused: {ranges}", peer=peer, exception_code=2)
