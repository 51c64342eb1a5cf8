"""Registers that meters refuse, remembered over restarts: answers from memory, writes behind, follows the store.

The rule it keeps: the bus never waits for the database. What was found while the database is away is kept until it is
back; what a person had forgotten in the store is asked again from the next look on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from drivers.modbus.endpoint import parse_endpoint
from drivers.modbus.refusals import FirmwareKey, MeterKey, Refusal, RefusalKey
from drivers.modbus.register_map import AddressRange, Table
from headend.domain.calendar import from_us, to_us
from headend.domain.clock import Clock
from headend.ingest.poll_outbox import kind_of
from headend.log import get_logger
from headend.metrics import MODBUS_REFUSALS_FOUND, STORE_ERRORS
from headend.store import refusals
from headend.store.errors import StoreError
from headend.store.pool import Store
from headend.store.refusals import FoundRefusal, StoredRefusal

_GONE_AFTER: Final = 2
"""Expired for so many times as long as one is kept: nobody is there any more who could be asked again."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Change:
    """What was learnt of one range and is not in the store yet."""

    refusal: Refusal
    answered: bool
    """It was asked again and answered: the store shall drop it."""


class KeptRefusals:
    """A `RefusalMemory` on the table register_refusal."""

    def __init__(
        self,
        store: Store,
        *,
        keep_s: float,
        bus_of: Callable[[str], str | None],
        check_s: float,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """`bus_of`: peer as the bus names itself → URI of the bus. `check_s`: how often the store is looked at."""
        self._store = store
        self._keep_s = keep_s
        self._bus_of = bus_of
        self._check_s = check_s
        self._clock = clock
        self._sleep = sleep
        self._stored: Mapping[RefusalKey, Mapping[AddressRange, Refusal]] = {}
        self._changes: dict[tuple[RefusalKey, AddressRange], _Change] = {}
        self._nobodys: dict[tuple[RefusalKey, AddressRange], _Change] = {}
        """Of meters that the store does not know: as long as the process lives."""

    def known(self, key: RefusalKey) -> Collection[Refusal]:
        """See `RefusalMemory.known`."""
        found = dict(self._stored.get(key, {}))
        for changes in (self._nobodys, self._changes):
            for (whose, where), change in changes.items():
                if whose == key and change.answered:
                    found.pop(where, None)
                elif whose == key:
                    found[where] = change.refusal
        return tuple(found.values())

    def remember(self, key: RefusalKey, refused: AddressRange, at_us: int, found_by: MeterKey) -> None:
        """See `RefusalMemory.remember`."""
        MODBUS_REFUSALS_FOUND.inc()
        _log.info("registers refused", model=found_by.model_id, registers=str(refused), at=_place(found_by))
        refusal = Refusal(refused, at_us, found_by, at_us + round(self._keep_s * 1e6))
        self._changes[key, refused] = _Change(refusal, answered=False)

    def forget(self, key: RefusalKey, refused: AddressRange) -> None:
        """See `RefusalMemory.forget`."""
        _log.info("registers no longer refused", model=key.model_id, registers=str(refused))
        self._nobodys.pop((key, refused), None)
        asked = key if isinstance(key, MeterKey) else MeterKey("", 0, key.model_id)
        self._changes[key, refused] = _Change(Refusal(refused, 0, asked, 0), answered=True)

    async def run(self) -> None:
        """Keep memory and store together, for ever."""
        while True:
            try:
                await self.sync()
            except StoreError as error:
                STORE_ERRORS.labels(kind_of(error)).inc()
                _log.warning("refused registers wait for the database", changes=len(self._changes), error=str(error))
            await self._sleep(self._check_s)

    async def sync(self) -> None:
        """Write what was found, and take over what is stored. Raises StoreError; nothing is lost then."""
        changes = dict(self._changes)
        stored, homeless = await asyncio.to_thread(self._exchange, changes)
        self._stored = _by_key(stored)
        for place, change in changes.items():
            if self._changes.get(place) is change:
                del self._changes[place]
            if place in homeless:
                self._nobodys[place] = change

    def _exchange(
        self, changes: Mapping[tuple[RefusalKey, AddressRange], _Change]
    ) -> tuple[list[StoredRefusal], set[tuple[RefusalKey, AddressRange]]]:
        found = {place: self._found(place[0], change) for place, change in changes.items() if not change.answered}
        answered = [self._found(place[0], change) for place, change in changes.items() if change.answered]
        with self._store.transaction() as connection:
            kept = refusals.remember(connection, list(found.values()))
            refusals.answered(connection, answered)
            gone = self._clock() - timedelta(seconds=self._keep_s * _GONE_AFTER)
            refusals.purge(connection, before=gone)
            stored = refusals.kept(connection)
        return stored, {place for place, whether in zip(found, kept, strict=True) if not whether}

    def _found(self, key: RefusalKey, change: _Change) -> FoundRefusal:
        refusal = change.refusal
        return FoundRefusal(
            model=key.model_id,
            firmware=key.firmware if isinstance(key, FirmwareKey) else None,
            bus=self._bus_of(refusal.found_by.peer) or "",
            unit=refusal.found_by.unit,
            table=refusal.range.table.value,
            first=refusal.range.first,
            last=refusal.range.last,
            found_at=from_us(refusal.found_us),
            expires_at=from_us(refusal.until_us),
        )


def _by_key(stored: Collection[StoredRefusal]) -> dict[RefusalKey, dict[AddressRange, Refusal]]:
    found: dict[RefusalKey, dict[AddressRange, Refusal]] = {}
    for one in stored:
        if one.bus is None or one.unit is None:
            if one.firmware is None:
                continue  # its meter hangs nowhere: there is nobody to ask
            meter = MeterKey("", 0, one.model)
        else:
            meter = MeterKey(parse_endpoint(one.bus).peer, one.unit, one.model)
        key = meter if one.firmware is None else FirmwareKey(one.model, one.firmware)
        where = AddressRange(Table(one.table), one.first, one.last)
        found.setdefault(key, {})[where] = Refusal(where, to_us(one.found_at), meter, to_us(one.expires_at))
    return found


def _place(meter: MeterKey) -> str:
    return f"{meter.peer} unit {meter.unit}"
