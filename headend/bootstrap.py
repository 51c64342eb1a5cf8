"""The composition root: builds each role from the settings and keeps it running until told to stop.

Every role may run in a process of its own, or all in one; they meet in the store. A role whose loop fails is logged
with its traceback, counted and started again after a growing pause: one role's fault never takes another one down.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import uvicorn
from prometheus_client import start_http_server

from drivers.modbus.dialin_settings import dialin_settings
from drivers.modbus.map_file import load_models
from headend.billing.service import BillingService
from headend.domain.clock import Clock, system_clock
from headend.ingest import mqtt_session
from headend.ingest.payloads import router_of
from headend.ingest.poller import PollService
from headend.ingest.service import IngestService
from headend.log import get_logger
from headend.metrics import ROLE_FAILURES
from headend.settings import Settings, SettingsError
from headend.settlement.service import SettlementService
from headend.store.errors import SchemaError
from headend.store.migrate import pending
from headend.store.pool import Store
from headend.upkeep.service import UpkeepService
from headend.web.app import create_app

FIRST_PAUSE_S = 1.0
MOST_PAUSE_S = 60.0
METRICS_HOST = "127.0.0.1"
_log = get_logger(__name__)


class Role(Protocol):
    """A part of the service that runs until `stop` is set."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then finish what is in hand and return."""
        ...


class WebRole:
    """Pages and API, served by uvicorn in this process's event loop."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        config = uvicorn.Config(
            create_app(store, settings, clock),
            host=settings.web.host,
            port=settings.web.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=3,
        )
        self._server = _QuietServer(config)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises RuntimeError when the port cannot be had."""
        host, port = self._server.config.host, self._server.config.port
        try:
            # Ours, since uvicorn ends the whole process when it cannot have its port.
            listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except OSError as refused:
            raise RuntimeError(f"cannot listen on {host}:{port}: {refused.strerror}") from refused
        with listening:
            serving = asyncio.create_task(self._server.serve([listening]))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            self._server.should_exit = True
            await serving


class _QuietServer(uvicorn.Server):
    """uvicorn without its own signal handlers: stopping is ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


ROLES: dict[str, Callable[[Store, Settings, Clock], Role]] = {
    "ingest": IngestService,
    "poll": PollService,
    "settle": SettlementService,
    "billing": BillingService,
    "upkeep": UpkeepService,
    "web": WebRole,
}
"""Every role by name; each needs only the store, the settings and a clock."""


def run_service(settings: Settings, roles: Sequence[str], *, ready_file: Path | None = None) -> None:
    """Run the roles in this process until SIGTERM or SIGINT.

    Raises SettingsError or DriverConfigError when a file that the settings name cannot be used, SchemaError when the
    database lacks migrations, StoreUnavailable when it cannot be reached at the start.
    """
    _check_files(settings, roles)
    if missing := pending(settings.database.dsn):
        raise SchemaError(f"the database lacks {', '.join(missing)}: run `headend migrate` first")
    database = settings.database
    with (
        _metrics_served(settings.metrics.port),
        Store(database.dsn, pool_max=database.pool_max, prepare=database.prepare) as store,
    ):
        asyncio.run(_run(store, settings, roles, ready_file))


def _check_files(settings: Settings, roles: Sequence[str]) -> None:
    """Read what the settings only name, before anything starts: a role would fail on it again and again."""
    if "ingest" in roles:
        mqtt_session.check_files(settings.mqtt)
        router_of(settings.mqtt, settings.settlement.zone)
    if "poll" in roles:
        load_models(settings.poll.models_dir)
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


async def _run(store: Store, settings: Settings, roles: Sequence[str], ready_file: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        for name in roles:
            group.create_task(keep_running(name, partial(ROLES[name], store, settings, system_clock), stop))
        _log.info("service started", roles=list(roles))
        if ready_file is not None:
            ready_file.write_text(" ".join(roles) + "\n", encoding="utf-8")
    _log.info("service stopped", roles=list(roles))


async def keep_running(name: str, build: Callable[[], Role], stop: asyncio.Event) -> None:
    """Run a role; when its loop fails or ends before its time, log it, count it, and start a new one after a pause."""
    pause_s = FIRST_PAUSE_S
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        started = loop.time()
        try:
            await build().run(stop)
            if not stop.is_set():
                _log.error("role ended before its time", role=name)
        except Exception:  # noqa: BLE001 this is the supervisor
            _log.exception("role failed", role=name)
        if stop.is_set():
            return
        ROLE_FAILURES.labels(role=name).inc()
        if loop.time() - started > MOST_PAUSE_S:
            pause_s = FIRST_PAUSE_S
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause_s)
        pause_s = min(MOST_PAUSE_S, pause_s * 2)
