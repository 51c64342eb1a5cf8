"""Role *poll*: reads every Modbus meter that serves, on the UTC grid, and executes live reads on the same buses.

One task a bus (meters behind one host:port share a connection, and nobody else opens a second one), one that looks for
changed endpoints, one that looks for live reads, one that writes. What was read waits in memory while the database is
away (see `poll_outbox`; a spool on disk comes later).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from drivers.modbus.bus import BusSettings, ModbusBus
from drivers.modbus.clock import SystemClock
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from drivers.registry import open_bus
from headend.domain.clock import Clock
from headend.domain.topology import PollTarget
from headend.ingest.poll_bus import BusPoller, RoundResult, Sleep, by_bus
from headend.ingest.poll_items import RoundWriter
from headend.ingest.poll_outbox import Outbox, kind_of
from headend.ingest.requests import RequestExecutor
from headend.log import get_logger
from headend.metrics import ROLE_FAILURES, STORE_ERRORS
from headend.settings import Settings
from headend.store.errors import StoreError
from headend.store.pool import Store
from headend.store.topology import poll_fingerprint, poll_targets

_AGAIN_S: Final = 1.0
"""Rest before a loop that failed by a mistake of ours is started again."""
_LAST_WRITE_S: Final = 5.0
"""How long a stop waits for the database to take what is held."""
_LONGEST_BACKOFF_S: Final = 60.0
"""Longest rest between two attempts to connect to a gateway."""
_log = get_logger(__name__)

Address = tuple[str, int]
"""Host and port of a bus."""


class PollService:
    """Everything of the role in one event loop."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, *, sleep: Sleep = asyncio.sleep) -> None:
        """Raises `DriverConfigError` when a register map of `poll.models_dir` is wrong."""
        self._store = store
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._models: Mapping[str, MeterModel] = load_models(settings.poll.models_dir)
        self._writer = RoundWriter(store, settings, clock)
        self._outbox: Outbox[RoundResult] = Outbox(self._write, hold=settings.poll.hold_readings, sleep=sleep)
        self._buses: dict[Address, ModbusBus] = {}
        self._pollers: dict[Address, tuple[BusPoller, asyncio.Task[None]]] = {}
        self._fingerprint: tuple[int, int] | None = None
        self._requests = RequestExecutor(
            store,
            self._models,
            lambda target: self._bus(target.bus),
            check_s=settings.poll.request_check_s,
            clock=clock,
            sleep=sleep,
        )

    @property
    def held(self) -> int:
        """Readings that the database does not have yet."""
        return self._outbox.held

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop`; what was read by then is written if the database takes it soon."""
        loops = [
            asyncio.create_task(self._supervised("write", self._outbox.run)),
            asyncio.create_task(self._supervised("reload", self._reload_for_ever)),
            asyncio.create_task(self._supervised("requests", self._requests.run)),
        ]
        try:
            await stop.wait()
        finally:
            await _cancel([*loops[1:], *(task for _, task in self._pollers.values())])
            await _cancel(loops[:1])
            await self._write_the_rest()
            for bus in self._buses.values():
                await bus.close()

    async def reload(self) -> bool:
        """Take over changed endpoints; False when nothing had changed. Raises StoreError."""
        found = await asyncio.to_thread(self._load)
        if found is None:
            return False
        self._fingerprint, targets = found
        wanted = by_bus(targets)
        for address in [a for a in self._pollers if a not in wanted]:
            _, task = self._pollers.pop(address)
            await _cancel([task])
            # The bus stays open for live reads; there are few of these.
        for address, members in wanted.items():
            if address not in self._pollers:
                poller = self._poller(address)
                poller.targets = members
                self._pollers[address] = (poller, asyncio.create_task(self._supervised("bus", poller.run)))
            else:
                self._pollers[address][0].targets = members
        _log.info("endpoints loaded", buses=len(wanted), meters=len(targets))
        return True

    def _load(self) -> tuple[tuple[int, int], list[PollTarget]] | None:
        with self._store.transaction() as connection:
            now = self._clock()
            fingerprint = poll_fingerprint(connection, now)
            if fingerprint == self._fingerprint:
                return None
            return fingerprint, poll_targets(connection, now)

    async def _reload_for_ever(self) -> None:
        while True:
            try:
                await self.reload()
            except StoreError as error:
                STORE_ERRORS.labels(kind_of(error)).inc()
                _log.warning("endpoints not loaded", error=str(error))
            await self._sleep(self._settings.poll.reload_s)

    def _poller(self, address: Address) -> BusPoller:
        return BusPoller(
            self._bus(address),
            self._models,
            self._outbox,
            period_s=self._settings.poll.period_s,
            clock=self._clock,
            sleep=self._sleep,
        )

    def _bus(self, address: Address) -> ModbusBus:
        if address not in self._buses:
            self._buses[address] = open_bus(
                endpoint_of(*address), bus_settings(self._settings), clock=SystemClock(self._clock)
            )
        return self._buses[address]

    async def _write(self, rounds: Sequence[RoundResult]) -> None:
        await asyncio.to_thread(self._writer.write, rounds)

    async def _write_the_rest(self) -> None:
        try:
            async with asyncio.timeout(_LAST_WRITE_S):
                await self._outbox.flush()
        except (StoreError, TimeoutError) as error:
            if isinstance(error, StoreError):
                STORE_ERRORS.labels(kind_of(error)).inc()
            _log.error("readings lost at the stop", readings=self._outbox.held, error=str(error))

    async def _supervised(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Keep one loop going: a mistake of ours in one of them does not stop the others."""
        while True:
            try:
                await loop()
                return
            except Exception:  # noqa: BLE001 the supervisor: it logs the traceback and starts the loop again
                ROLE_FAILURES.labels("poll").inc()
                _log.exception("polling loop failed", loop=name)
                await self._sleep(_AGAIN_S)


def endpoint_of(host: str, port: int) -> str:
    """A Modbus TCP endpoint as the drivers write it."""
    return f"modbus+tcp://[{host}]:{port}" if ":" in host else f"modbus+tcp://{host}:{port}"


def bus_settings(settings: Settings) -> BusSettings:
    """How buses are used, by the settings; a gateway that is away is looked for several times a period."""
    return BusSettings(
        timeout_s=settings.poll.timeout_s,
        retries=settings.poll.retries,
        backoff_max_s=min(_LONGEST_BACKOFF_S, max(1.0, settings.poll.period_s / 4)),
    )


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
