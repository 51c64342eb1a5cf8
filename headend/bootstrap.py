"""The composition root: builds each role from the settings and keeps it running until told to stop.

Every role may run in a process of its own, or all in one; they meet in the store. A role whose loop fails is logged
with its traceback, counted and started again after a growing pause: one role's fault never takes another one down.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from prometheus_client import start_http_server

from headend import allocator
from headend.domain.clock import Clock, system_clock
from headend.domain.processes import Fact
from headend.log import bind_role, get_logger
from headend.metrics import ROLE_FAILURES
from headend.settings import Settings, SettingsError
from headend.store.errors import SchemaError
from headend.store.migrate import pending
from headend.store.pool import Store
from headend.upkeep.heartbeat import Heartbeat, Watched

FIRST_PAUSE_S = 1.0
MOST_PAUSE_S = 60.0
METRICS_HOST = "127.0.0.1"
STOP_MOST_S = 20.0
"""A stop that takes longer is cut short: a database that takes a statement and never answers would hold it for ever."""
UPKEEP_CONNECTIONS = 3
_log = get_logger(__name__)


class Role(Protocol):
    """A part of the service that runs until `stop` is set."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what is in hand and return."""
        ...

    def health(self) -> Mapping[str, Fact]:
        """What an operator wants to know of it now: cheap, never blocks, called in the event loop."""
        ...


Builder = Callable[[Store, Settings, Clock], Role]


def _ingest() -> Builder:
    from headend.ingest.service import IngestService

    return IngestService


def _poll() -> Builder:
    from headend.ingest.poller import PollService

    return PollService


def _settle() -> Builder:
    from headend.settlement.service import SettlementService

    return SettlementService


def _billing() -> Builder:
    from headend.billing.service import BillingService

    return BillingService


def _upkeep() -> Builder:
    from headend.upkeep.service import UpkeepService

    return UpkeepService


def _web() -> Builder:
    from headend.web.server import WebRole

    return WebRole


ROLES: dict[str, Callable[[], Builder]] = {
    "ingest": _ingest,
    "poll": _poll,
    "settle": _settle,
    "billing": _billing,
    "upkeep": _upkeep,
    "web": _web,
}
"""Every role by name: imports what it is made of, and gives what builds it from the store, the settings and a clock.

Only what runs is imported: an ingest that was killed is back in a second, not in three.
"""


def run_service(settings: Settings, roles: Sequence[str], *, ready_file: Path | None = None) -> None:
    """Run the roles in this process until SIGTERM or SIGINT.

    Raises SettingsError or DriverConfigError when a file that the settings name cannot be used or a setting does not do
    for these roles, SchemaError when the database lacks migrations, StoreUnavailable when it cannot be reached at the
    start.
    """
    (allocator.keep if list(roles) == ["settle"] else allocator.give_back)()
    _check_connections(settings, roles)
    _check_files(settings, roles)
    if missing := pending(settings.database.dsn):
        raise SchemaError(f"the database lacks {', '.join(missing)}: run `headend migrate` first")
    builders = {name: ROLES[name]() for name in roles}
    database = settings.database
    with (
        contextlib.ExitStack() as ending,
        _metrics_served(settings.metrics.port),
        Store(database.dsn, pool_max=database.pool_max, prepare=database.prepare) as store,
    ):
        asyncio.run(_run(store, settings, builders, ready_file, ending))


def _check_connections(settings: Settings, roles: Sequence[str]) -> None:
    """A chore may work for minutes: what else the process does is not to wait for it."""
    found = settings.database.pool_max
    if "upkeep" in roles and found < UPKEEP_CONNECTIONS:
        raise SettingsError(
            f"database.pool_max = {found}: with role upkeep at least {UPKEEP_CONNECTIONS}: a chore takes two, one of "
            "them for its lock"
        )


def _check_files(settings: Settings, roles: Sequence[str]) -> None:
    """Read what the settings only name, before anything starts: a role would fail on it again and again."""
    if "ingest" in roles:
        from headend.ingest import mqtt_session
        from headend.ingest.payloads import router_of

        mqtt_session.check_files(settings.mqtt)
        router_of(settings.mqtt, settings.settlement.zone)
    if "poll" in roles:
        from drivers.modbus.dialin_settings import dialin_settings
        from drivers.modbus.map_file import load_models
        from headend.ingest.spool import check_spool_dir

        load_models(settings.poll.models_dir)
        check_spool_dir(settings.poll)
        if settings.poll.dialin is not None:
            dialin_settings(settings.poll.dialin)
    if "billing" in roles and settings.billing.endpoint_url is not None:
        settings.billing.key()


@contextlib.contextmanager
def _metrics_served(port: int | None) -> Iterator[None]:
    """/metrics of this process alone, where it has a port for it. Raises SettingsError when that cannot be had."""
    if port is None:
        yield
        return
    try:
        server, thread = start_http_server(port, addr=METRICS_HOST)
    except OSError as refused:
        raise SettingsError(f"metrics.port = {port}: {refused.strerror}") from refused
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _stop(stop: asyncio.Event, ending: contextlib.ExitStack) -> None:
    """Have the roles stop, within STOP_MOST_S until `ending` is over."""
    if not stop.is_set():
        stop.set()
        patience = threading.Timer(STOP_MOST_S, _cut_short)
        patience.daemon = True
        patience.start()
        ending.callback(patience.cancel)


def _cut_short() -> None:
    """What was acknowledged is committed, and what was polled is spooled: as after a kill, nothing of that is lost."""
    _log.error("the stop took too long and is cut short", seconds=STOP_MOST_S)
    os._exit(1)


async def _run(
    store: Store,
    settings: Settings,
    builders: Mapping[str, Builder],
    ready_file: Path | None,
    ending: contextlib.ExitStack,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, partial(_stop, stop, ending))
    watched = {name: Watched(system_clock) for name in builders}
    async with Heartbeat(store, watched, system_clock).beating(), asyncio.TaskGroup() as group:
        for name, builder in builders.items():
            build = partial(builder, store, settings, system_clock)
            group.create_task(keep_running(name, build, stop, watched[name]))
        _log.info("service started", roles=list(builders))
        if ready_file is not None:
            ready_file.write_text(" ".join(builders) + "\n", encoding="utf-8")
    _log.info("service stopped", roles=list(builders))


async def keep_running(
    name: str, build: Callable[[], Role], stop: asyncio.Event, watched: Watched | None = None
) -> None:
    """Run a role; when its loop fails or ends before its time, log it, count it, and start a new one after a pause.

    `watched` is told of all that. What the role logs bears its name.
    """
    bind_role(name)
    watched = Watched(system_clock) if watched is None else watched
    pause_s = FIRST_PAUSE_S
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        started = loop.time()
        error = "ended before its time"
        try:
            role = build()
            watched.runs(role)
            await role.run(stop)
            if not stop.is_set():
                _log.error("role ended before its time", role=name)
        except Exception as failure:  # noqa: BLE001 this is the supervisor
            error = f"{type(failure).__name__}: {failure}"
            _log.exception("role failed", role=name)
        if stop.is_set():
            break
        watched.failed(error)
        ROLE_FAILURES.labels(role=name).inc()
        if loop.time() - started > MOST_PAUSE_S:
            pause_s = FIRST_PAUSE_S
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause_s)
        pause_s = min(MOST_PAUSE_S, pause_s * 2)
    watched.stopped()
