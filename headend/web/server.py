"""Role *web*: pages and API, served by uvicorn in this process's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Mapping

import uvicorn

from headend.domain.clock import Clock
from headend.domain.processes import Fact
from headend.settings import Settings
from headend.store.pool import Store
from headend.web.app import create_app


class WebRole:
    """Serves on the port of the settings."""

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

    def health(self) -> Mapping[str, Fact]:
        """Where it listens, and for how many."""
        state = self._server.server_state
        return {
            "address": f"{self._server.config.host}:{self._server.config.port}",
            "listening": self._server.started,
            "connections": len(state.connections),
            "requests": state.total_requests,
        }

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
