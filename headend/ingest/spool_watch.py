"""Tells operators, in the store, that a spool is full or its disk fails, and profiles what they are to tell again.

The rule it keeps: what was given up is told once the database is back, even if the spool was drained before anybody
looked; it is told by the spool's own book, which a kill -9 does not take.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from drivers.base import MeterIdentity
from headend.domain.alerts import AlertKind
from headend.domain.calendar import from_us
from headend.domain.clock import Clock
from headend.ingest.poll_outbox import kind_of
from headend.ingest.spool import Spool, SpoolState
from headend.ingest.spool_file import Hole, SpoolFailed
from headend.log import get_logger
from headend.metrics import STORE_ERRORS
from headend.store import profiles
from headend.store.alerts import clear, raise_alert
from headend.store.errors import StoreError
from headend.store.pool import Connection, Store
from headend.store.profiles import FoundGap

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Said:
    """What stands, in words; None: it does not."""

    full: str | None = None
    given_up: int = 0
    failed: str | None = None


class SpoolWatch:
    """Looks at one spool from time to time."""

    def __init__(
        self,
        spool: Spool,
        store: Store,
        *,
        meter_id_of: Callable[[MeterIdentity], int | None],
        every_s: float,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """`meter_id_of`: of a meter whose stored profile can be read back; None of any other."""
        self._spool = spool
        self._store = store
        self._meter_id_of = meter_id_of
        self._every_s = every_s
        self._clock = clock
        self._sleep = sleep
        self._subject = f"{socket.gethostname()}:{spool.directory}"
        self._told: _Said | None = None
        """None: an earlier process may have left something standing."""

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.check()
            except StoreError as error:
                STORE_ERRORS.labels(kind_of(error)).inc()
                _log.warning("the spool's alerts wait for the database", error=str(error))
            except SpoolFailed:
                pass  # said and counted where it happened
            await self._sleep(self._every_s)

    async def check(self) -> None:
        """Tell what is new. Raises StoreError, SpoolFailed; it is told the next time."""
        state = await self._spool.look()
        said, full_until = _said(state), state.totals.full_until
        over = full_until is not None and not state.totals.full
        if said == self._told and not over:
            return
        holes = await self._spool.holes() if over else []
        await asyncio.to_thread(self._tell, said, over, holes)
        if over and full_until is not None:
            await self._spool.forgive(full_until)
            said = _Said(failed=said.failed)
        self._told = said

    def _tell(self, said: _Said, over: bool, holes: Sequence[Hole]) -> None:
        now = self._clock()
        gaps = [
            FoundGap(meter_id=meter_id, from_at=from_us(hole.from_us), to_at=from_us(hole.to_us))
            for hole in holes
            if (meter_id := self._meter_id_of(MeterIdentity(hole.manufacturer, hole.serial))) is not None
        ]
        with self._store.transaction() as connection:
            profiles.note(connection, gaps, now=now)
            self._stand(connection, AlertKind.SPOOL_FULL, said.full, said.given_up, ended=over)
            self._stand(connection, AlertKind.SPOOL_FAILED, said.failed, None, ended=said.failed is None)

    def _stand(
        self, connection: Connection, kind: AlertKind, detail: str | None, value: float | None, *, ended: bool
    ) -> None:
        now = self._clock()
        if detail is not None:
            raise_alert(connection, kind, self._subject, detail=detail, value=value, now=now)
        if ended or detail is None:
            clear(connection, kind, [self._subject], now)


def _said(state: SpoolState) -> _Said:
    given_up = sum(state.given_up.values())
    full = None
    if state.totals.full_until is not None:
        by_class = ", ".join(f"{count} {_WORDS[kind]}" for kind, count in state.given_up.items() if count)
        full = (
            f"the spool of polled readings was full; given up: {by_class or 'nothing'}. "
            "Get the database going, or raise poll.spool_mb"
        )
    failed = state.trouble
    if failed is None and state.damaged:
        names = ", ".join(str(path) for path in state.damaged)
        failed = f"damaged spools were set aside: {names}. Recover them (sqlite3 FILE .recover), then remove them"
    return _Said(full, given_up, failed)


_WORDS = {
    "stored_profile": "that the meters' stored profiles tell again",
    "between": "between two that are kept (their energy is in the later one)",
    "oldest": "of the oldest rounds",
}
