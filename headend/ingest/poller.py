"""Role *poll*: reads every Modbus meter that serves, on the UTC grid, and executes live reads on the same buses.

One task a bus (meters with one endpoint share a connection, and nobody else opens a second one), one that looks for
changed endpoints, one that looks for live reads, one that writes; others keep in the store what buses learn and how
they are doing. What was read goes to the disk at once and waits there while the database is away (see `poll_outbox`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final
from zoneinfo import ZoneInfo

from drivers.base import MeterIdentity
from drivers.errors import DriverConfigError
from drivers.modbus.bus import ModbusBus
from drivers.modbus.endpoint import parse_endpoint
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from headend.domain.clock import Clock
from headend.domain.processes import Fact
from headend.domain.topology import PollTarget
from headend.ingest.clock_book import ClockBook
from headend.ingest.clock_check import ClockCheck
from headend.ingest.commands.executor import CommandExecutor
from headend.ingest.poll_bus import BusPoller, RoundRules, Sleep
from headend.ingest.poll_buses import Buses
from headend.ingest.poll_dialin import DialIn
from headend.ingest.poll_grid import Grid, offsets_us
from headend.ingest.poll_items import RoundWriter
from headend.ingest.poll_order import areas_of, by_bus
from headend.ingest.poll_outbox import Outbox, kind_of
from headend.ingest.poll_profile import ProfileReader
from headend.ingest.poll_refusals import KeptRefusals
from headend.ingest.poll_round import RoundReport, RoundResult
from headend.ingest.poll_state import PollState
from headend.ingest.requests import RequestExecutor
from headend.ingest.spool import Spool
from headend.ingest.spool_file import SpoolFailed
from headend.ingest.spool_record import Spoiled
from headend.ingest.spool_watch import SpoolWatch
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
_STATE_S: Final = 1.0
"""How often changed states of buses, meters and modems are written."""
_log = get_logger(__name__)


class PollService:
    """Everything of the role in one event loop."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, *, sleep: Sleep = asyncio.sleep) -> None:
        """Raises `DriverConfigError` when a register map of `poll.models_dir`, or `poll.dialin`, is wrong."""
        self._store = store
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        poll = settings.poll
        self._models: Mapping[str, MeterModel] = load_models(poll.models_dir)
        self._writer = RoundWriter(store, settings, clock)
        zone = ZoneInfo(settings.settlement.zone)
        self._spool = Spool(poll, zone=zone, clock=clock, tells_again=self._tells_again)
        self._outbox: Outbox[RoundResult] = Outbox(self._write, hold=poll.hold_readings, sleep=sleep, spool=self._spool)
        self._refusals = KeptRefusals(
            store,
            keep_s=poll.refusal_keep_s,
            bus_of=self._uri_of,
            check_s=poll.reload_s,
            clock=clock,
            sleep=sleep,
        )
        self._dialin = (
            None if poll.dialin is None else DialIn(store, settings, every_s=_STATE_S, clock=clock, sleep=sleep)
        )
        self._buses = Buses(settings, clock, self._refusals, None if self._dialin is None else self._dialin.server)
        self._state = PollState(store, health_of=self._buses.health, every_s=_STATE_S, clock=clock, sleep=sleep)
        self._profiles = ProfileReader(
            store,
            self._models,
            self._outbox,
            bus_of=self._bus_of,
            period_s_of=self._period_s_of,
            zone=zone,
            check_s=poll.reload_s,
            clock=clock,
            sleep=sleep,
        )
        self._watch = SpoolWatch(
            self._spool, store, meter_id_of=self._profiles.storing, every_s=_STATE_S, clock=clock, sleep=sleep
        )
        self._pollers: dict[str, tuple[BusPoller, asyncio.Task[None]]] = {}
        self._fingerprint: tuple[int, int] | None = None
        most = poll.max_buses_at_once
        self._limit = None if most is None else asyncio.Semaphore(most)
        book = ClockBook(settings)
        self._clocks = ClockCheck(
            store, self._models, self._bus_of, book, every_s=settings.clock.read_every_s, clock=clock
        )
        self._commands = CommandExecutor(
            store,
            settings,
            self._models,
            self._bus_of,
            book,
            clock=clock,
            sleep=sleep,
            reading_profile=self._profiles.is_reading,
        )
        self._requests = RequestExecutor(
            store,
            self._models,
            self._bus_of,
            book,
            check_s=poll.request_check_s,
            clock=clock,
            sleep=sleep,
        )

    @property
    def held(self) -> int:
        """Readings that the database does not have yet."""
        return self._outbox.held

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop`; what was read by then is written if the database takes it soon, and spooled if not.

        Raises SpoolInUse when another process has the spool.
        """
        try:
            await self._spool.open()
            await self._poll_until(stop)
        finally:
            await self._spool.close()

    def health(self) -> Mapping[str, Fact]:
        """How polling is doing now."""
        spool = self._spool.state
        return {
            "buses": len(self._pollers),
            "meters": sum(len(poller.targets) for poller, _ in self._pollers.values()),
            "held_readings": self._outbox.held,
            "in_memory_readings": self._outbox.in_memory,
            "spool_readings": spool.totals.readings,
            "spool_bytes": spool.totals.bytes,
            "spool_oldest_age_s": round(self._spool.oldest_age_s, 1),
            "spool_full": spool.totals.full,
            "spool_given_up": sum(spool.given_up.values()),
            "spool_trouble": spool.trouble,
        }

    async def _poll_until(self, stop: asyncio.Event) -> None:
        if self._dialin is not None:
            await self._dialin.start()
        writing = asyncio.create_task(self._supervised("write", self._outbox.run))
        loops = [asyncio.create_task(self._supervised(name, loop)) for name, loop in self._loops().items()]
        try:
            await stop.wait()
        finally:
            await _cancel([*loops, *(task for _, task in self._pollers.values())])
            await _cancel([writing])
            await self._write_the_rest()
            await self._buses.close()
            if self._dialin is not None:
                await self._dialin.stop()

    def _loops(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """What runs beside the buses, by the name that a failure is logged with."""
        loops: dict[str, Callable[[], Awaitable[None]]] = {
            "reload": self._reload_for_ever,
            "requests": self._requests.run,
            "commands": self._commands.run,
            "clocks": self._clocks.run,
            "refusals": self._refusals.run,
            "state": self._state.run,
            "profiles": self._profiles.run,
            "spool": self._watch.run,
        }
        return loops if self._dialin is None else loops | {"dialin": self._dialin.run}

    async def reload(self) -> bool:
        """Take over changed endpoints; False when nothing had changed. Raises StoreError."""
        found = await asyncio.to_thread(self._load)
        if found is None:
            return False
        if self._fingerprint is None:
            await self._refusals.sync()  # before the first question, so that none is asked in vain
            await self._state.load()
        fingerprint, targets = found
        await self._profiles.polled(targets)
        self._fingerprint = fingerprint
        wanted = by_bus(targets)
        self._state.polled(wanted, {uri: _peer(uri) for uri in wanted})
        for uri in [u for u in self._pollers if u not in wanted]:
            _, task = self._pollers.pop(uri)
            await _cancel([task])
            # The bus stays open for live reads; there are few of these.
        offsets = offsets_us({u: areas_of(members) for u, members in wanted.items()}, spread_s=spread_s(self._settings))
        for uri, members in wanted.items():
            self._poll(uri, members, grid_of(self._settings, offsets[uri]))
        _log.info("endpoints loaded", buses=len(wanted), meters=len(targets))
        return True

    def _poll(self, uri: str, members: tuple[PollTarget, ...], grid: Grid) -> None:
        """Have these meters polled from now on; a bus that cannot be opened is shown as such, and the others go on."""
        if uri in self._pollers:
            self._pollers[uri][0].targets, self._pollers[uri][0].grid = members, grid
            return
        try:
            bus = self._buses.get(uri)
        except DriverConfigError as error:
            _log.error("bus cannot be used", bus=uri, meters=len(members), reason=str(error))
            self._state.unusable(uri, str(error))
            return
        poll = self._settings.poll
        poller = BusPoller(
            bus,
            uri,
            self._models,
            self._outbox,
            grid=grid,
            rules=RoundRules(area_again_s=poll.area_again_s, missed_tick=poll.missed_tick),
            clock=self._clock,
            sleep=self._sleep,
            on_round=self._round_over,
            limit=self._limit,
        )
        poller.targets = members
        self._pollers[uri] = (poller, asyncio.create_task(self._supervised("bus", poller.run)))

    def _round_over(self, report: RoundReport) -> None:
        self._state.round_over(report)
        self._profiles.round_over(report)
        if report.bus in self._pollers:
            targets = self._pollers[report.bus][0].targets
            self._clocks.after_round(t for t in targets if t.meter_id in report.read_us)

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

    def _bus_of(self, target: PollTarget) -> ModbusBus:
        """Raises `DriverConfigError` where the endpoint cannot be used."""
        return self._buses.get(target.bus)

    def _period_s_of(self, target: PollTarget) -> int:
        poll = self._settings.poll
        return (poll.area_period_s or poll.period_s) if target.is_area_meter else poll.period_s

    def _tells_again(self, meter: MeterIdentity) -> bool:
        return self._profiles.storing(meter) is not None

    def _uri_of(self, peer: str) -> str | None:
        return self._buses.uri_of(peer)

    async def _write(self, rounds: Sequence[RoundResult | Spoiled]) -> None:
        await asyncio.to_thread(self._writer.write, rounds)

    async def _write_the_rest(self) -> None:
        with suppress(SpoolFailed):  # said and counted; the database may take it
            await self._outbox.keep()
        try:
            async with asyncio.timeout(_LAST_WRITE_S):
                await self._outbox.flush()
        except (StoreError, TimeoutError) as error:
            if isinstance(error, StoreError):
                STORE_ERRORS.labels(kind_of(error)).inc()
            if lost := self._outbox.in_memory:
                _log.error("readings lost at the stop", readings=lost, error=str(error))
            _log.warning("readings wait in the spool", readings=self._outbox.held - lost, error=str(error))

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


def grid_of(settings: Settings, offset_us: int) -> Grid:
    """The ticks of a bus that starts so long after them."""
    poll = settings.poll
    return Grid(period_s=poll.period_s, area_period_s=poll.area_period_s or poll.period_s, offset_us=offset_us)


def spread_s(settings: Settings) -> float:
    """Over how long the areas' starts are spread; the ticks of area meters lie as close as any."""
    poll = settings.poll
    return min((poll.area_period_s or poll.period_s) * poll.stagger_share, poll.stagger_most_s)


def _peer(uri: str) -> str:
    """What people call a bus; one that nobody can read is called as it is written."""
    try:
        return parse_endpoint(uri).peer
    except DriverConfigError:
        return uri


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
