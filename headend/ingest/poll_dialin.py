"""The modems that dial in to this process: the listener of the settings, what it turns away, and who is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from drivers.modbus.clock import SystemClock
from drivers.modbus.dialin import DialInServer, Modem, Refused
from drivers.modbus.dialin_settings import dialin_settings
from headend.domain.calendar import from_us
from headend.domain.clock import Clock
from headend.ingest.poll_outbox import kind_of
from headend.log import get_logger
from headend.metrics import DIALIN_MODEMS, DIALIN_REFUSED, STORE_ERRORS
from headend.settings import Settings
from headend.store import polling
from headend.store.errors import StoreError
from headend.store.polling import ModemState
from headend.store.pool import Store

_HEARD_US: Final = 60_000_000
"""A heartbeat alone is worth a write once so long."""
_FORGOTTEN_AFTER: Final = timedelta(days=90)
_log = get_logger(__name__)


class DialIn:
    """One listener and what the store knows of its modems."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        every_s: float,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """Raises `DriverConfigError` when `poll.dialin` is wrong."""
        self._store = store
        self._every_s = every_s
        self._clock = clock
        self._sleep = sleep
        self._written: dict[str, Modem] = {}
        self._counted = 0
        self._begun = False
        self.server = DialInServer(
            dialin_settings(settings.poll.dialin or {}),
            clock=SystemClock(clock),
            on_registered=_registered,
            on_refused=_refused,
        )

    async def start(self) -> None:
        """Listen. Raises `DriverConfigError` where the address cannot be had."""
        await self.server.start()
        _log.info("listening for modems that dial in", port=self.server.port)

    async def stop(self) -> None:
        """Close the port and every connection."""
        await self.server.stop()
        self._count(0)

    async def run(self) -> None:
        """Write who is there, for ever."""
        while True:
            try:
                await self.flush()
            except StoreError as error:
                STORE_ERRORS.labels(kind_of(error)).inc()
                _log.warning("states of modems wait for the database", error=str(error))
            await self._sleep(self._every_s)

    async def flush(self) -> None:
        """Write the modems whose state changed. Raises StoreError; they are written the next time then."""
        modems = self.server.modems()
        self._count(sum(m.connected for m in modems))
        changed = [m for m in modems if _worth_writing(self._written.get(m.id), m)]
        if changed or not self._begun:
            await asyncio.to_thread(self._save, changed)
            self._begun = True
            self._written |= {m.id: m for m in changed}

    def _count(self, connected: int) -> None:
        DIALIN_MODEMS.inc(connected - self._counted)
        self._counted = connected

    def _save(self, modems: list[Modem]) -> None:
        states = [
            ModemState(
                modem=m.id,
                peer=m.peer,
                connected=m.connected,
                in_use=m.in_use,
                registered_at=from_us(m.since_us),
                heard_at=from_us(m.heard_us),
                registrations=m.registrations,
            )
            for m in modems
        ]
        now = self._clock()
        with self._store.transaction() as connection:
            if not self._begun:
                polling.modems_gone(connection, now=now)
                polling.forget_modems(connection, before=now - _FORGOTTEN_AFTER)
            polling.save_modems(connection, states, now=now)


def _worth_writing(before: Modem | None, now: Modem) -> bool:
    if before is None or now.heard_us - before.heard_us >= _HEARD_US:
        return True
    same = ("peer", "connected", "in_use", "since_us", "registrations")
    return any(getattr(before, name) != getattr(now, name) for name in same)


def _registered(modem: Modem, replaced: str | None) -> None:
    if replaced is not None:
        _log.warning("modem came twice, the newer connection stays", modem=modem.id, at=modem.peer, before=replaced)
    else:
        _log.info("modem registered", modem=modem.id, at=modem.peer, times=modem.registrations)


def _refused(refused: Refused) -> None:
    DIALIN_REFUSED.labels(refused.refusal.value).inc()
    _log.warning("modem refused", at=refused.peer, reason=refused.refusal.value, detail=refused.detail)
